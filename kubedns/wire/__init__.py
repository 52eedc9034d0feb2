"""Octets to DNS and back (RFC 1035): values and functions only; no socket, no loop, no clock, nothing else of ours."""

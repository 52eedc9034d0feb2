"""Asking other name servers: sockets and connections to each, how well it is, and what that cost."""

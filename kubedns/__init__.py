"""kubedns: a cluster DNS server for Kubernetes that runs CoreDNS's Corefile."""

__version__ = "0.1.0"

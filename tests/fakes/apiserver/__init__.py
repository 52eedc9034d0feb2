"""A Kubernetes API server that really listens, in a process of its own, and that a test can let fail."""

from tests.fakes.apiserver.handle import APIServer
from tests.fakes.apiserver.request import Request

__all__ = ["APIServer", "Request"]

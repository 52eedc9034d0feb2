"""What the listeners count: plain integers that only grow, unless said otherwise. Metrics read them."""

from dataclasses import dataclass


@dataclass(slots=True)
class UdpCounters:
    received: int = 0
    sent: int = 0
    dropped: int = 0  # replies that the kernel did not take: its buffer was full, or there was no way to the client
    too_large: int = 0  # replies that no datagram can hold, or that the path's MTU forbids
    rejected: int = 0  # queries given up because too many were waiting for their replies
    failed: int = 0  # calls of `ready` or `answer` that raised


@dataclass(slots=True)
class TcpCounters:
    accepted: int = 0
    open: int = 0  # connections now
    received: int = 0
    sent: int = 0
    refused: int = 0  # connections closed at once: too many were open and none idle
    evicted: int = 0  # idle connections closed to make room for new ones
    expired: int = 0  # connections closed because their time was up
    too_large: int = 0  # replies of more than 65,535 octets
    failed: int = 0  # calls of `ready` or `answer` that raised

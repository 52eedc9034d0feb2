"""What each figure must be, and what others were measured to be, as ratios to the echo's cost of the same run."""

from __future__ import annotations

from dataclasses import dataclass

BUSY = 3.5  # microseconds: what the echo never needs on a machine that is left alone, and fast enough
FULL_LOAD = {
    "hot": 1.6,
    "headless": 1.7,
    "srv-edns": 2.0,
    "srv": 2.0,
    "nxdomain": 2.8,
    "ptr": 2.8,
    "mix": 2.1,
    "forwarded-cached": 1.6,
    "forwarded": 6.0,
}
TCP_OVER_UDP = 2.0  # of kubedns's own cost for the same questions over UDP
LOW_RATE = 1.9
FLOOD = 1.1  # hot questions and random names by turns, over the mean of what each costs alone
FLOOD_MEMORY = 8 << 20  # octets by which the flood may let the server grow


@dataclass(frozen=True, slots=True)
class Bounds:
    """`p99` is milliseconds, beyond the echo's own where `over_echo`. Nothing may be lost, or take over 20 ms if so."""

    p99: float
    over_echo: bool = True
    none_slow: bool = True


STEADY = Bounds(p99=1.0)
RELIST = Bounds(p99=10.0, over_echo=False, none_slow=False)

# CoreDNS 1.14.7, and the same echo, measured once on another machine: with kubeadm's Corefile, which leaves the
# cluster's zone uncached, and with `cache 30` for all.
COREDNS_ELSEWHERE = {
    "hot": (16.0, 6.0),
    "headless": (34.0, 12.0),
    "nxdomain": (17.0, None),
    "ptr": (18.0, None),
    "mix": (19.0, 13.0),
    "forwarded-cached": (6.0, None),
    "forwarded": (9.0, None),
}

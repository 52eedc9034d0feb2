"""Names of the Kubernetes DNS specification, read from right to left, and addresses in names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.errors import WireError
from kubedns.wire.name import MAXIMUM_LABEL, MAXIMUM_NAME, ROOT, spelled_name

if TYPE_CHECKING:
    from collections.abc import Sequence

DASHES_OF_IPV4 = 3
BEFORE = tuple(map(chr, range(MAXIMUM_LABEL + 1)))  # what stands before a label of that size
MOST_LABELS = 4  # left of `svc`: port, protocol, service, namespace


class ServiceName(NamedTuple):
    """What stands left of `svc`: "" where the name says nothing of it, or a lone `_` stands for anything.

    `bare` is the Service's own name, without endpoint or port.
    """

    namespace: str
    service: str
    endpoint: str
    port: str
    protocol: str
    bare: bool = False


ANY_PORT = ServiceName("", "", "", "", "")


def service_name(left: Sequence[bytes]) -> ServiceName | None:
    """Return what the labels left of `svc` say, two at least; None where there are more than a name can have."""
    if len(left) > MOST_LABELS:
        return None
    *above, service, namespace = [label.decode("latin-1") for label in left]
    match above:
        case []:
            return ServiceName(namespace, service, "", "", "", bare=True)
        case [endpoint]:
            return ServiceName(namespace, service, endpoint, "", "")
        case [port, protocol]:
            return ServiceName(namespace, service, "", port.removeprefix("_"), protocol.removeprefix("_"))
        case _:
            return None


def pod_address(label: bytes) -> str:
    """Return the address text that a pod's name stands for: 10-244-1-2 or fd00-10--2; not checked."""
    text = label.decode("latin-1")
    if text.count("-") == DASHES_OF_IPV4 and "--" not in text:
        return text.replace("-", ".")
    return text.replace("-", ":")


def host_name(text: str) -> bytes | None:
    """Return an external name as it is stored, wire octets; None where it is no domain name."""
    try:
        return spelled_name(text)
    except (WireError, UnicodeEncodeError):  # the latter: half of a surrogate pair, which JSON can spell
        return None


def below(parent: bytes, *parts: str) -> bytes | None:
    """Return the name of some parts below a parent, wire octets; None where it would be none: empty, or too long.

    The API has each part be a label, manifests need not: a dot within one starts another label.
    """
    together = "".join(parts)
    if together.isascii() and together.replace("-", "").isalnum() and "" not in parts:
        try:
            octets = "".join([BEFORE[len(part)] + part for part in parts]).encode()
        except IndexError:
            return None
    else:
        found = [_labels(part) for part in parts]
        octets = b"" if b"" in found else b"".join(found)
        if not octets:
            return None
    wire = octets + parent
    return wire if len(wire) <= MAXIMUM_NAME else None


def endpoint_name(label: str, service: str, namespace: str, primary: bytes) -> bytes | None:
    """As below(), of parts that are labels for certain."""
    before = BEFORE
    above = f"{before[len(label)]}{label}{before[len(service)]}{service}{before[len(namespace)]}{namespace}\3svc"
    wire = above.encode() + primary
    return wire if len(wire) <= MAXIMUM_NAME else None


def _labels(part: str) -> bytes:
    """Return a part's octets without a root's; empty where it is no name."""
    return (host_name(part) or ROOT)[:-1]

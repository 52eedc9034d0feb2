"""The options of the kubernetes directive, checked word by word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kubedns.cluster.selector import EVERYTHING, Selector, parse_selector
from kubedns.corefile import readers
from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind
from kubedns.log import plugin_log
from kubedns.plugin.reverse import is_reverse
from kubedns.plugin.zones import argument_zones
from kubedns.wire.name import labels

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive, Property, Word
    from kubedns.plugin.contract import ServerBlock

DEFAULT_TTL = 5
LONGEST_TTL = 3600
DEFAULT_STARTUP_TIMEOUT = 5.0
POD_MODES = ("disabled", "verified", "insecure")  # in the order CoreDNS names them
NO_ZONE_CURE = "name the cluster's domain, as in: kubernetes cluster.local in-addr.arpa ip6.arpa"
LATER = "a later version of kubedns will have it; leave it out until then"

log = plugin_log("kubernetes")


@dataclass(frozen=True, slots=True)
class Options:
    """What a kubernetes block says. Zones are lower-case wire octets, times in seconds.

    `primary` is the zone that PTR records point into; `namespaces` empty: all.
    """

    zones: tuple[bytes, ...]
    primary: bytes
    ttl: int = DEFAULT_TTL
    pods: str = "disabled"
    endpoint_pod_names: bool = False
    noendpoints: bool = False
    ignore_empty_service: bool = False
    namespaces: frozenset[str] = frozenset()
    namespace_labels: Selector = EVERYTHING
    labels: Selector = EVERYTHING
    fallthrough: tuple[bytes, ...] = ()
    startup_timeout: float = DEFAULT_STARTUP_TIMEOUT
    endpoint: str = ""
    tls: tuple[str, str, str] | None = None
    kubeconfig: tuple[str, str] | None = None


Values = dict[str, Any]  # fields of Options by name


def read_options(directive: Directive, block: ServerBlock) -> Options:
    """Return the options of a directive; raise CorefileErrors with all that is wrong in it."""
    use = readers.once(directive)
    zones = argument_zones(use.arguments, block.zones, log)
    primary = next((zone for zone in zones if not is_reverse(labels(zone))), None)
    errors: list[CorefileError] = []
    if primary is None:
        errors.append(CorefileError("non-reverse zone name must be used", use.name, NO_ZONE_CURE))
    values: Values = {}
    try:
        readers.read_properties(use, {name: partial(_store, values, read) for name, read in READERS.items()})
    except CorefileError as error:
        errors += error.errors
    if primary is None or errors:
        raise CorefileErrors(errors)
    if values.get("namespaces") and values.get("namespace_labels"):
        text = "namespaces and namespace_labels cannot both be set"
        raise directive.words[-1].error(
            text, "leave out 'namespaces' or 'namespace_labels'"
        )  # found at the block's end
    return Options(zones, primary, **values)


def _some(line: Property) -> tuple[Word, ...]:
    if not line.arguments:
        raise readers.wrong_arguments(line, cure=f"{line.name.text} takes at least one argument")
    return line.arguments


def _store(values: Values, read: Callable[[Property], Values], line: Property) -> None:
    """A later line replaces an earlier one, but `namespaces` adds up."""
    for field, value in read(line).items():
        values[field] = values.get(field, frozenset()) | value if field == "namespaces" else value


def _endpoint(line: Property) -> Values:
    first, *others = (word.text for word in _some(line))
    if others:
        text = f"Multiple endpoints have been deprecated, only the first specified endpoint '{first}' is used"
        log.warning(text)
    return {"endpoint": first}


def _tls(line: Property) -> Values:
    match [word.text for word in line.arguments]:
        case [certificate, key, authority]:
            return {"tls": (certificate, key, authority)}
    raise readers.wrong_arguments(line)


def _kubeconfig(line: Property) -> Values:
    match [word.text for word in line.arguments]:
        case [file]:
            return {"kubeconfig": (file, "")}
        case [file, context]:
            return {"kubeconfig": (file, context)}
    raise readers.wrong_arguments(line)


def _number(read: Callable[[Word], float]) -> Callable[[Property], Values]:
    """Checked as CoreDNS does, which makes nothing of it either."""

    def check(line: Property) -> Values:
        word = readers.one_argument(line)
        try:
            number = read(word)
        except CorefileError as error:
            raise word.error(f'invalid {line.name.text} "{word.text}": {error.text}', error.cure) from None
        if number < 0:
            raise word.error(f"{line.name.text} must be >= 0")
        return {}

    return check


def _namespaces(line: Property) -> Values:
    return {"namespaces": frozenset(word.text for word in _some(line))}


def _selector(line: Property) -> Selector:
    expression = " ".join(word.text for word in _some(line))
    try:
        return parse_selector(expression)
    except ValueError as error:
        label = line.name.text.removesuffix("s")  # the words of CoreDNS
        reason = f'couldn\'t parse the selector string "{expression}": {error}'
        text = f"unable to parse {label} selector value: '{expression}': {reason}"
        raise CorefileError(text, line.arguments[0]) from None


def _pods(line: Property) -> Values:
    word = readers.one_argument(line)
    text = f"wrong value for pods: {{}},  must be one of: {', '.join(POD_MODES)}"
    return {"pods": readers.choice(word, POD_MODES, text, Kind.BARE)}


def _ttl(line: Property) -> Values:
    word = _some(line)[0]
    ttl = readers.integer(word)
    if not 0 <= ttl <= LONGEST_TTL:
        raise word.error(f"ttl must be in range [0, {LONGEST_TTL}]: {ttl}", "write the seconds, from 0 to 3600")
    return {"ttl": ttl}


def _fallthrough(line: Property) -> Values:
    return {"fallthrough": argument_zones(line.arguments, ["."], log)}


def _ignore(line: Property) -> Values:
    if not line.arguments:
        return {}
    word = line.arguments[0]
    if word.text != "empty_service":
        raise CorefileError(f"unable to parse ignore value: '{word.text}'", word, "the one value is empty_service")
    return {"ignore_empty_service": True}


def _startup_timeout(line: Property) -> Values:
    word = _some(line)[0]
    try:
        seconds = readers.duration(word)
    except CorefileError as error:
        raise CorefileError(f"failed to parse startup_timeout: {word.text}, {error.text}", word, error.cure) from None
    if seconds <= 0:
        raise CorefileError(f"startup_timeout must be positive: {word.text}", word)
    return {"startup_timeout": seconds}


def _switch(option: str) -> Callable[[Property], Values]:
    def read(line: Property) -> Values:
        readers.no_arguments(line)
        return {option: True}

    return read


def _later(line: Property) -> Values:
    raise CorefileError(f"property '{line.name.text}' is not supported yet", line.name, LATER)


READERS: Mapping[str, Callable[[Property], Values]] = {
    "endpoint": _endpoint,
    "tls": _tls,
    "kubeconfig": _kubeconfig,
    "apiserver_qps": _number(readers.floating),
    "apiserver_burst": _number(readers.integer),
    "apiserver_max_inflight": _number(readers.integer),
    "namespaces": _namespaces,
    "namespace_labels": lambda line: {"namespace_labels": _selector(line)},
    "labels": lambda line: {"labels": _selector(line)},
    "pods": _pods,
    "endpoint_pod_names": _switch("endpoint_pod_names"),
    "ttl": _ttl,
    "noendpoints": _switch("noendpoints"),
    "fallthrough": _fallthrough,
    "ignore": _ignore,
    "startup_timeout": _startup_timeout,
    "multicluster": _later,
    "zonal": _later,
}

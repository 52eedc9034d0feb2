"""The options of a forward line, checked word by word."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kubedns.corefile import readers
from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind
from kubedns.corefile.keys import expand_zones
from kubedns.corefile.numbers import format_duration, quote
from kubedns.corefile.suggest import nearest
from kubedns.log import plugin_log
from kubedns.plugin.zones import argument_zones, wire_zones
from kubedns.upstream.settings import Settings
from kubedns.wire.errors import WireError
from kubedns.wire.name import name
from kubedns.wire.numbers import OTHER_RCODES, Rcode
from plugins.forward.destinations import File, HostName, name_servers, read_destination
from plugins.forward.tls import TlsFiles, read_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubedns.corefile.values import Property, Use, Word
    from kubedns.plugin.contract import ServerBlock
    from kubedns.upstream.address import Address
    from plugins.forward.destinations import Destination

MOST_DESTINATIONS = 15
UINT32 = range(2**32)
POLICIES = ("random", "round_robin", "sequential")
RCODES = {**{rcode.name: int(rcode) for rcode in Rcode if rcode < Rcode.BADVERS}, "BADVERS": 16, "BADSIG": 16,
          "NOTIMPL": 4, **{text: number for number, text in OTHER_RCODES.items()}}  # fmt: skip
log = plugin_log("forward")


@dataclass(slots=True)
class Options:
    """What a forward line says. Zones are lower-case wire octets, times in seconds.

    `most_attempts` None: by the number of upstreams. `max_concurrent` 0: any number.
    """

    zone: bytes = b""
    destinations: list[Destination] = field(default_factory=list)
    excepted: tuple[bytes, ...] = ()
    settings: Settings = field(default_factory=Settings)
    force_tcp: bool = False
    prefer_udp: bool = False
    max_fails: int = 2
    most_attempts: int | None = None
    policy: str = "random"
    max_concurrent: int = 0
    next: frozenset[int] = frozenset()
    next_on_nodata: bool = False
    failfast: bool = False
    failover: frozenset[int] = frozenset()
    resolvers: tuple[Address, ...] = ()
    tls: TlsFiles = field(default_factory=TlsFiles)
    server_name: str = ""


def read_options(use: Use, block: ServerBlock) -> Options:
    """Return the options of one `forward` line and its block; raise CorefileErrors with all that is wrong in it."""
    options = Options()
    errors: list[CorefileError] = []

    def attempt(work: Callable[[], None]) -> None:
        try:
            work()
        except CorefileError as error:
            errors.extend(error.errors)

    if not use.arguments or len(use.arguments) == 1:
        cure = "write the zone, then where to ask: forward . /etc/resolv.conf"
        errors.append(readers.wrong_arguments(use, cure=cure))
    else:
        attempt(lambda: _from(options, use.arguments[0]))
        attempt(lambda: _to(options, use.arguments[1:]))
    for line in use.properties:
        attempt(partial(_property, options, line, block))
    attempt(lambda: _together(options, use))
    if errors:
        raise errors[0] if len(errors) == 1 else CorefileErrors(errors)
    return options


def _from(options: Options, word: Word) -> None:
    zones = expand_zones([word.text])
    if not zones:
        raise word.error(f"unable to normalize '{word.text}'", "write a domain name, or '.' for all names", Kind.BARE)
    if len(zones) > 1:
        text = f"Unsupported CIDR notation: '{word.text}' expands to multiple zones. Using only '{zones[0]}'."
        log.warning(text)
    [options.zone] = wire_zones(zones[:1])


def _to(options: Options, words: tuple[Word, ...]) -> None:
    errors: list[CorefileError] = []
    counted: list[Word] = []
    for word in words:
        try:
            destination = read_destination(word)
        except CorefileError as error:
            errors += error.errors
            continue
        if isinstance(destination, File) and not _has_name_servers(destination):
            continue
        options.destinations.append(destination)
        counted.append(word)
    if errors:
        raise CorefileErrors(errors)
    if not options.destinations:
        cure = "name a file with 'nameserver' lines, or write an address"
        raise words[0].error("no valid upstream addresses found", cure, Kind.BARE)
    if len(counted) > MOST_DESTINATIONS:
        text = f"more than {MOST_DESTINATIONS} TOs configured: {len(counted)}"
        raise counted[MOST_DESTINATIONS].error(text, "leave some out, or name a resolv.conf file", Kind.BARE)


def _has_name_servers(file: File) -> bool:
    try:
        return bool(name_servers(file.path.read_bytes()))
    except OSError:
        return False


def _property(options: Options, line: Property, block: ServerBlock) -> None:
    reader = READERS.get(line.name.text)
    if line.name.text == "tls":
        options.tls = read_tls(line, block.root)
    elif reader is not None:
        reader(options, line)
    else:
        cure = nearest(line.name.text, READERS.keys())
        raise line.name.error(f"unknown property '{line.name.text}'", cure)


def _together(options: Options, use: Use) -> None:
    """Check what options say of each other."""
    settings = options.settings
    if 0 < settings.max_age < settings.expire:
        line = next(line for line in use.properties if line.name.text == "max_age")
        age, expire = format_duration(settings.max_age), format_duration(settings.expire)
        text = f"max_age ({age}) must not be less than expire ({expire})"
        raise line.last.error(text, "make max_age longer, or expire shorter", Kind.BARE)
    if options.server_name:
        for word, one in zip(use.arguments[1:], options.destinations, strict=False):
            if not isinstance(one, File) and one.transport == "tls" and one.server_name:
                names = f"both forward ('{options.server_name}') and proxy level ('{one.server_name}')"
                text = f"{names} TLS servernames are set for upstream proxy '{word.text}'"
                raise word.error(text, "leave out tls_servername, or the name behind the '%'", Kind.BARE)


def _first(line: Property) -> Word:
    """Return the argument; what stands behind it is read as the next property, as CoreDNS does."""
    if not line.arguments:
        raise readers.wrong_arguments(line, cure=f"{line.name.text} takes one argument")
    if len(line.arguments) > 1:
        extra = line.arguments[1]
        raise extra.error(f"unknown property '{extra.text}'", f"{line.name.text} takes one argument")
    return line.arguments[0]


def _flag(line: Property) -> bool:
    if line.arguments:
        raise readers.wrong_arguments(line, line.arguments[0], f"{line.name.text} takes no arguments")
    return True


def _several(line: Property) -> tuple[Word, ...]:
    if not line.arguments:
        raise readers.wrong_arguments(line, cure=f"{line.name.text} takes one argument or more")
    return line.arguments


def _not_negative(line: Property) -> float:
    word = _first(line)
    seconds = readers.duration(word)
    if seconds < 0:
        shown = format_duration(seconds)
        raise word.error(f"{line.name.text} can't be negative: {shown}", "write 0s or more", Kind.BARE)
    return seconds


def _count(line: Property) -> int:
    word = _first(line)
    number = readers.integer(word)
    if number < 0:
        raise word.error(f"{line.name.text} can't be negative: {number}", "write 0 or more", Kind.BARE)
    return number


def _unsigned(line: Property) -> int:
    return readers.integer(_first(line), "ParseUint", UINT32)


def _rcodes(line: Property) -> frozenset[int]:
    found = set()
    for word in _several(line):
        rcode = RCODES.get(word.text.upper())
        if rcode is None:
            cure = nearest(word.text.upper(), RCODES) or "write a name, as in SERVFAIL or NXDOMAIN"
            raise word.error(f"{word.text} is not a valid rcode", cure, Kind.BARE)
        found.add(rcode)
    return frozenset(found)


def _set(options: Options, **changes: Any) -> None:
    options.settings = replace(options.settings, **changes)


def _except(options: Options, line: Property) -> None:
    options.excepted += argument_zones(_several(line), (), log)


def _read_timeout(options: Options, line: Property) -> None:
    word = _first(line)
    seconds = readers.duration(word)
    if seconds <= 0:
        text = f"read_timeout must be positive: {format_duration(seconds)}"
        raise word.error(text, "write a time, as in 2s", Kind.BARE)
    _set(options, read_timeout=seconds)


def _doh_method(options: Options, line: Property) -> None:
    method = readers.choice(_first(line), ("GET", "POST"), "doh_method must be either POST or GET", Kind.BARE)
    _set(options, http_method=method)


def _policy(options: Options, line: Property) -> None:
    options.policy = readers.choice(_first(line), POLICIES, "unknown policy '{}'")


def _health_check(options: Options, line: Property) -> None:
    first, *rest = _several(line)
    seconds = readers.duration(first)
    if seconds < 0:
        text = f"health_check can't be negative: {round(seconds * 10**9)}"
        raise first.error(text, "write a time, as in 500ms", Kind.BARE)
    check = replace(options.settings.check, interval=seconds)
    while rest:
        word = rest.pop(0)
        if word.text == "no_rec":
            check = replace(check, recursion_desired=False)
        elif word.text == "domain":
            if not rest:
                raise readers.wrong_arguments(word, cure="domain takes a name")
            owner = rest.pop(0)
            try:
                check = replace(check, name=name(owner.text))
            except WireError as error:
                raise owner.error(f"health_check: invalid domain name {owner.text}", str(error), Kind.BARE) from None
        else:
            raise word.error(f"health_check: unknown option {word.text}", "write no_rec or domain NAME", Kind.BARE)
    _set(options, check=check)


def _failover(options: Options, line: Property) -> None:
    rcodes = _rcodes(line)
    if Rcode.NOERROR in rcodes:
        word = next(word for word in line.arguments if word.text.upper() == "NOERROR")
        raise word.error("NoError cannot be used in failover", "name the codes of failures", Kind.BARE)
    options.failover |= rcodes


def _resolver(options: Options, line: Property) -> None:
    for word in _several(line):
        try:
            address = read_destination(word)
        except CorefileError:
            address = None
        if address is None or isinstance(address, (File, HostName)) or "://" in word.text:
            text = f"resolver must be an IP address or IP:port: {quote(word.text)}"
            raise word.error(text, "write an address, as in 10.0.0.1 or [2001:db8::1]:53", Kind.BARE)
        options.resolvers += (address,)


def _source_address(options: Options, line: Property) -> None:
    _set(options, source=readers.address(_first(line), kind=Kind.BARE))


def _assign(attribute: str, read: Callable[[Property], object]) -> Callable[[Options, Property], None]:
    def assign(options: Options, line: Property) -> None:
        setattr(options, attribute, read(line))

    return assign


def _setting(attribute: str, read: Callable[[Property], object]) -> Callable[[Options, Property], None]:
    def assign(options: Options, line: Property) -> None:
        _set(options, **{attribute: read(line)})

    return assign


def _next(options: Options, line: Property) -> None:
    options.next |= _rcodes(line)


READERS: Mapping[str, Callable[[Options, Property], None] | None] = {
    "doh_method": _doh_method,
    "except": _except,
    "expire": _setting("expire", _not_negative),
    "failfast_all_unhealthy_upstreams": _assign("failfast", _flag),
    "failover": _failover,
    "force_tcp": _assign("force_tcp", _flag),
    "health_check": _health_check,
    "max_age": _setting("max_age", _not_negative),
    "max_concurrent": _assign("max_concurrent", _count),
    "max_connect_attempts": _assign("most_attempts", _unsigned),
    "max_fails": _assign("max_fails", _unsigned),
    "max_idle_conns": _setting("most_idle", _count),
    "next": _next,
    "next_on_nodata": _assign("next_on_nodata", _flag),
    "policy": _policy,
    "prefer_udp": _assign("prefer_udp", _flag),
    "read_timeout": _read_timeout,
    "resolver": _resolver,
    "source_address": _source_address,
    "tls": None,  # read with the folder that its files are in
    "tls_servername": _assign("server_name", lambda line: _first(line).text),
}

"""The options of the cache directive, checked word by word."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.corefile.numbers import INTEGER, quote
from kubedns.log import plugin_log
from kubedns.plugin.zones import argument_zones
from kubedns.wire.errors import WireError
from kubedns.wire.name import ROOT, name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubedns.corefile.values import Directive, Property, Word
    from kubedns.plugin.contract import ServerBlock

SUCCESS, DENIAL = "success", "denial"
SHARDS = 256  # CoreDNS's shards, and the least that each holds: they make the numbers of entries that it has
LEAST_OF_SHARD = 4
CAPACITY = 10_000
LONGEST_SUCCESS = 3600  # seconds
LONGEST_DENIAL = 1800
SHORTEST = 5
LONGEST_TTL = 2**31 - 1  # RFC 2181 §8
LONGEST_SERVFAIL = 300.0  # RFC 2308 §7.1
LONGEST_RECHECK = 300.0
MOST_ARGUMENTS = {"immediate": 4, "verify": 5}  # of serve_stale, DURATION and the mode included
PERCENTAGES = range(10, 91)

log = plugin_log("cache")


@dataclass(slots=True)
class Limits:
    """How many entries of a kind are kept, and for how many seconds at most and at least."""

    longest: int
    capacity: int = CAPACITY
    shortest: int = SHORTEST

    @property
    def entries(self) -> int:
        """The number that CoreDNS makes of a capacity."""
        return SHARDS * max(self.capacity // SHARDS, LEAST_OF_SHARD)

    def clamp(self, seconds: int) -> int:
        """Return a duration within both limits; where they contradict each other the longest wins."""
        if self.shortest < seconds < self.longest:
            return seconds
        return self.longest if seconds >= self.longest or self.shortest >= self.longest else self.shortest


@dataclass(slots=True)
class Prefetch:
    """An entry asked for `amount` times, with no gap of more than `gap` seconds, is renewed in its last `percent`."""

    amount: int = 0
    gap: float = 60.0
    percent: int = 10


@dataclass(slots=True)
class Stale:
    """For how many seconds (`window`, 0: none) an entry is given that has run out, and how.

    `verify`: who asks waits for a new reply first, at most `timeout` seconds (0: for as long as it takes). `ttl` is
    what such records show; a renewal that fails is tried again after `recheck` seconds.
    """

    window: float = 0.0
    verify: bool = False
    timeout: float = 0.0
    ttl: int = 0
    recheck: float = 0.0
    prefer_positive: bool = False


@dataclass(slots=True)
class Options:
    """What a cache block says. Zones are lower-case wire octets, times in seconds."""

    zones: tuple[bytes, ...]
    success: Limits = field(default_factory=lambda: Limits(LONGEST_SUCCESS))
    denial: Limits = field(default_factory=lambda: Limits(LONGEST_DENIAL))
    prefetch: Prefetch = field(default_factory=Prefetch)
    stale: Stale = field(default_factory=Stale)
    servfail: float = float(SHORTEST)
    disabled: dict[str, tuple[bytes, ...]] = field(default_factory=lambda: {SUCCESS: (), DENIAL: ()})
    keep_ttl: bool = False


def read_options(directive: Directive, block: ServerBlock) -> Options:
    """Return the options of a directive; raise CorefileErrors with all that is wrong in it."""
    use = readers.once(directive)
    words = use.arguments
    longest = _longest(words[0]) if words and INTEGER.fullmatch(words[0].text) else None
    options = Options(argument_zones(words if longest is None else words[1:], block.zones, log))
    if longest is not None:
        options.success.longest = options.denial.longest = longest
    handlers = {name: partial(read, options) for name, read in READERS.items()}
    policies: list[Property] = []
    handlers["serve_stale_policy"] = partial(_policy, options, policies)
    readers.read_properties(use, handlers, "Wrong argument count or unexpected line ending after '{}'")
    if policies and not options.stale.window:
        raise policies[0].name.error("serve_stale_policy requires serve_stale", "add a line 'serve_stale'", Kind.BARE)
    return options


def _longest(word: Word) -> int:
    ttl = readers.integer(word)
    if ttl <= 0:
        raise word.error(
            f"cache TTL can not be zero or negative: {ttl}", "write a number of seconds, from 1", Kind.BARE
        )
    return min(ttl, LONGEST_TTL)


def _limits(options: Options, line: Property) -> None:
    """CAPACITY [TTL [MINTTL]]; what stands behind is passed over, as CoreDNS does."""
    if not line.arguments:
        raise readers.wrong_arguments(line, cure=f"write how many entries to keep, as in: {line.name.text} 10000")
    limits = options.success if line.name.text == SUCCESS else options.denial
    limits.capacity = readers.integer(line.arguments[0])
    for word in line.arguments[1:2]:
        limits.longest = _longest(word)
    for word in line.arguments[2:3]:
        shortest = readers.integer(word)
        if shortest < 0:
            raise word.error(f"cache min TTL can not be negative: {shortest}", "write 0 or more seconds", Kind.BARE)
        limits.shortest = min(shortest, LONGEST_TTL)


def _prefetch(options: Options, line: Property) -> None:
    if not 1 <= len(line.arguments) <= 3:  # noqa: PLR2004 - AMOUNT, DURATION, PERCENT
        raise readers.wrong_arguments(line, cure="write AMOUNT [DURATION [PERCENT%]], as in: prefetch 10 1m 10%")
    prefetch = Prefetch(readers.integer(line.arguments[0]))
    if prefetch.amount < 0:
        text = f"prefetch amount should be positive: {prefetch.amount}"
        raise line.arguments[0].error(text, "write how many hits make a name popular", Kind.BARE)
    for word in line.arguments[1:2]:
        prefetch.gap = readers.duration(word)
    for word in line.arguments[2:]:
        prefetch.percent = _percent(word)
    options.prefetch = prefetch


def _percent(word: Word) -> int:
    cure = "write 10% to 90%"
    if not word.text.endswith("%"):
        last = quote(word.text[-1:])[1:-1]
        raise word.error(f"last character of percentage should be `%`, but is: '{last}'", cure, Kind.BARE)
    percent = readers.integer(word.with_text(word.text[:-1]))
    if percent not in PERCENTAGES:
        raise word.error(f"percentage should fall in range [10, 90]: {percent}", cure, Kind.BARE)
    return percent


def _serve_stale(options: Options, line: Property) -> None:
    """[DURATION [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]]."""
    words = list(line.arguments)
    mode = words[1].text.lower() if len(words) > 1 else "immediate"
    if len(words) > MOST_ARGUMENTS.get(mode, max(MOST_ARGUMENTS.values())):
        raise readers.wrong_arguments(line)
    stale = Stale(3600.0, prefer_positive=options.stale.prefer_positive)
    if words:
        stale.window = _not_negative(words[0], "invalid negative duration for serve_stale")
    if mode not in MOST_ARGUMENTS:
        text = f"invalid value for serve_stale refresh mode: {mode}"
        raise words[1].error(text, "write 'immediate' or 'verify'", Kind.BARE)
    stale.verify = mode == "verify"
    rest = words[2:]
    if stale.verify and rest:
        stale.timeout = _not_negative(rest.pop(0), "invalid negative verify timeout for serve_stale")
    if rest:
        stale.ttl = _stale_ttl(rest.pop(0))
    if rest:
        stale.recheck = _not_negative(rest[0], "invalid negative recheck for serve_stale")
        if stale.recheck > LONGEST_RECHECK:
            text = "serve_stale recheck over 5 minutes is not permitted"
            raise rest[0].error(text, "write 5m or less", Kind.BARE)
    options.stale = stale


def _stale_ttl(word: Word) -> int:
    seconds = _not_negative(word, "invalid negative response TTL for serve_stale")
    if seconds != int(seconds) or seconds > 2**32 - 1:
        text = "serve_stale response TTL must be whole seconds up to 4294967295"
        raise word.error(text, "write whole seconds, as in 30s", Kind.BARE)
    return int(seconds)


def _policy(options: Options, seen: list[Property], line: Property) -> None:
    word = readers.one_argument(line)
    if seen:
        text = "serve_stale_policy can only be specified once"
        raise line.name.error(text, "leave out one of the lines", Kind.BARE)
    if word.text != "prefer_positive":
        text = f"invalid value for serve_stale_policy: {word.text}"
        raise word.error(text, "write 'prefer_positive'", Kind.BARE)
    seen.append(line)
    options.stale.prefer_positive = True


def _servfail(options: Options, line: Property) -> None:
    word = readers.one_argument(line)
    seconds = _not_negative(word, "invalid negative ttl for servfail")
    if seconds > LONGEST_SERVFAIL:
        text = "caching SERVFAIL responses over 5 minutes is not permitted"
        raise word.error(text, "write 5m or less", Kind.BARE)
    options.servfail = seconds


def _disable(options: Options, line: Property) -> None:
    if not line.arguments:
        raise readers.wrong_arguments(line, cure="write 'disable success' or 'disable denial', and perhaps zones")
    kind, *zones = line.arguments
    if kind.text not in options.disabled:
        text = f'cache type for disable must be "{SUCCESS}" or "{DENIAL}"'
        raise kind.error(text, f"write {SUCCESS} or {DENIAL}", Kind.BARE)
    options.disabled[kind.text] = tuple(_zone(word) for word in zones) or (ROOT,)


def _zone(word: Word) -> bytes:
    try:
        return name(word.text)
    except WireError as error:
        raise word.error(f"invalid disabled zone: {word.text}", str(error), Kind.BARE) from None


def _keep_ttl(options: Options, line: Property) -> None:
    readers.no_arguments(line)
    options.keep_ttl = True


def _not_negative(word: Word, text: str) -> float:
    seconds = readers.duration(word)
    if seconds < 0:
        raise word.error(text, "write 0 or more", Kind.BARE)
    return seconds


READERS: Mapping[str, Callable[[Options, Property], None]] = {
    SUCCESS: _limits,
    DENIAL: _limits,
    "prefetch": _prefetch,
    "serve_stale": _serve_stale,
    "servfail": _servfail,
    "disable": _disable,
    "keepttl": _keep_ttl,
}

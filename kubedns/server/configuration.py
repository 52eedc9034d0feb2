"""From a Corefile's blocks to chains and listeners: every error found, nothing started, no socket opened."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field
from inspect import iscoroutinefunction, isfunction, ismethod
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kubedns.corefile.errors import CorefileError, CorefileErrors, Step
from kubedns.corefile.keys import expand_keys
from kubedns.corefile.overlap import Claim, check_overlaps
from kubedns.listeners.sockets import ALL_IPV4, ALL_IPV6, EVERYWHERE
from kubedns.plugin.contract import (
    Begins,
    Lingers,
    Observes,
    Readies,
    Relays,
    Role,
    ServerBlock,
    Settings,
    Shared,
    Starts,
    Stops,
)
from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Served
from kubedns.slices import made_at_once

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from kubedns.corefile.values import Block, Corefile, Directive, Key
    from kubedns.plugin.contract import Watching, Workers
    from kubedns.plugin.registry import Registry

    Parts = list[tuple[Any, frozenset[Role]]]  # in order, with the processes that each is for
    Made = TypeVar("Made")
    Making = Generator[None, None, Made]

# RFC 1035 §2.3.1; the root and reverse zones need no warning.
PREFERRED_SYNTAX = re.compile(
    r"\.|([a-z]([a-z0-9-]*[a-z0-9])?\.)+|(.*\.)?(in-addr|ip6)\.arpa\.", re.ASCII | re.IGNORECASE | re.DOTALL
)
WITHOUT_RESOLVE = (Settings, Begins, Lingers, Observes, Readies, Starts, Stops)  # what is no link of a chain
ANSWERING, SUPERVISED = frozenset({Role.WHOLE, Role.WORKER}), frozenset({Role.WHOLE, Role.SUPERVISOR})
ANY_CLASS = frozenset({"chaos", "forward"})  # with one of these a listener takes questions of every class


class Address(NamedTuple):
    """Where to listen; host "" is every address of both families, and so are "0.0.0.0" and "::".

    With `one_family` there are several of these on a port: "0.0.0.0" is every address of IPv4, the others are those of
    IPv6, as the kernel shares datagrams out between sockets that are bound alike (SO_REUSEPORT, socket(7)).
    """

    transport: str
    host: str
    port: int
    one_family: bool = False

    def __str__(self) -> str:
        """As log lines name a listener: `dns://:53`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"


@dataclass(slots=True)
class Group:
    """What one listener serves."""

    served: list[Served] = field(default_factory=list)
    any_class: bool = False


@dataclass(slots=True)
class _Built:
    """A server block under construction: its plugins in order, and what they ask of the server."""

    block: Block
    keys: tuple[Key, ...]
    plugins: list[tuple[str, Any]] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)

    @property
    def addresses(self) -> tuple[str, ...]:
        bound = [one.addresses for one in self.settings if one.addresses is not None]
        return bound[-1] if bound else ("",)

    @property
    def links(self) -> list[tuple[str, Any]]:
        return [(name, plugin) for name, plugin in self.plugins if hasattr(plugin, "resolve")]

    def agree(self, attribute: str) -> bool:
        """Tell whether each link of the chain has that attribute, and it is True."""
        return all(getattr(plugin, attribute, False) is True for _, plugin in self.links)

    @property
    def observers(self) -> tuple[Observes, ...]:
        return tuple(plugin for _, plugin in self.plugins if isinstance(plugin, Observes))


@dataclass(slots=True)
class Configuration:
    """What a Corefile asks for: plugins that are set up, and what each listener is to serve.

    `parts` are the plugins in the order in which they were set up, each behind what it was the first to share: so
    *health* answers before *kubernetes*, whose cluster may be long in coming, is started. Those that are for processes
    of another role than this one's are left out.
    """

    groups: dict[Address, Group]
    plugins: list[tuple[str, Any]]
    parts: list[Any]
    shared: Shared
    debug: bool
    fingerprint: str
    watching: Watching | None = None
    corefile: Corefile | None = None  # what all this was made from
    role: Role = Role.WHOLE
    sockets: int = 1  # for each address: a worker's each, if there is more than one
    blocks: Sequence[list[tuple[str, Any]]] = ()  # each server block's plugins, which all of them have

    def zone_lines(self) -> Iterator[str]:
        """Yield the banner's lines: each zone and where it is served, sorted inside a listener."""
        for address, group in self.groups.items():
            transport = "" if address.transport == "dns" else f"{address.transport}://"
            bound = f" on {address.host}" if address.host else ""
            for zone in sorted(served.zone for served in group.served for _ in range(self.sockets)):
                if not PREFERRED_SYNTAX.fullmatch(zone):
                    yield f'Warning: Domain "{zone}" does not follow RFC1035 preferred syntax'
                yield f"{transport}{zone}:{address.port}{bound}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What, besides the Corefile, a configuration is made from."""

    registry: Registry
    default_port: int
    root: Path
    manifests: Path | None = None
    role: Role = Role.WHOLE  # of a process that a Corefile with `multisocket` makes a supervisor
    workers: Workers | None = None
    secret: bytes = b""  # the same in all workers


def configure(corefile: Corefile, setting: Setting, previous: Mapping[Any, Any]) -> Configuration:
    """Return the configuration of a Corefile; raise CorefileErrors with all that is wrong, in CoreDNS's order.

    `previous` is what the configuration before this one kept to share.
    """
    return made_at_once(configuring(corefile, setting, previous))


def configuring(corefile: Corefile, setting: Setting, previous: Mapping[Any, Any]) -> Making[Configuration]:
    """As configure(), a part of a block at each step."""
    errors: list[CorefileError] = list(corefile.errors)
    built = yield from _keyed(corefile.blocks, setting.default_port, errors)
    shared = Shared(dict(previous))
    parts = yield from _set_up(built, setting, shared, errors)
    role = _role(built, setting)
    claims = list(_claims(built))
    errors += check_overlaps([claim for claim, _ in claims])
    if errors:
        raise CorefileErrors(errors)
    groups: dict[Address, Group] = {}
    chains = {}
    for one in built:
        chains[id(one)] = link_chain(one.links)
        yield
    shared_ports = _shared_ports([claim for claim, _ in claims])
    for claim, one in claims:
        one_family = claim.address in EVERYWHERE and claim.key.port in shared_ports
        address = Address(claim.key.transport, claim.address, claim.key.port, one_family)
        group = groups.setdefault(address, Group())
        agreed = one.agree("cacheable"), one.agree("heeds_denials")
        group.served.append(Served(claim.key.zone, chains[id(one)], one.observers, *agreed))
        group.any_class |= not ANY_CLASS.isdisjoint(one.block.directives)
        yield
    plugins = [plugin for one in built for plugin in one.plugins]
    every = [settings for one in built for settings in one.settings]
    watching = [settings.watching for settings in every if settings.watching is not None]
    return Configuration(
        groups,
        plugins,
        [part for part, roles in parts if role in roles],
        shared,
        debug=any(settings.debug for settings in every),
        fingerprint=corefile.fingerprint,
        watching=watching[-1] if watching else None,
        corefile=corefile,
        role=role,
        sockets=_sockets(built),
        blocks=[one.plugins for one in built],
    )


def _keyed(blocks: Sequence[Block], default_port: int, errors: list[CorefileError]) -> Making[list[_Built]]:
    built = []
    for block in blocks:
        yield
        keys: list[Key] = []
        for word in block.keys:
            try:
                keys += expand_keys(word, default_port)
            except CorefileError as error:
                errors.append(error)
        for key in keys:
            if key.transport != "dns":
                cure = "serve plain dns:// for now"
                text = f"transport {key.transport}:// is not supported yet"
                errors.append(CorefileError(text, key.word, cure, step=Step.KEYS))
        built.append(_Built(block, tuple(key for key in keys if key.transport == "dns")))
    return built


def _set_up(built: Sequence[_Built], setting: Setting, shared: Shared, errors: list[CorefileError]) -> Making[Parts]:
    """Set plugins up in their order and, inside that, block by block: so errors come in the order CoreDNS has."""
    parts: Parts = []
    role = setting.role  # as far as what is set up so far says
    for name in setting.registry.order:
        module = setting.registry.modules.get(name)
        for one in built:
            directive = one.block.directives.get(name)
            if directive is None or module is None:
                continue
            yield
            before = len(shared.kept)
            try:
                result = module.setup(directive, _server_block(one, setting, shared, role))
                _check(result, module)
                _add(one, name, result)
                if role is setting.role:
                    role = _role([one], setting)
                roles = _roles(result)
                parts += [(value, _roles(value, roles)) for value in _newest(shared, len(shared.kept) - before)]
                parts.append((result, roles))
            except CorefileError as error:
                errors += error.prefixed(f"plugin/{name}: ").errors
            except Exception as error:  # noqa: BLE001 - a third party's plugin may raise anything
                errors.append(_failed(name, directive, error, module))
    return parts


def _newest(shared: Shared, count: int) -> list[Any]:
    """Return so many values that are kept since last, in order."""
    return list(islice(reversed(shared.kept.values()), count))[::-1]


def _roles(part: Any, otherwise: frozenset[Role] | None = None) -> frozenset[Role]:
    """Return which processes a part starts in: see ServerBlock. What is shared goes by whose it is."""
    if otherwise is None:
        otherwise = ANSWERING if hasattr(part, "resolve") or isinstance(part, Observes) else SUPERVISED
    chosen: frozenset[Role] = getattr(part, "roles", SUPERVISED if isinstance(part, Relays) else otherwise)
    return chosen


def _add(one: _Built, name: str, result: Any) -> None:
    if isinstance(result, Settings):
        one.settings.append(result)
        return
    one.plugins.append((name, result))
    settings = getattr(result, "settings", None)
    if isinstance(settings, Settings):
        one.settings.append(settings)


def _server_block(one: _Built, setting: Setting, shared: Shared, role: Role) -> ServerBlock:
    addresses = [Address(key.transport, host, key.port) for key in one.keys for host in one.addresses]
    return ServerBlock(
        zones=tuple(key.zone for key in one.keys),
        shared=shared,
        root=setting.root,
        manifests=setting.manifests,
        bound=any(settings.addresses is not None for settings in one.settings),
        plugins=one.plugins,
        listens=(next(iter(one.addresses), ""), one.keys[0].port if one.keys else setting.default_port),
        servers=tuple(dict.fromkeys(str(address) for address in addresses)),
        directives=[one.block.directives[name] for name in setting.registry.order if name in one.block.directives],
        role=role,
        workers=setting.workers,
        secret=setting.secret,
    )


def _role(built: Sequence[_Built], setting: Setting) -> Role:
    """Return what this process is to do, as far as the plugins of these blocks say."""
    return Role.SUPERVISOR if setting.role is Role.WHOLE and _sockets(built) > 1 else setting.role


def _sockets(built: Sequence[_Built]) -> int:
    return max((settings.sockets or 1 for one in built for settings in one.settings), default=1)


def _check(result: Any, module: ModuleType) -> None:
    """Raise TypeError for what a setup must not return, rather than at the first query."""
    resolve = getattr(result, "resolve", None)
    if (isfunction(resolve) or ismethod(resolve)) and not iscoroutinefunction(resolve):
        raise TypeError(f"resolve of {module.__file__} is no coroutine: write async def resolve(self, query, pass_on)")
    if resolve is None and not isinstance(result, WITHOUT_RESOLVE):
        wanted = 'a plugin with "async def resolve(self, query, pass_on)"'
        raise TypeError(f"setup of {module.__file__} returned {type(result).__name__}, not {wanted}")


def _failed(name: str, directive: Directive, error: Exception, module: ModuleType) -> CorefileError:
    """Return the error of a setup that raised what no Corefile is to blame for."""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module.__file__]
    place = f"in {lines[-1].filename}, line {lines[-1].lineno}: " if lines else ""
    text = f"plugin/{name}: {type(error).__name__}: {error}"
    return CorefileError(text, directive.words[0], f"{place}the plugin itself failed, not this file")


def _claims(built: Sequence[_Built]) -> Iterator[tuple[Claim, _Built]]:
    """Yield each (zone, port, address) that a block wants, in file order."""
    for one in built:
        for key in one.keys:
            for address in one.addresses:
                yield Claim(key, address), one


def _shared_ports(claims: Sequence[Claim]) -> set[int]:
    """Return the ports on which both 0.0.0.0 and all addresses by another name are listened to."""
    ports = {host: {claim.key.port for claim in claims if claim.address == host} for host in EVERYWHERE}
    return ports[ALL_IPV4] & (ports[""] | ports[ALL_IPV6])

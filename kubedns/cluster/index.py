"""The cluster in memory: sources put changes in, plugins look objects up by name and by address.

Rules of this file:

- An update that changes no field that is kept changes nothing: no token, no serial.
- A map from an address holds the object itself, or a tuple in order of namespace and name where several have it:
  a tuple for each of 150,000 addresses would cost several times what the map does.
- Tokens exist for Services that exist and for some addresses that do. Whatever else is asked for shares one of
  SHARED_TOKENS with all that has the same hash: strangers may ask for what they like, and make nothing grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from kubedns.cluster.addresses import pack_address
from kubedns.cluster.objects import Endpoint, EndpointSlice, Kind, Namespace, Object, Pod, Service, kind_of_object
from kubedns.cluster.places import AddressMap
from kubedns.tokens import Serial, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Sized

    # Kind, namespace, name, and the object as it is now: None once it is gone. No kind at all: `synced` is set.
    Watcher = Callable[[Kind | None, str, str, Object | None], None]

MOST_ADDRESS_TOKENS = 32_768
SHARED_TOKENS = 4096
Key = tuple[str, str]  # namespace and name; the namespace of a Namespace is empty
_Held = TypeVar("_Held", Service, EndpointSlice, Pod)
_Where = TypeVar("_Where")  # a packed address, a podIP's text, or a Service's key
_At_contra = TypeVar("_At_contra", contravariant=True)


class _Places(Protocol[_At_contra, _Held]):
    """A map from where objects are."""

    def get(self, place: _At_contra, /) -> _Held | tuple[_Held, ...] | None: ...

    def __setitem__(self, place: _At_contra, held: _Held | tuple[_Held, ...], /) -> None: ...

    def __delitem__(self, place: _At_contra, /) -> None: ...


class Index:
    """What the cluster holds now.

    `now` gives Unix seconds for the `serial`, which is that of the last change that counts. With `zones_count`,
    endpoints' zones count too (the option `zonal`). `synced` is set once the source has delivered its first full list
    of each kind.
    """

    def __init__(self, now: Callable[[], float], *, zones_count: bool = False) -> None:
        self.synced = False
        self.serial = Serial()
        self.slices_without_service = 0
        self._now = now
        self._zones_count = zones_count
        self._namespaces: dict[str, Namespace] = {}
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, EndpointSlice] = {}
        self._pods: dict[Key, Pod] = {}
        self._slices_of: dict[Key, EndpointSlice | tuple[EndpointSlice, ...]] = {}
        self._services_at: dict[bytes, Service | tuple[Service, ...]] = {}
        self._slices_at: AddressMap[EndpointSlice | tuple[EndpointSlice, ...]] = AddressMap()
        self._pods_at: dict[str, Pod | tuple[Pod, ...]] = {}
        self._token = Token()
        self._namespaces_token = Token()
        self._shared_tokens: dict[int, Token] = {}
        self._service_tokens: dict[Key, Token] = {}
        self._address_tokens: dict[bytes, Token] = {}
        self._watcher: Watcher | None = None

    # Looking up

    @property
    def namespaces(self) -> Iterable[str]:
        """The names of all namespaces."""
        return self._namespaces.keys()

    @property
    def services(self) -> Iterable[Service]:
        """All Services, for transfers; don't change the index while going through them."""
        return self._services.values()

    def has_namespace(self, name: str) -> bool:
        return name in self._namespaces

    def service(self, namespace: str, name: str) -> Service | None:
        return self._services.get((namespace, name))

    def slices(self, namespace: str, name: str) -> Sequence[EndpointSlice]:
        """Return the slices of the Service of that name, in order of their own names."""
        return tuple(_members(self._slices_of.get((namespace, name))))

    def services_by_ip(self, address: bytes) -> Sequence[Service]:
        """Return the Services with that cluster IP, by namespace and name where several claim it."""
        held = self._services_at.get(address)
        return () if held is None else held if isinstance(held, tuple) else (held,)

    def endpoints_by_ip(self, address: bytes) -> Sequence[tuple[EndpointSlice, Endpoint]]:
        """Return every ready endpoint with that address and the slice it is in."""
        slices = self.slices_by_ip(address)
        return [(one, endpoint) for one in slices for endpoint in one.endpoints if endpoint.address == address]

    def slices_by_ip(self, address: bytes) -> Sequence[EndpointSlice]:
        """Return the slices that have a ready endpoint with that address, in order of namespace and name."""
        held = self._slices_at.get(address)
        return () if held is None else held if isinstance(held, tuple) else (held,)

    def pod(self, namespace: str, ip_text: str) -> Pod | None:
        """Return the first Pod of a namespace whose podIP is exactly that text."""
        return next((pod for pod in _members(self._pods_at.get(ip_text)) if pod.namespace == namespace), None)

    def pods_by_ip(self, ip_text: str) -> Iterator[Pod]:
        """Yield every Pod of any namespace whose podIP is exactly that text."""
        return _members(self._pods_at.get(ip_text))

    # Tokens

    def token(self) -> Token:
        """Return the token of everything."""
        return self._token

    def namespaces_token(self) -> Token:
        """Return the token of which namespaces there are."""
        return self._namespaces_token

    def service_token(self, namespace: str, name: str) -> Token:
        """Return the token of a Service, or of there being none: itself, its slices, its namespace."""
        key = (namespace, name)
        token = self._service_tokens.get(key)
        if token is None:
            if key not in self._services:
                return self._shared_token(key)
            token = self._service_tokens[key] = Token()
        return token

    def address_token(self, address: bytes) -> Token:
        """Return the token of an address, or of nothing having it: of what has it, its names and namespaces."""
        token = self._address_tokens.get(address)
        if token is None:
            if len(self._address_tokens) >= MOST_ADDRESS_TOKENS or not self.has_address(address):
                return self._shared_token(address)
            token = self._address_tokens[address] = Token()
        return token

    def pods_token(self, ip_text: str) -> Token:
        """Return the token of the Pods whose podIP is exactly that text, or of there being none, and of namespaces."""
        return self._shared_token(ip_text)

    def _shared_token(self, key: Hashable) -> Token:
        place = hash(key) % SHARED_TOKENS
        token = self._shared_tokens.get(place)
        if token is None:
            token = self._shared_tokens[place] = Token()
        return token

    def has_address(self, address: bytes) -> bool:
        """Tell whether a Service or an endpoint has it, in whatever namespace."""
        return address in self._services_at or address in self._slices_at

    # Changing

    def watch(self, watcher: Watcher | None) -> None:
        """Have a function told of each change, right behind it; None: of no more."""
        self._watcher = watcher

    def mark_synced(self) -> None:
        """Say that every kind has been delivered in full once."""
        self.synced = True
        self._renew_token()  # what was not known is not there
        if self._watcher is not None:
            self._watcher(None, "", "", None)

    def upsert(self, value: Object) -> bool:
        """Add an object or replace the one of its kind, namespace and name; tell whether anything changed."""
        match value:
            case Service():
                return self._put_service((value.namespace, value.name), value)
            case EndpointSlice() if value.service:
                return self._put_slice((value.namespace, value.name), value)
            case EndpointSlice():
                self.slices_without_service += 1
                return self._put_slice((value.namespace, value.name), None)
            case Pod():
                return self._put_pod((value.namespace, value.name), value)
            case Namespace():
                return self._put_namespace(value.name, value)

    def remove(self, kind: Kind, namespace: str, name: str) -> bool:
        """Drop an object; tell whether there was one."""
        if kind == "Service":
            return self._put_service((namespace, name), None)
        if kind == "EndpointSlice":
            return self._put_slice((namespace, name), None)
        if kind == "Pod":
            return self._put_pod((namespace, name), None)
        return self._put_namespace(name, None)

    def replace_all(self, kind: Kind, objects: Iterable[Object]) -> None:
        """Make a full list the only objects of their kind: each put in as it comes, then what is gone dropped."""
        for _ in self.replacing(kind, objects):
            pass

    def replacing(self, kind: Kind, objects: Iterable[Object]) -> Iterator[None]:
        """Do as replace_all, but pause after each object, so that a large list need not hold up answers."""
        seen: set[Key] = set()
        for value in objects:
            if kind_of_object(value) != kind:
                raise ValueError(f"{type(value).__name__} in a list of {kind}")
            seen.add((value.namespace, value.name))
            self.upsert(value)
            yield
        for namespace, name in [key for key in self.keys(kind) if key not in seen]:
            self.remove(kind, namespace, name)
            yield

    def held(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return the object of a kind by namespace and name."""
        if kind == "Namespace":
            return self._namespaces.get(name)
        maps: dict[Kind, Mapping[Key, Object]] = {
            "Service": self._services,
            "EndpointSlice": self._slices,
            "Pod": self._pods,
        }
        return maps[kind].get((namespace, name))

    def count(self, kind: Kind) -> int:
        """Return how many objects of a kind are held."""
        held: dict[Kind, Sized] = {"Service": self._services, "EndpointSlice": self._slices, "Pod": self._pods}
        return len(held.get(kind, self._namespaces))

    def keys(self, kind: Kind) -> list[Key]:
        """Return namespace and name of all objects of a kind."""
        if kind == "Namespace":
            return [("", name) for name in self._namespaces]
        held: dict[Kind, Iterable[Key]] = {"Service": self._services, "EndpointSlice": self._slices, "Pod": self._pods}
        return list(held[kind])

    def _put_service(self, key: Key, new: Service | None) -> bool:
        old = _exchange(self._services, key, new)
        if old == new:
            return False
        _move(self._services_at, _service_addresses(old), _service_addresses(new), old, new)
        self._flip_service(key)
        self._flip_addresses(_service_addresses(old) | _service_addresses(new))
        counts = old is None or new is None or (old.external_name, old.ports) != (new.external_name, new.ports)
        self._changed("Service", key, new, counts=counts)
        return True

    def _put_slice(self, key: Key, new: EndpointSlice | None) -> bool:
        old = _exchange(self._slices, key, new)
        if old == new:
            return False
        _move(self._slices_at, _slice_addresses(old), _slice_addresses(new), old, new)
        _move(self._slices_of, _service_keys(old), _service_keys(new), old, new)
        for touched in _service_keys(old) | _service_keys(new):
            self._flip_service(touched)
        self._flip_addresses(_changed_addresses(old, new))
        counts = old is None or new is None or self._served(old) != self._served(new)
        self._changed("EndpointSlice", key, new, counts=counts)
        return True

    def _put_pod(self, key: Key, new: Pod | None) -> bool:
        old = _exchange(self._pods, key, new)
        if old == new:
            return False
        _move(self._pods_at, _pod_addresses(old), _pod_addresses(new), old, new)
        for ip_text in _pod_addresses(old) | _pod_addresses(new):
            self._flip_shared(ip_text)
        self._changed("Pod", key, new, counts=True)
        return True

    def _put_namespace(self, name: str, new: Namespace | None) -> bool:
        if (name in self._namespaces) == (new is not None):
            return False
        if new is None:
            del self._namespaces[name]
        else:
            self._namespaces[name] = new
        self._namespaces_token.stale = True
        self._namespaces_token = Token()
        for token in self._shared_tokens.values():
            token.stale = True
        self._shared_tokens.clear()
        if self._service_tokens or self._address_tokens:  # while a cluster is first read, there are none
            self._flip_namespace(name)
        self._changed("Namespace", ("", name), new, counts=False)
        return True

    def _served(self, held: EndpointSlice) -> object:
        """Return what of a slice counts for the serial."""
        if self._zones_count:
            return held.ports, [(one.address, one.spelling, one.hostname, one.zone) for one in held.endpoints]
        return held.ports, [(one.address, one.spelling, one.hostname) for one in held.endpoints]

    def _flip_namespace(self, name: str) -> None:
        for service in self._services.values():
            if service.namespace == name:
                self._flip_service((name, service.name))
                self._flip_addresses(_service_addresses(service))
        for held in self._slices.values():
            if held.namespace == name:
                self._flip_addresses(_slice_addresses(held))

    def _flip_service(self, key: Key) -> None:
        token = self._service_tokens.pop(key, None)
        if token is not None:
            token.stale = True
        self._flip_shared(key)

    def _flip_addresses(self, addresses: Iterable[bytes]) -> None:
        if not (self._address_tokens or self._shared_tokens):
            return
        for address in addresses:
            token = self._address_tokens.pop(address, None)
            if token is not None:
                token.stale = True
            self._flip_shared(address)

    def _flip_shared(self, key: Hashable) -> None:
        token = self._shared_tokens.pop(hash(key) % SHARED_TOKENS, None)
        if token is not None:
            token.stale = True

    def _changed(self, kind: Kind, key: Key, new: Object | None, *, counts: bool) -> None:
        self._renew_token()
        if counts:
            self.serial.become(int(self._now()))
        if self._watcher is not None:
            self._watcher(kind, *key, new)

    def _renew_token(self) -> None:
        self._token.stale = True
        self._token = Token()


def _exchange(objects: dict[Key, _Held], key: Key, new: _Held | None) -> _Held | None:
    """Put an object in, or take it out for None, unless that changes nothing; return the one before."""
    old = objects.get(key)
    if new is None:
        objects.pop(key, None)
    elif old != new:  # an equal one stays out: the maps hold the old one by identity
        objects[key] = new
    return old


def _members(held: _Held | tuple[_Held, ...] | None) -> Iterator[_Held]:
    if held is None:
        return iter(())
    return iter(held) if isinstance(held, tuple) else iter((held,))


def _move(
    places: _Places[_Where, _Held],
    before: set[_Where],
    after: set[_Where],
    old: _Held | None,
    new: _Held | None,
) -> None:
    """Take `old` out of a map from where it was, and put `new` where it is."""
    for place in before | after:
        held = places.get(place)
        if held is None or held is old:  # nearly always
            if new is not None and place in after:
                places[place] = new
            else:
                del places[place]
            continue
        rest = [one for one in _members(held) if one is not old]
        if new is not None and place in after:
            rest.append(new)
        if len(rest) > 1:
            places[place] = tuple(sorted(rest, key=lambda one: (one.namespace, one.name)))
        elif rest:
            places[place] = rest[0]
        else:
            del places[place]


def _service_addresses(service: Service | None) -> set[bytes]:
    """Return the cluster IPs; `None`, and what else is no address, is left out."""
    packed = () if service is None else (pack_address(text) for text in service.cluster_ips)
    return {address for address in packed if address is not None}


def _slice_addresses(held: EndpointSlice | None) -> set[bytes]:
    return set() if held is None else {one.address for one in held.endpoints if isinstance(one.address, bytes)}


def _changed_addresses(old: EndpointSlice | None, new: EndpointSlice | None) -> set[bytes]:
    """Return the addresses that a slice's change says something new of."""
    before, after = _slice_addresses(old), _slice_addresses(new)
    if old is None or new is None or old.service != new.service:
        return before | after
    if len(before) < len(old.endpoints) or len(after) < len(new.endpoints):
        return before | after  # endpoints of one address are named in their order, which no set tells
    differing = set(old.endpoints).symmetric_difference(new.endpoints)
    return {one.address for one in differing if isinstance(one.address, bytes)}


def _service_keys(held: EndpointSlice | None) -> set[Key]:
    return set() if held is None else {(held.namespace, held.service)}


def _pod_addresses(pod: Pod | None) -> set[str]:
    return {pod.ip} if pod is not None and pod.ip else set()

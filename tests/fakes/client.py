"""A client as plain as can be, so that what the server sends is seen as it comes."""

from __future__ import annotations

import http.client
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.apiserver import APIServer

PATIENCE = 10.0  # seconds
SERVICES = "/api/v1/services"
STREAMING = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def lines(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.body.splitlines()]


def connect(api: APIServer, timeout: float = PATIENCE) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(api.ca_file))
    return http.client.HTTPSConnection("127.0.0.1", api.port, context=context, timeout=timeout)


def ask(
    api: APIServer,
    path: str,
    method: str = "GET",
    *,
    body: object = None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = PATIENCE,
) -> Response:
    """Return the whole of a reply, over a connection of its own."""
    connection = connect(api, timeout)
    try:
        sent = {"Authorization": f"Bearer {api.token if token is None else token}", **(headers or {})}
        connection.request(method, path, None if body is None else msgspec.json.encode(body), sent)
        with connection.getresponse() as response:
            names = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, names, response.read())
    finally:
        connection.close()


@contextmanager
def streaming(api: APIServer, path: str, timeout: float = PATIENCE) -> Iterator[http.client.HTTPResponse]:
    """Yield a reply whose body is still coming."""
    connection = connect(api, timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {api.token}"})
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def next_event(response: http.client.HTTPResponse) -> tuple[str, str, int]:
    """Return a watch's next event: its type, its object's name, its object's version."""
    event = msgspec.json.decode(response.readline())
    metadata = event["object"]["metadata"]
    return event["type"], metadata.get("name", ""), int(metadata.get("resourceVersion", "0"))


def service(name: str, namespace: str = "prod", **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"clusterIP": "10.96.0.5"}}


def pod(name: str, phase: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "prod"}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "status": {"phase": phase, "podIP": "10.244.0.9"}}

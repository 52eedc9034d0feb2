"""What a test changes in a cluster, by the Kubernetes API alone: so that it may be any cluster."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Self

from kubernetes import config

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.following import Raw

COLLECTIONS = {
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}
NAMESPACES = "/api/v1/namespaces"
MERGE_PATCH = "application/merge-patch+json"
REQUEST = 10.0  # seconds
OK = 299


class Writer:
    """A namespace of its own at the API server of a kubeconfig; it goes with the context, and all that is in it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = f"kubedns-test-{secrets.token_hex(4)}"
        self._client: Any = config.new_client_from_config(str(kubeconfig))

    def __enter__(self) -> Self:
        self._request("POST", NAMESPACES, {"metadata": {"name": self.namespace}})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request("DELETE", f"{NAMESPACES}/{self.namespace}")
        self._client.close()

    def create(self, value: Raw) -> Raw:
        """Return the object as the API server stored it: a Service has its address then."""
        body = {**value, "metadata": {**value["metadata"], "namespace": self.namespace}}
        stored: Raw = self._request("POST", self._collection(value), body)
        if "status" not in value or value["kind"] != "Pod":
            return stored
        path = f"{self._path(value)}/status"  # a Pod's status is never its creator's to write
        return self._request("PATCH", path, {"status": value["status"]}, MERGE_PATCH)

    def replace(self, stored: Raw, **parts: Any) -> Raw:
        """Replace parts of an object that create or replace returned; return what is stored."""
        return self._request("PUT", self._path(stored), {**stored, **parts})

    def delete(self, value: Raw) -> None:
        self._request("DELETE", f"{self._path(value)}?gracePeriodSeconds=0")

    def _collection(self, value: Raw) -> str:
        return COLLECTIONS[value["kind"]].format(self.namespace)

    def _path(self, value: Raw) -> str:
        return f"{self._collection(value)}/{value['metadata']['name']}"

    def _request(self, method: str, path: str, body: Raw | None = None, kind: str = "application/json") -> Raw:
        headers = {"Accept": "application/json", "Content-Type": kind}
        authorization = self._client.configuration.get_api_key_with_prefix("authorization") or (
            self._client.configuration.get_api_key_with_prefix("BearerToken")
        )
        if authorization:
            headers["Authorization"] = authorization
        url = self._client.configuration.host.rstrip("/") + path
        response = self._client.rest_client.request(method, url, headers=headers, body=body, _request_timeout=REQUEST)
        text = response.data if response.data is not None else response.read()
        assert response.status <= OK, f"{method} {path}: {response.status} {text!r}"
        stored: Raw = json.loads(text)
        return stored

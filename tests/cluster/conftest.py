"""One API server for all tests of a folder: each finds it empty and well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.following import PLURALS
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def streaming_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    with APIServer(tmp_path_factory.mktemp("apiserver"), bookmark_every=0.3) as api:
        yield api


@pytest.fixture(scope="session")
def paging_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """A server that refuses streaming lists, as those before Kubernetes 1.34 do."""
    with APIServer(tmp_path_factory.mktemp("apiserver"), bookmark_every=0.3, streaming_lists=False) as api:
        yield api


@pytest.fixture
def api(request: pytest.FixtureRequest) -> APIServer:
    """The server, empty and well; a test may ask for the other by parametrizing this fixture."""
    api: APIServer = request.getfixturevalue(getattr(request, "param", "streaming_api"))
    api.heal()
    for plural in PLURALS.values():
        api.clear(plural)
    api.forget_requests()
    return api


@pytest.fixture
def kubeconfig(api: APIServer, tmp_path: Path) -> Path:
    return api.kubeconfig(tmp_path / "kubeconfig")

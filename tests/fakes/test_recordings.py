"""Our API server, holding what the recorded one held, says what that said."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fakes.apiserver import APIServer
from tests.fakes.client import Response, ask, streaming

FOLDER = Path(__file__).parent / "recordings"
LONG = 2048  # octets beyond which HTTP/1.1's server sends no length
CONTINUE = re.compile(r'("continue":")([^"]*)"')


class Recording:
    def __init__(self, name: str) -> None:
        text = (FOLDER / f"{name}.txt").read_text()
        head, _, self.body = text.partition("\n\n")
        request, status, *headers = head.splitlines()
        self.path = request.split()[2]
        self.status = int(status.split()[1])
        self.headers = dict(header.split(": ", 1) for header in headers)

    @property
    def objects(self) -> list[Any]:
        """What a list holds, with the kind that its items lack; or what a watch told, bookmarks left out."""
        if self.body.startswith('{"type"'):
            events = [msgspec.json.decode(line) for line in self.body.splitlines()]
            return [event["object"] for event in events if event["type"] != "BOOKMARK"]
        value = msgspec.json.decode(self.body)
        kind = {"kind": value["kind"].removesuffix("List"), "apiVersion": value["apiVersion"]}
        return [kind | item for item in value["items"]]

    def path_with(self, **values: str) -> str:
        path = self.path
        for name, value in values.items():
            path = re.sub(rf"(?<=[?&]{name}=)[^&]*", value, path)
        return path


def comparable(text: str) -> str:
    """Put 0 for each version, in continue tokens too."""
    text = CONTINUE.sub(lambda found: f'{found[1]}{_opened(found[2])}"', text.strip())
    text = re.sub(r"too old resource version: \d+ \(\d+\)", "too old resource version: 0 (0)", text)
    return re.sub(r'"resourceVersion":"\d+"', '"resourceVersion":"0"', text)


def _opened(token: str) -> str:
    text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    return re.sub(r'"rv":\d+', '"rv":0', text)


def assert_same(response: Response, recording: Recording) -> None:
    assert response.status == recording.status
    assert comparable(response.body.decode()) == comparable(recording.body)
    expected = dict(recording.headers)
    if len(response.body) > LONG:
        expected.pop("content-length", None)
        assert response.headers["transfer-encoding"] == "chunked"
    assert expected.items() <= response.headers.items()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    with APIServer(tmp_path_factory.mktemp("api")) as api:
        for name in ("list-namespaces", "list-services-page1", "list-services-page2", "list-pods"):
            api.put(*Recording(name).objects)
        api.put(*Recording("watch-initial-events").objects)
        template = Recording("list-services-page2").objects[0]
        api.put(*({**template, "metadata": {"name": f"z{n}", "namespace": "prod"}} for n in range(13)))
        template = Recording("list-pods").objects[0]
        api.put(*({**template, "metadata": {"name": f"z{n}", "namespace": "prod"}} for n in range(9)))
        yield api


@pytest.mark.parametrize(
    "name", ["list-namespaces", "list-services-page1", "list-pods", "list-endpointslices", "unauthorized", "forbidden"]
)
def test_a_get_is_answered_as_recorded(api: APIServer, name: str) -> None:
    recording = Recording(name)
    assert_same(ask(api, recording.path, token="none" if name == "unauthorized" else None), recording)


def test_the_second_page_is_as_recorded(api: APIServer) -> None:
    token = ask(api, Recording("list-services-page1").path).json["metadata"]["continue"]
    recording = Recording("list-services-page2")
    assert_same(ask(api, recording.path_with(**{"continue": token})), recording)


def test_a_streaming_list_is_as_recorded(api: APIServer) -> None:
    recording = Recording("watch-initial-events")
    assert_same(ask(api, recording.path_with(timeoutSeconds="1")), recording)


def test_events_are_as_recorded(api: APIServer) -> None:
    recording = Recording("watch-services-events")
    added, changed, _ = recording.objects
    path = recording.path_with(resourceVersion=str(api.version), timeoutSeconds="3")
    with streaming(api, path) as response:
        api.wait_for_watches("services")
        api.put(added)
        api.put(changed)
        last = api.delete("services", "one", "watched")
        body = response.read()
    assert comparable(body.decode()) == comparable(recording.body)
    versions = [int(found) for found in re.findall(rb'"resourceVersion":"(\d+)"', body)]
    assert versions == [last - 2, last - 1, last, last]


@pytest.mark.parametrize("name", ["watch-too-old", "watch-future-version"])
def test_a_watch_from_a_version_of_another_time_is_as_recorded(api: APIServer, name: str) -> None:
    recording = Recording(name)
    assert_same(ask(api, recording.path_with(timeoutSeconds="1")), recording)


def test_an_expired_page_is_as_recorded(api: APIServer) -> None:
    token = ask(api, Recording("list-services-page1").path).json["metadata"]["continue"]
    api.compact()
    recording = Recording("list-continue-expired")
    expired = ask(api, recording.path_with(**{"continue": token}))
    assert_same(expired, recording)
    fresh = expired.json["metadata"]["continue"]
    page = ask(api, recording.path_with(**{"continue": fresh})).json
    assert [item["metadata"]["name"] for item in page["items"]] == [
        each["metadata"]["name"] for each in Recording("list-services-page2").objects
    ]

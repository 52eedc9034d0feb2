"""Each way in which the API server can be made to fail, as a client meets it."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.fakes.apiserver import APIServer
from tests.fakes.client import SERVICES, STREAMING, ask, next_event, service, streaming

CUT = (http.client.IncompleteRead, ConnectionResetError)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[APIServer]:
    with APIServer(tmp_path / "api") as api:
        api.put(*(service(name) for name in "abc"))
        yield api


@pytest.mark.parametrize("code", [401, 403, 410, 500, 503, 504])
def test_a_status_comes_as_often_as_told(api: APIServer, code: int) -> None:
    api.fail("status", verb="list", resource="services", code=code, count=2, skip=1)
    statuses = [ask(api, SERVICES).status for _ in range(4)]
    assert statuses == [200, code, code, 200]
    assert ask(api, "/api/v1/pods").status == 200


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_told(api: APIServer, code: int) -> None:
    api.fail("status", code=code, retry_after=7)
    response = ask(api, SERVICES)
    assert (response.status, response.headers["retry-after"]) == (code, "7")


def test_rules_last_until_healed(api: APIServer) -> None:
    api.fail("status", code=503, count=None)
    assert [ask(api, SERVICES).status for _ in range(5)] == [503] * 5
    api.heal()
    assert ask(api, SERVICES).status == 200


def test_a_mode_that_is_not_is_refused(api: APIServer) -> None:
    with pytest.raises(RuntimeError, match="no mode 'flood'"):
        api.fail("flood")


@pytest.mark.parametrize(("mode", "status", "kind"), [("garbage", 500, "json"), ("html", 502, "html")])
def test_a_body_may_be_no_json(api: APIServer, mode: str, status: int, kind: str) -> None:
    api.fail(mode)
    response = ask(api, SERVICES)
    assert response.status == status
    assert kind in response.headers["content-type"]
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        msgspec.json.decode(response.body)


@pytest.mark.parametrize("mode", ["close", "reset"])
def test_a_request_may_get_no_reply(api: APIServer, mode: str) -> None:
    api.fail(mode)
    with pytest.raises(ConnectionResetError):
        ask(api, SERVICES)
    assert ask(api, SERVICES).status == 200


def test_a_request_may_wait_for_ever(api: APIServer) -> None:
    api.fail("silence")
    with pytest.raises(TimeoutError):
        ask(api, SERVICES, timeout=0.3)


def test_a_watch_may_say_nothing_at_all(api: APIServer) -> None:
    api.fail("mute", verb="watch")
    with streaming(api, f"{SERVICES}?{STREAMING}&timeoutSeconds=1", timeout=1.5) as response:
        assert response.status == 200
        with pytest.raises(TimeoutError):
            response.readline()


def test_a_list_cut_in_mid_line_ends_well_framed(api: APIServer) -> None:
    whole = ask(api, SERVICES).body
    api.fail("cut_line")
    assert ask(api, SERVICES).body == whole[: (len(whole) - 1) // 2]
    api.fail("cut_line", octets=100)
    assert ask(api, SERVICES).body == whole[:100]


def test_a_list_cut_in_mid_chunk_is_noticed_by_http(api: APIServer) -> None:
    api.fail("cut_chunk", octets=100)
    with pytest.raises(CUT):
        ask(api, SERVICES)


@pytest.mark.parametrize("mode", ["cut_line", "cut_chunk"])
def test_a_watch_is_cut_after_so_many_lines(api: APIServer, mode: str) -> None:
    api.fail(mode, verb="watch", lines=2)
    with streaming(api, f"{SERVICES}?{STREAMING}") as response:
        assert [next_event(response)[1] for _ in range(2)] == ["a", "b"]
        if mode == "cut_chunk":
            with pytest.raises(CUT):
                response.read()
            return
        rest = response.read()
    assert rest.startswith(b'{"type":"ADDED"')
    assert b"\n" not in rest


def test_a_reply_may_be_the_connections_last(api: APIServer) -> None:
    api.fail("connection_close")
    assert ask(api, SERVICES).headers["connection"] == "close"


def test_a_reply_may_drip(api: APIServer) -> None:
    whole = ask(api, SERVICES).body
    api.fail("drip", octets=len(whole) // 3, every=0.1)
    start = time.monotonic()
    assert ask(api, SERVICES).body == whole
    assert time.monotonic() - start >= 0.3


def test_bookmarks_may_be_missing(api: APIServer) -> None:
    api.fail("no_bookmarks", verb="watch")
    lines = ask(api, f"{SERVICES}?{STREAMING}&timeoutSeconds=1").lines
    assert [line["type"] for line in lines] == ["ADDED"] * 3


def test_a_watch_may_outlive_its_time(api: APIServer) -> None:
    api.fail("ignore_timeout", verb="watch")
    with streaming(api, f"{SERVICES}?watch=1&resourceVersion={api.version}&timeoutSeconds=1") as response:
        time.sleep(1.2)
        api.put(service("late"))
        assert next_event(response)[1] == "late"


@pytest.mark.parametrize("how", ["end", "close", "line", "chunk", "reset"])
def test_open_watches_end_as_told(api: APIServer, how: str) -> None:
    path = f"{SERVICES}?watch=1&resourceVersion={api.version}"
    with streaming(api, path) as response:
        api.wait_for_watches("services")
        api.end_watches("services", how)
        if how in {"end", "line"}:
            body = response.read()
            assert (body == b"") is (how == "end")
        else:
            with pytest.raises(CUT):
                response.read()
    assert api.watches() == 0


@pytest.mark.parametrize("line", [b'{"type":"ADDED","obj', b'{"type":"SURPRISE","object":{}}', b"x" * 5_000_000])
def test_any_line_may_be_put_into_a_watch(api: APIServer, line: bytes) -> None:
    with streaming(api, f"{SERVICES}?watch=1&resourceVersion={api.version}") as response:
        api.wait_for_watches("services")
        api.inject("services", line)
        api.inject("services", api.error_event(410))
        assert response.readline() == line + b"\n"
        assert msgspec.json.decode(response.readline())["object"]["code"] == 410


@pytest.mark.parametrize("times", [0, 1, 2])
def test_events_may_be_missed_or_come_twice(api: APIServer, times: int) -> None:
    path = f"{SERVICES}?watch=1&resourceVersion={api.version}"
    with streaming(api, path) as response:
        api.wait_for_watches("services")
        api.put(service("x"), announce=times)
        api.end_watches()
        lines = response.read().splitlines()
    assert len(lines) == times
    with streaming(api, path) as response:
        api.wait_for_watches("services")
        api.end_watches()
        assert response.read().splitlines() == lines
    assert len(ask(api, SERVICES).json["items"]) == 4


def test_connections_are_refused_until_it_listens_again(api: APIServer) -> None:
    with streaming(api, f"{SERVICES}?watch=1&resourceVersion={api.version}") as response:
        api.wait_for_watches("services")
        api.refuse()
        with pytest.raises(CUT):
            response.read()
    with pytest.raises(ConnectionRefusedError):
        ask(api, SERVICES)
    api.listen()
    assert len(ask(api, SERVICES).json["items"]) == 3


def test_a_restart_keeps_data_and_drops_connections(api: APIServer) -> None:
    version = api.version
    with streaming(api, f"{SERVICES}?watch=1&resourceVersion={version}") as response:
        api.wait_for_watches("services")
        api.restart(compact=True)
        with pytest.raises(CUT):
            response.read()
    (event,) = ask(api, f"{SERVICES}?watch=1&resourceVersion={version}").lines
    assert event["object"]["code"] == 410
    assert len(ask(api, SERVICES).json["items"]) == 3


def test_after_a_new_epoch_versions_are_lower(api: APIServer) -> None:
    before = api.version
    api.restart(new_epoch=True)
    found = ask(api, SERVICES).json
    assert int(found["metadata"]["resourceVersion"]) == api.version < before
    assert ask(api, f"{SERVICES}?watch=1&resourceVersion={before}&timeoutSeconds=1").lines == []


def test_a_process_may_freeze_and_thaw(api: APIServer) -> None:
    api.pause()
    with pytest.raises(TimeoutError):
        ask(api, SERVICES, timeout=0.3)
    api.resume()
    assert ask(api, SERVICES).status == 200


def test_a_killed_process_comes_back_without_data_where_it_was(api: APIServer) -> None:
    api.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(api, SERVICES)
    api.start()
    assert ask(api, SERVICES).json["items"] == []

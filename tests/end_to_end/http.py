"""What is asked over HTTP beside the queries: /health, /ready, /metrics."""

from __future__ import annotations

import http.client
import time
from contextlib import closing
from typing import NamedTuple

from tests.end_to_end.client import LOOPBACK
from tests.end_to_end.server import PATIENCE


class Answer(NamedTuple):
    """Of a request; `status` 0 means that the connection was refused or cut."""

    status: int
    body: str = ""


OK = Answer(200, "OK")
REFUSED = Answer(0)


def get(port: int, path: str) -> Answer:
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())
        except (ConnectionError, http.client.BadStatusLine):
            return Answer(0)


def wait_for(port: int, path: str, expected: Answer) -> None:
    """Return once the answer is this one; fail with the last other one."""
    end = time.monotonic() + PATIENCE
    while (found := get(port, path)) != expected:
        assert time.monotonic() < end, found
        time.sleep(0.01)

"""Log lines of errors and log, word for word, where forward has to do with upstreams of every kind."""

from __future__ import annotations

import json
import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.client import DO, LOOPBACK, ask, ask_tcp, compose, compose_opt
from tests.end_to_end.server import Ports, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVFAIL, REFUSED = 2, 5
COREFILE = """\
drop.test:{port} {{
    errors
    log
    forward . {host}:{silent}
}}
closed.test:{port} {{
    errors
    log . {{combined}}
    forward . {host}:{closed}
}}
many.test:{port} {{
    errors
    forward . {host}:{silent} {{
        max_concurrent 1
    }}
}}
.:{port} {{
    errors
    log a.test {{
        class error
    }}
    log big.test "{{>rflags}} {{rsize}}"
    log {{combined}}
    log . "rest {{common}} {{local}} {{bogus}} {{{{type}}}} class={{/log/class}}"
    forward known.test {host}:{upstream}
    hosts /dev/null {{
{big}
        10.0.0.1 x.a.test foo.example.org
        fallthrough
    }}
}}
"""
BIG = 60  # addresses
LITERAL = "{bogus} {A} class=-"
REST = f"127.0.0.1 {LITERAL}"
# In CLIENT an address and a port, in ID and SECONDS numbers.
LOGGED = [
    '[INFO] CLIENT - ID "A IN x.drop.test. udp 29 false 512" SERVFAIL qr,rd 29 SECONDS',
    '[INFO] CLIENT - ID "A IN a.closed.test. tcp 42 true 65535" SERVFAIL qr,rd 31 SECONDS "0"',
    f'[INFO] rest CLIENT - ID "A IN foo.example.org. udp 33 false 512" NOERROR qr,aa,rd 64 SECONDS {REST}',
    f'[INFO] rest [::1]:PORT - ID "A IN foo.example.org. udp 33 false 512" NOERROR qr,aa,rd 64 SECONDS [::1] {LITERAL}',
    f'[INFO] rest CLIENT - ID "A IN nobody.knows. udp 30 false 512" SERVFAIL qr,rd 30 SECONDS {REST}',
    f'[INFO] rest CLIENT - ID "A IN x.known.test. udp 30 false 512" SERVFAIL qr,rd 30 SECONDS {REST}',
    '[INFO] CLIENT - ID "A IN y.a.test. udp 26 false 512" SERVFAIL qr,rd 26 SECONDS',
    f"[INFO] qr,aa,tc,rd {12 + 14 + BIG * (10 + 14)}",
]
TOKENS = {"CLIENT": r"127\.0\.0\.1:\d{1,5}", "PORT": r"\d{1,5}", "ID": r"\d{1,5}", "SECONDS": r"\d+(\.\d{1,9})?s"}


class Names:
    """A server that answers questions for names below these zones, and what a line of it looks like."""

    def __init__(self, server: Server, port: int, silent: int, closed: int) -> None:
        self.server, self.port, self.silent, self.closed = server, port, silent, closed

    def rcode(self, name: str, *, host: str = LOOPBACK, tcp: bool = False, opt: bytes = b"") -> int:
        message = compose(name, opt=opt)
        reply = (ask_tcp if tcp else ask)(self.port, message, host=host, timeout=15)
        assert reply is not None
        return reply[3] & 15


@pytest.fixture(params=["text", "json"])
def names(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Names]:
    with Ports() as ports, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        port, closed, upstream = ports.take(), ports.take(), ports.take()
        values = {"port": port, "closed": closed, "upstream": upstream, "silent": silent.getsockname()[1]}
        big = "\n".join(f"        10.1.0.{number} big.test" for number in range(1, BIG + 1))
        text = COREFILE.format(host=LOOPBACK, big=big, **values)
        (tmp_path / "upstream").mkdir()
        with (
            serving(tmp_path / "upstream", f".:{upstream} {{\n    hosts /dev/null {{\n    }}\n}}\n"),
            serving(tmp_path, text, "-log-format", request.param) as server,
        ):
            yield Names(server, port, values["silent"], closed)


def lines(server: Server) -> list[str]:
    """Return log lines as text, whichever form they have."""
    found = []
    for line in server.output.all:
        if line.startswith("{"):
            entry = json.loads(line)
            assert entry.keys() == {"time", "level", "msg"}
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["time"])
            found.append(f"[{entry['level'].upper()}] {entry['msg']}")
        elif line.startswith("["):
            found.append(line)
    return found


def pattern_of(line: str) -> str:
    return "".join(TOKENS.get(piece, re.escape(piece)) for piece in re.split(r"\b(CLIENT|PORT|ID|SECONDS)\b", line))


def test_lines(names: Names) -> None:
    asked = [threading.Thread(target=names.rcode, args=(name,)) for name in ("x.drop.test", "x.many.test")]
    for thread in asked:
        thread.start()
    assert names.rcode("a.Closed.TEST", tcp=True, opt=compose_opt(1232, flags=DO)) == SERVFAIL
    assert names.rcode("Foo.Example.ORG") == 0
    assert names.rcode("foo.example.org", host="::1") == 0
    assert names.rcode("nobody.knows") == SERVFAIL
    assert names.rcode("x.known.test") == SERVFAIL  # so says the upstream: nothing to log
    assert names.rcode("x.a.test") == 0
    assert names.rcode("y.a.test") == SERVFAIL
    assert names.rcode("big.test") == 0
    assert names.rcode("y.many.test") == REFUSED
    for thread in asked:
        thread.join()
    assert names.server.end() == 0
    found = lines(names.server)
    assert found.pop() == "[INFO] SIGTERM: Shutting down servers then terminating"
    timeout = f"read udp 127.0.0.1:PORT->127.0.0.1:{names.silent}: i/o timeout"
    expected = [
        *LOGGED,
        f"[ERROR] plugin/errors: 2 x.drop.test. A: {timeout}",
        f"[ERROR] plugin/errors: 2 x.many.test. A: {timeout}",
        f"[ERROR] plugin/errors: 2 a.closed.test. A: dial tcp 127.0.0.1:{names.closed}: connect: connection refused",
        "[ERROR] plugin/errors: 5 y.many.test. A: concurrent queries exceeded maximum 1",
        "[ERROR] plugin/errors: 2 nobody.knows. A: plugin/forward: no next plugin found",
        "[ERROR] plugin/errors: 2 y.a.test. A: plugin/forward: no next plugin found",
    ]
    for line in expected:
        pattern = pattern_of(line)
        matching = [one for one in found if re.fullmatch(pattern, one)]
        assert len(matching) == 1, (pattern, found)
        found.remove(matching[0])
    assert found == []

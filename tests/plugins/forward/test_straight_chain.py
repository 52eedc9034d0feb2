"""Plugins that need no coroutine around one that asks another server: what they do on a query's way in and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cluster.following import namespace
from tests.fakes.upstream import Asked, Later, Upstream, answering, reply
from tests.loading import load
from tests.plugins.forward.forwarding import run
from tests.server.costing import serving
from tests.wire.asking import datagram, opt, with_opt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

COREFILE = """\
.:53 {{
    errors
    log . "{{name}} {{type}} {{rcode}}"
    bufsize 600
    hosts {path} {{
        10.0.0.1 inline.test
        reload 0
        fallthrough
    }}
    forward . {upstream} {{
        max_connect_attempts 1
    }}
    cache 30
    loadbalance
}}
"""
SIZE_AT = -8  # of an OPT record without options that ends a message


def test_no_coroutine_up_to_the_one_that_asks(tmp_path: Path) -> None:

    text = COREFILE.format(path=tmp_path / "hosts", upstream="127.0.0.1:5300")

    async def chain_asks() -> bool:
        configuration = load(text, root=tmp_path, manifests=None)
        [group] = configuration.groups.values()
        [served] = group.served
        assert served.chain is not None
        return served.chain.last.ask is not None

    assert run(chain_asks())


def test_on_the_way_in_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts, manifests = tmp_path / "hosts", tmp_path / "cluster.json"
    hosts.write_text("10.0.0.2 file.test\n")
    manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace("default")]}))

    def by_name(asked: Asked) -> Iterable[bytes | Later]:
        """Fail for one name."""
        return answering("192.0.2.1")(asked) if b"bad" not in asked.octets else [reply(asked, rcode="SERVFAIL")]

    async def work() -> list[bytes]:
        upstream = Upstream(by_name)
        async with upstream.serving():
            text = COREFILE.format(path=hosts, upstream=upstream.address)
            async with serving(text, manifests) as served:
                names = ("elsewhere.test.", "inline.test.", "file.test.", "bad.test.")
                replies = [(await served.ask([with_opt(datagram(name), opt(1232))]))[0] for name in names]
                assert [each.octets[SIZE_AT:][:2] for each in upstream.asked] == [(600).to_bytes(2, "big")] * 2
                upstream.transport.close()  # type: ignore[union-attr]
                return [*replies, *(await served.ask([datagram("gone.test.")]))]

    replies = run(work())
    assert [each[3] & 15 for each in replies] == [0, 0, 0, 2, 2]
    assert {each[SIZE_AT:][:2] for each in replies[:4]} == {(600).to_bytes(2, "big")}
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[INFO] ") and ".test. A " in line]
    assert said == [
        "[INFO] elsewhere.test. A NOERROR",
        "[INFO] inline.test. A NOERROR",
        "[INFO] file.test. A NOERROR",
        "[INFO] bad.test. A SERVFAIL",
        "[INFO] gone.test. A SERVFAIL",
    ]

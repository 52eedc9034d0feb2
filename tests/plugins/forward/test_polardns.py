"""PolarDNS, made to break resolvers, as upstream: no question of its own manual crashes, hangs or poisons us."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dnslib import QTYPE, DNSError, DNSRecord

from kubedns.plugin.contract import ResolveError
from kubedns.wire.errors import WireError
from kubedns.wire.name import text
from tests.fakes.upstream import HOST
from tests.plugins.forward import real
from tests.plugins.forward.forwarding import asked, forwarding, gather, run
from tests.plugins.helpers import query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.wire.query import Query
    from plugins.forward import Forward

COMMAND = re.compile(r"\bdig\s+((?:[A-Z]+\s+|-x\s+)?)([\w.${}-]+)\s+@")
AT_A_TIME = 20


def package() -> Path:
    found = importlib.util.find_spec("polardns")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def questions() -> list[tuple[str, str, str]]:
    """Return module, name and type of each question that the manual of PolarDNS's modules has."""
    found: dict[tuple[str, str, str], None] = {}
    for path in sorted((package() / "modules").glob("*.toml")):
        for argument, owner in COMMAND.findall(_commands(tomllib.loads(path.read_text()))):
            kind, name = argument.strip() or "A", owner.replace("${RANDOM}", "4711")
            if kind == "-x":
                kind, name = "PTR", ".".join((*reversed(name.split(".")), "in-addr", "arpa"))
            found[path.stem, f"{name}.", kind] = None
    return list(found)


def _commands(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(_commands(each) for each in value.values())
    if isinstance(value, list):
        return "\n".join(_commands(each) for each in value)
    return str(value)


QUESTIONS = questions()


@pytest.fixture(scope="module")
def polardns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a copy whose configuration has a loopback address: its own listens on every interface."""
    folder = tmp_path_factory.mktemp("polardns")
    shutil.copytree(package(), folder / "polardns")
    port = real.free_port()
    configuration = folder / "polardns" / "polardns.toml"
    text = configuration.read_text()
    changed = text.replace("listen_addr = '0.0.0.0:53'", f"listen_addr = '{HOST}:{port}'")
    assert changed.count(f"'{HOST}:{port}'") == 1
    assert "0.0.0.0:" not in changed
    configuration.write_text(changed)
    command = [sys.executable, "-c", "from polardns.core import main; main()"]
    with real.running(command, port, folder, {**os.environ, "PYTHONPATH": str(folder)}):
        yield f"{HOST}:{port}"


def test_the_manual_has_questions_for_every_module() -> None:
    modules = {path.stem for path in (package() / "modules").glob("*.toml")}
    assert len(modules) > 90
    assert {module for module, _, _ in QUESTIONS} == modules


async def told(plugin: Forward, one: Query) -> str:
    """Return what became of a question, having looked at whatever came."""
    try:
        record = await asked(plugin, one)
    except ResolveError:
        return "no reply"
    except WireError:
        return "a reply that this client has no room for"
    except (DNSError, ValueError):  # dnslib's limits, not ours
        return "unreadable to dnslib"
    assert record.header.id == int.from_bytes(one.id, "big")
    assert record.header.qr == 1
    assert str(record.q.qname).lower() == text(one.name)
    return "a reply"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_every_behaviour(polardns: str, transport: str) -> None:
    async def work() -> None:
        line = f"forward . {polardns} {{\nread_timeout 250ms\nmax_connect_attempts 1\nmax_fails 0\n}}"
        async with forwarding(line) as plugin:
            numbered = [
                query(owner, kind, transport=transport, ident=number, edns=1232 if number % 2 else None)
                for number, (_, owner, kind) in enumerate(QUESTIONS)
                if kind in QTYPE.reverse
            ]
            outcomes: list[str] = []
            for at in range(0, len(numbered), AT_A_TIME):
                outcomes += await gather(*(told(plugin, one) for one in numbered[at : at + AT_A_TIME]))
            assert outcomes.count("a reply") > 100
            assert outcomes.count("no reply") > 5
            assert not plugin.rules[0].under_way
            record = await asked(plugin, query("always.yourdomain.com.", ident=1))
            assert (record.header.rcode, len(record.rr)) == (0, 1)

    run(work())


@pytest.mark.parametrize(
    ("owner", "outcome"),
    [
        ("always.newid.yourdomain.com.", "no reply"),  # a wrong ID
        ("always.noq.yourdomain.com.", "no reply"),  # it announces a question and has none
        ("always.noq.nc.qurr0.yourdomain.com.", "FORMERR"),
        ("always.qurr0.yourdomain.com.", "FORMERR"),
        ("inja12345.rpq.yourdomain.com.", "no reply"),  # another question
        ("timeout.yourdomain.com.", "no reply"),
        ("empty1.yourdomain.com.", "no reply"),
        ("always.cut16.yourdomain.com.", "no reply"),
        ("badcompressloop1.yourdomain.com.", "no reply"),
    ],
)
def test_what_is_not_believed(polardns: str, owner: str, outcome: str) -> None:
    async def work() -> None:
        line = f"forward . {polardns} {{\nread_timeout 300ms\nmax_connect_attempts 1\nmax_fails 0\n}}"
        async with forwarding(line) as plugin:
            try:
                record = await asked(plugin, query(owner))
            except ResolveError:
                assert outcome == "no reply"
            else:
                assert (record.header.rcode, len(record.rr), outcome) == (1, 0, "FORMERR")

    run(work())


def test_a_record_elsewhere_is_not_taken_for_that_name(polardns: str) -> None:
    """Whatever a reply says of other names, they are asked for: nothing is kept here."""

    async def work() -> None:
        async with forwarding(f"forward . {polardns} {{\nread_timeout 300ms\nmax_fails 0\n}}") as plugin:
            await told(plugin, query("inja4712.yourdomain.com."))
            record = DNSRecord()
            with contextlib.suppress(ResolveError):
                record = await asked(plugin, query("injected4712.yourdomain.com."))
            assert not any("6.6.6" in str(rr.rdata) for rr in record.rr)

    run(work())

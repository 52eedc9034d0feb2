"""Queries through the whole server to NSD and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.rcode
import pytest

from tests.end_to_end.client import ask, ask_tcp, compose, compose_opt, parse
from tests.end_to_end.server import Ports, serving
from tests.plugins.forward import real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COREFILE = """.:{port} {{
    errors
    forward . {upstream}
}}
"""
COOKIE = bytes.fromhex("000a0008 0102030405060708")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run NSD and a server that forwards everything to it."""
    folder: Path = tmp_path_factory.mktemp("forward")
    with real.nsd(tmp_path_factory.mktemp("nsd")) as upstream, Ports() as ports:
        taken = ports.take()
        with serving(folder, COREFILE.format(port=taken, upstream=upstream)):
            yield taken


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_name(port: int, *, tcp: bool) -> None:
    message = compose("WwW.example.com", ident=7)
    octets = ask_tcp(port, message) if tcp else ask(port, message)
    assert octets is not None
    reply = parse(octets)
    assert (reply.id, str(reply.question[0].name)) == (7, "WwW.example.com.")
    assert [rrset.to_text() for rrset in reply.answer] == ["WwW.example.com. 300 IN A 192.0.2.80"]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_class_chaos_is_forwarded_too(port: int, *, tcp: bool) -> None:
    message = compose("version.bind", "TXT", "CH")
    octets = ask_tcp(port, message) if tcp else ask(port, message)
    assert octets is not None
    assert b"NSD" in octets


@pytest.mark.parametrize(("size", "cut"), [(512, True), (1232, False)])
def test_a_long_reply(port: int, size: int, *, cut: bool) -> None:
    octets = ask(port, compose("herd.example.com", opt=compose_opt(size)))
    assert octets is not None
    assert len(octets) <= size
    assert bool(octets[2] & 2) is cut
    assert len(parse(octets).answer) == (0 if cut else 60)


def test_the_client_s_size_comes_back_whatever_the_upstream_s_is(port: int) -> None:
    octets = ask(port, compose("www.example.com", opt=compose_opt(1400, options=COOKIE)))
    assert octets is not None
    assert parse(octets).payload == 1400


def test_a_zone_transfer_is_what_the_upstream_makes_of_it(port: int) -> None:
    octets = ask_tcp(port, compose("example.com", "AXFR"))
    assert octets is not None
    assert parse(octets).rcode() == dns.rcode.REFUSED

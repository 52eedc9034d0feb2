"""The straight road: plugins asked by plain calls, and a coroutine only from where one has to be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from kubedns.plugin.contract import ResolveError
from kubedns.plugin.straight import Straight, Suspends
from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Dispatcher, Served
from kubedns.wire.numbers import Rcode
from kubedns.wire.records import txt
from kubedns.wire.reply import Reply
from tests.server.running import Stepped, stepping
from tests.server.test_dispatch import said
from tests.wire.asking import UDP, datagram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubedns.plugin.contract import Next, Observer, Plugin
    from kubedns.plugin.straight import Waiter
    from kubedns.wire.query import Query

NAME = b"\7example\3org\0"


@pytest.fixture
def stepped() -> Iterator[Stepped]:
    with stepping() as stepped:
        yield stepped


def says(text: str) -> Reply:
    return Reply([txt(NAME, text, 0)])


class Notes(Straight):
    """Notes what passes; with `does`, answers, raises or suspends before the plugins behind it are asked."""

    def __init__(self, name: str, notes: list[str], does: Callable[[], Reply | None] | None = None) -> None:
        self.name = name
        self.notes = notes
        self.does = does

    def before(self, _query: Query) -> Reply | None:
        reply = self.does() if self.does is not None else None
        self.notes.append(self.name)
        return reply

    def after(self, _query: Query, reply: Reply) -> Reply:
        self.notes.append(f"/{self.name}")
        return reply

    def failed(self, _query: Query, error: ResolveError) -> None:
        self.notes.append(f"{self.name}: {error}")

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        if self.does is None:
            self.notes.append(self.name)
        reply = await pass_on(query)
        self.notes.append(f"/{self.name}")
        return reply


class Waits:
    """A coroutine and nothing else."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    async def resolve(self, _query: Query, _pass_on: Next) -> Reply:
        self.notes.append("waits")
        await asyncio.sleep(0)
        return says("late")


class AsksOthers(Waits):
    """Tells its waiters when a test says so."""

    def __init__(self, notes: list[str], refuses: Exception | None = None) -> None:
        super().__init__(notes)
        self.refuses = refuses
        self.waiters: list[Waiter] = []

    def ask(self, _query: Query, waiter: Waiter) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.notes.append("asks")
        self.waiters.append(waiter)


class Bad:
    """An observer that fails."""

    def observe(self, _server: str, _zone: str) -> Observer:
        def observe(*_: object) -> None:
            raise ValueError("bad observer")

        return observe


def ends(outcome: Reply | Exception) -> Callable[[], Reply | None]:
    def end() -> Reply | None:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return end


def dispatcher(stepped: Stepped, *plugins: Plugin, observers: tuple[Any, ...] = ()) -> Dispatcher:
    chain = link_chain([(f"p{number}", plugin) for number, plugin in enumerate(plugins)])
    return Dispatcher("dns://:53", [Served(".", chain, observers)], stepped.stepper)


def begin(stepped: Stepped, server: Dispatcher) -> Any:
    return stepped.call(lambda: server.answer(datagram(rrtype=16), UDP, 0.0))


def told(stepped: Stepped, *plugins: Plugin) -> str:
    reply = begin(stepped, dispatcher(stepped, *plugins))
    return said(stepped.wait(reply) if isinstance(reply, asyncio.Future) else reply)


def test_one_that_answers_is_the_last_asked(stepped: Stepped) -> None:
    notes: list[str] = []
    plugins = [Notes("a", notes), Notes("b", notes, ends(says("b"))), Notes("c", notes)]
    assert told(stepped, *plugins) == "b"
    assert notes == ["a", "b", "/a"]


def test_a_coroutine_goes_on_where_the_road_ends(stepped: Stepped) -> None:
    notes: list[str] = []
    assert told(stepped, Notes("a", notes), Waits(notes), Notes("c", notes, ends(says("c")))) == "late"
    assert notes == ["a", "waits", "/a"]


def test_a_coroutine_goes_on_where_a_plugin_suspends(stepped: Stepped) -> None:
    """What is in front has been asked already, and is not asked again."""
    notes: list[str] = []
    plugins: list[Plugin] = [Notes("a", notes), Notes("b", notes, ends(Suspends())), Waits(notes)]
    assert told(stepped, *plugins) == "late"
    assert notes == ["a", "waits", "/b", "/a"]


def test_nobody_answers(stepped: Stepped) -> None:
    notes: list[str] = []
    assert told(stepped, Notes("a", notes), Notes("b", notes)) == "SERVFAIL"
    assert notes == ["a", "b", "b: plugin/p1: no next plugin found", "a: plugin/p1: no next plugin found"]


@pytest.mark.parametrize("waits", [False, True])
def test_failures_are_heard_in_front_of_where_they_come_from(stepped: Stepped, *, waits: bool) -> None:
    notes: list[str] = []
    error = ResolveError("no", Rcode.REFUSED)
    last = AsksOthers(notes, error) if waits else Notes("c", notes, ends(error))
    assert told(stepped, Notes("a", notes), Notes("b", notes), last) == "REFUSED"
    assert notes == ["a", "b", "b: no", "a: no"]
    assert not stepped.stepper.busy


def test_a_mistake_costs_one_query(stepped: Stepped, capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[str] = []
    assert told(stepped, Notes("a", notes), Notes("b", notes, ends(KeyError("b")))) == "SERVFAIL"
    assert notes == ["a"]
    assert "Recovered from panic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "expected", "noted"),
    [
        (says("theirs"), "theirs", ["/b", "/a"]),
        (ResolveError("none"), "SERVFAIL", ["b: none", "a: none"]),
        (KeyError("x"), "SERVFAIL", []),
    ],
    ids=["reply", "error", "mistake"],
)
def test_who_asks_others_tells_later(
    stepped: Stepped, outcome: Reply | Exception, expected: str, noted: list[str]
) -> None:
    notes: list[str] = []
    asks = AsksOthers(notes)
    later = begin(stepped, dispatcher(stepped, Notes("a", notes), Notes("b", notes), asks))
    octets: list[bytes | None] = []
    later.add_done_callback(lambda done: octets.append(done.result()))
    assert (stepped.stepper.busy, octets, asks.waiters[0].done()) == (1, [], False)
    notes.clear()
    if isinstance(outcome, Reply):
        asks.waiters[0].set_result(outcome)
    else:
        asks.waiters[0].set_exception(outcome)
    assert (said(octets[0]), len(octets), notes) == (expected, 1, noted)
    assert (stepped.stepper.busy, later.cancel()) == (0, False)


def test_who_suspends_rather_than_ask_is_a_coroutine(stepped: Stepped) -> None:
    notes: list[str] = []
    assert told(stepped, Notes("a", notes), AsksOthers(notes, Suspends())) == "late"
    assert notes == ["a", "waits", "/a"]


def test_a_client_that_has_gone_is_told_nothing(stepped: Stepped) -> None:
    notes: list[str] = []
    asks = AsksOthers(notes)
    later = begin(stepped, dispatcher(stepped, asks))
    told: list[bytes | None] = []
    later.add_done_callback(lambda done: told.append(done.result()))
    assert later.cancel()
    assert (told, asks.waiters[0].done(), stepped.stepper.busy) == ([None], True, 0)


def test_an_observer_that_fails_costs_its_query_alone(stepped: Stepped, capsys: pytest.CaptureFixture[str]) -> None:
    asks = AsksOthers([])
    later = begin(stepped, dispatcher(stepped, asks, observers=(Bad(),)))
    asks.waiters[0].set_result(says("theirs"))
    assert (later.result(), stepped.stepper.busy) == (None, 0)
    assert "bad observer" in capsys.readouterr().out

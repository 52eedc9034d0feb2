from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kubedns.plugin.contract import ResolveError
from kubedns.server.chain import link_chain
from kubedns.wire.numbers import Rcode
from kubedns.wire.reply import Reply
from tests.wire.asking import query

if TYPE_CHECKING:
    from kubedns.plugin.contract import Next
    from kubedns.wire.query import Query


class Passes:
    """Notes its name, then lets the next plugin answer."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        self.notes.append(self.name)
        reply = await pass_on(query)
        self.notes.append(f"/{self.name}")
        return reply


class Answers:
    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    async def resolve(self, _query: Query, _pass_on: Next) -> Reply:
        return self.reply


async def ask(chain: Next) -> Reply:
    return await chain(query())


def test_plugins_come_in_order() -> None:
    notes: list[str] = []
    reply = Reply()
    chain = link_chain([("a", Passes("a", notes)), ("b", Passes("b", notes)), ("c", Answers(reply))])
    assert chain is not None
    assert asyncio.run(ask(chain)) is reply
    assert notes == ["a", "b", "/b", "/a"]


def test_what_stands_behind_an_answer_is_not_asked() -> None:
    notes: list[str] = []
    chain = link_chain([("a", Answers(Reply())), ("b", Passes("b", notes))])
    assert chain is not None
    asyncio.run(ask(chain))
    assert notes == []


@pytest.mark.parametrize("names", [["kubernetes"], ["errors", "whoami"]])
def test_end_of_the_chain_names_the_last_plugin(names: list[str]) -> None:
    chain = link_chain([(name, Passes(name, [])) for name in names])
    assert chain is not None
    with pytest.raises(ResolveError, match=f"^plugin/{names[-1]}: no next plugin found$") as caught:
        asyncio.run(ask(chain))
    assert caught.value.rcode is Rcode.SERVFAIL


def test_no_plugins() -> None:
    assert link_chain([]) is None

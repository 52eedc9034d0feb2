"""Which line takes a name, which name server is asked, and which replies another line's takes the place of."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from kubedns.plugin.contract import ServerBlock
from kubedns.wire.name import name
from plugins import forward
from tests.fakes.upstream import Upstream, answering, reply
from tests.plugins.forward.forwarding import addresses, asked, forwarding, refused, run
from tests.plugins.helpers import directive, query

if TYPE_CHECKING:
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from tests.fakes.upstream import Behaviour

NOBODY = "plugin/forward: no next plugin found"

TAKEN = [
    ("forward . 10.0.0.1", "a.test", True),
    ("forward . 10.0.0.1", ".", True),
    ("forward example.org 10.0.0.1", "example.org", True),
    ("forward example.org 10.0.0.1", "a.EXAMPLE.org", True),
    ("forward Example.ORG. 10.0.0.1", "a.example.org", True),
    ("forward example.org 10.0.0.1", "notexample.org", False),
    ("forward example.org 10.0.0.1", "org", False),
    ("forward . 10.0.0.1 {\nexcept example.org\n}", "x.example.org", False),
    ("forward . 10.0.0.1 {\nexcept example.org.\n}", "example.org", False),
    ("forward . 10.0.0.1 {\nexcept example.org\n}", "example.com", True),
    ("forward . 10.0.0.1 {\nexcept a.test\nexcept b.test\n}", "x.a.test", False),
    ("forward . 10.0.0.1 {\nexcept a.test\nexcept b.test\n}", "x.b.test", False),
    ("forward example.org 10.0.0.1 {\nexcept example.org\n}", "example.org", True),
    ("forward example.org 10.0.0.1 {\nexcept example.org\n}", "a.example.org", False),
    ("forward . 10.0.0.1 {\nexcept 10.0.0.0/8\n}", "1.0.0.10.in-addr.arpa", False),
    ("forward 10.9.3.0/24 10.0.0.1", "7.3.9.10.in-addr.arpa", True),
    ("forward dns://example.org:53 10.0.0.1", "a.example.org", True),
]


@pytest.mark.parametrize(("text", "owner", "taken"), TAKEN)
def test_which_names_are_taken(text: str, owner: str, *, taken: bool) -> None:
    [rule] = forward.setup(directive(text), ServerBlock((".",))).rules
    assert (rule.takes_all or rule.serves(name(owner))) is taken


def test_what_nobody_takes_is_the_next_plugins() -> None:
    async def work() -> None:
        async with forwarding("forward example.org 127.0.0.1:1") as plugin:
            assert str(await refused(plugin, query("a.test."))) == NOBODY

    run(work())


async def answers(stack: AsyncExitStack, lines: str, *behaviours: Behaviour) -> tuple[forward.Forward, list[Upstream]]:
    """Return the plugin of a Corefile's lines, in which {0} and so on are the upstreams' addresses."""
    upstreams = [await stack.enter_async_context(Upstream(each).serving()) for each in behaviours]
    text = lines.format(*(upstream.address for upstream in upstreams))
    return await stack.enter_async_context(forwarding(text)), upstreams


def test_the_first_line_that_takes_a_name_answers() -> None:
    lines = "forward lab.test {0}\nforward test {1}\nforward . {2}"
    replies = [answering(f"192.0.2.{number}") for number in (1, 2, 3)]

    async def work() -> None:
        async with AsyncExitStack() as stack:
            plugin, _ = await answers(stack, lines, *replies)
            for owner, address in (("a.lab.test.", 1), ("b.test.", 2), ("c.org.", 3)):
                assert addresses(await asked(plugin, query(owner))) == [f"192.0.2.{address}"]
            plugin, _ = await answers(stack, "forward . {2}\nforward test {1}\nforward lab.test {0}", *replies)
            assert addresses(await asked(plugin, query("a.lab.test."))) == ["192.0.2.3"]

    run(work())


SERVFAIL, REFUSED, NXDOMAIN = (answering(rcode=rcode) for rcode in ("SERVFAIL", "REFUSED", "NXDOMAIN"))


def no_data(one: object) -> list[bytes]:
    return [reply(one)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behaviours", "rcode", "each"),
    [
        pytest.param([SERVFAIL, REFUSED, answering()], 0, [1, 1, 1], id="the third"),
        pytest.param([SERVFAIL, answering(), answering()], 0, [1, 1, 0], id="the second"),
        pytest.param([SERVFAIL, SERVFAIL, REFUSED], 5, [1, 1, 1], id="none: the last one's"),
        pytest.param([NXDOMAIN, answering(), answering()], 3, [1, 0, 0], id="not listed"),
    ],
)
def test_failover(behaviours: list[Behaviour], rcode: int, each: list[int]) -> None:
    lines = "forward . {0} {1} {2} {{\npolicy sequential\nfailover SERVFAIL\nfailover refused\n}}"

    async def work() -> None:
        async with AsyncExitStack() as stack:
            plugin, upstreams = await answers(stack, lines, *behaviours)
            assert (await asked(plugin)).header.rcode == rcode
            assert [len(upstream.asked) for upstream in upstreams] == each

    run(work())


def test_failover_with_one_that_is_silent_gives_the_best_there_was() -> None:
    options = "policy sequential\nfailover SERVFAIL\nread_timeout 20ms\nmax_fails 0\nmax_connect_attempts 1"
    lines = f"forward . {{0}} {{1}} {{{{\n{options}\n}}}}"

    async def work() -> None:
        async with AsyncExitStack() as stack:
            plugin, _ = await answers(stack, lines, SERVFAIL, lambda _: [])
            assert (await asked(plugin)).header.rcode == 2

    run(work())


@pytest.mark.parametrize(
    ("option", "first", "second", "rcode", "each"),
    [
        pytest.param("next NXDOMAIN", NXDOMAIN, answering(), 0, [1, 1], id="listed"),
        pytest.param("next NXDOMAIN", NXDOMAIN, REFUSED, 5, [1, 1], id="whatever the other says"),
        pytest.param("next SERVFAIL", NXDOMAIN, answering(), 3, [1, 0], id="not listed"),
        pytest.param("next_on_nodata", no_data, answering(), 0, [1, 1], id="no data"),
        pytest.param("next_on_nodata", NXDOMAIN, answering(), 3, [1, 0], id="no data is not no name"),
        pytest.param("expire 10s", no_data, answering(), 0, [1, 0], id="no option"),
    ],
)
def test_next(option: str, first: Behaviour, second: Behaviour, rcode: int, each: list[int]) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            lines = f"forward . {{0}} {{{{\n{option}\n}}}}\nforward . {{1}}"
            plugin, upstreams = await answers(stack, lines, first, second)
            assert (await asked(plugin)).header.rcode == rcode
            assert [len(upstream.asked) for upstream in upstreams] == each

    run(work())


def test_next_on_the_last_line_counts_for_nothing() -> None:
    async def never(_: Query) -> Reply:
        raise AssertionError("the plugin behind was asked")

    async def work() -> None:
        async with AsyncExitStack() as stack:
            plugin, _ = await answers(stack, "forward . {0} {{\nnext NXDOMAIN\n}}", NXDOMAIN)
            assert (await asked(plugin, pass_on=never)).header.rcode == 3

    run(work())


def test_next_goes_to_a_line_that_takes_the_name() -> None:
    lines = "forward . {0} {{\nnext NXDOMAIN\n}}\nforward other.test {1}\nforward . {2}"

    async def work() -> None:
        async with AsyncExitStack() as stack:
            plugin, upstreams = await answers(stack, lines, NXDOMAIN, answering(), answering("192.0.2.3"))
            assert addresses(await asked(plugin)) == ["192.0.2.3"]
            assert [len(upstream.asked) for upstream in upstreams] == [1, 0, 1]

    run(work())


def first_asked(policy: str, times: int) -> list[list[int]]:
    """Return the order in which three name servers would be tried, by the last number of their addresses."""
    text = f"forward . 10.0.0.1 10.0.0.2 10.0.0.3 {{\npolicy {policy}\n}}"
    [rule] = forward.setup(directive(text), ServerBlock((".",))).rules
    return [[int(server.address.host[-1]) for server in rule.order()] for _ in range(times)]


def test_policy_sequential() -> None:
    assert first_asked("sequential", 2) == [[1, 2, 3]] * 2


def test_policy_round_robin() -> None:
    assert first_asked("round_robin", 4) == [[2, 1, 3], [3, 1, 2], [1, 2, 3], [2, 1, 3]]


def test_policy_random() -> None:
    orders = first_asked("random", 600)
    assert {tuple(order) for order in orders} == {(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)}
    assert all(150 < sum(order[0] == number for order in orders) < 250 for number in (1, 2, 3))

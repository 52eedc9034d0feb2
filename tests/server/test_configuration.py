"""What plugins may return from setup, and what is said when they fail there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileErrors
from kubedns.server import parts
from tests.loading import load
from tests.server.costing import count_instructions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

COREFILE = ".:53 {\n    mine\n    whoami\n}\n"

BLOCK = """\
z{0}.test:53 {{
    errors
    hosts /dev/null {{
        192.0.2.1 a.z{0}.test
        fallthrough
    }}
    kubernetes cluster.local
    forward . 10.0.0.{0}
    cache 30
}}
"""
LINEAR = 1.05  # what is linear costs no more than this for each of so many more blocks

MISTAKES = {
    "nothing": (
        "def setup(directive, block):\n    pass\n",
        'plugin/mine: TypeError: setup of {file} returned NoneType, not a plugin with "async def resolve(self, query, ',
        "",
    ),
    "plain resolve": (
        "class P:\n    def resolve(self, q, n):\n        return 1\ndef setup(directive, block):\n    return P()\n",
        "plugin/mine: TypeError: resolve of {file} is no coroutine: write async def resolve(self, query, pass_on)",
        "",
    ),
    "exception": (
        "def setup(directive, block):\n    return 1 / 0\n",
        "plugin/mine: ZeroDivisionError: division by zero",
        "  in {file}, line 2: the plugin itself failed, not this file",
    ),
}


@pytest.fixture(autouse=True)
def forget_module() -> Iterator[None]:
    yield
    sys.modules.pop("kubedns_dropped_in_mine", None)


@pytest.mark.parametrize(("code", "text", "cure"), MISTAKES.values(), ids=MISTAKES)
def test_a_setup_that_fails_names_the_place_and_the_plugin(tmp_path: Path, code: str, text: str, cure: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(code)
    with pytest.raises(CorefileErrors) as raised:
        load(COREFILE, plugins=tmp_path)
    report = str(raised.value)
    assert report.startswith(text.format(file=file))
    assert "  --> Corefile:2:5\n        mine\n" in report
    assert cure.format(file=file) in report


@pytest.mark.parametrize("made", ["async def resolve", "async def start", "def ready"])
def test_what_a_plugin_may_be(tmp_path: Path, made: str) -> None:
    arguments = "(self, query, pass_on)" if "resolve" in made else "(self)"
    code = f"class P:\n    {made}{arguments}:\n        return 1\ndef setup(directive, block):\n    return P()\n"
    (tmp_path / "mine.py").write_text(code)
    assert [name for name, _ in load(COREFILE, plugins=tmp_path).plugins] == ["mine", "whoami"]


TELLING = """
class P:
    async def start(self):
        pass
def setup(directive, block):
    made = P()
    made.listens = block.listens
    return made
"""


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (". {{\n    {}\n}}\n", ("", 53)),
        ("a.org:1053 b.org:1054 {{\n    {}\n}}\n", ("", 1053)),
        (".:1053 {{\n    bind 127.0.0.1 ::1\n    {}\n}}\n", ("127.0.0.1", 1053)),
    ],
    ids=["by default", "the first key's port", "the first address of bind"],
)
def test_where_a_block_listens_first(tmp_path: Path, block: str, expected: tuple[str, int]) -> None:
    (tmp_path / "mine.py").write_text(TELLING)
    [(_, plugin)] = load(block.format("mine"), plugins=tmp_path).plugins
    assert plugin.listens == expected


KUBEADM = """.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    forward . 127.0.0.1:5300 {
        max_concurrent 1000
    }
    hosts {
        10.0.0.20 harbor.superopsmsb.com
        fallthrough
    }
    cache 30
    loop
    reload
    loadbalance
}
"""


@pytest.mark.parametrize(("more", "kept"), [("", True), ("log", False)], ids=["kubeadm's chain", "and log"])
def test_which_chains_agree_that_replies_are_given_again(more: str, kept: bool) -> None:
    [group] = load(KUBEADM.replace("    errors\n", f"    errors\n    {more}\n")).groups.values()
    assert [(one.cacheable, one.denials) for one in group.served] == [(kept, kept)]


@pytest.mark.parametrize("again", [False, True], ids=["at the start", "at a reload"])
def test_what_a_block_costs_is_the_same_however_many_there_are(*, again: bool) -> None:
    """In instructions: nothing is answered while a configuration is made."""

    def cost(count: int) -> int:
        text = "".join(BLOCK.format(number) for number in range(1, count + 1))
        previous: dict[Any, Any] = load(text).shared.kept
        return count_instructions(lambda: load(text, previous=previous if again else None))

    few, more, most = cost(10), cost(20), cost(40)
    assert 0 < most - more < LINEAR * 2 * (more - few)


def test_parts_that_leave_are_found_at_a_cost_for_each() -> None:
    def cost(count: int) -> int:
        ours, theirs = [object() for _ in range(count)], [object() for _ in range(count)]
        found: list[object] = []
        instructions = count_instructions(lambda: found.extend(parts.without([*ours, *theirs], theirs)))
        assert found == ours
        return instructions

    cost(1)  # 3.13 counts a function's own instructions from its second call on
    few, more, most = cost(100), cost(200), cost(400)
    assert 0 < most - more < LINEAR * 2 * (more - few)

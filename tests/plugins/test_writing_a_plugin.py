"""docs/writing-a-plugin.md keeps its word: its examples load and answer, and mistakes are told."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rcode
import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ResolveError, ServerBlock, Starts, Stops
from kubedns.plugin.registry import PluginError, Registry, find_plugins
from kubedns.server.chain import link_chain
from kubedns.wire.records import address
from kubedns.wire.reply import Reply
from tests.plugins.helpers import directive, placed, query, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.wire.query import Query

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
EXAMPLE = re.compile(r'^```python\n("""(\w+).*?)^```$', re.MULTILINE | re.DOTALL)
EXAMPLES = {match[2]: match[1] for match in EXAMPLE.finditer(PAGE.read_text())}
NOT_ASKED = ResolveError("plugin/last: no next plugin found")


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("kubedns_dropped_in_") or name == "announced":
            del sys.modules[name]


def load(folder: Path, **files: str) -> Registry:
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    return find_plugins(folder)


def set_up(registry: Registry, text: str) -> Any:
    name = text.split(maxsplit=1)[0]
    return registry.modules[name].setup(directive(text, also=registry.order), ServerBlock((".",)))


def answer(plugin: Any, asked: Query) -> dns.message.Message:
    """Return what a client that is not ours makes of the reply, given twice as another client's may be."""
    chain = link_chain([("tried", plugin)])
    assert chain is not None

    async def resolve() -> Reply:
        return await chain(asked)

    octets = run(resolve()).octets(asked)
    assert run(resolve()).octets(asked) == octets
    return dns.message.from_wire(octets)


def test_examples_are_found() -> None:
    assert list(EXAMPLES) == ["blackhole", "elsewhere", "greeting"]


BLACKHOLE = "blackhole ads.example.com t.example {\nttl 60\n}"


@pytest.mark.parametrize("asked", ["ads.example.com.", "b.Ads.Example.com.", "a.b.c.ads.example.com.", "x.t.example."])
def test_blackhole(tmp_path: Path, asked: str) -> None:
    told = answer(set_up(load(tmp_path, blackhole=EXAMPLES["blackhole"]), BLACKHOLE), query(asked))
    zone = "t.example." if "t.example." in asked else "ads.example.com."
    assert told.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.to_text().lower() for rrset in told.authority] == [
        f"{zone} 60 in soa {zone} {zone} 1 3600 600 86400 60"
    ]


def test_blackhole_passes_on(tmp_path: Path) -> None:
    plugin = set_up(load(tmp_path, blackhole=EXAMPLES["blackhole"]), BLACKHOLE)
    with pytest.raises(ResolveError, match="no next plugin found"):
        answer(plugin, query("example.com."))


REFUSED = [
    ("names", "blackhole", "Corefile:2 - Error during parsing: no names to hide", "2:1"),
    (
        "range",
        "blackhole a.test {\nttl 3601\n}",
        "Corefile:3 - Error during parsing: ttl must be in range [0, 3600]: 3601",
        "3:5",
    ),
    ("property", "blackhole a.test {\ntll 1\n}", "Corefile:3 - Error during parsing: unknown property 'tll'", "3:1"),
    ("twice", "blackhole a.test\nblackhole b.test", "this plugin can only be used once per Server Block", "3:1"),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_blackhole_names_the_place(tmp_path: Path, text: str, message: str, place: str) -> None:
    registry = load(tmp_path, blackhole=EXAMPLES["blackhole"])
    with pytest.raises(CorefileError) as raised:
        set_up(registry, text)
    assert str(raised.value) == message
    assert placed(raised.value) == place


def test_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = set_up(load(tmp_path, elsewhere=EXAMPLES["elsewhere"]), "elsewhere www.a.test cdn.b.test")
    asked = query("WWW.a.test.")

    async def lookup(inner: Query, /) -> Reply:
        return Reply([address(inner.name, b"\xc0\x00\x02\x01", 60)])

    asked.lookup = lookup
    assert [rrset.to_text() for rrset in answer(plugin, asked).answer] == ["WWW.a.test. 60 IN A 192.0.2.1"]
    assert isinstance(plugin, Starts)
    assert isinstance(plugin, Stops)
    run(plugin.start())
    run(plugin.stop())
    assert capsys.readouterr().out == "[INFO] plugin/elsewhere: started\n[INFO] plugin/elsewhere: stopped\n"


def test_greeting(tmp_path: Path) -> None:
    told = answer(set_up(load(tmp_path, greeting=EXAMPLES["greeting"]), "greeting"), query("a.test.", "TXT"))
    assert [rrset.to_text() for rrset in told.answer] == ['a.test. 60 IN TXT "hello"']


PLACES = [
    ("after-log", 'AFTER = "log"', "log"),
    ("after-what-is-not-supported", 'AFTER = "dnstap"', "dnstap"),
    ("before-forward", "", "loop"),
]
SETUP = "\ndef setup(directive, block):\n    return None\n"


@pytest.mark.parametrize(("line", "before"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_order(tmp_path: Path, line: str, before: str) -> None:
    order = load(tmp_path, mine=line + SETUP).order
    assert order[order.index("mine") - 1] == before


def test_plugins_behind_the_same_one_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    after = 'AFTER = "log"' + SETUP
    order = load(tmp_path, aa=after, cc=after, bb='AFTER = "zz"' + SETUP, zz=after).order
    at = order.index("log")
    assert order[at + 1 : at + 5] == ("aa", "cc", "zz", "bb")


def test_files_that_are_no_plugins(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not Python")
    registry = load(tmp_path, _helper="raise RuntimeError", mine=SETUP)
    assert {"_helper", "notes"}.isdisjoint(registry.order)
    assert "mine" in registry.modules


MISTAKES = [
    ("name-taken", "whoami", SETUP, r"plugin whoami of .*\.py: there is a plugin of that name"),
    ("no-setup", "mine", "x = 1", r"plugin mine of .*\.py: has no function setup\(directive, block\)"),
    ("setup-is-no-function", "mine", "setup = 1", "has no function setup"),
    (
        "broken-import",
        "mine",
        "import no_such_module",
        r"plugin .*(mine\.py|announced): ModuleNotFoundError: .*no_such_module",
    ),
    ("syntax", "mine", "def setup(:", r"plugin .*(mine\.py|announced): SyntaxError: "),
    ("after", "mine", 'AFTER = "lgo"' + SETUP, r"plugin mine of .*\.py: AFTER names 'lgo', which is no plugin"),
]


@pytest.mark.parametrize(("name", "code", "text"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_mistakes_of_a_file(tmp_path: Path, name: str, code: str, text: str) -> None:
    with pytest.raises(PluginError, match=text):
        load(tmp_path, **{name: code})


def test_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="is no folder"):
        find_plugins(tmp_path / "missing")


def announce(folder: Path, name: str, code: str) -> None:
    """Install a package that announces a plugin, as far as the import system can tell."""
    (folder / "announced.py").write_text(code)
    info = folder / "announced-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kubedns.plugins]\n{name} = announced\n")


def test_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(tmp_path, "blackhole", EXAMPLES["blackhole"])
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("announced") == "1.0"
    registry = find_plugins()
    assert registry.order[registry.order.index("log") + 1] == "blackhole"
    assert answer(set_up(registry, BLACKHOLE), query("x.ads.example.com.")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(("name", "code", "text"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_mistakes_of_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, text: str
) -> None:
    announce(tmp_path, name, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=text):
        find_plugins()

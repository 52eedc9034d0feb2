"""hosts: what files and lines say, in the order in which they say it, as they change."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import weakref
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import pytest

from kubedns import log
from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ResolveError, ServerBlock, Shared
from kubedns.wire.name import name as wire_name
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, UNTIL_RELOAD
from plugins import hosts
from plugins.hosts import metrics
from plugins.hosts.options import read_options
from tests.plugins.helpers import answering, ask, directive, failing, placed, query, run

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
127.0.0.1 localhost localhost.domain
::1 localhost
10.0.0.1 example.org www.example.org   # web
::FFFF:10.0.0.2 example.com
10.0.0.3 example.org
10.0.0.9 *.apps.example.org
fd00::9 *.apps.example.org
10.0.0.7 db.apps.example.org
10.0.0.8
10.0.0.300 bad.example.org
fe80::1%eth0 scoped.example.org twice..dots
10.0.0.4 UPPER.example.org. \\100ot.example.org
10.0.0.1 * one.two
"""
NEXT = "passed on"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "H"
    path.write_text(FILE)
    return path


def set_up(file: Path | str, zones: str = "", *properties: str) -> hosts.Hosts:
    text = f"hosts {file} {zones} {{\n" + "\n".join(properties) + "\n}"
    return hosts.setup(directive(text), ServerBlock((".",)))


async def resolve(plugin: hosts.Hosts, name: str, qtype: str) -> str:
    """Return a reply as a client that is not ours reads it: RCODE and flags unless as usual, then rdata."""
    asked = query(name, qtype)
    reply = await ask(plugin, asked, failing(ResolveError(NEXT)))
    if isinstance(reply, ResolveError):
        return str(reply) or reply.rcode.name
    message = dns.message.from_wire(reply.octets(asked))
    assert not message.authority
    assert not message.additional
    assert all(rrset.name.to_text() == name for rrset in message.answer)
    words = [rdata.to_text() for rrset in message.answer for rdata in rrset]
    flags = dns.flags.to_text(message.flags)
    return " ".join(words if flags == "QR AA RD" and message.rcode() == 0 else [str(message.rcode()), flags, *words])


def told(plugin: hosts.Hosts, name: str, qtype: str) -> str:
    """Ask twice: what is kept from the first time says the same."""

    async def twice() -> str:
        await plugin.file.start()
        first = await resolve(plugin, name, qtype)
        assert await resolve(plugin, name, qtype) == first
        await plugin.file.stop()
        return first

    return run(twice())


ALL = ("fallthrough",)
SERVFAIL = "SERVFAIL"  # as the server says it, with nothing to log
REPLIES = [
    ("order of the file", "", (), "example.org.", "A", "10.0.0.1 10.0.0.3"),
    ("letter case", "", (), "EXAMPLE.org.", "A", "10.0.0.1 10.0.0.3"),
    ("mapped", "", (), "example.com.", "A", "10.0.0.2"),
    ("no data of the family", "", (), "example.com.", "AAAA", ""),
    ("ipv6", "", (), "localhost.", "AAAA", "::1"),
    ("no data of the type", "", (), "example.org.", "MX", ""),
    ("any", "", (), "example.org.", "ANY", ""),
    ("unknown", "", (), "nope.org.", "A", SERVFAIL),
    ("unknown, any", "", (), "nope.org.", "ANY", SERVFAIL),
    ("unknown, fallthrough", "", ALL, "nope.org.", "A", NEXT),
    ("unknown, other fallthrough", "", ("fallthrough example.net",), "nope.org.", "A", SERVFAIL),
    ("no data despite fallthrough", "", ALL, "example.org.", "MX", ""),
    ("unsupported", "", ("fallthrough_unsupported", *ALL), "example.org.", "MX", NEXT),
    ("supported", "", ("fallthrough_unsupported", *ALL), "example.com.", "AAAA", ""),
    ("outside", "", ("fallthrough example.net", "fallthrough_unsupported"), "example.org.", "TXT", ""),
    ("ptr", "", (), "1.0.0.10.in-addr.arpa.", "PTR", "example.org. www.example.org. one.two."),
    ("ptr of ipv6", "", (), f"1.{'0.' * 31}ip6.arpa.", "PTR", "localhost."),
    ("ptr of a mapped address", "", (), f"2.0.0.0.0.0.a.0.f.f.f.f.{'0.' * 20}ip6.arpa.", "PTR", "example.com."),
    ("no ptr of a wildcard", "", (), "9.0.0.10.in-addr.arpa.", "PTR", NEXT),
    ("ptr outside of the zone", "example.org", (), "1.0.0.10.in-addr.arpa.", "PTR", "example.org. www.example.org."),
    ("reverse name cut short", "", (), "0.10.in-addr.arpa.", "PTR", NEXT),
    ("ptr of a forward name", "", (), "example.org.", "PTR", NEXT),
    ("ptr off", "", ("no_reverse",), "1.0.0.10.in-addr.arpa.", "PTR", NEXT),
    ("other zone", "example.org", (), "example.com.", "A", NEXT),
    ("reverse zone by CIDR", "10.0.0.0/24", (), "0.0.10.in-addr.arpa.", "A", SERVFAIL),
    ("wildcard", "", (), "a.apps.example.org.", "A", "10.0.0.9"),
    ("wildcard of ipv6", "", (), "a.apps.example.org.", "AAAA", "fd00::9"),
    ("wildcard, no data", "", (), "a.apps.example.org.", "MX", ""),
    ("wildcard is one label", "", (), "x.a.apps.example.org.", "A", SERVFAIL),
    ("wildcard is not its parent", "", (), "apps.example.org.", "A", SERVFAIL),
    ("own name before wildcard", "", (), "db.apps.example.org.", "A", "10.0.0.7"),
    ("wildcard of the other family", "", (), "db.apps.example.org.", "AAAA", "fd00::9"),
    ("a lone asterisk matches nothing", "", (), "nope.", "A", SERVFAIL),
    ("root", "", (), ".", "A", SERVFAIL),
    ("interface", "", (), "scoped.example.org.", "AAAA", "fe80::1"),
    ("bad address", "", (), "bad.example.org.", "A", SERVFAIL),
    ("capital letters", "", (), "upper.example.org.", "A", "10.0.0.4"),
    ("escape", "", (), "dot.example.org.", "A", "10.0.0.4"),
    ("file, then Corefile", "", ("10.9.9.9 example.org",), "example.org.", "A", "10.0.0.1 10.0.0.3 10.9.9.9"),
    ("wildcards of each", "", ("10.9.9.9 *.apps.example.org",), "db.apps.example.org.", "A", "10.0.0.7 10.9.9.9"),
    ("misspelled option", "", ("ttll 60",), "example.com.", "A", "10.0.0.2"),
]


@pytest.mark.parametrize(
    ("zones", "properties", "name", "qtype", "expected"), [row[1:] for row in REPLIES], ids=[row[0] for row in REPLIES]
)
def test_reply(file: Path, zones: str, properties: tuple[str, ...], name: str, qtype: str, expected: str) -> None:
    assert told(set_up(file, zones, *properties), name, qtype) == expected


def test_ttl(file: Path) -> None:
    async def ttls(*properties: str) -> set[int]:
        plugin = set_up(file, "", "reload 0s", *properties)
        await plugin.file.start()
        reply = await plugin.resolve(query("example.org."), answering(Reply()))
        return {rr.ttl for rr in reply.answer}

    assert run(ttls()) == {3600}
    assert run(ttls("ttl 60")) == {60}


ERRORS = [
    ("ttl-none", "ttl", "ttl needs a time in second", "3:1"),
    ("ttl-word", "ttl x", "ttl needs a number of second", "3:5"),
    ("ttl-zero", "ttl 0", "ttl provided is invalid", "3:5"),
    ("ttl-high", "ttl 65536", "ttl provided is invalid", "3:5"),
    ("reload-none", "reload", "reload needs a duration (zero seconds to disable)", "3:1"),
    ("reload-two", "reload 1s 2s", "reload needs a duration (zero seconds to disable)", "3:11"),
    ("reload-unit", "reload 5", "invalid duration for reload '5'", "3:8"),
    ("reload-negative", "reload -5s", "invalid negative duration for reload '-5s'", "3:8"),
    ("after-fallthrough", "fallthrough\n10.0.0.1 example.org", "unknown property '10.0.0.1'", "4:1"),
    ("unsupported-alone", "fallthrough_unsupported", "fallthrough_unsupported requires fallthrough", "3:1"),
]


@pytest.mark.parametrize(("property_", "text", "where"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_error(file: Path, property_: str, text: str, where: str) -> None:
    with pytest.raises(CorefileError) as raised:
        set_up(file, "", property_)
    assert str(raised.value) == f"Corefile:{where.partition(':')[0]} - Error during parsing: {text}"
    assert placed(raised.value) == where
    assert raised.value.cure


def test_all_errors_are_told(file: Path) -> None:
    with pytest.raises(CorefileError) as raised:
        set_up(file, "", "ttl x", "reload 5")
    assert [placed(error) for error in raised.value.errors] == ["3:5", "4:8"]


def test_once() -> None:
    with pytest.raises(CorefileError, match="this plugin can only be used once per Server Block"):
        hosts.setup(directive("hosts\nhosts"), ServerBlock((".",)))


def test_a_file_that_can_not_be_reached(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(CorefileError, match=f"unable to access hosts file '{path}': stat {path}: file name too long"):
        set_up(path)


def test_a_missing_file_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = hosts.setup(directive("hosts none.txt {\n10.9.9.9 example.org\n}"), ServerBlock((".",), root=tmp_path))
    assert capsys.readouterr().out == f"[WARNING] plugin/hosts: File does not exist: {tmp_path / 'none.txt'}\n"
    assert told(plugin, "example.org.", "A") == "10.9.9.9"


def test_a_folder_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = set_up(tmp_path)
    assert capsys.readouterr().out == f'[WARNING] plugin/hosts: Hosts file "{tmp_path}" is a directory\n'
    assert told(plugin, "example.org.", "A") == SERVFAIL


def test_a_fifo_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert told(set_up(tmp_path / "fifo"), "example.org.", "A") == SERVFAIL


def test_entries(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(log.output, "debug", True)
    file.write_text("10.0.0.1 a b\n10.0.0.1 *.c")
    plugin = set_up(file, "", "10.0.0.2 d")
    told(plugin, "a.", "A")
    assert plugin.entries == 7
    assert plugin.file.modified == file.stat().st_mtime
    assert "[DEBUG] plugin/hosts: Parsed hosts file into 5 entries\n" in capsys.readouterr().out


def exposed(*plugins: hosts.Hosts) -> dict[str, float]:
    """Return what is exposed while these are in service, by the file's name where there is one."""
    for plugin in plugins:
        plugin.begin()
    families = list(metrics.families(hosts.current))
    asyncio.run(stop(*plugins))
    assert {family.type for family in families} == {"gauge"}
    return {
        sample.labels.get("hostsfile", sample.name): sample.value for family in families for sample in family.samples
    }


async def stop(*plugins: hosts.Hosts) -> None:
    for plugin in plugins:
        await plugin.stop()


def test_metrics(tmp_path: Path) -> None:
    first, second, none = tmp_path / "first", tmp_path / "second", tmp_path / "none"
    first.write_text("10.0.0.1 a b\n10.0.0.1 *.c")
    second.write_text("10.0.0.1 a")
    os.utime(first, (100.5, 100.5))
    os.utime(second, (50.25, 50.25))
    block = ServerBlock((".",))

    def made(file: Path) -> hosts.Hosts:
        return hosts.setup(directive(f"hosts {file} {{\n10.0.0.2 d\nreload 0s\n}}"), block)

    assert exposed() == {"coredns_hosts_reload_timestamp_seconds": 0}
    plugins = made(first), made(none), made(second)
    for plugin in plugins:
        asyncio.run(plugin.file.start())
    seconds = "coredns_hosts_reload_timestamp_seconds"
    assert exposed(*plugins) == {str(first): 7, str(second): 4, seconds: 50.25}
    assert exposed(plugins[0]) == {str(first): 7, seconds: 100.5}
    other = hosts.setup(directive(f"hosts {second}"), ServerBlock((".",)))
    asyncio.run(other.file.start())
    assert exposed(*plugins, other) == {str(second): 2, seconds: 50.25}  # of another configuration


def test_of_blocks_with_one_file_the_last_to_read_it_tells_its_entries(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("10.0.0.1 a.test b.example c.example")
    block = ServerBlock((".",))
    plugins = [hosts.setup(directive(f"hosts {file} {zone} {{\nreload 0s\n}}"), block) for zone in ("test", "example")]

    def entries(reader: hosts.Hosts, written: float) -> float:
        os.utime(file, (written, written))
        asyncio.run(reader.file.read())
        return exposed(*plugins)[str(file)]

    first, second = plugins
    assert [entries(first, 1), entries(second, 2), entries(first, 3)] == [2, 4, 2]


def rewrite(path: Path, text: str, age: float) -> None:
    """Put another file in its place, as editors and kubelets do."""
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, (time.time() - age,) * 2)
    new.rename(path)


def test_changes_are_followed(file: Path) -> None:
    async def follow() -> None:
        os.utime(file, (1, 1))
        plugin = set_up(file)
        await plugin.file.start()
        assert await resolve(plugin, "example.com.", "A") == "10.0.0.2"
        assert await resolve(plugin, "new.org.", "A") == SERVFAIL
        kept = await plugin.resolve(query("example.com."), answering(Reply()))
        rewrite(file, "10.0.0.5 new.org", 100)
        await asyncio.sleep(4)
        assert kept.validity.holds(0)
        assert await resolve(plugin, "new.org.", "A") == SERVFAIL
        await asyncio.sleep(2)
        assert not kept.validity.holds(0)
        assert await resolve(plugin, "new.org.", "A") == "10.0.0.5"
        assert await resolve(plugin, "example.com.", "A") == SERVFAIL
        file.unlink()  # noqa: ASYNC240 - nobody else is on this loop
        await asyncio.sleep(20)
        assert await resolve(plugin, "new.org.", "A") == "10.0.0.5"
        rewrite(file, "10.0.0.6 new.org", 50)
        await asyncio.sleep(6)
        assert await resolve(plugin, "new.org.", "A") == "10.0.0.6"
        assert plugin.file.readings == 3
        await plugin.file.stop()

    run(follow())


def test_reload_of_zero_reads_once(file: Path) -> None:
    async def follow() -> None:
        plugin = set_up(file, "", "reload 0s")
        await plugin.file.start()
        rewrite(file, "10.0.0.5 example.com", 100)
        await asyncio.sleep(100)
        assert await resolve(plugin, "example.com.", "A") == "10.0.0.2"

    run(follow())


def test_a_new_configuration_reads_at_once(file: Path) -> None:
    async def replace() -> None:
        old = set_up(file, "", "reload 0s")
        await old.file.start()
        await old.start()
        rewrite(file, "10.0.0.5 example.com", 100)
        new = hosts.Hosts(read_options(directive(f"hosts {file}"), ServerBlock((".",))), old.file, Shared())
        await new.start()
        assert await resolve(new, "example.com.", "A") == "10.0.0.5"

    run(replace())


def test_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    """A mounted ConfigMap: the file is a link through a link, and the latter is renamed over."""

    async def follow() -> None:
        for name, text in (("old", "10.0.0.1 a.org"), ("new", "10.0.0.2 a.org")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "hosts").write_text(text)
            os.utime(tmp_path / name / "hosts", (1, 1))
        (tmp_path / "..data").symlink_to("old")
        (tmp_path / "hosts").symlink_to("..data/hosts")
        plugin = set_up(tmp_path / "hosts")
        await plugin.file.start()
        assert await resolve(plugin, "a.org.", "A") == "10.0.0.1"
        (tmp_path / "..tmp").symlink_to("new")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        await asyncio.sleep(6)
        assert await resolve(plugin, "a.org.", "A") == "10.0.0.2"
        await plugin.file.stop()

    run(follow())


def test_a_reply_from_behind_holds_until_the_file_changes(file: Path) -> None:
    async def pass_on() -> None:
        os.utime(file, (1, 1))
        plugin = set_up(file, "", "fallthrough")
        await plugin.file.start()
        shared = Reply(validity=UNTIL_RELOAD)
        passed = await plugin.resolve(query("new.org."), answering(shared))
        assert await plugin.resolve(query("other.org."), answering(shared)) is passed
        assert passed.validity.holds(0)
        rewrite(file, "10.0.0.5 new.org", 100)
        await asyncio.sleep(6)
        assert not passed.validity.holds(0)
        assert shared.validity.holds(0)
        await plugin.file.stop()

    run(pass_on())


REVERSE = "9.9.9.10.in-addr.arpa."
GAINS = {  # what the file has besides, what an upstream was asked for before, and whether that is to be forgotten
    "nothing": ("", "new.org.", "A", False),
    "the name": ("10.0.0.5 new.org", "NEW.org.", "AAAA", True),
    "another name": ("10.0.0.5 other.org", "new.org.", "A", False),
    "a wildcard for it": ("10.0.0.5 *.new.org", "www.new.org.", "A", True),
    "the address": ("10.9.9.9 new.org", REVERSE, "PTR", True),
    "another address": ("10.9.9.8 new.org", REVERSE, "PTR", False),
    "the address of a wildcard": ("10.9.9.9 *.new.org", "new.org.", "A", True),
    "a name of the address's other type": ("fd00::1 new.org", "new.org.", "MX", True),
}


@pytest.mark.parametrize(("line", "name", "rrtype", "gained"), GAINS.values(), ids=GAINS)
def test_what_an_upstream_said_holds_until_the_file_has_the_name(
    file: Path, line: str, name: str, rrtype: str, *, gained: bool
) -> None:
    async def pass_on() -> None:
        os.utime(file, (1, 1))
        plugin = set_up(file, "", "fallthrough")
        await plugin.file.start()
        forwarded = await plugin.resolve(query(name, rrtype), answering(Reply(validity=NEVER)))
        assert forwarded.validity.never
        rewrite(file, f"10.0.0.1 old.org\n{line}", 100)
        await plugin.file.read()
        assert [token.stale for token in forwarded.validity.tokens] == [gained]  # what a cache makes of it ends too
        await plugin.file.stop()

    run(pass_on())


def test_an_entry_of_a_cache_may_outlive_the_reload_that_shows_the_file(file: Path) -> None:
    async def pass_on() -> None:
        os.utime(file, (1, 1))
        plugin = set_up(file, "", "fallthrough", "reload 0s")
        await plugin.file.start()
        forwarded = await plugin.resolve(query("new.org."), answering(Reply(validity=NEVER)))
        rewrite(file, "10.0.0.5 new.org", 100)
        await plugin.start()
        assert [token.stale for token in forwarded.validity.tokens] == [True]
        await plugin.file.stop()

    run(pass_on())


def test_a_reply_from_behind_does_not_hold_if_the_file_changed_while_it_was_awaited(file: Path) -> None:
    """The name may be in the file by now: nobody looked at what it holds since."""

    async def pass_on() -> None:
        os.utime(file, (1, 1))
        plugin = set_up(file, "", "fallthrough")
        await plugin.file.start()
        behind = Reply(validity=UNTIL_RELOAD)

        async def slowly(_: object) -> Reply:
            rewrite(file, "10.0.0.5 new.org", 100)
            await asyncio.sleep(6)
            assert await resolve(plugin, "new.org.", "A") == "10.0.0.5"  # another query has noticed
            return behind

        straight = query("new.org.")
        assert plugin.before(straight) is None
        passed = await plugin.resolve(query("new.org."), slowly)
        assert not passed.validity.holds(0)
        assert not plugin.after(straight, behind).validity.holds(0)
        assert (await plugin.resolve(query("other.org."), answering(behind))).validity.holds(0)
        await plugin.file.stop()

    run(pass_on())


def test_blocks_share_a_file(file: Path) -> None:
    block = ServerBlock((".",))
    first, second = (hosts.setup(directive(f"hosts {file} {{\nttl {ttl}\n}}"), block) for ttl in (1, 2))
    assert first.file is second.file


def test_a_hundred_thousand_lines_hold_nobody_up(file: Path) -> None:
    async def read() -> float:
        plugin = set_up(file, "", "reload 0s")
        starting = asyncio.create_task(plugin.file.start())
        longest, last = 0.0, time.thread_time()  # of our own, whatever else the machine does
        while not starting.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now
        assert plugin.entries == 200_000
        assert await resolve(plugin, "host99999.example.org.", "A") == "10.1.134.159"
        return longest

    lines = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} host{n}.example.org\n" for n in range(100_000))
    file.write_text("".join(lines))
    os.utime(file, (1, 1))
    assert asyncio.run(read()) < 0.05  # 0.006 s


def test_one_address_of_very_many_names(file: Path) -> None:
    """What no message can hold is not even composed."""
    file.write_text("".join(f"0.0.0.0 ads{n}.example.org\n" for n in range(20_000)))
    os.utime(file, (1, 1))

    async def reverse() -> None:
        plugin = set_up(file, "", "reload 0s")
        await plugin.file.start()
        asked = query("0.0.0.0.in-addr.arpa.", "PTR", transport="tcp")
        octets = (await plugin.resolve(asked, answering(Reply()))).octets(asked)
        assert len(octets) <= 65535
        assert octets[2] & 2

    run(reverse())


@pytest.mark.parametrize(
    ("line", "heeded"),
    [
        ("10.0.0.1 x.nothing.example.org", False),
        ("10.0.0.1 *.nothing.example.org", False),
        ("10.0.0.1 nothing.example.org", True),
        ("10.0.0.1 x.y.nothing.example.org", True),
    ],
)
def test_a_denial_is_taken_back_where_a_name_of_ours_is_right_below(file: Path, line: str, heeded: bool) -> None:
    async def pass_on() -> None:
        plugin = set_up(file, "", f"{line}\nfallthrough")
        await plugin.file.start()
        denial = Reply(rcode=3, validity=UNTIL_RELOAD).replaced(denies=wire_name("nothing.example.org"))
        passed = await plugin.resolve(query("a.nothing.example.org."), answering(denial))
        assert bool(passed.denies) == heeded
        await plugin.file.stop()

    run(pass_on())


class Beside:
    """Siblings that never answer."""

    def __init__(self, parent: bytes) -> None:
        self.parent = parent

    def answer(self, _label: bytes, _now: float) -> None:
        return None


@pytest.mark.parametrize(
    ("line", "parent", "heeded"),
    [
        ("10.0.0.1 x.nothing.example.org", "nothing.example.org", False),
        ("10.0.0.1 x.nothing.example.org", "0.0.10.in-addr.arpa", False),
        ("10.0.0.1 x.y.example.org\nno_reverse", "0.0.10.in-addr.arpa", True),
    ],
)
def test_siblings_are_taken_back_as_well(file: Path, line: str, parent: str, heeded: bool) -> None:
    """An address with a name of ours has it first, wherever its own is."""

    async def pass_on() -> None:
        plugin = set_up(file, "", f"{line}\nfallthrough")
        await plugin.file.start()
        reply = Reply(validity=UNTIL_RELOAD)
        reply.siblings = Beside(wire_name(parent))
        passed = await plugin.resolve(query(f"a.{parent}."), answering(reply))
        assert (passed.siblings is not None) == heeded
        await plugin.file.stop()

    run(pass_on())


def test_a_file_that_is_followed_no_more_is_let_go_at_once(file: Path) -> None:
    """It may have a hundred thousand lines, and the collector hardly ever comes by."""

    async def told() -> None:
        gc.collect()
        gc.disable()
        try:
            plugin = set_up(file, "", "fallthrough")
            await plugin.file.start()
            await plugin.start()
            held = weakref.ref(plugin.file)
            await plugin.stop()
            await plugin.file.stop()
            del plugin
            assert held() is None
        finally:
            gc.enable()

    run(told())

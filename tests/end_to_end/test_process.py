"""The command line: what it prints, where, and the status that it ends with."""

from __future__ import annotations

import json
import re
import socket
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from kubedns import __version__
from tests.end_to_end.client import addresses, ask, compose, parse
from tests.end_to_end.server import COMMAND, SAMPLE, Ports, Server, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = rf"kubedns-{re.escape(__version__)}\nlinux/(amd64|arm64|\w+), python3\.\d+\.\d+\S*, \w*\n"
WRONG_ARGUMENTS = "Error during parsing: Wrong argument count or unexpected line ending after"
WHOAMI = ".:{port} {{\n    whoami\n}}\n"


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


@pytest.mark.parametrize("flag", ["-version", "--version", "-version=true"])
def test_the_version_is_two_lines(flag: str, tmp_path: Path) -> None:
    ended = run(tmp_path, flag)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(VERSION, ended.stdout)


def test_plugins_are_listed_in_alphabetical_order(tmp_path: Path) -> None:
    ended = run(tmp_path, "-plugins")
    names = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert names == sorted(names)
    assert {"errors", "kubernetes", "log", "whoami"} <= set(names)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-h"], 0, r"Usage of kubedns:\n"),
        (["--help"], 0, r"Usage of kubedns:\n"),
        (["-no-such"], 2, r"flag provided but not defined: -no-such\nUsage of kubedns:\n"),
        (["--no-such=1"], 2, r"flag provided but not defined: -no-such\nUsage"),
        (["-conf"], 2, r"flag needs an argument: -conf\nUsage"),
        (["-p", "x"], 2, r'invalid value "x" for flag -p: '),
        (["-log-format", "xml"], 2, r'invalid value "xml" for flag -log-format: '),
        (["foo", "bar"], 1, r"\S+ \S+ extra command line arguments: \[foo bar\]\n$"),
        (["-quiet", "foo"], 1, r"\S+ \S+ extra command line arguments: \[foo\]\n$"),
        (["-conf", "absent"], 1, r"loading Caddyfile via flag: open absent: no such file or directory\n"),
        (["-conf", "."], 1, r"loading Caddyfile via flag: read \.: is a directory\n"),
        (["-plugin-dir", "absent"], 1, r"plugin folder absent: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_ends_at_once(arguments: list[str], status: int, said: str, tmp_path: Path) -> None:
    ended = run(tmp_path, *arguments)
    assert ended.returncode == status
    assert ended.stdout == ""
    assert re.match(said, ended.stderr)


def test_the_banner_names_every_zone_and_where(ports: Ports, tmp_path: Path) -> None:
    one, two = ports.take(), ports.take()
    corefile = (
        f"b.org:{one} a.org:{one} 10.0.0.0/15:{one} _x.org:{one} {{\n whoami\n}}\n"
        f"bound.org:{two} {{\n bind 127.0.0.1 ::1\n whoami\n}}\n"
    )
    with serving(tmp_path, corefile) as server:
        assert server.end() == 0
    lines = [line for line in server.output.all if not line.startswith("[")]
    warning = 'Warning: Domain "_x.org." does not follow RFC1035 preferred syntax'
    zones = [
        f"0.10.in-addr.arpa.:{one}",
        f"1.10.in-addr.arpa.:{one}",
        f"_x.org.:{one}",
        f"a.org.:{one}",
        f"b.org.:{one}",
    ]
    assert [after for line, after in pairwise(lines) if line == warning] == [f"_x.org.:{one}"]
    shown = [line for line in lines if line != warning]
    assert set(shown[:-2]) == {*zones, f"bound.org.:{two} on 127.0.0.1", f"bound.org.:{two} on ::1"}
    assert [line for line in shown if line in zones] == zones
    assert re.fullmatch(VERSION, "".join(f"{line}\n" for line in shown[-2:]))
    assert server.errors.text == ""


def test_quiet_leaves_only_log_lines(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    (tmp_path / "Corefile").write_text(f".:{port} {{\n log\n whoami\n}}\n")
    with Server(("-quiet",), tmp_path, {}, COMMAND) as server:
        reply = None
        while reply is None:
            reply = ask(port, compose("Example.org"), timeout=0.1)
        assert server.end() == 0
    assert {line[:7] for line in server.output.all} == {"[INFO] "}
    assert '"A IN example.org. udp 29 false 512" NOERROR qr,aa,rd ' in server.output.text


def test_log_lines_as_json(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, f".:{port} {{\n log\n whoami\n}}\n", "-log-format", "json") as server:
        ask(port, compose("example.org"))
        server.end()
    lines = [json.loads(line) for line in server.output.all if line.startswith("{")]
    assert [line["level"] for line in lines] == ["info", "info"]
    assert '"A IN example.org. udp' in lines[0]["msg"]
    assert lines[1]["msg"] == "SIGTERM: Shutting down servers then terminating"
    assert not [line for line in server.output.all if line.startswith("[")]


def test_the_pid_file_lives_as_long_as_the_process(ports: Ports, tmp_path: Path) -> None:
    pidfile = tmp_path / "kubedns.pid"
    with serving(tmp_path, WHOAMI.format(port=ports.take()), "-pidfile", str(pidfile)) as server:
        assert int(pidfile.read_text()) == server.process.pid
        assert server.end() == 0
    assert not pidfile.exists()


def test_a_pid_file_that_cannot_be_written_is_an_error_line(ports: Ports, tmp_path: Path) -> None:
    with serving(tmp_path, WHOAMI.format(port=ports.take()), "-pidfile", "absent/pid") as server:
        said = server.output.wait_for("pidfile")
        assert said == "[ERROR] Could not write pidfile: open absent/pid: no such file or directory"
        assert server.end() == 0


def test_without_a_corefile_whoami_answers_on_the_default_port(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with Server(("-p", "1", "-dns.port", str(port)), tmp_path, {}, COMMAND) as server:
        server.wait_until_started()
        reply = ask(port, compose("anything.example"))
        assert reply is not None
        assert len(parse(reply).additional) == 2
        assert "no Caddyfile loader with which to reload Caddyfile" in server.reload()
        assert server.end() == 0
    assert server.output.all[0] == f".:{port}"
    assert server.output.wait_for(r'"A IN anything\.example\. udp')


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "{\n whoami\n}\n", "(c) {\n log\n}\n", '"" {\n whoami\n}\n']
)
def test_a_corefile_without_a_block_is_the_built_in_one(text: str, ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, text, "-p", str(port)) as server:
        assert server.output.all[0] == f".:{port}"
        assert ask(port, compose("example.org")) is not None


def test_the_corefile_in_the_folder_is_the_default(ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text("example.org {\n whoami\n}\n")
    port = ports.take()
    with Server((f"--p={port}",), tmp_path, {}, COMMAND) as server:
        server.wait_until_started()
        assert server.output.all[0] == f"example.org.:{port}"


def test_the_corefile_from_standard_input(tmp_path: Path) -> None:
    ended = run(tmp_path, "-conf", "stdin", stdin="a.org {\n  nonsense x\n}\n")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("/dev/stdin:2 - Error during parsing: Unknown directive 'nonsense'\n")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (socket.SOCK_STREAM, "Listen: listen tcp :{port}: bind: address already in use"),
        (socket.SOCK_DGRAM, "ListenPacket: listen udp :{port}: bind: address already in use"),
    ],
    ids=["tcp", "udp"],
)
def test_a_port_that_another_holds(kind: socket.SocketKind, said: str, ports: Ports, tmp_path: Path) -> None:
    port, free = ports.take(), ports.take()
    with socket.socket(socket.AF_INET6, kind) as other:
        other.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        (tmp_path / "Corefile").write_text(f".:{free} .:{port} {{\n whoami\n}}\n")
        ended = run(tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[0] == said.format(port=port)


def test_an_address_that_is_not_ours(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    (tmp_path / "Corefile").write_text(f".:{port} {{\n bind 192.0.2.250\n whoami\n}}\n")
    ended = run(tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Listen: listen tcp 192.0.2.250:{port}: bind: cannot assign requested address\n")


def test_two_processes_share_a_port(ports: Ports, tmp_path: Path) -> None:
    corefile = WHOAMI.format(port=(port := ports.take()))
    with serving(tmp_path, corefile) as first, serving(tmp_path, corefile) as second:
        assert first.end() == 0
        assert ask(port, compose("example.org")) is not None
        assert second.end() == 0


def test_no_listener_left_is_no_error(ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(f".:{ports.take()} {{\n bind lo {{\n except lo\n }}\n whoami\n}}\n")
    ended = run(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(VERSION, ended.stdout)


ERRORS = {
    "70 defined twice": (
        "a.org {\n whoami\n}\nA.ORG.:53 {\n whoami\n}\n",
        "cannot serve dns://a.org.:53 - it is already defined",
    ),
    "71 brace on the next line": (
        ".:53 {\n kubernetes cluster.local\n {\n  ttl 50\n }\n}\n",
        "plugin/kubernetes: this plugin can only be used once per Server Block",
    ),
    "72 brace on the same line": (
        ".:53 {\n kubernetes cluster.local { pods verified }\n}\n",
        f"plugin/kubernetes: Corefile:2 - {WRONG_ARGUMENTS} '}}'",
    ),
    "73 the earlier plugin first": (
        "a.org {\n whoami x\n}\nb.org {\n errors a\n}\n",
        "plugin/errors: Corefile:5 - Error during parsing: invalid log file: a",
    ),
    "no block end": ("a.org {\n whoami", "Corefile:2 - Syntax error: Unexpected token 'whoami', expecting '}'"),
    "a port out of range": ("a.org:99999 {\n whoami\n}\n", "address 99999: invalid port"),
    "an unknown key": ("a..b {\n whoami\n}\n", "error inspecting server blocks: zone is not a valid domain name: a..b"),
    "a transport": ("tls://a.org {\n whoami\n}\n", "transport tls:// is not supported yet"),
    "only reverse zones": (
        "10.0.0.0/8 {\n kubernetes\n}\n",
        "plugin/kubernetes: non-reverse zone name must be used",
    ),
    "an unknown interface": (
        "a.org {\n bind foo0\n whoami\n}\n",
        'plugin/bind: not a valid IP address or interface name: "foo0"',
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_corefile_that_is_refused(error: str, tmp_path: Path) -> None:
    corefile, said = ERRORS[error]
    (tmp_path / "Corefile").write_text(corefile)
    ended = run(tmp_path, "-conf", "Corefile")
    assert (ended.returncode, ended.stdout) == (1, "")
    first, *more = ended.stderr.splitlines()
    assert first == said
    assert more, "a cure follows"
    assert "Traceback" not in ended.stderr


OPTIONS = {
    "pods x": "wrong value for pods: x,  must be one of: disabled, verified, insecure",
    "pods": f"{WRONG_ARGUMENTS} 'pods'",
    "endpoint_pod_names x": f"{WRONG_ARGUMENTS} 'x'",
    "ttl x": 'strconv.Atoi: parsing "x": invalid syntax',
    "ttl 3601": "Error during parsing: ttl must be in range [0, 3600]: 3601",
    "namespaces": f"{WRONG_ARGUMENTS} 'namespaces'",
    "namespace_labels a in b": "unable to parse namespace_label selector value: 'a in b': ",
    "labels ,": "unable to parse label selector value: ',': ",
    "noendpoints x": f"{WRONG_ARGUMENTS} 'x'",
    "ignore x": "unable to parse ignore value: 'x'",
    "startup_timeout 5": 'failed to parse startup_timeout: 5, time: missing unit in duration "5"',
    "upstream x": "Error during parsing: unknown property 'upstream'",
    "wildcard": "Error during parsing: unknown property 'wildcard'",
}


def test_every_error_is_told_with_its_place_and_line(tmp_path: Path) -> None:
    """CoreDNS stops at the first; here a block for each wrong option, and all are told in one go."""
    blocks = [
        f"z{at}.org {{\n    kubernetes cluster.local {{\n\t{line}\n    }}\n}}\n" for at, line in enumerate(OPTIONS)
    ]
    (tmp_path / "Corefile").write_text("".join(blocks))
    ended = run(tmp_path, "-conf", "Corefile", "--manifests", ".")
    assert (ended.returncode, ended.stdout) == (1, "")
    reports = ended.stderr.rstrip().split("\n\n")
    assert len(reports) == len(OPTIONS)
    for at, (report, (line, said)) in enumerate(zip(reports, OPTIONS.items(), strict=True)):
        first, place, quoted, caret = report.splitlines()[:4]
        assert first.startswith("plugin/kubernetes: ")
        assert said in first
        found = re.fullmatch(r"  --> Corefile:(\d+):(\d+)", place)
        assert found
        assert int(found[1]) == at * 5 + 3
        assert quoted == f"    \t{line}".rstrip()
        assert re.fullmatch(r"    \t *\^+", caret)
        words = line.split()
        assert line[caret.index("^") - 5 :][: caret.count("^")] in {*words, " ".join(words[1:])}


def test_errors_of_several_steps_come_in_order(tmp_path: Path) -> None:
    corefile = "a..b {\n whoami x\n}\na.org {\n nonsense\n errors a\n}\na.org {\n whoami\n}\n"
    (tmp_path / "Corefile").write_text(corefile)
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert [report.splitlines()[0] for report in ended.stderr.split("\n\n")] == [
        "Corefile:5 - Error during parsing: Unknown directive 'nonsense'",
        "error inspecting server blocks: zone is not a valid domain name: a..b",
        "plugin/errors: Corefile:6 - Error during parsing: invalid log file: a",
        "plugin/whoami: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'x'",
        "cannot serve dns://a.org.:53 - it is already defined",
    ]


def test_environment_and_import_reach_the_process(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "one.conf").write_text("pods insecure\n")
    corefile = "{$ZONE}:{%PORT%} {\n kubernetes {\n  import conf/*.conf\n  import absent/*\n }\n}\n"
    environment = {"ZONE": "cluster.local", "PORT": str(port)}
    with serving(tmp_path, corefile, "--manifests", str(SAMPLE), environment=environment) as server:
        assert addresses(port, "10-1-2-3.default.pod.cluster.local") == ["10.1.2.3"]
        assert "[WARNING] No files matching import glob pattern: absent/*" in server.output.text


def test_own_addresses_are_the_machines(ports: Ports, tmp_path: Path) -> None:
    """What the kernel would send from to a neighbour is one of them; loopback is none."""
    port = ports.take()
    with serving(tmp_path, f".:{port} {{\n kubernetes cluster.local\n}}\n", "--manifests", str(SAMPLE)):
        found = addresses(port, "ns.dns.cluster.local") + addresses(port, "ns.dns.cluster.local", "AAAA")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        assert probe.getsockname()[0] in found
    assert not {"127.0.0.1", "::1"} & set(found)


def test_a_terminal_is_no_standard_input(ports: Ports, tmp_path: Path) -> None:
    """`-conf stdin` without a pipe is as if it were not there."""
    port = ports.take()
    with Server(("-conf", "stdin", "-p", str(port)), tmp_path, {}, COMMAND) as server:
        server.wait_until_started()
        assert server.output.all[0] == f".:{port}"

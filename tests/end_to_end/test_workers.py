"""multisocket: several processes that are one server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.end_to_end.client import Stream, ask, compose, parse
from tests.end_to_end.http import Answer, get, wait_for
from tests.end_to_end.server import COMMAND, PATIENCE, SAMPLE, Ports, Server, run, serving
from tests.end_to_end.workers import (
    CLIENTS,
    ENOUGH,
    PATCHED,
    QUESTION,
    Load,
    ask_from_many,
    children,
    is_alive,
    kill,
    text_of,
    until,
    who_answers,
    write_plugin,
)
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = 16 << 10  # octets that a reload may leave in a process
STARTING = "starting with listener file descriptors"
AT_ONCE = 0.5  # seconds that a change may take from the first worker that answers by it to the last


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    with APIServer(tmp_path_factory.mktemp("apiserver"), bookmark_every=0.3) as server:
        yield server


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


def corefile(port: int, sockets: int | None, *more: str, who: str = "") -> str:
    lines = [f"who {who}".rstrip(), *more] + ([] if sockets is None else [f"multisocket {sockets}"])
    return f".:{port} {{\n    bind 127.0.0.1\n    errors\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


@contextmanager
def running(folder: Path, text: str, *flags: str, patch: str = "") -> Iterator[Server]:
    """Yield a server; nothing that it started may outlive it. `patch` sets constants: see PATCHED."""
    command = (sys.executable, "-c", PATCHED, patch) if patch else COMMAND
    with serving(folder, text, "-plugin-dir", write_plugin(folder), *flags, command=command) as server:
        yield server
        below = children(server.process.pid)
        assert server.end() == 0
    assert [pid for pid in below if is_alive(pid)] == []
    assert "Traceback" not in server.output.text + server.errors.text


def reload_to(server: Server, folder: Path, text: str) -> str:
    (folder / "Corefile").write_text(text)
    return server.reload()


def test_every_worker_answers_and_the_supervisor_does_not(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 3)) as server:
        assert server.output.text.count(f".:{port} on 127.0.0.1\n") == 3
        pids = who_answers(port)
        assert len(pids) == 3
        assert server.process.pid not in pids
        assert pids < set(children(server.process.pid))
        assert {text_of(reply or b"").split()[1] for reply in ask_from_many(port)} == {"worker"}
        with Stream(port) as stream:
            stream.send(QUESTION)
            assert int(text_of(stream.receive() or b"").split()[0]) in pids


@pytest.mark.parametrize("sockets", [None, 1])
def test_without_workers_there_is_one_process(sockets: int | None, ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, sockets)) as server:
        assert who_answers(port) == {server.process.pid}
        assert children(server.process.pid) == []
        assert text_of(ask(port, QUESTION) or b"").split()[1] == "whole"


def test_a_worker_that_is_killed_is_replaced_and_what_waits_in_its_socket_is_answered(
    ports: Ports, tmp_path: Path
) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        before = who_answers(port)
        with Load(port) as load:
            for killed, victim in enumerate(sorted(before), 1):
                kill(victim)
                server.output.wait_for(f"worker {victim} was ended by SIGKILL: another takes its place")
                until(lambda: len(who_answers(port)) == 2 and not is_alive(victim))  # noqa: B023 - called here
                load.wait_for(100)
                # A client has one query under way: what a worker had read when it died is lost, and no more.
                assert load.lost <= 2 * killed
        assert who_answers(port).isdisjoint(before)


def test_where_the_kernel_can_not_be_asked_for_a_pidfd(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2), patch="os:pidfd_open:0") as server:
        victim = min(who_answers(port))
        kill(victim)
        server.output.wait_for(f"worker {victim} was ended by SIGKILL: another takes its place")
        until(lambda: len(who_answers(port)) == 2)
        assert reload_to(server, tmp_path, corefile(port, 3)) == "[INFO] Reloading complete"
        assert len(children(server.process.pid)) == 4


def test_a_query_that_kills_costs_itself(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2)) as server, Load(port) as load:
        assert ask(port, compose("die.example.org", "TXT"), timeout=1) is None
        server.output.wait_for(r"worker \d+ ended with status 9: another takes its place")
        until(lambda: len(who_answers(port)) == 2)
        load.wait_for(100)
        assert load.lost <= 2


def test_workers_that_die_all_the_time_are_made_with_a_pause(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 1 + 1)) as server:
        for _ in range(6):
            ask(port, compose("die.example.org", "TXT"), timeout=0.2)
        server.output.wait_for(r"another takes its place in \d")
        until(lambda: len(who_answers(port)) == 2)


def test_a_worker_that_says_nothing_is_ended_and_replaced(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2), patch="member:PATIENCE:2 crew:ROUND:0.2") as server:
        before = who_answers(port)
        victim = min(before)
        os.kill(victim, signal.SIGSTOP)
        server.output.wait_for(f"worker {victim} has said nothing for 2 s")
        server.output.wait_for(f"worker {victim} was ended by SIGKILL: another takes its place")
        until(lambda: len(who_answers(port)) == 2)
        assert max(before) in who_answers(port)


def test_a_worker_that_does_not_read_changes_is_replaced_before_they_fill_memory(ports: Ports, tmp_path: Path) -> None:
    port, manifests = ports.take(), tmp_path / "cluster.json"
    text = corefile(port, 2, "kubernetes cluster.local")
    manifests.write_text(json.dumps(services(1)))
    flags = ("-manifests", str(manifests))
    with running(tmp_path, text, *flags, patch="member:MOST_WAITING:100000 member:PATIENCE:600") as server:
        victim = min(who_answers(port))
        os.kill(victim, signal.SIGSTOP)
        for last in range(2, 100):
            manifests.write_text(json.dumps(services(last)))
            if f"worker {victim} has not read" in server.output.text:
                break
            time.sleep(0.3)
        server.output.wait_for(f"worker {victim} was ended by SIGKILL: another takes its place")
        until(lambda: len(who_answers(port)) == 2)
        until(partial(all_say, port, compose("s1999.shop.svc.cluster.local"), f"10.7.207.{last}"))


def services(last: int) -> dict[str, object]:
    """Return two thousand Services, all of which change with a number."""
    items = [service(f"s{number}", f"10.{number // 256}.{number % 256}.{last}") for number in range(2000)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def test_others_answer_while_no_worker_can_be_made(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        victim, other = sorted(who_answers(port))
        (tmp_path / "dying").touch()
        kill(victim)
        server.output.wait_for(r"ended with status 7 while it started")
        server.output.wait_for(r"ended with status 7: another takes its place in [1-5]\.\d s")
        assert who_answers(port) == {other}
        assert None not in ask_from_many(port)
        (tmp_path / "dying").unlink()
        until(lambda: len(who_answers(port)) == 2)


def test_the_process_that_makes_workers_is_replaced_too(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    flags = ("-manifests", str(SAMPLE))
    with running(tmp_path, corefile(port, 2, "kubernetes cluster.local"), *flags) as server, Load(port) as load:
        workers = who_answers(port)
        [zygote] = set(children(server.process.pid)) - workers
        kill(zygote)
        server.output.wait_for("the process that makes workers ended with status -9: another takes its place")
        assert who_answers(port) == workers
        kill(min(workers))
        until(lambda: len(who_answers(port) - workers) == 1)
        name = compose("kubernetes.default.svc.cluster.local")
        assert {reply and reply[3] & 15 for reply in ask_from_many(port, name)} == {0}
        load.wait_for(100)
    assert load.lost <= CLIENTS  # one each, at most: what waited for a worker that could not come


def test_whatever_dies_while_it_reloads_it_comes_to_itself(ports: Ports, tmp_path: Path) -> None:
    port, chance = ports.take(), random.Random(7)
    text = corefile(port, 3, "kubernetes cluster.local")
    with running(tmp_path, text, "-manifests", str(SAMPLE)) as server, Load(port) as load:
        for _ in range(8):
            (tmp_path / "Corefile").write_text(text.replace("multisocket 3", f"multisocket {chance.choice((1, 2, 4))}"))
            server.send(signal.SIGUSR1)
            time.sleep(chance.random() / 2)
            for pid in chance.sample(below := children(server.process.pid), k=min(2, len(below))):
                with contextlib.suppress(ProcessLookupError):
                    kill(pid)
        (tmp_path / "Corefile").write_text(text)
        until(lambda: server.reload() == "[INFO] Reloading complete")
        until(lambda: len(who_answers(port)) == 3)
        until(lambda: len(children(server.process.pid)) == 4)
        lost = load.lost
        load.wait_for(200)
        assert load.lost - lost <= CLIENTS  # what was under way yet
        name = compose("kubernetes.default.svc.cluster.local")
        assert {reply and reply[3] & 15 for reply in ask_from_many(port, name)} == {0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_no_process_outlives_the_supervisor(number: signal.Signals, ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, corefile(port, 3), "-plugin-dir", write_plugin(tmp_path)) as server:
        below = children(server.process.pid)
        assert len(below) == 4
        assert server.end(number) == (-signal.SIGKILL if number is signal.SIGKILL else 0)
        until(lambda: not any(map(is_alive, below)))
        assert ask(port, QUESTION, timeout=0.2) is None


def test_signals_to_workers_are_left_to_the_supervisor(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        before = who_answers(port)
        for pid in children(server.process.pid):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
                os.kill(pid, number)
        assert who_answers(port) == before
        assert server.output.all[-1].startswith("linux/")


def test_a_plugin_that_fails_to_stop_in_a_worker_makes_the_status_4(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, corefile(port, 2, who="fails"), "-plugin-dir", write_plugin(tmp_path)) as server:
        assert server.end() == 4
    assert server.output.text.count("stopping Who: OSError: cannot stop") == 2


def test_queries_in_flight_are_answered_before_the_end(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, corefile(port, 2), "-plugin-dir", write_plugin(tmp_path)) as server, Stream(port) as stream:
        stream.send(compose("slow.example.org", "TXT"))
        time.sleep(0.3)  # until it is on its way; one that comes too late is not answered, and the test fails
        server.send(signal.SIGTERM)
        reply = stream.receive()
        assert reply is not None
        assert text_of(reply).endswith("worker")
        assert server.process.wait(10) == 0


def test_a_reload_switches_all_or_none(ports: Ports, tmp_path: Path) -> None:
    port, other = ports.take(), ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        before = who_answers(port)
        bad = {
            "who broken supervisor": "ValueError: made to fail by a test",
            "who broken worker": "ValueError: made to fail by a test",
            "nonsense": "Unknown directive 'nonsense'",
        }
        for line, said in bad.items():
            text = corefile(port, 2).replace("who", line) + corefile(other, None)
            failed = reload_to(server, tmp_path, text)
            assert failed.startswith("[ERROR] SIGUSR1: starting with listener file descriptors: ")
            assert said in server.output.text
            assert who_answers(port) == before
            assert ask(other, QUESTION, timeout=0.1) is None
        assert len(children(server.process.pid)) == 3
        assert reload_to(server, tmp_path, corefile(port, 2)) == "[INFO] Reloading complete"
        assert who_answers(port) == before


def test_a_reload_that_one_worker_refuses(ports: Ports, tmp_path: Path) -> None:
    """The other, which is ready by then, goes on as before as well."""
    port, other = ports.take(), ports.take()
    with running(tmp_path, corefile(port, 2)) as server, Load(port) as load:
        before = who_answers(port)
        (tmp_path / "refusing").write_text(str(max(before)))
        for _ in range(3):
            failed = reload_to(server, tmp_path, corefile(port, 2) + corefile(other, None))
            assert failed == f"[ERROR] SIGUSR1: {STARTING}: refused by a test"
            assert who_answers(port) == before
            assert ask(other, QUESTION, timeout=0.1) is None
        (tmp_path / "refusing").unlink()
        assert server.reload() == "[INFO] Reloading complete"
        assert who_answers(port) == who_answers(other) == before
        load.wait_for(100)
    assert load.lost == 0


@pytest.mark.parametrize("dying", [1, 2])
def test_workers_that_die_of_a_reload_are_replaced_by_what_was_before(dying: int, ports: Ports, tmp_path: Path) -> None:
    port, other = ports.take(), ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        before = who_answers(port)
        (tmp_path / "dying").write_text(" ".join(map(str, sorted(before)[:dying])))
        failed = reload_to(server, tmp_path, corefile(port, 2) + corefile(other, None))
        assert failed.endswith("ended with status 7 while it reloaded")
        until(lambda: len(who_answers(port)) == 2)
        assert len(who_answers(port) & before) == 2 - dying
        assert ask(other, QUESTION, timeout=0.1) is None
        assert server.reload() == "[INFO] Reloading complete"
        assert who_answers(port) == who_answers(other)
        assert len(children(server.process.pid)) == 3


def test_a_worker_that_stumbles_where_all_others_go_on_is_replaced(ports: Ports, tmp_path: Path) -> None:
    port, other = ports.take(), ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        before = who_answers(port)
        (tmp_path / "stumbling").write_text(str(min(before)))
        text = corefile(port, 2) + corefile(other, None)
        assert reload_to(server, tmp_path, text) == "[INFO] Reloading complete"
        server.output.wait_for("Restart failed in one worker: stumbled in a test")
        server.output.wait_for(f"worker {min(before)} ended with status 1: another takes its place")
        until(lambda: len(who_answers(other)) == 2)
        assert who_answers(port) == who_answers(other)
        assert who_answers(port) & before == {max(before)}


def test_a_worker_that_is_away_at_a_reload(ports: Ports, tmp_path: Path) -> None:
    """One that has just died, whose successor is being made, takes part in the reload as a new one."""
    port = ports.take()
    with running(tmp_path, corefile(port, 3)) as server, Load(port) as load:
        before = who_answers(port)
        for victim in sorted(before)[:2]:
            kill(victim)
            assert reload_to(server, tmp_path, corefile(port, 3)) in {
                "[INFO] Reloading complete",
                f"[ERROR] SIGUSR1: {STARTING}: worker {victim} was ended by SIGKILL while it reloaded",
            }
            until(lambda: len(who_answers(port)) == 3)
        assert who_answers(port) & before == {max(before)}
        assert len(children(server.process.pid)) == 4
        load.wait_for(100)


def test_many_reloads_leave_nothing_behind(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    text = corefile(port, 2, "kubernetes cluster.local", "cache", f"forward . 127.0.0.1:{port}")
    with running(tmp_path, text, "-manifests", str(SAMPLE)) as server:
        seen = []
        for _ in range(5):
            for number in range(10):
                assert reload_to(server, tmp_path, f"{text}# {number}\n") == "[INFO] Reloading complete"
            seen.append({pid: held(pid) for pid in children(server.process.pid)})
        assert seen[1].keys() == seen[-1].keys()
        for pid, (octets, descriptors) in seen[-1].items():
            assert octets - seen[1][pid][0] < 30 * EACH, seen
            assert descriptors == seen[1][pid][1]


def held(pid: int) -> tuple[int, int]:
    """Return octets that a process has for itself, and how many descriptors."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    private = sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))
    return private * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_reloads_that_change_the_number_lose_no_query(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, None)) as server, Load(port) as load:
        before = {server.process.pid}
        for sockets in (3, 3, 2, 4, 1, 2, None):
            assert reload_to(server, tmp_path, corefile(port, sockets)) == "[INFO] Reloading complete"
            pids = who_answers(port)
            assert len(pids & before) == (min(len(pids), len(before)) if 1 not in {len(pids), len(before)} else 0)
            before = pids
            assert len(pids) == (sockets or 1)
            assert (pids == {server.process.pid}) == ((sockets or 1) == 1)
            assert len(children(server.process.pid)) == (0 if len(pids) == 1 else len(pids) + 1)
            load.wait_for(100)
    assert load.lost == 0


def test_a_reload_changes_addresses(ports: Ports, tmp_path: Path) -> None:
    one, two, three = ports.take(), ports.take(), ports.take()
    with running(tmp_path, corefile(one, 2) + corefile(two, 2)) as server:
        assert who_answers(one) == who_answers(two)
        reload_to(server, tmp_path, corefile(two, 2) + corefile(three, None))
        assert ask(one, QUESTION, timeout=0.2) is None
        assert who_answers(two) == who_answers(three)
        assert len(who_answers(two)) == 2


def test_an_address_that_can_not_be_had(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with running(tmp_path, corefile(port, 2)) as server:
        before = who_answers(port)
        text = corefile(port, 2) + corefile(ports.take(), None).replace("127.0.0.1", "192.0.2.1")
        assert "bind" in reload_to(server, tmp_path, text) or "not a valid" in server.output.text
        assert "cannot assign requested address" in server.output.text
        assert who_answers(port) == before


def service(name: str, ip: str) -> dict[str, object]:
    spec = {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def test_a_change_reaches_every_worker(ports: Ports, tmp_path: Path) -> None:
    port, manifests = ports.take(), tmp_path / "cluster.yaml"
    manifests.write_text(yaml.safe_dump(service("a", "10.96.0.1")))
    with running(tmp_path, corefile(port, 3, "kubernetes cluster.local"), "-manifests", str(manifests)):
        question = compose("a.shop.svc.cluster.local")
        for number in range(2, 6):
            assert all_say(port, question, f"10.96.0.{number - 1}")
            manifests.write_text(yaml.safe_dump(service("a", f"10.96.0.{number}")))
            wanted = f"10.96.0.{number}"
            until(partial(any_says, port, question, wanted))
            until(partial(all_say, port, question, wanted), AT_ONCE)


def any_says(port: int, question: bytes, wanted: str) -> bool:
    return wanted in {found(reply) for reply in ask_from_many(port, question)}


def all_say(port: int, question: bytes, wanted: str) -> bool:
    return {found(reply) for reply in ask_from_many(port, question)} == {wanted}


def found(reply: bytes | None) -> str:
    return "" if reply is None else ",".join(rdata.to_text() for rrset in parse(reply).answer for rdata in rrset)


def test_one_watch_of_the_api_server_for_all(ports: Ports, tmp_path: Path, api: APIServer) -> None:
    port = ports.take()
    api.kubeconfig(tmp_path / "kubeconfig")
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, service("a", "10.96.1.1"))
    kubernetes = "kubernetes cluster.local {\n    kubeconfig kubeconfig\n    }"
    with running(tmp_path, corefile(port, 3, kubernetes)) as server:
        question = compose("a.shop.svc.cluster.local")
        assert all_say(port, question, "10.96.1.1")
        api.wait_for_watches("*", 3)
        assert api.watches() == 3  # Services, EndpointSlices, Namespaces
        requests = api.count()
        api.put(service("a", "10.96.1.2"))
        until(partial(any_says, port, question, "10.96.1.2"))
        until(partial(all_say, port, question, "10.96.1.2"), AT_ONCE)
        kill(min(who_answers(port)))
        until(lambda: len(who_answers(port)) == 3)
        assert all_say(port, question, "10.96.1.2")
        assert reload_to(server, tmp_path, corefile(port, 2, kubernetes)) == "[INFO] Reloading complete"
        assert all_say(port, question, "10.96.1.2")
        assert api.count() == requests
        api.put(service("a", "10.96.1.3"))
        until(partial(all_say, port, question, "10.96.1.3"))


def value(text: str, name: str, *labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    lines = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return sum(float(number) for held, number in lines if all(label in held for label in labels))


def test_metrics_are_those_of_all_processes_and_never_go_back(ports: Ports, tmp_path: Path) -> None:
    port, http = ports.take(), ports.take()
    text = corefile(port, 3, f"prometheus 127.0.0.1:{http}")
    with running(tmp_path, text) as server:
        asked = 0
        for round_ in range(4):
            asked += len([reply for reply in ask_from_many(port) if reply is not None])
            shown = get(http, "/metrics").body
            assert value(shown, "coredns_dns_requests_total", 'type="TXT"') == asked
            assert value(shown, "coredns_dns_request_duration_seconds_count") == asked
            assert value(shown, "coredns_dns_response_size_bytes_count") == asked
            assert value(shown, "kubedns_udp_sent_total") == asked
            assert value(shown, "coredns_plugin_enabled", 'name="who"') == 1
            assert value(shown, "coredns_build_info") == 1
            assert value(shown, "kubedns_workers") == 3
            if round_ == 0:
                victim = min(who_answers(port))
                asked += ENOUGH
                assert value(get(http, "/metrics").body, "coredns_dns_requests_total") == asked
                # What a worker has told before it was killed stays.
                kill(victim)
                server.output.wait_for("another takes its place")
                until(lambda: value(get(http, "/metrics").body, "kubedns_workers") == 3)
            elif round_ == 1:
                assert reload_to(server, tmp_path, text + "# the same\n") == "[INFO] Reloading complete"
            elif round_ == 2:
                assert reload_to(server, tmp_path, text.replace("multisocket 3", "")) == "[INFO] Reloading complete"
                assert value(get(http, "/metrics").body, "coredns_dns_requests_total") == asked
                assert reload_to(server, tmp_path, text) == "[INFO] Reloading complete"
        assert value(get(http, "/metrics").body, "kubedns_workers_replaced_total") == 1


def test_health_and_readiness_are_the_whole_servers(ports: Ports, tmp_path: Path) -> None:
    port, health, ready = ports.take(), ports.take(), ports.take()
    lines = (f"health 127.0.0.1:{health}", f"ready 127.0.0.1:{ready} {{\n    monitor continuously\n    }}")
    with running(tmp_path, corefile(port, 2, *lines)) as server:
        assert get(health, "/health") == Answer(200, "OK")
        wait_for(ready, "/ready", Answer(200, "OK"))
        reload_to(server, tmp_path, corefile(port, 2, *lines, who="unready"))
        wait_for(ready, "/ready", Answer(503, "who"))
        reload_to(server, tmp_path, corefile(port, 2, *lines))
        wait_for(ready, "/ready", Answer(200, "OK"))


def test_a_lame_duck_answers(ports: Ports, tmp_path: Path) -> None:
    port, health = ports.take(), ports.take()
    lines = f"health 127.0.0.1:{health} {{\n    lameduck 1s\n    }}"
    with running(tmp_path, corefile(port, 2, lines)) as server:
        server.send(signal.SIGTERM)
        server.output.wait_for("Going into lameduck mode for 1s")
        assert None not in ask_from_many(port)
        assert server.process.wait(10) == 0


def test_a_loop_that_a_worker_finds_ends_all(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    text = f".:{port} {{\n    multisocket 3\n    loop\n    forward . 127.0.0.1:{port}\n}}\n"
    (tmp_path / "Corefile").write_text(text)
    with Server(("-conf", "Corefile", "-pidfile", "pid"), tmp_path, {}, COMMAND) as server:
        until(lambda: len(children(server.process.pid)) == 4 or server.process.poll() is not None)
        below = children(server.process.pid)
        assert server.process.wait(PATIENCE) == 1
        server.output.join()
    assert "[FATAL] plugin/loop: Loop (127.0.0.1:" in server.output.text
    until(lambda: not any(map(is_alive, below)))
    assert not (tmp_path / "pid").exists()


def test_a_start_that_fails_says_why_and_leaves_nothing(ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(corefile(ports.take(), 2, who="broken worker"))
    failed = run(tmp_path, "-conf", "Corefile", "-plugin-dir", write_plugin(tmp_path))
    assert failed.returncode == 1
    assert "plugin/who: ValueError: made to fail by a test\n  --> Corefile:4:5" in failed.stderr
    assert failed.stdout == ""

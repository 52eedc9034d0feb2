"""The report says what was met, what was not, and when nothing can be said; the picture shows the same figures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.load import Run
from bench.measure import CACHED, ECHO, KUBEADM, LIVE, Flood, Results, Row, Scenario, Section
from bench.pace import Paced
from bench.picture import MOST, draw
from bench.processes import Memory
from bench.questions import KINDS
from bench.report import render
from bench.targets import RELIST, STEADY

MACHINE = [("processor", "some, 2 cores")]
MEBIBYTE = 1 << 20


def run(microseconds: float, *, lost: int = 0, wrong: int = 0) -> Run:
    return Run(1_000_000, lost, wrong, 100_000.0, microseconds, 100)


def row(name: str, echo: float = 3.0, **costs: float) -> Row:
    names = {"kubeadm": KUBEADM, "cached": CACHED}
    runs = {ECHO: [run(echo)]} | {names.get(key, key): [run(cost + 1), run(cost)] for key, cost in costs.items()}
    return Row(KINDS[name], runs)


def paced(p99: float, cost: float = 10.0, *, lost: int = 0, slow: int = 0) -> Paced:
    return Paced(1_000_000, lost, 0, slow, 0.1, 0.05, p99, p99, p99, cost)


def results(*rows: Row, names: tuple[str, ...] = (ECHO, KUBEADM, CACHED, LIVE, "nsd")) -> Results:
    memory = Memory(MEBIBYTE, MEBIBYTE)
    return Results(list(rows), started=dict.fromkeys(names, 1.0), memory=dict.fromkeys(names, (memory, memory)))


def cells(text: str, first: str) -> list[str]:
    """Return a table's row by its first cell."""
    [line] = [line for line in text.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_class_is_met_only_if_both_forms_are_within_its_target() -> None:
    text = render(
        results(row("hot", kubeadm=4.8, cached=4.5, nsd=3.75), row("mix", kubeadm=6.0, cached=9.0)),
        MACHINE,
        ".:53 {}\n",
    )
    assert cells(text, "hot")[3:] == ["3.0", "4.8", "1.60", "4.5", "1.50", "1.6", "yes", "0", "1.25"]
    assert cells(text, "mix")[3:] == ["3.0", "6.0", "2.00", "9.0", "3.00", "2.1", "**no**", "0", "-"]
    assert "Not met: mix." in text
    assert "too busy" not in text


def test_tcp_is_compared_with_our_own_udp() -> None:
    tcp = row("tcp", kubeadm=9.0, cached=10.1)
    del tcp.runs[ECHO]
    text = render(results(row("hot", kubeadm=5.0, cached=5.0), tcp), MACHINE, "")
    assert cells(text, "tcp")[3:9] == ["-", "9.0", "1.80", "10.1", "2.02", "2.0"]
    assert cells(text, "tcp")[9] == "**no**"


def test_a_busy_machine_is_told_and_ratios_printed() -> None:
    text = render(results(row("hot", echo=3.6, kubeadm=5.0, cached=5.0)), MACHINE, "")
    assert "**The machine was too busy, or is too slow, to judge hot**" in text
    assert cells(text, "hot")[5] == "1.39"


def test_wrong_answers_are_told_and_a_peer_with_them_is_not_compared() -> None:
    bad = row("hot", kubeadm=4.0, cached=4.0)
    bad.runs[KUBEADM] = [run(4.0, lost=3, wrong=2)]
    bad.runs["nsd"] = [run(3.5, wrong=1)]
    text = render(results(bad), MACHINE, "")
    assert f"**hot, {KUBEADM}: 2 wrong and 3 lost of 1000000.**" in text
    assert cells(text, "hot")[-1] == "-"
    assert cells(text, "hot")[-2] == "3"


@pytest.mark.parametrize(
    ("cost", "met"), [(18.9, "yes"), (19.1, "**no**")], ids=["just below 1.9 of the echo's", "just above"]
)
def test_low_rates(cost: float, met: str) -> None:
    found = results()
    found.rates = [(1_000, {ECHO: paced(0.1, 10.0), KUBEADM: paced(0.2, cost)})]
    assert cells(render(found, MACHINE, ""), "1,000")[5] == met


@pytest.mark.parametrize(
    ("scenario", "most", "met"),
    [
        (Scenario("quiet", 20_000, STEADY, {ECHO: paced(1.0), KUBEADM: paced(1.9)}), "2.00", "yes"),
        (Scenario("quiet", 20_000, STEADY, {ECHO: paced(1.0), KUBEADM: paced(2.1)}), "2.00", "**no**"),
        (Scenario("quiet", 20_000, STEADY, {ECHO: paced(1.0), KUBEADM: paced(1.5, lost=1)}), "2.00", "**no**"),
        (Scenario("quiet", 20_000, STEADY, {ECHO: paced(1.0), KUBEADM: paced(1.5, slow=1)}), "2.00", "**no**"),
        (Scenario("relist", 5_000, RELIST, {KUBEADM: paced(9.9, slow=1)}), "10.00", "yes"),
        (Scenario("relist", 5_000, RELIST, {KUBEADM: paced(9.9, lost=1)}), "10.00", "**no**"),
    ],
    ids=["within", "slower", "one lost", "one over 20 ms", "relist", "relist, one lost"],
)
def test_latency(scenario: Scenario, most: str, met: str) -> None:
    found = results()
    found.scenarios = [scenario]
    lines = render(found, MACHINE, "").splitlines()
    [line] = [line for line in lines if line.startswith(f"| {scenario.about} ") and f"| {KUBEADM} |" in line]
    shown = [cell.strip() for cell in line.strip("|").split("|")]
    assert (shown[5], shown[10]) == (most, met)


@pytest.mark.parametrize(
    ("cost", "grown", "met"),
    [(11.0, 0, "yes"), (11.1, 0, "**no**"), (10.0, 9, "**no**")],
    ids=["neither", "hot names pushed out", "memory grown"],
)
def test_a_flood(cost: float, grown: int, met: str) -> None:
    found = results()
    before, after = Memory(100 * MEBIBYTE, 0), Memory((100 + grown) * MEBIBYTE, 0)
    found.flood = Flood(cost, 10.0, before, after)
    assert f"Met: {met}." in render(found, MACHINE, "")


def test_another_part_has_its_place() -> None:
    found = results()
    found.sections = [Section("Scale", "| a table |\n")]
    assert "## Scale\n\n| a table |\n" in render(found, MACHINE, "")


def picture(found: Results) -> tuple[str, dict[str, float]]:
    """Return the picture's text, and the width of each bar of the first class by the colour's class."""
    text = draw(found)
    root = ET.fromstring(text)  # noqa: S314 - our own
    bars = root.findall(".//{http://www.w3.org/2000/svg}rect[@x='210']")
    return text, {bar.attrib["class"]: float(bar.attrib["width"]) for bar in reversed(bars)}


def test_a_bar_is_as_long_as_its_ratio() -> None:
    text, bars = picture(results(row("hot", kubeadm=6.0, cached=6.0, nsd=3.0)))
    assert bars["s0"] == pytest.approx(2 * bars["s1"], abs=0.2)  # kubedns, nsd
    assert bars["s2"] == pytest.approx(16 * bars["s1"], abs=0.5)  # CoreDNS, as published
    assert "measured once on another machine" in text
    assert "prefers-color-scheme:dark" in text


def test_a_coredns_that_ran_takes_the_place_of_published_figures() -> None:
    names = (ECHO, KUBEADM, CACHED, "coredns")
    text, _ = picture(results(row("hot", kubeadm=6.0, cached=6.0, coredns=50.0), names=names))
    assert "another machine" not in text


def test_a_server_beyond_all_measure_is_named_but_not_drawn() -> None:
    text, bars = picture(results(row("hot", kubeadm=6.0, cached=6.0, nsd=3.0 * (MOST + 1))))
    assert f"left out, over {MOST}: nsd" in text
    assert set(bars) == {"s0", "s1", "s2"}


def test_nothing_measured_is_an_empty_picture() -> None:
    assert picture(results())[1] == {}

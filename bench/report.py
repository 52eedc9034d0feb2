"""Results as tables in Markdown: for the terminal and for results.md alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.measure import CACHED, ECHO, KUBEADM, OURS, target
from bench.targets import BUSY, FLOOD, FLOOD_MEMORY, LOW_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.measure import Flood, Results, Row, Scenario

MEBIBYTE = 1 << 20
NONE = "-"
ABOUT_LOAD = """\
Microseconds of user and system time for each query that was answered. `x` is over the echo's in the same class; for tcp
it is over the server's own for the same questions by UDP. `size` is of a reply, in octets.
"""


def render(results: Results, machine: Sequence[tuple[str, str]], corefile: str) -> str:
    """Return the whole report."""
    parts = ["# Results\n", _verdict(results), _bullets(machine)]
    if results.rows:
        parts += [
            "## CPU at full load\n",
            ABOUT_LOAD,
            _table(_full_head(results), [_full_row(results, row) for row in results.rows], words=2),
        ]
    if results.rates:
        head = ["queries/s", "echo us", "kubedns us", "x", "at most", "met", "p50 ms", "p99 ms", "lost"]
        parts += ["## CPU at low rates, hot questions\n", _table(head, list(_rates(results)))]
    if results.scenarios:
        head = ["meanwhile", "queries/s", "server", "p50 ms", "p99 ms", "at most", "p99.9 ms", "max ms"]
        head += ["> 20 ms", "lost", "met", "asker late ms"]
        rows = [row for scenario in results.scenarios for row in _scenario(scenario)]
        notes = "".join(f"- {scenario.about}: {scenario.note}\n" for scenario in results.scenarios if scenario.note)
        parts += ["## Latency in an open loop, the mix\n", _table(head, rows), notes]
    if results.flood:
        parts += ["## A flood of random names\n", _flood(results.flood)]
    if results.started:
        head = ["server", "first right answer, s", "MiB then", "MiB after the load", "MiB at most"]
        parts += ["## Start and memory\n", _table(head, list(_resources(results)))]
    parts += [f"## {section.title}\n\n{section.text}" for section in results.sections]
    if corefile:
        parts += ["## Corefile\n", f"```\n{corefile}```\n"]
    return "\n".join(part for part in parts if part)


def _verdict(results: Results) -> str:
    notes = []
    if results.doubtful:
        notes.append(
            f"**The machine was too busy, or is too slow, to judge {', '.join(results.doubtful)}**: the echo needed "
            f"over {BUSY} us.\nThe ratios still tell something."
        )
    floor = next((each.paced[ECHO] for each in results.scenarios if ECHO in each.paced), None)
    if floor is not None and (floor.slow or floor.lost):
        notes.append(
            f"**The machine was too busy to judge latency**: of the echo's replies {floor.slow} took over 20 ms, "
            f"{floor.lost} were lost."
        )
    for row in results.rows:
        for name in OURS:
            run = row.best(name)
            if run and (run.wrong or run.lost):
                notes.append(f"**{row.kind.name}, {name}: {run.wrong} wrong and {run.lost} lost of {run.completed}.**")
    missed = [*_missed(results)]
    notes.append(f"Not met: {', '.join(missed)}." if missed else "All targets are met.")
    return "\n\n".join(notes) + "\n"


def _missed(results: Results) -> Iterator[str]:
    for row in results.rows:
        if _met(results, row) is False:
            yield row.kind.name
    yield from (f"{rate:,} queries/s" for rate, _ in results.rates if not _rate_met(results, rate))
    yield from (f"latency with {one.about}" for one in results.scenarios if not one.met(KUBEADM))
    if results.flood and not _flood_met(results.flood):
        yield "flood"


def _met(results: Results, row: Row) -> bool | None:
    """Tell whether both forms are within the target; None: there is none, or it can't be known."""
    most = target(row)
    ratios = [ratio for name in OURS if (ratio := results.ratio(row, name)) is not None]
    return None if most is None or not ratios else max(ratios) <= most


def _bullets(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in pairs)


def _full_head(results: Results) -> list[str]:
    head = ["questions", "what", "size", "echo us", f"{KUBEADM} us", "x", f"{CACHED} us", "x", "at most", "met", "lost"]
    return head + [f"{peer} x" for peer in results.peers]


def _full_row(results: Results, row: Row) -> list[str]:
    own = row.best(KUBEADM)
    cells = [row.kind.name, row.kind.about, str(own.size) if own else NONE, _number(row.cost(ECHO), 1)]
    for name in OURS:
        cells += [_number(row.cost(name), 1), _number(results.ratio(row, name), 2)]
    lost = sum(run.lost for name in OURS for run in row.runs.get(name, ()))
    cells += [_number(target(row), 1), _yes(_met(results, row)), str(lost)]
    return cells + [_number(results.right_ratio(row, peer), 2) for peer in results.peers]


def _rates(results: Results) -> Iterator[list[str]]:
    for rate, paced in results.rates:
        echo, own = paced[ECHO], paced[KUBEADM]
        ratio = own.microseconds / echo.microseconds
        cells = [f"{rate:,}", _number(echo.microseconds, 1), _number(own.microseconds, 1), _number(ratio, 2)]
        cells += [_number(LOW_RATE, 1), _yes(_rate_met(results, rate))]
        yield [*cells, _number(own.p50, 2), _number(own.p99, 2), str(own.lost)]


def _rate_met(results: Results, rate: int) -> bool:
    paced = dict(results.rates)[rate]
    return paced[KUBEADM].microseconds < LOW_RATE * paced[ECHO].microseconds


def _scenario(scenario: Scenario) -> Iterator[list[str]]:
    for server, paced in scenario.paced.items():
        if server == ECHO and scenario.note:
            continue  # the echo is asked once, when nothing else happens
        times = [_number(paced.p50, 2), _number(paced.p99, 2)]
        times += [NONE if server == ECHO else _number(scenario.most, 2)]
        times += [_number(paced.p999, 2), _number(paced.longest, 1), str(paced.slow), str(paced.lost)]
        met = NONE if server == ECHO else _yes(scenario.met(server))
        yield [scenario.about, f"{scenario.rate:,}", server, *times, met, _number(paced.late, 1)]


def _flood_met(flood: Flood) -> bool:
    return flood.cost <= FLOOD * flood.expected and flood.after.now - flood.before.now <= FLOOD_MEMORY


def _flood(flood: Flood) -> str:
    grown = (flood.after.now - flood.before.now) / MEBIBYTE
    return (
        f"Hot questions and names that nobody asked for before, by turns: {flood.cost:.1f} us a query.\n"
        f"The mean of what each costs alone is {flood.expected:.1f} us; over {FLOOD} times that says that the flood "
        f"pushes out what is hot.\nResident before and after: {flood.before.now / MEBIBYTE:.0f} and "
        f"{flood.after.now / MEBIBYTE:.0f} MiB, {grown:+.1f} ({FLOOD_MEMORY // MEBIBYTE} at most). "
        f"Met: {_yes(_flood_met(flood))}.\n"
    )


def _resources(results: Results) -> Iterator[list[str]]:
    for server, seconds in results.started.items():
        before, after = results.memory[server]
        yield [
            server,
            f"{seconds:.2f}",
            *(f"{octets / MEBIBYTE:.0f}" for octets in (before.now, after.now, after.peak)),
        ]


def _number(value: float | None, places: int) -> str:
    return NONE if value is None else f"{value:.{places}f}"


def _yes(met: bool | None) -> str:  # noqa: FBT001 - what is printed
    return {True: "yes", False: "**no**", None: NONE}[met]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """Align columns, so that the table can be read as text too: the first are `words`, the others figures."""
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width if place < words else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    lines = [
        [cell.ljust(width) if place < words else cell.rjust(width) for place, (cell, width) in enumerate(cells)]
        for cells in (list(zip(line, widths, strict=True)) for line in (head, rule, *rows))
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

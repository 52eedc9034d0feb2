"""Results as tables in Markdown: for the terminal and for results.md alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.measure import BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.load import Paced
    from bench.measure import Results, Row

MEBIBYTE = 1 << 20


def render(results: Results, machine: Sequence[tuple[str, str]], corefile: str) -> str:
    """Return the whole report."""
    peers = [name for name in results.started if name not in {"kubedns", "echo"}]
    parts = ["# Results\n", _verdict(results), _bullets(machine)]
    if results.rows:
        parts += [
            "## CPU at full load\n",
            _table(_full_head(peers), [_full_row(row, peers) for row in results.rows], words=2),
        ]
    if results.paces:
        head = ["server", "queries/s", "us/query", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "lost"]
        rows = [_paced_row(rate, server, paced) for rate, servers in results.paces for server, paced in servers.items()]
        parts += ["## Latency at a fixed rate, hot questions\n", _table(head, rows)]
    head = ["server", "first right answer, s", "MiB then", "MiB after the load", "MiB at most"]
    parts += ["## Start and memory\n", _table(head, list(_resources(results)))]
    parts += ["## Corefile\n", f"```\n{corefile}```\n"]
    return "\n".join(parts)


def _verdict(results: Results) -> str:
    notes = []
    if results.doubtful:
        notes.append(
            f"**The machine was too busy, or is too slow, to judge {', '.join(results.doubtful)}**: the echo needed "
            f"over {BUSY} us. The column `of echo` still tells something."
        )
    for row in results.rows:
        run = row.best("kubedns")
        if run and (run.wrong or run.lost):
            notes.append(f"**{row.kind.name}: {run.wrong} wrong and {run.lost} lost of {run.completed}.**")
    return "\n".join(notes) + "\n" if notes else "CPU is user and system time in microseconds a query.\n"


def _bullets(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in pairs)


def _full_head(peers: Sequence[str]) -> list[str]:
    return [
        "questions",
        "what",
        "us/query",
        "of echo",
        "queries/s",
        "lost",
        "echo us",
        *(f"{peer} us" for peer in peers),
    ]


def _full_row(row: Row, peers: Sequence[str]) -> list[str]:
    own, floor = row.best("kubedns"), row.best("echo")
    cells = [row.kind.name, row.kind.about]
    cells += (
        [f"{own.microseconds:.1f}", f"{row.ratio('kubedns'):.2f}", f"{own.per_second:,.0f}", str(own.lost)]
        if own
        else ["-"] * 4
    )
    cells.append(f"{floor.microseconds:.1f}" if floor else "-")
    for peer in peers:
        run = row.best(peer)
        cells.append(f"{run.microseconds:.1f}" if run else "-")
    return cells


def _paced_row(rate: int, server: str, paced: Paced) -> list[str]:
    latencies = [f"{paced.percentile(share):.2f}" for share in (0.5, 0.99, 0.999, 1)]
    return [server, f"{rate:,}", f"{paced.run.microseconds:.1f}", *latencies, str(paced.run.lost)]


def _resources(results: Results) -> Iterator[list[str]]:
    for server, seconds in results.started.items():
        before, after = results.memory[server]
        yield [
            server,
            f"{seconds:.2f}",
            *(f"{octets / MEBIBYTE:.0f}" for octets in (before.now, after.now, after.peak)),
        ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """Align columns, so that the table can be read as text too: the first are `words`, the others figures."""
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width if place < words else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    lines = [
        [cell.ljust(width) if place < words else cell.rjust(width) for place, (cell, width) in enumerate(cells)]
        for cells in (list(zip(line, widths, strict=True)) for line in (head, rule, *rows))
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

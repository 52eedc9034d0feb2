"""The comparison as a picture: a bar for each server in each class, as a multiple of the echo's cost (SVG).

Colours are told by style sheet, so that a reader's dark theme is met (`prefers-color-scheme`).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from statistics import median
from typing import TYPE_CHECKING

from bench.measure import KUBEADM
from bench.targets import COREDNS_ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.measure import Results

TITLES = {
    "hot": "ClusterIP Services, A and AAAA",
    "headless": "headless, 18 addresses",
    "srv-edns": "SRV, 18 targets, EDNS",
    "srv": "SRV, cut to 512 octets",
    "nxdomain": "NXDOMAIN, never twice",
    "ptr": "PTR of 100,000 endpoints",
    "mix": "what clusters ask, mixed",
    "forwarded-cached": "forwarded, cached",
    "forwarded": "forwarded, uncached",
}
WIDTH = 860
LEFT, RIGHT = 210, 60  # for names of classes, and figures behind bars
TOP, LEGEND_LINE = 46, 20
BAR, BETWEEN_BARS, BETWEEN_CLASSES = 11, 2, 12
MOST = 50  # times the echo's cost
FONT = "-apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif"
PALETTE = ("#2f6fde", "#d9822b", "#8a56c2", "#2b9a83", "#c2457a", "#7a7a2a", "#b0413e")  # kubedns, then its peers
PALETTE_DARK = ("#6aa2ff", "#f0a35a", "#b48ae0", "#55c7ae", "#e678a6", "#b9b95a", "#e07a76")


@dataclass(frozen=True, slots=True)
class Series:
    """Ratios by class. `elsewhere`: not of this run, so that its bars are outlines."""

    name: str
    ratios: dict[str, float]
    elsewhere: bool = False


def series(results: Results) -> list[Series]:
    """Return what there is to draw: this run's servers, and CoreDNS's published ratios if it did not run."""
    rows = [row for row in results.rows if row.kind.name in TITLES]
    found = []
    for name in (KUBEADM, *results.peers):
        ratios = {row.kind.name: ratio for row in rows if (ratio := results.right_ratio(row, name))}
        found.append(Series("kubedns" if name == KUBEADM else name, ratios))
    if not any(name.startswith("coredns") for name in results.peers):
        asked = {row.kind.name for row in rows}
        known = {kind: values for kind, values in COREDNS_ELSEWHERE.items() if kind in asked}
        cached = {kind: values[1] for kind, values in known.items() if values[1] is not None}
        found.append(
            Series("CoreDNS, kubeadm's Corefile", {kind: both[0] for kind, both in known.items()}, elsewhere=True)
        )
        found.append(Series("CoreDNS, cache 30", cached, elsewhere=True))
    return [one for one in found if one.ratios]


def beyond(one: Series) -> bool:
    """Tell whether most of a server's bars would dwarf all others: it is named, and left to the table."""
    return median(one.ratios.values()) > MOST


def draw(results: Results) -> str:
    """Return the picture, empty of bars where nothing was measured."""
    found = series(results)
    drawn = [one for one in found if not beyond(one)]
    left_out = ", ".join(one.name for one in found if beyond(one))
    classes = [kind for kind in TITLES if any(kind in one.ratios for one in drawn)]
    longest = max((ratio for one in drawn for ratio in one.ratios.values()), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / longest
    legend = list(_legend(drawn))
    if left_out:
        y = TOP + LEGEND_LINE * len(legend)
        legend.append(f'<text class="label" x="16" y="{y}">left out, over {MOST}: {escape(left_out)}</text>')
    top = TOP + LEGEND_LINE * len(legend) + 4
    bars, bottom = _bars(drawn, classes, scale, top)
    height = bottom + 12
    body = [
        '<text class="title" x="16" y="26">CPU for each query, as a multiple of what a C echo costs</text>',
        *legend,
        f'<line class="axis" x1="{LEFT}" y1="{top - 4}" x2="{LEFT}" y2="{bottom}"/>',
        f'<line class="floor" x1="{LEFT + scale:.1f}" y1="{top - 4}" x2="{LEFT + scale:.1f}" y2="{bottom}"/>',
        *bars,
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title description">\n'
        '<title id="title">CPU for each query: kubedns and other name servers</title>\n'
        f'<desc id="description">{escape(_described(drawn))}</desc>\n<style>{_style(drawn)}</style>\n'
    )
    return head + "\n".join(body) + "\n</svg>\n"


def _bars(drawn: Sequence[Series], classes: Sequence[str], scale: float, top: int) -> tuple[list[str], int]:
    """Return the bars of all classes, and where they end."""
    parts, y = [], top
    for kind in classes:
        shown = [(place, one) for place, one in enumerate(drawn) if kind in one.ratios]
        middle = y + len(shown) * (BAR + BETWEEN_BARS) / 2
        parts.append(f'<text class="class" x="{LEFT - 10}" y="{middle + 3:.0f}">{escape(TITLES[kind])}</text>')
        for place, one in shown:
            ratio = one.ratios[kind]
            parts.append(
                f'<rect class="s{place}" x="{LEFT}" y="{y}" width="{max(1.0, ratio * scale):.1f}" height="{BAR}"/>'
            )
            bold = " own" if place == 0 else ""
            parts.append(
                f'<text class="value{bold}" x="{LEFT + ratio * scale + 6:.1f}" y="{y + BAR - 1.5}">{ratio:.1f}</text>'
            )
            y += BAR + BETWEEN_BARS
        y += BETWEEN_CLASSES
    return parts, y - BETWEEN_CLASSES + 4


def _legend(drawn: Sequence[Series]) -> Iterator[str]:
    """Yield a line of this run's servers, and one of what was measured elsewhere."""
    for line, (elsewhere, label) in enumerate(
        ((False, "measured in one run:"), (True, "measured once on another machine, over the same echo:"))
    ):
        shown = [(place, one) for place, one in enumerate(drawn) if one.elsewhere == elsewhere]
        if not shown:
            continue
        y = TOP + LEGEND_LINE * line
        x = 16 + _text_width(label) + 12
        parts = [f'<text class="label" x="16" y="{y}">{label}</text>']
        for place, one in shown:
            parts.append(f'<rect class="s{place}" x="{x}" y="{y - 9}" width="11" height="11"/>')
            parts.append(f'<text class="label" x="{x + 16}" y="{y}">{escape(one.name)}</text>')
            x += 16 + _text_width(one.name) + 18
        yield "".join(parts)


def _text_width(text: str) -> int:
    return round(len(text) * 6.4)


def _style(drawn: Sequence[Series]) -> str:
    """Return the style sheet: neutral text on no background, each series a colour in either theme."""
    light = "".join(_colour(place, one, PALETTE[place % len(PALETTE)]) for place, one in enumerate(drawn))
    dark = "".join(_colour(place, one, PALETTE_DARK[place % len(PALETTE_DARK)]) for place, one in enumerate(drawn))
    return (
        f"text{{font:12px {FONT};fill:#1f2328}}.title{{font-size:15px;font-weight:600}}.class{{text-anchor:end}}"
        ".label{font-size:11.5px}.value{font-size:10.5px;fill:#59636e}.own{font-weight:700;fill:#1f2328}"
        ".axis{stroke:#59636e}.floor{stroke:#59636e;stroke-dasharray:3 3}"
        f"{light}@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}.value{{fill:#9da7b1}}.own{{fill:#e6edf3}}"
        f".axis,.floor{{stroke:#9da7b1}}{dark}}}"
    )


def _colour(place: int, one: Series, colour: str) -> str:
    if one.elsewhere:
        return f".s{place}{{fill:{colour};fill-opacity:.18;stroke:{colour}}}"
    return f".s{place}{{fill:{colour}}}"


def _described(drawn: Sequence[Series]) -> str:
    """Say in words what the bars show, for who can't see them."""
    lines = []
    for one in drawn:
        ratios = ", ".join(f"{TITLES[kind]} {ratio:.1f}" for kind, ratio in one.ratios.items())
        lines.append(f"{one.name}{' (measured elsewhere)' if one.elsewhere else ''}: {ratios}")
    return "Multiples of the echo's cost. " + "; ".join(lines) + "."

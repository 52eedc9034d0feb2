"""Families of metrics as text, exposition format 0.0.4, made in pieces so that no query waits for it."""

from __future__ import annotations

import asyncio
import zlib
from time import perf_counter
from typing import TYPE_CHECKING

from kubedns.metrics import number_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
SLICE = 0.0005  # seconds at a time; then queries have their turn
SAMPLES = 64  # between two looks at the clock
PIECE = 1 << 15  # octets compressed at a time
GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say gzip (RFC 1952)
FASTEST = 1
TYPES = {"counter": "counter", "histogram": "histogram", "summary": "summary", "unknown": "untyped"}  # others: gauge
ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Turns:
    """Gives way to the loop's other work whenever a slice of time is used up."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def give_way(self) -> None:
        if perf_counter() - self._since > SLICE:
            await asyncio.sleep(0)
            self._since = perf_counter()


async def render(families: Iterable[Metric]) -> list[bytes]:
    """Return the exposition, a piece for each family that has a series, sorted by name."""
    turns = Turns()
    heads: dict[str, str] = {}
    bodies: dict[str, list[str]] = {}
    for metric in families:
        name = _exposed_name(metric)
        heads.setdefault(name, _head(name, metric))
        body = bodies.setdefault(name, [])
        for number, sample in enumerate(metric.samples, 1):
            if not sample.name.endswith("_created"):
                body.append(f"{sample.name}{_labels(sample.labels)} {number_text(sample.value)}\n")
            if number % SAMPLES == 0:
                await turns.give_way()
        await turns.give_way()
    pieces = []
    for name in sorted(name for name, body in bodies.items() if body):
        pieces.append((heads[name] + "".join(bodies[name])).encode())
        await turns.give_way()
    return pieces


async def compress(pieces: list[bytes]) -> bytes:
    """Return the pieces as one gzip member."""
    turns = Turns()
    squeeze = zlib.compressobj(FASTEST, zlib.DEFLATED, GZIP)
    compressed = []
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            compressed.append(squeeze.compress(piece[start : start + PIECE]))
            await turns.give_way()
    return b"".join([*compressed, squeeze.flush()])


def _exposed_name(metric: Metric) -> str:
    """A counter's family has its samples' name in this format, and an info metric is a gauge."""
    if metric.type == "counter":
        return f"{metric.name}_total"
    return f"{metric.name}_info" if metric.type == "info" else metric.name


def _head(name: str, metric: Metric) -> str:
    text = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {TYPES.get(metric.type, 'gauge')}\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{_escaped(labels[name])}"' for name in sorted(labels)]) + "}"


def _escaped(value: str) -> str:
    return value.translate(ESCAPES) if "\\" in value or '"' in value or "\n" in value else value

"""Large files are read in a child process, so that answers go on meanwhile.

`python -m kubedns.cluster.child` takes a Request as JSON on standard input and writes Frames in msgpack on standard
output, each after its length in 4 octets.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING

import msgspec

from kubedns.cluster.objects import Endpoint, EndpointSlice, Port, shared_ports
from kubedns.cluster.reading import Contents, Filters, ManifestError, Part, batches, read_octets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MEMORY = 1 << 30  # octets of address space, on top of a few times the file
NICENESS = 10  # answers come first

# An address's octets (none for a name) and its text (none for the canonical one), hostname, target, zone.
EndpointRow = tuple[bytes, str, str, str, str]
SliceRow = tuple[str, str, str, tuple[Port, ...], list[EndpointRow]]  # namespace, name, service, ports, endpoints


class Request(msgspec.Struct):
    """What the child is to read."""

    path: str
    filters: Filters


class Frame(msgspec.Struct):
    """A part of what the child read; the last one says so, or has the error that ended it."""

    part: Part | None = None
    slices: list[SliceRow] = []
    error: str = ""
    last: bool = False


def packed(contents: Contents) -> Frame:
    """Return contents as msgpack can say them: it has no type for octets or text."""
    part = Part(*(getattr(contents, name) for name in Part.__struct_fields__))
    return Frame(part, [_row(one) for one in contents.slices])


def _row(held: EndpointSlice) -> SliceRow:
    endpoints = [
        (b"", one.address, one.hostname, one.target, one.zone)
        if isinstance(one.address, str)
        else (one.address, one.spelling, one.hostname, one.target, one.zone)
        for one in held.endpoints
    ]
    return held.namespace, held.name, held.service, held.ports, endpoints


def unpacked(frame: Frame) -> Contents:
    """Return what `packed` was given, with repeated texts and ports shared as decoding shares them."""
    part = frame.part or Part()
    contents = Contents(*(getattr(part, name) for name in Part.__struct_fields__))
    contents.slices = [_slice(row) for row in frame.slices]
    return contents


def _slice(row: SliceRow) -> EndpointSlice:
    namespace, name, service, ports, endpoints = row
    return EndpointSlice(
        intern(namespace),
        name,
        intern(service),
        shared_ports(ports),
        tuple(
            Endpoint(octets, hostname, target, intern(zone), text) if octets else Endpoint(text, hostname, target, zone)
            for octets, text, hostname, target, zone in endpoints
        ),
    )


async def read_in_child(path: str, filters: Filters) -> AsyncGenerator[Contents, None]:
    """Yield a file's contents as a child process reads them; raises ManifestError."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kubedns.cluster.child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)},
    )
    try:
        if child.stdin is None or child.stdout is None:  # both were asked for
            raise ManifestError(f"{path}: no pipe to the process that reads it")
        child.stdin.write(msgspec.json.encode(Request(path, filters)))
        child.stdin.close()
        decoder = msgspec.msgpack.Decoder(Frame)
        while True:
            frame = decoder.decode(
                await child.stdout.readexactly(int.from_bytes(await child.stdout.readexactly(4), "big"))
            )
            if frame.error:
                raise ManifestError(frame.error)
            if frame.last:
                return
            yield unpacked(frame)
    except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError):
        code = await child.wait()
        raise ManifestError(f"{path}: the process that reads it ended early (exit code {code})") from None
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def main() -> int:
    """Read the file that standard input asks for, at low priority and within a bound on memory."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    os.nice(NICENESS)
    size = Path(request.path).stat().st_size if Path(request.path).exists() else 0
    bound = MEMORY + 8 * size
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    try:
        text, _ = read_octets(request.path)
        for contents in batches(text, request.path, request.filters):
            if contents.known:
                _write(packed(contents))
    except ManifestError as error:
        _write(Frame(error=str(error)))
    except OSError as error:
        _write(Frame(error=f"{request.path}: {error.strerror}"))
    except MemoryError:
        _write(Frame(error=f"{request.path}: needs more than {bound >> 20} MB of memory to be read; split it"))
    else:
        _write(Frame(last=True))
    return 0


def _write(frame: Frame) -> None:
    octets = msgspec.msgpack.encode(frame)
    sys.stdout.buffer.write(len(octets).to_bytes(4, "big") + octets)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())

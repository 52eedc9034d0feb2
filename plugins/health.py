"""health [ADDRESS] { lameduck DURATION }: say over HTTP that the process lives (docs/plugins/health.md)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from kubedns import metrics
from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.corefile.numbers import NumberError, format_duration, parse_duration
from kubedns.histogram import Histogram
from kubedns.httpd import Endpoint, HttpError, HttpListener, Request, Response, read_address, split_address
from kubedns.log import plugin_log
from kubedns.plugin.contract import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.corefile.values import Directive, Property
    from kubedns.plugin.contract import ServerBlock

ADDRESS = ":8080"
PERIOD = 1.0  # seconds between two looks at ourselves
SLOW = 1.0  # seconds
TIMEOUT = 3.0  # seconds
BOUNDS = (0.00025, 0.0025, 0.025, 0.25, 2.5)
LOOPBACK = "127.0.0.1"  # where every address is listened on
MOST_READ = 4096  # octets of our own response, whoever has the port

log = plugin_log("health")
durations = Histogram(BOUNDS)
failures = metrics.Count()


def _families() -> Iterator[Metric]:
    family = Metric(
        "coredns_health_request_duration_seconds", "How long requests to our own /health took.", "histogram"
    )
    metrics.add_histogram(family, {}, durations.bounds, durations.counts, durations.sum)
    yield family
    text = "Requests to our own /health that failed."
    yield CounterMetricFamily("coredns_health_request_failures", text, value=failures.value)


metrics.registry.register(metrics.Folded(_families))


def setup(directive: Directive, block: ServerBlock) -> Health:
    """Read the options; blocks with the same address share a listener."""
    address, lameduck = ADDRESS, 0.0

    def read_lameduck(line: Property) -> None:
        nonlocal lameduck
        word = readers.one_argument(line)
        try:
            lameduck = parse_duration(word.text)
        except NumberError as error:
            text = f"unable to parse lameduck duration value: '{word.text}' : {error}"
            raise word.error(text, readers.DURATION_CURE, Kind.BARE) from None

    for use in directive.uses:
        if use.arguments:
            address = read_address(readers.one_argument(use))
        readers.read_properties(use, {"lameduck": read_lameduck})
    return Health(block.shared.keep((HttpListener, address), lambda: HttpListener(address)), lameduck)


class Health:
    """Answers /health for as long as the process lives, and asks itself whether it still does."""

    def __init__(self, listener: HttpListener, lameduck: float) -> None:
        """`lameduck` in seconds is how long queries are answered after a signal to end; none if it is not positive."""
        self._lameduck = lameduck
        self._endpoint = Endpoint(listener, "/health", _answer)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        try:
            await self._endpoint.open()
        except HttpError as error:
            raise StartError(f"plugin/health: {error}") from error

    def begin(self) -> None:
        """Answer in place of the configuration before, and look at ourselves."""
        self._endpoint.take_over()
        self._task = asyncio.get_running_loop().create_task(watch(self._endpoint.listener.address))

    async def linger(self) -> None:
        if self._lameduck > 0:
            log.info(f"Going into lameduck mode for {format_duration(self._lameduck)}")
            await asyncio.sleep(self._lameduck)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._endpoint.close()


async def _answer(_: Request) -> Response:
    return Response(b"OK")


async def watch(address: str) -> None:
    """Ask our own /health every second, and log when that fails or takes long: the process has too much to do."""
    url = f"http://{address}/health"
    while True:
        await asyncio.sleep(PERIOD)
        started = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await request(address)
        except (OSError, EOFError) as error:
            failures.value += 1
            durations.observe(time.monotonic() - started)
            reason = f"no response in {TIMEOUT:g}s" if isinstance(error, TimeoutError) else str(error)
            log.warning(f'Local health request to "{url}" failed: {reason}')
            continue
        taken = time.monotonic() - started
        durations.observe(taken)
        if taken > SLOW:
            log.warning(f'Local health request to "{url}" took more than 1s: {format_duration(round(taken, 3))}')


async def request(address: str) -> None:
    """Ask for /health at an address; OSError or EOFError where there is no answer."""
    host, port = split_address(address)
    reader, writer = await asyncio.open_connection(host or LOOPBACK, port)
    try:
        writer.write(f"GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(MOST_READ)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

"""kubedns -conf Corefile: flags, then the Corefile, then plugins, then the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from kubedns import __version__, log
from kubedns.corefile.errors import CorefileErrors
from kubedns.corefile.find import FindError
from kubedns.flags import USAGE, FlagError, Flags, parse_flags
from kubedns.plugin.contract import StartError
from kubedns.plugin.registry import PluginError, Registry, find_plugins
from kubedns.server.configuration import Setting
from kubedns.server.lifecycle import Server
from kubedns.server.loading import Loader
from kubedns.server.reloading import Reloader, report
from kubedns.server.workers.crew import Crew
from kubedns.server.workers.launch import Launch

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_STOP_FAILED = 3  # a listener did not stop
EXIT_HOOK_FAILED = 4  # a plugin did not


def main() -> None:
    """Run the command line, and leave the process with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Return the exit status of a command line; it serves until a signal ends it."""
    try:
        flags = parse_flags(arguments)
    except FlagError as error:
        sys.stderr.write(f"{error}\n{USAGE}")
        return EXIT_USAGE
    if flags.help:
        sys.stderr.write(USAGE)
        return 0
    if flags.words:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S")
        sys.stderr.write(f"{stamp} extra command line arguments: [{' '.join(flags.words)}]\n")
        return EXIT_ERROR
    log.output.as_json = flags.log_format == "json"
    if flags.version:
        sys.stdout.write(version_lines())
        return 0
    try:
        registry = find_plugins(flags.plugin_dir)
    except PluginError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_ERROR
    if flags.plugins:
        sys.stdout.write("".join(f"{name}\n" for name in sorted(registry.modules)))
        return 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Process(flags, registry).live())
    finally:
        log.flush()


def version_lines() -> str:
    """Return name and version, then what it runs on, a line each."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"kubedns-{__version__}\n{sys.platform}/{machine}, python{platform.python_version()}, \n"


class Process:
    """A server, and the signals that it obeys."""

    def __init__(self, flags: Flags, registry: Registry) -> None:
        """Nothing is read yet."""
        self._flags = flags
        root, as_json = Path.cwd(), flags.log_format == "json"
        crew = Crew(Launch(flags.port, root, flags.manifests, flags.plugin_dir, as_json, os.getpid()))
        self._server = Server(crew)
        setting = Setting(registry, flags.port, root, flags.manifests, workers=crew)
        self._reloader = Reloader(self._server, Loader(flags.conf, setting))
        self._ended: asyncio.Future[int] | None = None
        self._terminating = self._interrupted = False
        self._busy: set[asyncio.Task[None]] = set()

    async def live(self) -> int:
        """Serve until a signal; return the exit status."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        log.output.leave = self._leave
        self._watch_signals(loop)  # before the start, which may wait for the cluster
        try:
            configuration = await self._reloader.start()
        except (CorefileErrors, FindError, OSError, StartError) as error:
            sys.stderr.write(report(error))
            return EXIT_ERROR
        self._write_pidfile()
        self._show("".join(f"{line}\n" for line in configuration.zone_lines()))
        self._reloader.watch(configuration)
        self._show(version_lines())
        if not configuration.groups:
            return 0
        try:
            return await self._ended
        finally:
            self._remove_pidfile()

    def _watch_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        handlers = {
            signal.SIGTERM: self._terminate,
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: self._quit,
            signal.SIGUSR1: self._reload,
            signal.SIGUSR2: self._ignore_upgrade,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _terminate(self) -> None:
        log.server_log.info("SIGTERM: Shutting down servers then terminating")
        if not self._terminating:
            self._terminating = True
            self._spawn(self._stop())

    def _interrupt(self) -> None:
        if self._interrupted:
            log.server_log.info("SIGINT: Force quit")
            self._leave(EXIT_USAGE)
        self._interrupted = True
        log.server_log.info("SIGINT: Shutting down")
        self._spawn(self._stop_plugins())

    def _quit(self) -> None:
        log.server_log.info("SIGQUIT: Quitting process immediately")
        self._leave(0)

    def _reload(self) -> None:
        log.server_log.info("SIGUSR1: Reloading")
        self._spawn(self._reloader.reload())

    def _ignore_upgrade(self) -> None:
        log.server_log.warning("SIGUSR2: Ignored, kubedns does not upgrade in place")

    async def _stop(self) -> None:
        """Stop all, in order; the process ends whatever goes wrong."""
        self._reloader.stop()
        try:
            await self._server.close()
        except OSError as error:
            log.server_log.error(f"SIGTERM: {error}")
            self._end(EXIT_STOP_FAILED)
        await self._stop_plugins()

    async def _stop_plugins(self) -> None:
        self._reloader.stop()
        failed = await self._server.stop_plugins()
        self._end(EXIT_HOOK_FAILED if failed else 0)

    def _show(self, text: str) -> None:
        """Print a part of the banner, which is seen at the start alone."""
        if not self._flags.quiet:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    def _end(self, status: int) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(status)

    def _leave(self, status: int) -> None:
        """End the process at once, without hooks."""
        self._remove_pidfile()
        sys.stdout.flush()
        os._exit(status)

    def _write_pidfile(self) -> None:
        if self._flags.pidfile:
            try:
                Path(self._flags.pidfile).write_text(f"{os.getpid()}\n", encoding="ascii")
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                log.server_log.error(f"Could not write pidfile: open {self._flags.pidfile}: {reason}")

    def _remove_pidfile(self) -> None:
        if self._flags.pidfile:
            with contextlib.suppress(OSError):
                Path(self._flags.pidfile).unlink()


if __name__ == "__main__":
    main()

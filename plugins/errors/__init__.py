"""errors [stdout] { ... }: log why queries could not be answered (docs/plugins/errors.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kubedns.corefile.readers import format_duration
from kubedns.log import plugin_log
from kubedns.plugin.contract import ResolveError, Settings
from kubedns.plugin.straight import Straight
from kubedns.wire.name import text
from kubedns.wire.numbers import type_text
from plugins.errors.options import Options, read_options

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from plugins.errors.options import Rule

LONGEST_SEARCHED = 1024  # characters of an error's text that patterns see

log = plugin_log("errors")
WRITE = {"debug": log.debug, "info": log.info, "warning": log.warning, "error": log.error}


def setup(directive: Directive, _: ServerBlock) -> Errors:
    return Errors(read_options(directive))


class Errors(Straight):
    """Logs the ResolveErrors of all plugins behind it, and hands them on."""

    cacheable = heeds_denials = True

    def __init__(self, options: Options) -> None:
        self.settings = Settings(stacktrace=options.stacktrace)
        self._periods = tuple(Period(rule) for rule in options.rules)
        self._stopped = False

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        try:
            return await pass_on(query)
        except ResolveError as error:
            self.failed(query, error)
            raise

    def failed(self, query: Query, error: ResolveError) -> None:
        """Log an error that has a text."""
        if str(error):
            self._record(query, error)

    async def stop(self) -> None:
        """Say at once what was counted; errors of queries still under way are logged one by one."""
        self._stopped = True
        for period in self._periods:
            period.end()

    def _record(self, query: Query, error: ResolveError) -> None:
        said = printable(str(error))
        line = f"{int(error.rcode)} {text(query.name)} {type_text(query.rrtype)}: {said}"
        searched = said[:LONGEST_SEARCHED]
        for period in () if self._stopped else self._periods:
            if period.rule.pattern.search(searched):
                period.count(line)
                return
        log.error(line)


class Period:
    """The errors of one `consolidate` rule, counted from the first one until the rule's duration has passed."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._write = WRITE[rule.level]
        self._seen = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, line: str) -> None:
        """Swallow an error's line, or show it if it is the first and the rule says so."""
        self._seen += 1
        if self._seen > 1:
            return
        if self.rule.show_first:
            self._write(line)
        self._timer = asyncio.get_running_loop().call_later(self.rule.seconds, self.end)

    def end(self) -> None:
        """Log how many there were, unless they have all been shown; the next error starts a new period."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seen, self._seen = self._seen, 0
        if seen > self.rule.show_first:
            within = format_duration(self.rule.seconds)
            self._write(f"{seen} errors like '{self.rule.spelled}' occurred in last {within}")


def printable(said: str) -> str:
    r"""Return a text as one line: characters that a terminal obeys become \x1b and the like."""
    if said.isprintable():
        return said
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in said)

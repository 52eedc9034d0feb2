"""log [NAMES...] [FORMAT] { class ... }: a line for each query (docs/plugins/log.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kubedns.log import server_log
from kubedns.plugin.contract import ResolveError
from kubedns.plugin.straight import Straight
from kubedns.wire.name import ROOT, is_within
from kubedns.wire.reply import Reply
from plugins.log.classes import EVERY_CLASS, classify
from plugins.log.formats import Exchange
from plugins.log.options import read_rules

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock
    from kubedns.wire.query import Query
    from plugins.log.options import Rule


def setup(directive: Directive, _: ServerBlock) -> QueryLog:
    return QueryLog(read_rules(directive))


class QueryLog(Straight):
    """Logs what comes back from the plugins behind it, by the first rule whose scope holds the name."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules

    def before(self, query: Query) -> None:
        """Note the query's rule, and when it came."""
        rule = self._rule(query)
        if rule is not None:
            query.note(self, (rule, time.perf_counter_ns()))

    def after(self, query: Query, reply: Reply) -> Reply:
        """Log a reply."""
        noted = query.noted(self)
        if noted is not None:
            rule, started = noted
            _write(rule, Exchange(query, reply, started))
        return reply

    def failed(self, query: Query, error: ResolveError) -> None:
        """Log what the server will answer."""
        self.after(query, Reply(rcode=error.rcode))

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """As all of these."""
        self.before(query)
        try:
            return self.after(query, await pass_on(query))
        except ResolveError as error:
            self.failed(query, error)
            raise

    def _rule(self, query: Query) -> Rule | None:
        for rule in self._rules:
            if rule.scope == ROOT or is_within(query.name, rule.scope):
                return rule
        return None


def _write(rule: Rule, exchange: Exchange) -> None:
    if rule.classes is EVERY_CLASS or classify(exchange.query, exchange.reply, time.time()) in rule.classes:
        server_log.each(rule.format.line(exchange))

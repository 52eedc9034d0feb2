"""Connections in, requests to the one that answers them: who asks, whether he may, what goes wrong."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tests.fakes.apiserver import writing
from tests.fakes.apiserver.http import LARGEST_HEAD, Hangup, Message, Reply, read_message, reset
from tests.fakes.apiserver.listing import list_page
from tests.fakes.apiserver.matching import read_selection
from tests.fakes.apiserver.request import Request
from tests.fakes.apiserver.resources import BUILT_IN, READABLE, SERVICE_IMPORTS, Target, discovery, locate
from tests.fakes.apiserver.rules import Rule, Rules
from tests.fakes.apiserver.statuses import USER, StatusError, forbidden, no_such_resource, unauthorized
from tests.fakes.apiserver.store import Change, Store, Table
from tests.fakes.apiserver.watching import Watch, check_options, is_true, prepare, stream

if TYPE_CHECKING:
    import socket

    from tests.fakes.apiserver.request import Options

_ADMIN = "kubernetes-admin"
_READABLE = {*READABLE, SERVICE_IMPORTS}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_HEALTH = {"/healthz", "/livez", "/readyz"}
_PROXY_PAGE = b"<html>\r\n<head><title>Bad Gateway</title></head>\r\n<body><h1>Bad Gateway</h1></body>\r\n</html>\r\n"
_GARBAGE = b"\x00\xff\xfepanic: runtime error: \x80\x81{{{ not JSON"
_TOO_MANY = b"Too many requests, please try again later.\n"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request being answered; `target` is None for a path that names no resource."""

    message: Message
    verb: str
    target: Target | None
    rule: Rule | None
    reader: asyncio.StreamReader
    reply: Reply

    @property
    def mode(self) -> str:
        return self.rule.mode if self.rule else ""


class Server:
    """All there is of the API server but its process."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.resources = (*BUILT_IN, SERVICE_IMPORTS) if options.multicluster else BUILT_IN
        self.store = Store(self.resources, self._changed)
        self.rules = Rules()
        self.users = {options.token: USER, options.admin_token: _ADMIN}
        self.requests: list[Request] = []
        self.watches: set[Watch] = set()
        self._listener: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["http/1.1"])

    def load_certificate(self) -> None:
        """Read the server's certificate anew, for connections from now on."""
        self._context.load_cert_chain(self.options.certificate, self.options.key)

    async def listen(self, sock: socket.socket) -> None:
        self._listener = await asyncio.start_server(
            self._connected, sock=sock, ssl=self._context, limit=LARGEST_HEAD, backlog=128
        )

    async def refuse(self) -> None:
        """Stop listening and drop every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer, task in list(self._connections.items()):
            reset(writer)
            if task is not None:
                task.cancel()
        await asyncio.sleep(0)

    def _changed(self, table: Table, change: Change) -> None:
        for watch in self.watches:
            if watch.table is table:
                watch.tell(change)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        try:
            while message := await read_message(reader, writer):
                if not await self._exchange(message, reader, writer):
                    break
        except (Hangup, OSError, asyncio.CancelledError):
            pass  # 3.11's streams report a cancelled handler as an error
        finally:
            del self._connections[writer]
            writer.close()

    async def _exchange(self, message: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tell whether the connection stays open."""
        target = locate(message.path)
        verb, resource = _verb_of(message, target), target.plural if target else ""
        record = Request(verb, resource, message.method, message.path, message.query, message.headers)
        self.requests.append(record)
        rule = self.rules.take(verb, resource)
        reply = Reply(writer, message, rule, record)
        exchange = Exchange(message, verb, target, rule, reader, reply)
        try:
            if rule is not None:
                await _go_wrong(exchange, rule)
            if not record.status:
                await self._answer(exchange)
        except StatusError as error:
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            if error.code == 403:
                headers["X-Content-Type-Options"] = "nosniff"
            await reply.send(error.code, error.body, headers)
        return not reply.closes

    async def _answer(self, exchange: Exchange) -> None:
        message, verb, target, reply = exchange.message, exchange.verb, exchange.target, exchange.reply
        user = self.users.get(message.headers.get("authorization", "").removeprefix("Bearer "))
        if user is None:
            raise unauthorized()
        if message.path in _HEALTH:
            await reply.send(200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})
            return
        document = discovery(message.path, self.resources) if message.method == "GET" else None
        if document is not None:
            await reply.send(200, msgspec.json.encode(document) + b"\n")
            return
        if target is None:
            raise no_such_resource()
        table = self.store.tables.get(target.plural)
        known = table is not None and (table.resource.group, table.resource.version) == (target.group, target.version)
        readable = table is not None and table.resource in _READABLE
        if user != _ADMIN and not (known and readable and verb in {"list", "watch"}):
            raise forbidden(user, verb, target.group, target.plural, target.namespace)
        if table is None or not known:
            raise no_such_resource()
        if verb == "watch":
            await self._watch(exchange, target, table)
        elif verb == "list":
            selection = read_selection(table.resource, target, message.query)
            page = await list_page(self.store, table, selection, message.query)
            await reply.send_list(page.encoded(table), compress=self.options.gzip)
        else:
            await self._one(exchange, target, table)

    async def _one(self, exchange: Exchange, target: Target, table: Table) -> None:
        """Read or write a single object."""
        body, kind = exchange.message.body, exchange.message.headers.get("content-type", "")
        dry = exchange.message.query.get("dryRun") == "All"
        if exchange.verb in {"create", "update"}:
            writing.refuse_protobuf(kind)
        match exchange.verb:
            case "get":
                stored = writing.existing(table, target)
            case "create":
                stored = writing.create(self.store, table, target, body, dry=dry)
            case "update":
                stored = writing.update(self.store, table, target, body, dry=dry)
            case "patch":
                stored = writing.patch(self.store, table, target, kind, body, dry=dry)
            case _:
                stored = writing.delete(self.store, table, target, dry=dry)
        code = 201 if exchange.verb == "create" else 200
        await exchange.reply.send(code, table.resource.head + stored.item[1:] + b"\n")

    async def _watch(self, exchange: Exchange, target: Target, table: Table) -> None:
        query, mode, reply = dict(exchange.message.query), exchange.mode, exchange.reply
        check_options(query, streaming=self.options.streaming_lists)
        selection = read_selection(table.resource, target, query)
        bookmarks = is_true(query.get("allowWatchBookmarks")) and mode != "no_bookmarks"
        watch = Watch(self.store, table, selection, bookmarks=bookmarks)
        error = await prepare(self.store, watch, query)
        if mode == "ignore_timeout":
            query.pop("timeoutSeconds", None)
        self.watches.add(watch)
        try:
            await reply.begin(200)
            if mode == "mute":
                await exchange.reader.read(1)
                raise Hangup
            if error:
                await reply.write(error)
                await reply.end()
                return
            await stream(watch, reply, exchange.reader, query, self.options.bookmark_every)
        finally:
            self.watches.discard(watch)


def _verb_of(message: Message, target: Target | None) -> str:
    """Return the verb as the API server's authorizer names it."""
    if message.method != "GET":
        return _VERBS.get(message.method, message.method.lower())
    if target is None:
        return "get"
    if is_true(message.query.get("watch")):
        return "watch"
    return "get" if target.name else "list"


async def _go_wrong(exchange: Exchange, rule: Rule) -> None:
    """Do what a rule has in place of the reply, if it has."""
    reply, values = exchange.reply, rule.values
    match rule.mode:
        case "silence":
            await exchange.reader.read(1)  # until the client gives up
            raise Hangup
        case "close":
            reply.close()
        case "reset":
            reply.reset()
        case "garbage":
            await reply.send(500, _GARBAGE)
        case "html":
            await reply.send(int(values.get("code", 502)), _PROXY_PAGE, {"Content-Type": "text/html"})
        case "status" if values.get("code", 503) == 429:
            headers = {"Retry-After": str(values.get("retry_after") or 1), "Content-Type": "text/plain"}
            await reply.send(429, _TOO_MANY, headers)
        case "status":
            code = int(values.get("code", 503))
            target = exchange.target
            if code == 403 and target is not None:
                raise forbidden(USER, exchange.verb, target.group, target.plural, target.namespace)
            message = "Unauthorized" if code == 401 else str(values.get("message", "made to fail by a test"))
            raise StatusError(code, message, retry_after=values.get("retry_after"))
        case _:
            pass

"""The HTTP server of the collector: its status, and changes of the followed instruments.

GET /health, /metrics, /status, /scheduler; POST /subscriptions.
"""

import datetime as dt
import hmac
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from marketdata_assets.collector.errors import NotCollected, NotListed, UnknownSymbols
from marketdata_assets.collector.health import Health
from marketdata_assets.collector.listening import HttpServer
from marketdata_assets.collector.status import Status, as_dict, scheduler
from marketdata_assets.errors import MarketDataError
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import UnknownExchange
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.proxies import LOOPBACK

MAX_BODY = 1 << 20
STATUS_OF: dict[type[MarketDataError], int] = {NotCollected: 404, UnknownSymbols: 422, NotListed: 503}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /subscriptions: symbols as in the configuration."""

    exchange: Exchange
    market_type: MarketType
    add: list[str] = []
    remove: list[str] = []


class Changed(msgspec.Struct, frozen=True):
    """The response, in the venue's names, without instruments of other shards."""

    added: list[str]
    removed: list[str]
    instruments: list[str]


class Source(Protocol):
    """The collector, as the server sees it."""

    requests: Counter[tuple[str, int]]

    def status(self) -> Status: ...
    def health(self, status: Status) -> Health: ...
    def exposition(self) -> bytes: ...

    async def change(
        self, exchange: Exchange, market_type: MarketType, add: Sequence[str], remove: Sequence[str]
    ) -> Changed:
        """Raises NotCollected, UnknownSymbols, NotListed."""
        ...


class StatusServer(HttpServer):
    """The HTTP server of one collector."""

    def __init__(self, source: Source, host: str, port: int, token: str | None = None) -> None:
        super().__init__(host, port)
        self._source, self._token = source, token

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises PortTaken."""
        app = web.Application(middlewares=[self._counted], client_max_size=MAX_BODY)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", partial(self._view, as_dict))
        app.router.add_get("/scheduler", partial(self._view, scheduler))
        app.router.add_post("/subscriptions", self._subscriptions)
        remedy = "Stop the program that uses it, or set HTTP_PORT to another (0: any free port)."
        await self.listen(app, remedy)

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path if request.match_info.route.resource else "other"
        try:
            answer = self._misdirected(request) or await handler(request)
        except web.HTTPException as error:
            answer = _rejection(error.status, error.reason, error.headers.get("Allow"))
        self._source.requests[path, answer.status] += 1
        return answer

    def _misdirected(self, request: web.Request) -> web.Response | None:
        """Why a view under this name is rejected: one that resolves to this machine makes a page of it the same site.

        A name of the public DNS has a dot; those of a local network, of containers and addresses stay allowed.
        """
        name = _host_of(request.host) or ""
        ours = name in LOOPBACK or name == self.host
        if not ours and self.host not in LOOPBACK:
            address = re.fullmatch(r"[0-9.]+|[0-9a-f:.]+:[0-9a-f:.]*", name)
            local = "." not in name or name.endswith((".local", ".internal", ".svc", ".localhost", ".lan"))
            ours = bool(name) and (bool(address) or local or name in (socket.gethostname(), socket.getfqdn()))
        if ours or request.method == "POST" or self._is_token(request):
            return None
        return _rejection(421, f"host {request.host} is unknown: call this machine by its address, or send the token")

    def _is_token(self, request: web.Request) -> bool:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return (
            self._token is not None
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), self._token.encode())
        )

    async def _health(self, _: web.Request) -> web.Response:
        status = self._source.status()
        health = self._source.health(status)
        body = {
            "status": health.status,
            "timestamp": dt.datetime.fromtimestamp(status.now / 1e9, dt.UTC).isoformat(),
            "uptime_seconds": round(status.uptime_seconds, 3),
            "version": status.version,
            "checks": {one.name: {"status": one.status, "reasons": list(one.reasons)} for one in health.checks},
            "reasons": health.reasons,
        }
        return _json(body, 503 if health.status == "unhealthy" else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._source.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _view(self, view: Callable[[Status], dict[str, Any]], _: web.Request) -> web.Response:
        return _json(view(self._source.status()))

    async def _subscriptions(self, request: web.Request) -> web.Response:
        if rejection := self._not_allowed(request):
            return rejection
        try:
            wanted = msgspec.json.decode(await request.read(), type=Change)
        except NOT_JSON as error:
            cause = str(error)
            if unknown := re.search("unknown field `(.*)`", cause):
                [nearest] = get_close_matches(unknown[1], Change.__struct_fields__, 1, 0)
                cause = f"unknown key {unknown[1]!r}; did you mean {nearest!r}?"
            return _rejection(400, cause)
        if wanted.exchange not in venues.names():
            return _rejection(400, str(UnknownExchange(wanted.exchange, venues.names())))
        if not wanted.add and not wanted.remove:
            return _rejection(400, "nothing to change: give symbols in add or remove")
        try:
            changed = await self._source.change(wanted.exchange, wanted.market_type, wanted.add, wanted.remove)
        except MarketDataError as error:
            return _rejection(STATUS_OF.get(type(error), 500), str(error))
        return _json(msgspec.to_builtins(changed))

    def _not_allowed(self, request: web.Request) -> web.Response | None:
        """Why a change is rejected: other machines need the token, and pages in a browser are never allowed."""
        if self._token is None and self.host not in LOOPBACK:
            return _rejection(403, "changes from other machines need a token: set MARKETDATA_COLLECTOR_TOKEN")
        if self._token is not None:
            if not self._is_token(request):
                rejection = _rejection(401, "send the token as: Authorization: Bearer TOKEN")
                rejection.headers["WWW-Authenticate"] = "Bearer"
                return rejection
        elif _host_of(request.host) not in LOOPBACK:
            return _rejection(403, f"host {request.host} is not allowed: without a token only loopback is")
        # A page of another site cannot send this type without a CORS preflight, which is not answered.
        if request.content_type != "application/json":
            return _rejection(415, "send JSON, with Content-Type: application/json")
        return None


def _host_of(text: str) -> str | None:
    try:
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value) + b"\n", status=status, content_type="application/json")


def _rejection(status: int, reason: str, allow: str | None = None) -> web.Response:
    answer = _json({"error": reason}, status)
    if allow:
        answer.headers["Allow"] = allow
    return answer

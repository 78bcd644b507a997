"""The HTTP server of the collector: its status, and changes of the followed instruments.

GET /health, /metrics, /status, /scheduler; POST /subscriptions. The drain service serves its own on the same base.
"""

import datetime as dt
import hmac
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from marketdata_assets.collector.errors import NotCollected, NotListed, PortTaken, UnknownSymbols
from marketdata_assets.collector.health import Health
from marketdata_assets.collector.metrics import Metrics
from marketdata_assets.collector.status import Status, as_dict, scheduler
from marketdata_assets.errors import MarketDataError
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.proxies import LOOPBACK
from marketdata_assets.server_addresses import answers_to, name_of

MAX_BODY = 1 << 20
SHUTDOWN_SECONDS = 2.0
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


OnChange = Callable[[Exchange, MarketType, Sequence[str], Sequence[str]], Awaitable[Changed]]
"""Adds and removes instruments of a market. Raises NotCollected, UnknownSymbols, NotListed."""


class HttpServer:
    """Serves an aiohttp application, and metrics."""

    def __init__(self, host: str, port: int, metrics: Metrics, token: str | None = None) -> None:
        self.host, self.port, self._token = host, port, token
        self._exposed = metrics
        self._runner: web.AppRunner | None = None

    async def listen(self, app: web.Application, remedy: str) -> None:
        """Serve `app`; `port` is then what the system chose for port 0. Raises PortTaken with the remedy."""
        app.middlewares.append(self._named)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            raise PortTaken(f"{self.host}:{self.port}: {error.strerror or error}. {remedy}") from error
        self._runner, self.port = runner, runner.addresses[0][1]

    async def stop(self) -> None:
        """Finish requests in progress, and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _named(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if answers_to(self.host, request.host) or request.method == "POST" or self._is_token(request):
            return await handler(request)
        token = ", or send the token" if self._token else ""
        return _rejection(421, f"host {request.host} is unknown: call this machine by its address{token}")

    def _is_token(self, request: web.Request) -> bool:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return (
            self._token is not None
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), self._token.encode())
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._exposed.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class StatusServer(HttpServer):
    """The HTTP server of one collector; `judged` is its status and its health."""

    def __init__(
        self,
        host: str,
        port: int,
        judged: Callable[[], tuple[Status, Health]],
        change: OnChange,
        token: str | None = None,
    ) -> None:
        super().__init__(host, port, Metrics(judged), token)
        self.requests: Counter[tuple[str, int]] = Counter()
        self._judged, self._change = judged, change

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
            answer = await handler(request)
        except web.HTTPException as error:
            answer = _rejection(error.status, error.reason, error.headers.get("Allow"))
        self.requests[path, answer.status] += 1
        return answer

    async def _health(self, _: web.Request) -> web.Response:
        status, health = self._judged()
        body = {
            "status": health.status,
            "timestamp": dt.datetime.fromtimestamp(status.now / 1e9, dt.UTC).isoformat(),
            "uptime_seconds": round(status.uptime_seconds, 3),
            "version": status.version,
            "checks": {one.name: {"status": one.status, "reasons": list(one.reasons)} for one in health.checks},
            "reasons": health.reasons,
        }
        return json_response(body, 503 if health.status == "unhealthy" else 200)

    async def _view(self, view: Callable[[Status], dict[str, Any]], _: web.Request) -> web.Response:
        return json_response(view(self._judged()[0]))

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
        if wanted.exchange not in venues.known():
            return _rejection(400, str(venues.unknown(wanted.exchange)))
        if not wanted.add and not wanted.remove:
            return _rejection(400, "nothing to change: give symbols in add or remove")
        try:
            changed = await self._change(wanted.exchange, wanted.market_type, wanted.add, wanted.remove)
        except MarketDataError as error:
            return _rejection(STATUS_OF.get(type(error), 500), str(error))
        return json_response(changed)

    def _not_allowed(self, request: web.Request) -> web.Response | None:
        """Why a change is rejected: other machines need the token, and pages in a browser are never allowed."""
        if self._token is None and self.host not in LOOPBACK:
            return _rejection(403, "changes from other machines need a token: set MARKETDATA_COLLECTOR_TOKEN")
        if self._token is not None:
            if not self._is_token(request):
                rejection = _rejection(401, "send the token as: Authorization: Bearer TOKEN")
                rejection.headers["WWW-Authenticate"] = "Bearer"
                return rejection
        elif name_of(request.host) not in LOOPBACK:
            return _rejection(403, f"host {request.host} is not allowed: without a token only loopback is")
        # A page of another site cannot send this type without a CORS preflight, which is not answered.
        if request.content_type != "application/json":
            return _rejection(415, "send JSON, with Content-Type: application/json")
        return None


def json_response(value: Any, status: int = 200) -> web.Response:
    """A response of JSON in one line."""
    return web.Response(body=msgspec.json.encode(value) + b"\n", status=status, content_type="application/json")


def _rejection(status: int, reason: str, allow: str | None = None) -> web.Response:
    answer = json_response({"error": reason}, status)
    if allow:
        answer.headers["Allow"] = allow
    return answer

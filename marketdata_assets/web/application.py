"""The web page as an ASGI application: HTML and scripts of the package, and JSON under /api. The guard is around it."""

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import psycopg
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marketdata_assets.errors import MarketDataError, TerminalError
from marketdata_assets.local.errors import NoServer
from marketdata_assets.logs import get_logger
from marketdata_assets.read.errors import NothingLoaded
from marketdata_assets.reference.records import Days
from marketdata_assets.web import stocks
from marketdata_assets.web.database import reading
from marketdata_assets.web.errors import BadParameter, UnknownCode
from marketdata_assets.web.state import Table, tables
from marketdata_assets.web.stocks import Stock

STATIC = Path(__file__).parent / "static"
FRESH_SECONDS = 60.0
"""How long the list of stocks and the state of the tables are kept."""
MOST_FOUND = 20
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

T = TypeVar("T")
log = get_logger(__name__)


@dataclass
class Kept(Generic[T]):
    """A value of a database, which is read again after FRESH_SECONDS; two that ask at once may both read it."""

    read: Callable[[psycopg.Connection], T]
    _values: dict[str, tuple[float, T]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, dsn: str) -> T:
        """The value of the database at this address; raises what reading it raises."""
        with self._lock:
            at, value = self._values.get(dsn, (None, None))
        if at is not None and value is not None and time.monotonic() - at < FRESH_SECONDS:
            return value
        with reading(dsn) as connection:
            fresh = self.read(connection)
        with self._lock:
            self._values = {dsn: (time.monotonic(), fresh)}
        return fresh


class Pages:
    """The endpoints, which run in threads; `address` gives the connection string, or raises NoServer."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._stocks: Kept[list[Stock]] = Kept(stocks.all_stocks)
        self._state: Kept[list[Table]] = Kept(tables)

    def front(self, _: Request) -> Response:
        """The page with the search and the state of the tables."""
        return FileResponse(STATIC / "front.html")

    def stock(self, _: Request) -> Response:
        """The page of one stock, whose script reads the code from the address."""
        return FileResponse(STATIC / "stock.html")

    def state(self, _: Request) -> Response:
        """`{"tables": [...]}`, see `state.Table`."""
        return JSONResponse({"tables": [vars(table) for table in self._state.of(self._address())]})

    def search(self, request: Request) -> Response:
        """`{"stocks": [...], "more": bool, "of": 5000}`: at most MOST_FOUND stocks that begin with `q`."""
        every = self._stocks.of(self._address())
        some = list(islice(stocks.found(every, request.query_params.get("q", "")), MOST_FOUND + 1))
        listed = [vars(stock) for stock in some[:MOST_FOUND]]
        return JSONResponse({"stocks": listed, "more": len(some) > MOST_FOUND, "of": len(every)})

    def candles(self, request: Request) -> Response:
        """`{"step": "1d", "first": ..., "last": ..., "candles": [[time, open, high, low, close, volume], ...]}`."""
        code = request.path_params["code"]
        first, last = _day(request, "start"), _day(request, "end")
        if first and last and last < first:
            raise BadParameter("end", str(last), f"is before start={str(first)!r}; write the earlier day first.")
        with reading(self._address()) as connection:
            loaded = stocks.span(connection, code)
            asked = Days(
                min(max(first or loaded.first, loaded.first), loaded.last),
                max(min(last or loaded.last, loaded.last), loaded.first),
            )
            drawn = stocks.candles(connection, code, asked)
        known = {"first": str(loaded.first), "last": str(loaded.last)}
        shown = {"start": str(asked.first), "end": str(asked.last), "step": stocks.step(len(asked))}
        return JSONResponse({"code": code, **known, **shown, "candles": drawn})

    def coverage(self, request: Request) -> Response:
        """`{"code": ..., "name": ..., "months": [...]}`, see `stocks.Month`."""
        code = request.path_params["code"]
        with reading(self._address()) as connection:
            months = stocks.coverage(connection, code)
        name = next((stock.name for stock in self._stocks.of(self._address()) if stock.code == code), None)
        return JSONResponse({"code": code, "name": name, "months": stocks.as_rows(months)})


def application(address: Callable[[], str]) -> Starlette:
    """The page over the database whose connection string `address` gives at each request, or raises NoServer."""
    pages = Pages(address)
    routes = [
        Route("/", pages.front),
        Route("/stock/{code}", pages.stock),
        Route("/api/state", pages.state),
        Route("/api/stocks", pages.search),
        Route("/api/stocks/{code}/candles", pages.candles),
        Route("/api/stocks/{code}/coverage", pages.coverage),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    handlers = {MarketDataError: _failed}
    return Starlette(routes=routes, middleware=[Middleware(WithHeaders)], exception_handlers=handlers)


class WithHeaders:
    """ASGI middleware: nothing from elsewhere is loaded into the page, and no other page shows it in a frame."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, sender)


def _failed(request: Request, error: Exception) -> Response:
    """The error's message as JSON: 400 and 404 for the request, 503 for a missing server or table."""
    status = 404 if isinstance(error, UnknownCode) else 503
    if isinstance(error, TerminalError) and not isinstance(error, UnknownCode | NoServer | NothingLoaded):
        status = 400
    if status == 503:
        log.warning("page_without_data", path=request.url.path, error=error)
    return JSONResponse({"error": str(error)}, status)


def _day(request: Request, name: str) -> dt.date | None:
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise BadParameter(name, text, "is not a day; write it as 2024-01-31.") from None

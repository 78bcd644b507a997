"""The endpoints of the web page: HTML of the package, and JSON under /api. They run in threads, one each.

What they answer is read by the modules beside this one; here are only parameters and JSON.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from marketdata_assets.overview import Row, Store
from marketdata_assets.read.errors import NothingLoaded
from marketdata_assets.reference.calendar import ashares, last_closed
from marketdata_assets.reference.records import Days
from marketdata_assets.secret_values import escaped
from marketdata_assets.settings import Settings
from marketdata_assets.web import coverage, database, instruments, order_books, quality, state, stocks, symbols
from marketdata_assets.web.database import LONG, Servers
from marketdata_assets.web.errors import BadParameter, NotCreated
from marketdata_assets.web.finding import Kept, found
from marketdata_assets.web.instruments import Market

STATIC = Path(__file__).parent / "static"
T = TypeVar("T")
NAMES: dict[Store, str] = {"postgres": "Postgres", "clickhouse": "ClickHouse", "mongo": "MongoDB"}
MOST_FOUND = 20
MOST_TEXT = 100
FIRST_DAY, LAST_DAY = dt.date(1970, 1, 1), dt.date(2099, 12, 31)
"""What every server takes as a day, with a day before and after."""


def page(name: str) -> Callable[[Request], Response]:
    """The endpoint of a page, whose script reads from the address what it is about."""
    return lambda _: FileResponse(STATIC / f"{name}.html")


class Pages:
    """The endpoints of JSON over the servers, of which each is needed only by what it has."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._stocks = _kept(servers, "postgres", stocks.all_stocks)
        self._instruments = _kept(servers, "clickhouse", instruments.all_instruments)
        self._symbols = _kept(servers, "clickhouse", symbols.all_symbols)
        self._status: dict[str, Kept[list[Row]]] = {
            domain: Kept("the server of this domain", partial(state.status, servers, domain))
            for domain in Settings().domain_names
        }
        self._quality = {
            "postgres": _kept(servers, "postgres", quality.in_postgres, LONG),
            "clickhouse": _kept(
                servers, "clickhouse", lambda client: quality.in_clickhouse(client, dt.datetime.now(dt.UTC)), LONG
            ),
            "mongo": _kept(servers, "mongo", quality.in_mongo, LONG),
        }

    def server(self, request: Request) -> Response:
        """`{"store": "ClickHouse", "version": "25.8", "ms": 12}`."""
        return JSONResponse(state.server(self._servers, _among(request, "name", state.STORES)))

    def status(self, request: Request) -> Response:
        """`{"domain": "bars", "assets": [...]}`, as in `marketdata status`; a `note` where tables are missing."""
        domain = _among(request, "domain", self._status)
        try:
            return JSONResponse({"domain": domain, "assets": self._status[domain]()})
        except (NotCreated, NothingLoaded) as error:
            return JSONResponse({"domain": domain, "assets": [], "note": str(error)})

    def quality(self, request: Request) -> Response:
        """`{"periods": [...]}`, see `quality.Period`; counts that are 0 are left out."""
        store = _among(request, "name", self._quality)
        return JSONResponse({"periods": quality.as_json(self._quality[store]())})

    def search_stocks(self, request: Request) -> Response:
        """`{"found": [...], "more": bool, "of": 5000}`: at most MOST_FOUND stocks that begin with `q`."""
        every = self._stocks()
        return _listed(every, found(every, _text(request, "q")))

    def search_instruments(self, request: Request) -> Response:
        """The same of instruments of exchanges."""
        every = self._instruments()
        return _listed(every, instruments.found(every, _text(request, "q")))

    def search_symbols(self, request: Request) -> Response:
        """The same of symbols of ticks."""
        every = self._symbols()
        return _listed(every, found(every, _text(request, "q")))

    def stock_candles(self, request: Request) -> Response:
        """`{"step": "1d", "first": ..., "last": ..., "candles": [[time, open, high, low, close, volume], ...]}`."""
        code = _checked("code", request.path_params["code"])
        first, last = _span(request)
        with database.postgres(self._servers.postgres()) as connection:
            loaded = stocks.span(connection, code)
            asked = Days(
                min(max(first or loaded.first, loaded.first), loaded.last),
                max(min(last or loaded.last, loaded.last), loaded.first),
            )
            drawn = stocks.candles(connection, code, asked)
        known = {"first": str(loaded.first), "last": str(loaded.last)}
        shown = {"start": str(asked.first), "end": str(asked.last), "step": stocks.step(len(asked))}
        return JSONResponse({"code": code, **known, **shown, "candles": drawn})

    def stock_coverage(self, request: Request) -> Response:
        """`{"code": ..., "name": ..., "months": [...]}`, see `coverage.Month`."""
        code = _checked("code", request.path_params["code"])
        with database.postgres(self._servers.postgres()) as connection:
            days, counted = stocks.counted(connection, code)
        months = coverage.months(days, counted, ashares().trading_days)
        name = next((stock.name for stock in self._stocks() if stock.code == code), None)
        return JSONResponse({"code": code, "name": name, "months": [month.as_json() for month in months]})

    def symbol(self, request: Request) -> Response:
        """`{"code": ..., "name": ..., "months": [...], "others": {...}}`, see `symbols.coverage`."""
        code, closed = _checked("code", request.path_params["code"]), last_closed(dt.datetime.now(dt.UTC))
        with database.clickhouse(self._servers.clickhouse()) as client:
            months, others = symbols.coverage(client, code, closed), symbols.others(client, code)
        known = next((vars(one) for one in self._symbols() if one.code == code), {"name": None, "status": None})
        return JSONResponse({**known, "code": code, "months": months, "others": others})

    def instrument(self, request: Request) -> Response:
        """`{"symbol": ..., "bars": bool, "books": bool, "gap_days": [...], "book_days": [...]}`."""
        market = _market(request)
        known = instruments.known(self._instruments(), market)
        with database.clickhouse(self._servers.clickhouse()) as client:
            gaps = instruments.gap_days(client, market)
            days = order_books.days(client, market) if known.books else []
        return JSONResponse({**vars(known), "gap_days": gaps, "book_days": days})

    def instrument_candles(self, request: Request) -> Response:
        """As of a stock, `step` in minutes, times in UTC; `uncertain` minutes may lack trades."""
        market = _market(request)
        first, last = _span(request)
        with database.clickhouse(self._servers.clickhouse()) as client:
            drawn = instruments.candles(client, market, first, last)
        if drawn is None:
            return JSONResponse({"candles": [], "minutes": 0})
        days = {"first": drawn.known.first, "last": drawn.known.last, "start": drawn.days.first, "end": drawn.days.last}
        facts = {"step": drawn.step, "minutes": drawn.minutes, "uncertain": drawn.uncertain}
        return JSONResponse({**{name: str(day) for name, day in days.items()}, **facts, "candles": drawn.candles})

    def instrument_gaps(self, request: Request) -> Response:
        """`{"gaps": [...]}` that began on the UTC `day`, see `instruments.gaps_of`."""
        market, day = _market(request), _required_day(request, "day")
        with database.clickhouse(self._servers.clickhouse()) as client:
            return JSONResponse({"gaps": instruments.gaps_of(client, market, day)})

    def book(self, request: Request) -> Response:
        """The book `at` an instant, or the last one of a `day` that a later record can prove; see `order_books`."""
        market, text = _market(request), _text(request, "at")
        at = order_books.instant(text) if text else None
        day = None if text else _required_day(request, "day")
        with database.clickhouse(self._servers.clickhouse()) as client:
            if day is not None:
                at = order_books.last_known(client, market, day)
            if at is None:
                raise BadParameter("day", str(day), f"has no records of books of {market.instrument}.")
            return JSONResponse(order_books.at_instant(client, market, at))


def _kept(servers: Servers, store: Store, read: Callable[[Any], T], patience: float = 1.0) -> Kept[T]:
    def answer() -> T:
        with database.connected(servers, store, patience) as connection:
            return read(connection)

    return Kept(NAMES[store], answer)


def _listed(every: list[Any], some: Iterable[Any]) -> Response:
    first = list(islice(some, MOST_FOUND + 1))
    shown = [vars(one) for one in first[:MOST_FOUND]]
    return JSONResponse({"found": shown, "more": len(first) > MOST_FOUND, "of": len(every)})


def _market(request: Request) -> Market:
    return instruments.checked(*(_text(request, name) for name in ("exchange", "market_type", "instrument")))


def _among(request: Request, name: str, known: Iterable[str]) -> str:
    value: str = request.path_params[name]
    if value not in known:
        raise BadParameter(name, value, f"is none of {', '.join(known)}.")
    return value


def _text(request: Request, name: str) -> str:
    return _checked(name, request.query_params.get(name, "").strip())


def _checked(name: str, text: str) -> str:
    if len(text) > MOST_TEXT or escaped(text) != text:
        raise BadParameter(name, text[:20], f"is no name; at most {MOST_TEXT} characters.")
    return text


def _span(request: Request) -> tuple[dt.date | None, dt.date | None]:
    first, last = _day(request, "start"), _day(request, "end")
    if first and last and last < first:
        raise BadParameter("end", str(last), f"is before start={str(first)!r}; write the earlier day first.")
    return first, last


def _required_day(request: Request, name: str) -> dt.date:
    day = _day(request, name)
    if day is None:
        raise BadParameter(name, "", "is missing; write it as 2024-01-31.")
    return day


def _day(request: Request, name: str) -> dt.date | None:
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise BadParameter(name, text[:MOST_TEXT], "is not a day; write it as 2024-01-31.") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise BadParameter(name, text, f"is not a day from {FIRST_DAY} to {LAST_DAY}.")
    return day

"""The endpoints of the web page: HTML of the package, and JSON under /api. They run in threads, one each.

What they answer is read by the modules beside this one; here are only parameters and JSON.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from html import escape
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any, TypeVar

import polars as pl
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from marketdata_assets import domains, overview
from marketdata_assets.domains import Store
from marketdata_assets.overview import Row
from marketdata_assets.read.bars import Query
from marketdata_assets.read.errors import NothingLoaded
from marketdata_assets.read.resampling import whole_period
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.exchanges import canonical, currency_of, exchange_of, is_known
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import SUSPENSIONS
from marketdata_assets.secret_values import escaped
from marketdata_assets.settings import Settings
from marketdata_assets.web import alphas, coverage, database, flows, instruments, quality, stocks, symbols
from marketdata_assets.web.database import LONG, Servers
from marketdata_assets.web.errors import BadParameter, NotCreated, Unknown
from marketdata_assets.web.finding import Kept, found, plain
from marketdata_assets.web.instruments import Market

STATIC = Path(__file__).parent / "static"
CHARTS = "lwcharts", "vendor/lightweight-charts.standalone.production.js"
T = TypeVar("T")
K = TypeVar("K", bound=str)
STORES: dict[Store, tuple[str, Callable[[Any], str]]] = {
    "postgres": ("PostgreSQL", lambda connection: connection.info.parameter_status("server_version") or ""),
    "clickhouse": ("ClickHouse", lambda client: str(client.command("SELECT version()"))),
    "mongo": ("MongoDB", lambda databases: str(databases["admin"].command("buildInfo")["version"])),
}
"""The name of each server, and how to ask for its version."""
UNITS: dict[Store, Callable[[Any, str, str], list[quality.Unit]]] = {
    "postgres": quality.units_in_postgres,
    "clickhouse": quality.units_in_clickhouse,
    "mongo": quality.units_in_mongo,
}
QUALITY: dict[Store, Callable[[Any], list[quality.Period]]] = {
    "postgres": quality.in_postgres,
    "clickhouse": quality.in_clickhouse,
    "mongo": quality.in_mongo,
}
MOST_FOUND = 20
MOST_TEXT = 100
FIRST_DAY, LAST_DAY = dt.date(1970, 1, 1), dt.date(2099, 12, 31)
"""What every server takes as a day, with a day before and after."""


def rising(request: Request) -> str:
    """The colour of rising prices of the code in the address: red on the exchanges of the mainland and of Japan."""
    code = plain(request.path_params["code"]).upper()
    return "red" if not is_known(code) or exchange_of(code).currency in ("CNY", "JPY") else "green"


def page(name: str, title: str, market: Callable[[Request], str] = lambda _: "green") -> Callable[[Request], Response]:
    """The endpoint of a page within the frame of all, whose script reads from the address what it is about.

    `market` gives the colour of rising prices there.
    """
    parts = {part.stem: part.read_text("utf-8") for part in (STATIC / "parts").glob("*.html")}
    cards = [_card(Template(parts["card"]), domain) for domain in Settings().domain_names]
    own = Template((STATIC / f"{name}.html").read_text("utf-8")).substitute(parts, cards="".join(cards))
    frame = Template(Template(parts["frame"]).safe_substitute(title=title, page=own.replace("$", "$$")))
    return lambda request: HTMLResponse(frame.substitute(market=market(request)))


def _card(card: Template, domain: str) -> str:
    """The card of a domain on the front page; its name leads to its own page, if it has one."""
    has_page = (STATIC / f"{domain}.html").exists()
    title = f'<a href="/{domain}">{domain}</a>' if has_page else escape(domain)
    return card.substitute(name=escape(domain), title=title)


def charts(_: Request) -> Response:
    """The chart library, of the package that ships it; nothing where it is not installed, as pages then say."""
    spec = find_spec(CHARTS[0])
    if spec is None or spec.origin is None:
        return Response(media_type="text/javascript")
    return FileResponse(Path(spec.origin).parent / CHARTS[1], media_type="text/javascript")


class Pages:
    """The endpoints of JSON over the servers, of which each is needed only by what it has."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._stocks = _kept(servers, "postgres", stocks.all_stocks)
        self._instruments = _kept(servers, "clickhouse", instruments.all_instruments)
        self._symbols = _kept(servers, "clickhouse", symbols.all_symbols)
        self._alphas = _kept(servers, "mongo", alphas.listed)
        self._finds: dict[str, tuple[Kept[list[Any]], Callable[[list[Any], str], Iterable[Any]]]] = {
            "stocks": (self._stocks, found),
            "instruments": (self._instruments, instruments.found),
            "symbols": (self._symbols, found),
        }
        self._status: dict[str, Kept[list[Row]]] = {
            domain: Kept("the server of this domain", partial(_status, servers, domain))
            for domain in Settings().domain_names
        }
        self._quality = {store: _kept(servers, store, read, LONG) for store, read in QUALITY.items()}

    def server(self, request: Request) -> Response:
        """`{"store": "ClickHouse", "version": "25.8", "ms": 12}`."""
        name, began = _among(request, "name", STORES), time.perf_counter()
        with database.connected(self._servers, name) as opened:
            version = STORES[name][1](opened).split(" ")[0]
        ms = round((time.perf_counter() - began) * 1000)
        return JSONResponse({"store": STORES[name][0], "version": version, "ms": ms})

    def status(self, request: Request) -> Response:
        """`{"domain": "bars", "assets": [...], "problems": [...]}`, as in `marketdata status`, and what is wrong with
        the assets, see `overview.Problem`; whose rows are `counted` once; a `note` where tables are missing."""
        domain = _among(request, "domain", self._status)
        try:
            rows = self._status[domain]()
        except (NotCreated, NothingLoaded) as error:
            return JSONResponse({"domain": domain, "assets": [], "problems": [], "note": str(error)})
        problems = [vars(one) for one in overview.problems(rows)]
        assets = [{**row, "counted": quality.counted(domain, row["asset"])} for row in rows]
        return JSONResponse({"domain": domain, "assets": assets, "problems": problems})

    def quality(self, request: Request) -> Response:
        """`{"periods": [...]}`, see `quality.Period`; counts that are 0 are left out."""
        store = _among(request, "name", self._quality)
        return JSONResponse({"periods": quality.as_json(self._quality[store]())})

    def units(self, request: Request) -> Response:
        """`{"units": [...], "more": bool}` of a dataset that need something in a period, see `quality.Unit`."""
        store = _among(request, "name", UNITS)
        dataset, period = (_checked(name, request.path_params[name]) for name in ("dataset", "period"))
        with database.connected(self._servers, store) as opened:
            found = UNITS[store](opened, dataset, period)
        shown = [vars(one) for one in found[: quality.MOST_UNITS]]
        return JSONResponse({"units": shown, "more": len(found) > len(shown)})

    def search(self, kind: str, request: Request) -> Response:
        """`{"found": [...], "more": bool, "of": 5000}`: at most MOST_FOUND of a kind that begin with `q`."""
        listed, finds = self._finds[kind]
        every = listed()
        first = list(islice(finds(every, _text(request, "q")), MOST_FOUND + 1))
        shown = [vars(one) for one in first[:MOST_FOUND]]
        return JSONResponse({"found": shown, "more": len(first) > MOST_FOUND, "of": len(every)})

    def stock_candles(self, request: Request) -> Response:
        """`{"step": "1d", "first": ..., "last": ..., "candles": [[time, open, high, low, close, volume], ...]}`.

        `source`, `freq` and `adjust` are those of `read.bars`; without `freq` candles are months.
        """
        code, (first, last) = _checked("code", request.path_params["code"]), _span(request)
        how: Any = {name: _text(request, name) for name in ("source", "freq", "adjust") if _text(request, name)}
        query = Query(**{"freq": "1mo", **how})
        with database.connected(self._servers, "clickhouse" if query.source == "ticks" else "postgres") as opened:
            loaded = stocks.span(opened, code, query.source)
            since = min(max(first or loaded.first, loaded.first), loaded.last)
            asked = Days(since, max(min(last or loaded.last, loaded.last), since))
            whole = Days(asked.first, whole_period(asked.last, query.freq).last)
            drawn = stocks.candles(opened, code, whole, query, partial(self._factors, code))
        known = {"first": str(loaded.first), "last": str(loaded.last)}
        shown = {"start": str(asked.first), "end": str(asked.last), "step": query.freq}
        return JSONResponse({"code": code, **known, **shown, "candles": drawn})

    def _factors(self, code: str) -> pl.DataFrame:
        with database.connected(self._servers, "clickhouse") as client:
            return stored.adjust_factors(client, [code])

    def suspensions(self, request: Request) -> Response:
        """`{"days": [...]}` on which a stock did not trade at all, as far as the reference data have them."""
        code, every = _checked("code", request.path_params["code"]), Days(FIRST_DAY, LAST_DAY)
        with database.connected(self._servers, "clickhouse") as client:
            frame = stored.of_days(client, SUSPENSIONS, every, [code])
        return JSONResponse({"days": [str(day) for day in frame.filter(pl.col("timing") == "")["date"]]})

    def stock_coverage(self, request: Request) -> Response:
        """`{"code": ..., "name": ..., "months": [...]}`, see `coverage.Month`."""
        with database.postgres(self._servers.postgres()) as connection:
            code, (days, counted) = _spelt(request, partial(stocks.counted, connection))
        months = coverage.months(days, counted, ashares().trading_days)
        name = next((stock.name for stock in self._stocks() if stock.code == code), None)
        return JSONResponse({"code": code, "name": name, "months": [vars(month) for month in months]})

    def symbol(self, request: Request) -> Response:
        """`{"code": ..., "name": ..., "currency": "USD", "months": [...], "others": {...}}`, see `symbols.coverage`."""
        now = dt.datetime.now(dt.UTC)
        with database.connected(self._servers, "clickhouse") as client:
            code, months = _spelt(request, lambda it: symbols.coverage(client, it, now))
            others = symbols.others(client, code)
        known = next((vars(one) for one in self._symbols() if one.code == code), {"name": None, "status": None})
        return JSONResponse({**known, "code": code, "currency": currency_of(code), "months": months, "others": others})

    def instrument(self, request: Request) -> Response:
        """`{"symbol": ..., "bars": bool, "books": bool, "gap_days": [...], "book_days": [...]}`."""
        market = _market(request)
        known = instruments.known(self._instruments(), market)
        with database.connected(self._servers, "clickhouse") as client:
            gaps = instruments.gap_days(client, market)
            days = instruments.book_days(client, market) if known.books else []
        return JSONResponse({**vars(known), "gap_days": gaps, "book_days": days})

    def instrument_candles(self, request: Request) -> Response:
        """As of a stock, of `freq`, by default a minute; see `instruments.candles`."""
        market, span, freq = _market(request), _span(request), _text(request, "freq") or "1m"
        if freq not in instruments.FREQUENCIES:
            raise BadParameter("freq", freq, f"is none of {', '.join(instruments.FREQUENCIES)}.")
        with database.connected(self._servers, "clickhouse") as client:
            return JSONResponse(instruments.candles(client, market, *span, freq))

    def instrument_gaps(self, request: Request) -> Response:
        """`{"gaps": [...], "of": 3}` that touch the UTC `day`, or from `start` to `end`, see `instruments.gaps_of`."""
        market, (first, last) = _market(request), _span(request)
        if not (first and last):
            first = last = _required_day(request, "day")
        with database.connected(self._servers, "clickhouse") as client:
            return JSONResponse(instruments.gaps_of(client, market, Days(first, last)))

    def book(self, request: Request) -> Response:
        """The book `at` an instant, or the last one of a `day` that a later record can prove; see `book_at`."""
        market, text = _market(request), _text(request, "at")
        at = instruments.instant(text) if text else None
        day = None if text else _required_day(request, "day")
        with database.connected(self._servers, "clickhouse") as client:
            if day is not None:
                at = instruments.last_known(client, market, day)
            if at is None:
                raise BadParameter("day", str(day), f"has no records of books of {market.instrument}.")
            return JSONResponse(instruments.book_at(client, market, at))

    def trades(self, request: Request) -> Response:
        """`{"trades": [...]}`, the last ones of the hour before `at`, see `instruments.trades_until`."""
        market, at = _market(request), instruments.instant(_text(request, "at"))
        with database.connected(self._servers, "clickhouse") as client:
            return JSONResponse({"trades": instruments.trades_until(client, market, at)})

    def alphas(self, _: Request) -> Response:
        """`{"columns": [...], "rows": [[...]], "of": 5000}`, see `alphas.listed`."""
        return JSONResponse(self._alphas())

    def compared(self, request: Request) -> Response:
        """The PnL of the alphas `id`, or `ids` with commas, and their correlations; see `alphas.compared`."""
        given = request.query_params
        ids = [_checked("ids", one) for one in (*given.getlist("id"), *given.get("ids", "").split(",")) if one]
        with database.mongo(self._servers.mongo()) as databases:
            return JSONResponse(alphas.compared(databases, ids))

    def flows(self, _: Request) -> Response:
        """`{"flows": [...], "loads": [...]}`, see `flows.listed`."""
        with database.postgres(self._servers.postgres()) as connection:
            return JSONResponse(flows.listed(connection, Settings().flows_folder))

    def flow(self, request: Request) -> Response:
        """`{"columns": {...}, "rows": [...], ...}` of a flow, see `flows.shown`."""
        name = _checked("name", request.path_params["name"])
        with database.postgres(self._servers.postgres()) as connection:
            return JSONResponse(flows.shown(connection, Settings().flows_folder, name))


def _status(servers: Servers, domain: str) -> list[Row]:
    """The rows of a domain, without what only a program needs. Raises what its server raises.

    Files that nobody has registered yet stay so: nothing is written here.
    """
    one = domains.find(domain)
    with database.connected(servers, one.store, LONG, autocommit=True) as connection:
        rows = one.rows(connection, Settings(), dt.datetime.now(dt.UTC))
    return [{name: value for name, value in row.items() if name not in ("newest_at", "two_bases")} for row in rows]


def _kept(servers: Servers, store: Store, read: Callable[[Any], T], patience: float = 1.0) -> Kept[T]:
    def answer() -> T:
        with database.connected(servers, store, patience) as connection:
            return read(connection)

    return Kept(STORES[store][0], answer)


def _market(request: Request) -> Market:
    return instruments.checked(*(_text(request, name) for name in ("exchange", "market_type", "instrument")))


def _among(request: Request, name: str, known: Mapping[K, Any]) -> K:
    for value in known:
        if value == request.path_params[name]:
            return value
    raise BadParameter(name, request.path_params[name], f"is none of {', '.join(known)}.")


def _text(request: Request, name: str) -> str:
    return _checked(name, request.query_params.get(name, "").strip())


def _checked(name: str, text: str) -> str:
    if len(text) > MOST_TEXT or escaped(text) != text:
        raise BadParameter(name, text[:20], f"is no name; at most {MOST_TEXT} characters.")
    return text


def _spelt(request: Request, read: Callable[[str], T]) -> tuple[str, T]:
    """The code of the address, or the one that another spelling of it means, with what is read of it."""
    code = _checked("code", request.path_params["code"])
    try:
        return code, read(code)
    except Unknown:
        other = canonical(plain(code))
        if other in (None, code):
            raise
        return other, read(other)


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

"""Instruments of exchanges: their list, candles from their minutes, and the recorded gaps of one by day."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.gaps import OTHERS, candle_streams, trade_streams
from marketdata_assets.exchanges.tables.schema import GAPS, OHLCV_1M, ORDERBOOKS
from marketdata_assets.read import columnar
from marketdata_assets.read.errors import NothingLoaded
from marketdata_assets.read.exchanges import about
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.errors import Unknown
from marketdata_assets.web.finding import begins
from marketdata_assets.web.stocks import MOST_CANDLES, Candle

STEPS = ((1, 1), (6, 5), (40, 30), (80, 60))
"""For a span of at most so many days, the minutes of a candle; for a longer one it is a day."""
DAY_MINUTES = 1440
MOST_DAYS = 400
MOST_GAPS = 500
LISTED = {OHLCV_1M: (1, 0), ORDERBOOKS.name: (0, 1), GAPS.name: (0, 0)}
"""The tables whose instruments are listed, and whether a row of each is of bars, and of books."""


@dataclass(frozen=True)
class Market:
    """One instrument, by the venue's own name."""

    exchange: Exchange
    market_type: MarketType
    instrument: str


@dataclass(frozen=True)
class Instrument(Market):
    """One that is in a table, with our name for it, and whether it has bars and books."""

    symbol: str
    bars: bool
    books: bool


@dataclass(frozen=True)
class Candles:
    """Candles of `days` by time, the span `known` of all minutes and how many there are; `uncertain` minutes of those
    that are drawn may lack trades."""

    known: Days
    days: Days
    minutes: int
    step: int
    candles: list[Candle]
    uncertain: int


def checked(exchange: str, market_type: str, instrument: str) -> Market:
    """The market of these names. Raises UnknownName where an exchange or type is none."""
    about(OHLCV_1M, exchange, market_type, None, None, None)  # type: ignore[arg-type]
    return Market(exchange, market_type, instrument)  # type: ignore[arg-type]


def all_instruments(client: Client) -> list[Instrument]:
    """Every instrument that has bars, books or gaps, by name. Raises NothingLoaded."""
    sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN {tables:Array(String)}"
    present = set(clickhouse.read(client, sql, {"tables": list(LISTED)})["name"])
    if not present:
        raise NothingLoaded(OHLCV_1M)
    columns = "exchange, market_type, instrument, symbol"
    query = " UNION ALL ".join(
        f"SELECT DISTINCT {columns}, {bars} AS of_bars, {books} AS of_books FROM {table}"
        for table, (bars, books) in LISTED.items()
        if table in present
    )
    listed = _ask(client, OHLCV_1M, "instruments", tables=query)
    return [
        Instrument(exchange, market_type, instrument, symbol, bool(bars), bool(books))
        for exchange, market_type, instrument, symbol, bars, books in listed
    ]


def found(instruments: Sequence[Instrument], text: str) -> Iterator[Instrument]:
    """Those whose name, ours or the venue's, begins with the text; with `okx btc`, those of that venue."""
    *venue, name = text.split() or [""]
    for one in instruments:
        if begins((one.instrument, one.symbol), name) and all(part.casefold() in one.exchange for part in venue):
            yield one


def step(days: int) -> int:
    """The minutes of a candle in a chart of so many days."""
    return next((minutes for most, minutes in STEPS if days <= most), DAY_MINUTES)


def candles(client: Client, market: Market, first: dt.date | None, last: dt.date | None) -> Candles | None:
    """At most MOST_CANDLES candles, the newest ones, of UTC days; without bounds of the last one.

    None without a minute.
    """
    [(begins_at, ends_at, minutes)] = _ask(client, OHLCV_1M, "instrument_span", **vars(market))
    if not minutes:
        return None
    known = Days(begins_at.date(), ends_at.date())
    until = min(max(last or known.last, known.first), known.last)
    since = min(max(first or until, known.first), until)
    days = Days(since, until)
    bounds = {"first": _midnight(since), "end": _midnight(until + dt.timedelta(days=1))}
    length = step(len(days))
    rows = _ask(client, OHLCV_1M, "instrument_candles", **vars(market), **bounds, minutes=length, most=MOST_CANDLES)
    uncertain = sum(row[6] for row in rows)
    return Candles(known, days, minutes, length, [tuple(row[:6]) for row in reversed(rows)], uncertain)


def gap_days(client: Client, market: Market) -> list[dict[str, Any]]:
    """The recorded gaps by the day on which they began, newest first, and by what they lack: day, lacks, gaps, open,
    seconds, causes."""
    patterns: dict[str, Any] = {"trades": trade_streams(), "candles": candle_streams(), "others": sorted(OTHERS)}
    names = ("day", "lacks", "gaps", "open", "seconds", "causes")
    rows = _ask(client, GAPS.name, "instrument_gaps", **vars(market), **patterns, most=MOST_DAYS)
    return [dict(zip(names, row, strict=True)) for row in rows]


def gaps_of(client: Client, market: Market, day: dt.date) -> list[dict[str, Any]]:
    """At most MOST_GAPS gaps that began on a UTC day, by time: stream, cause, began, seconds, ids around it, open."""
    names = ("stream", "cause", "began", "seconds", "last_id", "next_id", "open")
    bounds = {"first": _midnight(day), "end": _midnight(day + dt.timedelta(days=1))}
    rows = _ask(client, GAPS.name, "gaps_of_day", **vars(market), **bounds, most=MOST_GAPS)
    return [dict(zip(names, row, strict=True)) for row in rows]


def known(instruments: Sequence[Instrument], market: Market) -> Instrument:
    """The listed instrument. Raises Unknown."""
    for one in instruments:
        if Market(one.exchange, one.market_type, one.instrument) == market:
            return one
    raise Unknown(
        f"no bars, books or gaps of {market.instrument!r} of {market.exchange} {market.market_type} are loaded."
        " Search for it by the venue's own name or by ours, such as BTC-USDT; or record it: marketdata collect."
    )


def _midnight(day: dt.date) -> str:
    """As text, for the client would bind a time without its fractions."""
    return f"{day} 00:00:00"


def _ask(client: Client, table: str, name: str, *, tables: str = "", **values: Any) -> list[tuple[Any, ...]]:
    sql = statement(__package__, f"{name}.sql").replace("{tables}", tables)
    return columnar.ask(client, table, sql, values).rows()

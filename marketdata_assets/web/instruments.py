"""Instruments of exchanges: their list; candles, recorded gaps by day, order books and trades of one.

How a book is rebuilt, and when it is known, is in `read.books`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.gaps import OTHERS, candle_streams, trade_streams
from marketdata_assets.exchanges.tables.schema import GAPS, OHLCV_1M, ORDERBOOKS
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.books import books
from marketdata_assets.read.errors import NothingLoaded
from marketdata_assets.read.exchanges import about
from marketdata_assets.read.resampling import Frequency, whole_period
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.errors import BadParameter, Unknown
from marketdata_assets.web.finding import bare
from marketdata_assets.web.stocks import MOST_CANDLES

_INTRADAY: dict[Frequency, int] = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "60m": 60}
FREQUENCIES: dict[Frequency, int] = {**_INTRADAY, "1d": 1440, "1w": 10_080, "1mo": 43_200}
"""Minutes of a candle; weeks and months are those of the calendar."""
MOST_DAYS = 400
MOST_GAPS = 500
MOST_LEVELS = 500
"""Of each side of a book."""
TRADES, MOST_TRADES = "exchange_trades", 40
FIRST_NS, LAST_NS = (bounds.nanoseconds(f"{year}-01-01", ORDERBOOKS.name) for year in (2000, 2100))
ISO_NS = "%Y-%m-%dT%H:%M:%S%.9fZ"
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
    flags = pl.col("bars", "books").cast(pl.Boolean)
    return [Instrument(**one) for one in listed.with_columns(flags).iter_rows(named=True)]


def found(instruments: Sequence[Instrument], text: str) -> Iterator[Instrument]:
    """Those whose name, ours or the venue's, begins with the text, whatever separates its parts: `btcusdt` finds
    BTC-USDT. With `okx btc`, those of that venue."""
    *venue, name = text.split() or [""]
    wanted = bare(name)
    for one in instruments:
        named = any(bare(known).startswith(wanted) for known in (one.instrument, one.symbol))
        if named and all(bare(part) in one.exchange for part in venue):
            yield one


def candles(
    client: Client, market: Market, first: dt.date | None, last: dt.date | None, freq: Frequency
) -> dict[str, Any]:
    """At most MOST_CANDLES candles, the newest ones, of UTC days; without bounds of the last one. Weeks and months are
    whole.

    Beside them `first` and `last` of all `minutes`; `uncertain`: of those that are drawn, how many may lack trades; and
    `gaps`: the begins of the candles up to a day long that a recorded gap covers a part of, in seconds since 1970.
    """
    [(begins_at, ends_at, minutes)] = _ask(client, OHLCV_1M, "instrument_span", **vars(market)).rows()
    if not minutes:
        return {"candles": [], "minutes": 0}
    known = Days(begins_at.date(), ends_at.date())
    until = min(max(last or known.last, known.first), known.last)
    days = Days(min(max(first or until, known.first), until), until)
    whole = Days(whole_period(days.first, freq).first, whole_period(days.last, freq).last)
    length, span = FREQUENCIES[freq], _bounds(whole)
    frame = _ask(client, OHLCV_1M, "instrument_candles", **vars(market), **span, minutes=length, most=MOST_CANDLES)
    facts = {"first": known.first, "last": known.last, "start": days.first, "end": days.last}
    counts = {"step": length, "minutes": minutes, "uncertain": frame["uncertain"].sum()}
    drawn = frame.drop("uncertain").reverse().rows()
    gaps = _gap_candles(client, market, days, length) if length <= FREQUENCIES["1d"] else []
    return {**{name: str(day) for name, day in facts.items()}, **counts, "candles": drawn, "gaps": gaps}


def _gap_candles(client: Client, market: Market, days: Days, minutes: int) -> list[int]:
    """Of the last MOST_CANDLES in the span of the days."""
    newest = Days(max(days.first, days.last - dt.timedelta(minutes=MOST_CANDLES * minutes)), days.last)
    streams = {"trades": trade_streams(), "candles": candle_streams()}
    try:
        frame = _ask(client, GAPS.name, "gap_candles", **vars(market), **streams, **_bounds(newest), minutes=minutes)
    except NothingLoaded:  # bars can be kept without the table of gaps
        return []
    return frame["second"].to_list()


def gap_days(client: Client, market: Market) -> list[dict[str, Any]]:
    """The recorded gaps by the day on which they began, newest first, and by what they lack: day, lacks, gaps, open,
    seconds, causes."""
    patterns: dict[str, Any] = {"trades": trade_streams(), "candles": candle_streams(), "others": sorted(OTHERS)}
    return _ask(client, GAPS.name, "instrument_gaps", **vars(market), **patterns, most=MOST_DAYS).to_dicts()


def gaps_of(client: Client, market: Market, days: Days) -> dict[str, Any]:
    """At most MOST_GAPS `gaps` that touch UTC days, by time: stream, cause, began, seconds, ids around it, open. `of`
    counts all."""
    frame = _ask(client, GAPS.name, "gaps_of_day", **vars(market), **_bounds(days), most=MOST_GAPS)
    gaps = frame.drop("of").with_columns(pl.col("open").cast(pl.Boolean)).to_dicts()
    return {"gaps": gaps, "of": frame["of"][0] if gaps else 0}


def book_days(client: Client, market: Market) -> list[dict[str, Any]]:
    """At most MOST_DAYS UTC days that have records of books, newest first: day, and how many."""
    rows = _ask(client, ORDERBOOKS.name, "book_days", **vars(market), most=MOST_DAYS).rows()
    return [{"day": f"{day[:4]}-{day[4:6]}-{day[6:]}", "records": records} for day, records in rows]


def last_known(client: Client, market: Market, day: dt.date) -> int | None:
    """The nanosecond before the last change of a day: the last book of it that a later record can prove."""
    last = int(_ask(client, ORDERBOOKS.name, "last_change", **vars(market), **_bounds(Days(day, day))).item())
    return last - 1 if last > 0 else None


def instant(text: str) -> int:
    """Nanoseconds since 1970 of ISO text with a time zone, or of such a number. Raises BadMoment, NaiveTime,
    BadParameter."""
    try:
        number = int(text) if text.isdecimal() and len(text) < 20 else None
        at = bounds.nanoseconds(text, ORDERBOOKS.name) if number is None else number
    except OverflowError:  # of the first or last year in a zone
        at = 0
    if not FIRST_NS <= at < LAST_NS:
        raise BadParameter("at", text, "is not in this century; write it as 2026-01-05T12:00:00.250Z.")
    return at


def book_at(client: Client, market: Market, at: int) -> dict[str, Any]:
    """The book, with at most MOST_LEVELS a side: at, known, why, time, until, last_id, unit, bids and asks.

    Numbers are exact, as text. Where it is not known, `why` has the reason, and there are no levels. Raises
    UnknownName, AmbiguousName.
    """
    frame = books(
        market.exchange, market.market_type, market.instrument, at, depth=MOST_LEVELS, connection=client
    ).with_columns(pl.col("at", "time", "until").dt.to_string(ISO_NS))
    [row] = frame.to_dicts()
    sides = {
        side: [(_digits(one["price"]), _digits(one["size"])) for one in row[side] or ()] for side in ("bids", "asks")
    }
    last_id = None if row["last_id"] is None else str(row["last_id"])
    return {**row, "last_id": last_id, **sides}


def trades_until(client: Client, market: Market, at: int) -> list[dict[str, Any]]:
    """At most MOST_TRADES trades of the hour up to an instant, newest first: time, price, size, side of the taker."""
    return _ask(client, TRADES, "trades_until", **vars(market), at=at, most=MOST_TRADES).to_dicts()


def _digits(number: Decimal) -> str:
    """Without the zeros of the column's scale."""
    return f"{number.normalize():f}"


def known(instruments: Sequence[Instrument], market: Market) -> Instrument:
    """The listed instrument. Raises Unknown."""
    for one in instruments:
        if Market(one.exchange, one.market_type, one.instrument) == market:
            return one
    raise Unknown(
        f"no bars, books or gaps of {market.instrument!r} of {market.exchange} {market.market_type} are loaded."
        " Search for it by the venue's own name or by ours, such as BTC-USDT; or record it: marketdata collect."
    )


def _bounds(days: Days) -> dict[str, str]:
    """As text, for the client would bind a time without its fractions."""
    return {"first": f"{days.first} 00:00:00", "end": f"{days.last + dt.timedelta(days=1)} 00:00:00"}


def _ask(client: Client, table: str, name: str, *, tables: str = "", **values: Any) -> pl.DataFrame:
    return columnar.ask(client, table, statement(__package__, f"{name}.sql").replace("{tables}", tables), values)

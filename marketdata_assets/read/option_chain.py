"""The options on an underlying at an instant, each merged of the newest records that say a part of its state."""

import datetime as dt

import polars as pl

from marketdata_assets.exchanges.records import TICKER_PARTS, Exchange
from marketdata_assets.exchanges.tables.schema import TABLES
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.errors import UnknownName
from marketdata_assets.read.exchanges import about
from marketdata_assets.read.sources import ClickHouse, of_clickhouse

Parts = dict[str, tuple[str, ...]]
TICKERS, OPEN_INTEREST = TABLES["ticker"].name, TABLES["open_interest"].name
PARTS: Parts = {"quote": ("bid", "bid_size", "ask", "ask_size", "unit"), "last": ("last",)}
PARTS |= {part: TICKER_PARTS[part] for part in ("mark", "index", "underlying", "volatility", "greeks")}
INTEREST: Parts = {"open_interest": ("contracts", "size", "value_usd")}
EXPIRY = dt.timedelta(hours=8)
"""When options expire on their day, UTC, at every venue that has some."""

UNDERLYINGS = """
SELECT DISTINCT arrayJoin([words[1], concat(words[1], '-', words[2])]) AS name
FROM (SELECT splitByChar('-', toString(symbol)) AS words FROM {table} WHERE {where})"""

DAY = dt.timedelta(days=1)


def option_chain(
    exchange: Exchange,
    underlying: str,
    at: Moment | int,
    *,
    within: dt.timedelta = DAY,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return the options on an underlying that have not expired, as last known at an instant, by expiry and strike.

    `underlying` is a coin (BTC) or a pair (BTC-USD); `at` is by the venue's clock, a whole number nanoseconds since
    1970. Columns: expiry (date), strike (decimal), kind (call, put), symbol, instrument; bid, bid_size, ask, ask_size,
    unit (of sizes), last, mark_price, index_price, underlying_price, bid_iv, ask_iv, mark_iv (percent), delta, gamma,
    vega, theta, rho; contracts, size and value_usd that are open; and of each part its time: quote_time, last_time,
    mark_time, index_time, underlying_time, volatility_time, greeks_time, open_interest_time. A part is of one record,
    the newest of the time `within` before the instant; without any, it is null. Raises UnknownName, NaiveTime,
    BadMoment, NothingLoaded, CannotRead.

        option_chain("okx", "BTC", "2025-01-05T12:00:00+00:00")
    """
    instant = at if isinstance(at, int) else bounds.nanoseconds(at, TICKERS)
    where = about(TICKERS, exchange, "option", None, None, None)
    with of_clickhouse(connection) as client:
        where.values |= {
            "at": instant,
            "since": instant - round(within.total_seconds() * 1e9),
            "base": f"{underlying}-",
        }
        states, interest = (
            columnar.ask(client, table, _newest(table, str(where), parts), where.values)
            for table, parts in ((TICKERS, PARTS), (OPEN_INTEREST, INTEREST))
        )
        if states.is_empty() and interest.is_empty():
            names = columnar.ask(client, TICKERS, UNDERLYINGS.format(table=TICKERS, where=where), where.values)["name"]
            if underlying not in set(names):
                raise UnknownName(f"underlying of options of {exchange}", underlying, names)
    chain = states.join(interest, on=["symbol", "instrument"], how="full", coalesce=True)
    about_it = pl.col("symbol").str.split("-").list
    named = chain.with_columns(
        expiry=about_it.get(-3).str.to_date("%y%m%d", strict=False),
        strike=about_it.get(-2).cast(pl.Decimal(38, 18), strict=False),
        kind=about_it.get(-1).replace_strict({"C": "call", "P": "put"}, default=None),
    )
    moment = pl.Datetime("ns", "UTC")
    alive = pl.col("expiry").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC") + EXPIRY > pl.lit(instant).cast(moment)
    fields = [name for parts in (PARTS, INTEREST) for names in parts.values() for name in names]
    order = ["expiry", "strike", "kind", "symbol", "instrument"]
    times = [f"{part}_time" for part in (*PARTS, *INTEREST)]
    return named.filter(alive.fill_null(True)).select(*order, *fields, *times).sort(order)


def _newest(table: str, where: str, parts: Parts) -> str:
    """The newest record of each part by instrument; one with a size of 0, or nothing but a unit, says that nobody
    quotes."""
    said = {part: _any_of(names) for part, names in ({**parts, **TICKER_PARTS} if parts is PARTS else parts).items()}
    if parts is PARTS:
        said["quote"] += " OR ifNull(bid_size = 0, 0) OR ifNull(ask_size = 0, 0)"
        said["quote"] += f" OR (isNotNull(unit) AND NOT ({' OR '.join(said.values())}))"
    newest = (
        f"argMaxIf(tuple({', '.join(names)}), (time, ts_recv), {said[part]}) AS newest_{part},"
        f" maxOrNullIf(time, {said[part]}) AS {part}_time"
        for part, names in parts.items()
    )
    fields = (
        f"tupleElement(newest_{part}, {number}) AS {name}"
        for part, names in parts.items()
        for number, name in enumerate(names, 1)
    )
    return (
        f"SELECT symbol, instrument, {', '.join(fields)}, {', '.join(f'{part}_time' for part in parts)} FROM"
        f" (SELECT toString(symbol) AS symbol, toString(instrument) AS instrument, {', '.join(newest)} FROM {table}"
        f" WHERE {where} AND startsWith(symbol, {{base:String}})"
        " AND time > fromUnixTimestamp64Nano({since:Int64}, 'UTC')"
        " AND time <= fromUnixTimestamp64Nano({at:Int64}, 'UTC')"
        " GROUP BY symbol, instrument)"
    )


def _any_of(names: tuple[str, ...]) -> str:
    return " OR ".join(f"isNotNull({name})" for name in names if not name.endswith("_size"))

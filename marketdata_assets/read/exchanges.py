"""Records of exchanges, their bars and gaps, from ClickHouse.

Prices and sizes are decimals with 18 digits after the point, as stored.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, get_args

import polars as pl

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import DataType, Exchange, MarketType, TradeFlag
from marketdata_assets.exchanges.tables.ohlcv import bars_query
from marketdata_assets.exchanges.tables.schema import FINAL, FINAL_SETTINGS, OHLCV_1M, OHLCV_COLUMNS, TABLES
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.columnar import Where, several
from marketdata_assets.read.errors import AmbiguousName, UnknownName
from marketdata_assets.read.sources import ClickHouse, of_clickhouse
from marketdata_assets.stores.clients import Client

RecordType = Literal[DataType, "gap"]  # the types of exchanges.tables.schema.TABLES

KEY = ("exchange", "market_type", "instrument", "time")


def trades(
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return trades, each once, by market, instrument, time and id.

    `instruments` are the venue's own names or ours (BTC-USDT, BTCUSDT); None means all. Columns: exchange,
    market_type, symbol, instrument, time (UTC, ns), trade_id, price and size (decimal, base units), contracts, side (of
    the taker), first_id and last_id (of an aggregate), sequence, flags (block, rpi, combo, liquidation), ts_event and
    ts_recv (ns).

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, AmbiguousName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded,
    CannotRead.

        trades("binance", "spot", "BTCUSDT", "2025-01-05", "2025-01-06", columns=["time", "price", "size", "side"])
    """
    return records("trade", exchange, market_type, instruments, start, end, columns=columns, connection=connection)


def ohlcv(
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    without: TradeFlag | Sequence[TradeFlag] = (),
    columns: Sequence[str] | None = None,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return one-minute bars computed from the trades, by market, instrument and `time`, the start of the minute.

    Columns: exchange, market_type, symbol, instrument, time (UTC), open, high, low, close, volume (decimal, base
    units), contracts, quote_volume, taker_buy_volume, taker_buy_quote_volume, trades, open_gaps. A minute without
    trades has no row; one with `open_gaps` may lack trades. `without` leaves out trades with any of these flags (block,
    rpi, combo, liquidation): such bars are computed from the stored trades when you ask for them.

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, AmbiguousName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded,
    CannotRead.

        ohlcv("okx", "linear", ["BTC-USDT-SWAP"], "2025-01-05", columns=["time", "close", "volume"])
    """
    wanted = columnar.known(OHLCV_1M, columns, OHLCV_COLUMNS)
    which = (exchange, market_type, instruments, start, end)
    flags = several(without) or []
    if unknown := [flag for flag in flags if flag not in get_args(TradeFlag)]:
        raise UnknownName("flag of trades", unknown[0], get_args(TradeFlag))
    if not flags:
        return _read(connection, OHLCV_1M, wanted, KEY, *which)
    return _bars_without(connection, flags, wanted, *which)


def gaps(
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    open_only: bool = False,
    columns: Sequence[str] | None = None,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return gaps in streams, by market, instrument and `time`, when they began by our clock.

    Columns: exchange, market_type, symbol, instrument, stream, last_id and next_id (ids around the gap), ts_from and
    ts_to (ns), cause, healed_at (ns; null while the gap is open), time. `open_only` leaves out closed gaps.

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, AmbiguousName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded,
    CannotRead.

        gaps("binance", open_only=True)
    """
    more = ["isNull(healed_at)"] if open_only else []
    which = (exchange, market_type, instruments, start, end)
    return records("gap", *which, columns=columns, connection=connection, _more=more)


def records(
    record_type: RecordType,
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: ClickHouse | None = None,
    _more: Sequence[str] = (),
) -> pl.DataFrame:
    """Return records of one type, each once, by market, instrument, time and id.

    `record_type` is trade, orderbook, kline, ticker, funding_rate, open_interest, liquidation or gap. Columns are the
    fields of the record in `exchanges.records` and `time` (UTC, ns): the venue's clock, ours where a message has no
    time. Prices and sizes are decimals.

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, AmbiguousName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded,
    CannotRead.

        records("funding_rate", "okx", columns=["time", "instrument", "rate"])
    """
    if record_type not in TABLES:
        raise UnknownName("type of record", record_type, TABLES)
    table = TABLES[record_type]
    wanted = columnar.known(table.name, columns, (*table.columns, "time"))
    order = [*KEY, *(one for one in ("last_id", "trade_id", "interval", "stream", "ts_recv") if one in table.columns)]
    which = (exchange, market_type, instruments, start, end)
    return _read(connection, table.name, wanted, order, *which, _more, final=FINAL_SETTINGS)


def _read(
    connection: ClickHouse | None,
    table: str,
    wanted: Sequence[str],
    order: Sequence[str],
    exchange: Exchange | None,
    market_type: MarketType | None,
    instruments: str | Sequence[str] | None,
    start: Moment | None,
    end: Moment | None,
    more: Sequence[str] = (),
    **options: Any,
) -> pl.DataFrame:
    """The rows of instruments under any of their names, on which the conditions `more` hold too.

    In one market the names are looked up only if one has no row. Raises UnknownName, AmbiguousName.
    """

    def rows(own: Sequence[str] | None) -> pl.DataFrame:
        where = about(table, exchange, market_type, own, start, end)
        where.conditions += more
        return columnar.read(client, table, wanted, where, order, **options)

    names, market = several(instruments), about(table, exchange, market_type, None, None, None)
    about(table, exchange, market_type, None, start, end)  # raises before anything is requested
    with of_clickhouse(connection) as client:
        if names is None:
            return rows(None)
        frame = None
        if exchange is not None and market_type is not None:
            frame = rows(names)
            listed = (
                set(frame["instrument"]) if "instrument" in frame.columns else present(client, table, market, names)
            )
            if listed.issuperset(names):
                return frame
        own = own_names(client, table, market, names)
        return frame if frame is not None and set(own) <= set(names) else rows(own)


def _bars_without(
    connection: ClickHouse | None,
    flags: Sequence[str],
    wanted: Sequence[str],
    exchange: Exchange | None,
    market_type: MarketType | None,
    instruments: str | Sequence[str] | None,
    start: Moment | None,
    end: Moment | None,
) -> pl.DataFrame:
    """Bars of the trades that have none of these flags. Raises UnknownName, AmbiguousName."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    limits = {">=": epoch, "<": dt.datetime(2262, 1, 1, tzinfo=dt.UTC)}
    for sign, bound in bounds.span(start, end, lambda bound: bounds.instant(bound, OHLCV_1M)):
        if bound is not None:  # a bar is in the range when its minute begins there
            limits[sign] = bound + (epoch - bound) % dt.timedelta(minutes=1)
    names, market = several(instruments), about(OHLCV_1M, exchange, market_type, None, None, None)
    with of_clickhouse(connection) as client:
        own = None if names is None else own_names(client, OHLCV_1M, market, names)
        where = about(OHLCV_1M, exchange, market_type, own, None, None)
        query, values = bars_query(client, {"first": limits[">="], "end": limits["<"]}, str(where), flags)
        sql = f"SELECT {', '.join(wanted)} FROM ({query}) ORDER BY {', '.join(KEY)} SETTINGS {FINAL}"
        return columnar.ask(client, TABLES["trade"].name, sql, {**values, **where.values})


def about(
    table: str,
    exchange: Exchange | None,
    market_type: MarketType | None,
    instruments: str | Sequence[str] | None,
    start: Moment | None,
    end: Moment | None,
) -> Where:
    """The conditions of a query. Raises UnknownName, NaiveTime, BadMoment."""
    where = Where()
    known = {"exchange": venues.known(), "market_type": get_args(MarketType)}
    for column, name in (("exchange", exchange), ("market_type", market_type)):
        if name is not None:
            if name not in known[column]:
                raise UnknownName(column.replace("_", " "), name, known[column])
            where.among(column, [name])
    where.among("instrument", several(instruments))
    for sign, bound in bounds.span(start, end, lambda bound: bounds.instant(bound, table)):
        if bound is not None:  # as text, for the client would drop fractions of a second
            where.add("time", sign, "DateTime64(9, 'UTC')", bound.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return where


def own_names(client: Client, table: str, market: Where, names: Sequence[str]) -> list[str]:
    """The own names of the instruments of a market, or of all, whose own name or symbol is among `names`.

    Raises UnknownName for a name that no row of any table has, and AmbiguousName for the symbol of several instruments
    of one market.
    """
    found = _instruments(client, table, market, names)
    own: dict[str, None] = {}
    for name in names:
        matches = found.filter(pl.col("name") == name)
        by_market: dict[tuple[str, str], list[str]] = defaultdict(list)
        for exchange, market_type, instrument in matches.select("exchange", "market_type", "instrument").iter_rows():
            by_market[exchange, market_type].append(instrument)
        if not by_market:
            known = _instruments(client, table, market, None)["instrument"]
            raise UnknownName(f"instrument of {table}", name, known)
        for (exchange, market_type), instruments in by_market.items():
            if name in instruments:
                instruments = [name]
            if len(instruments) > 1:
                raise AmbiguousName(f"{exchange} {market_type}", name, instruments)
            own |= dict.fromkeys(instruments)
    return list(own)


def present(client: Client, table: str, market: Where, names: Sequence[str]) -> set[str]:
    """Those of the names that are own names of instruments with a row in the table."""
    sql = (
        f"SELECT toString(instrument) AS name FROM {table} WHERE {market} AND instrument IN {{names:Array(String)}}"
        f" LIMIT 1 BY instrument LIMIT {len(names)}"
    )
    return set(columnar.ask(client, table, sql, {**market.values, "names": list(names)})["name"])


def _instruments(client: Client, table: str, market: Where, names: Sequence[str] | None) -> pl.DataFrame:
    """Exchange, market type and own name of instruments of all tables, once for each spelling among `names`; sorted."""
    spellings = "[instrument, symbol, replaceAll(symbol, '-', '')]"
    columns = ("exchange", "market_type", "instrument", "symbol")
    texts = ", ".join(f"toString({column}) AS {column}" for column in columns)
    tables = dict.fromkeys((*(one.name for one in TABLES.values()), OHLCV_1M))
    rows = " UNION DISTINCT ".join(f"SELECT DISTINCT {', '.join(columns)} FROM {one} WHERE {market}" for one in tables)
    wanted = "" if names is None else "WHERE name IN {names:Array(String)}"
    sql = (
        f"SELECT DISTINCT exchange, market_type, instrument, name FROM (SELECT {texts}, arrayJoin({spellings}) AS name"
        f" FROM ({rows})) {wanted} ORDER BY exchange, market_type, instrument, name"
    )
    return columnar.ask(client, table, sql, {**market.values, "names": list(names or ())})

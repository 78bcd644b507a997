"""Records of Binance, OKX and Deribit, their bars and gaps, from ClickHouse.

Prices and sizes are decimals with 18 digits after the point, as stored.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import polars as pl

from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.schema import FINAL_SETTINGS, OHLCV_1M, OHLCV_COLUMNS, TABLES
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.columnar import Where, several
from marketdata_assets.read.errors import UnknownName
from marketdata_assets.read.sources import of_clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.read.sources import ClickHouse

RecordType = Literal[
    "trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation", "gap"
]  # the types of exchanges.tables.schema.TABLES

KEY = ("exchange", "market_type", "instrument", "time")


def trades(
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Return trades, each once, by market, instrument, time and id.

    `instruments` are the venue's own names; None means all. Columns: exchange, market_type, symbol, instrument, time
    (UTC, ns), trade_id, price and size (decimal, base units), contracts, side (of the taker), first_id and last_id (of
    an aggregate), ts_event and ts_recv (ns).

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded, CannotRead.

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
    columns: Sequence[str] | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Return one-minute bars computed from the trades, by market, instrument and `time`, the start of the minute.

    Columns: exchange, market_type, symbol, instrument, time (UTC), open, high, low, close, volume (decimal, base
    units), contracts, quote_volume, taker_buy_volume, taker_buy_quote_volume, trades, open_gaps. A minute without
    trades has no row; one with `open_gaps` may lack trades.

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded, CannotRead.

        ohlcv("okx", "linear", ["BTC-USDT-SWAP"], "2025-01-05", columns=["time", "close", "volume"])
    """
    wanted = columnar.known(OHLCV_1M, columns, OHLCV_COLUMNS)
    where = about(OHLCV_1M, exchange, market_type, instruments, start, end)
    with of_clickhouse(connection) as client:
        frame = columnar.read(client, OHLCV_1M, wanted, where, KEY)
        check_instruments(client, OHLCV_1M, frame, exchange, market_type, instruments)
        return frame


def gaps(
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    open_only: bool = False,
    columns: Sequence[str] | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Return gaps in streams, by market, instrument and `time`, when they began by our clock.

    Columns: exchange, market_type, symbol, instrument, stream, last_id and next_id (ids around the gap), ts_from and
    ts_to (ns), cause, healed_at (ns; null while the gap is open), time. `open_only` leaves out closed gaps.

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded, CannotRead.

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
    connection: "ClickHouse | None" = None,
    _more: Sequence[str] = (),
) -> pl.DataFrame:
    """Return records of one type, each once, by market, instrument, time and id.

    `record_type` is trade, orderbook, kline, ticker, funding_rate, open_interest, liquidation or gap. Columns are the
    fields of the record in `exchanges.records` and `time` (UTC, ns): the venue's clock, ours where a message has no
    time. Prices and sizes are decimals.

    Bounds select `start <= time < end`; a date is its midnight in UTC, a datetime needs a time zone. `columns` picks
    columns, by default all. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded, CannotRead.

        records("funding_rate", "deribit", columns=["time", "instrument", "rate"])
    """
    if record_type not in TABLES:
        raise UnknownName("type of record", record_type, TABLES)
    table = TABLES[record_type]
    wanted = columnar.known(table.name, columns, (*table.columns, "time"))
    where = about(table.name, exchange, market_type, instruments, start, end)
    where.conditions += _more
    ids = [name for name in ("last_id", "trade_id", "interval", "stream", "ts_recv") if name in table.columns]
    with of_clickhouse(connection) as client:
        frame = columnar.read(client, table.name, wanted, where, (*KEY, *ids), final=FINAL_SETTINGS)
        check_instruments(client, table.name, frame, exchange, market_type, instruments)
        return frame


def check_instruments(
    client: "Client",
    table: str,
    frame: pl.DataFrame,
    exchange: Exchange | None,
    market_type: MarketType | None,
    instruments: str | Sequence[str] | None,
) -> None:
    """Raise UnknownName for an instrument that has no row in `frame` and none in any table of the market."""
    where = about(table, exchange, market_type, None, None, None)
    tables = dict.fromkeys((*(one.name for one in TABLES.values()), OHLCV_1M))
    known = " UNION DISTINCT ".join(f"SELECT DISTINCT instrument AS name FROM {one} WHERE {where}" for one in tables)
    columnar.check_names(client, table, "instrument", frame, several(instruments), known, where.values)


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
    for column, name, among in (("exchange", exchange, Exchange), ("market_type", market_type, MarketType)):
        if name is not None:
            if name not in get_args(among):
                raise UnknownName(column.replace("_", " "), name, get_args(among))
            where.among(column, [name])
    where.among("instrument", several(instruments))
    for sign, bound in bounds.span(start, end, lambda bound: bounds.instant(bound, table)):
        if bound is not None:  # as text, for the client would drop fractions of a second
            where.add("time", sign, "DateTime64(9, 'UTC')", bound.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return where

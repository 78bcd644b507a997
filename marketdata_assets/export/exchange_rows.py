"""What an export of exchange records reads from ClickHouse: which days there are, and the rows of an hour.

Here `local` is when a record was received, and `exch` when it happened. A record that was loaded later from a venue's
history has no time of receipt that means anything: its `local` is `exch`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from marketdata_assets.errors import TerminalError
from marketdata_assets.exchanges.records import Exchange, Gap, MarketType
from marketdata_assets.exchanges.tables.schema import FINAL, TABLES
from marketdata_assets.read import columnar
from marketdata_assets.read.columnar import Where
from marketdata_assets.read.exchanges import about
from marketdata_assets.read.proofs import BookMarket
from marketdata_assets.stores.clients import Client

HOUR = 3_600_000_000_000
HOURS = 24
HISTORY_NS = 600_000_000_000
"""A record received so much later than it happened was loaded from the venue's history."""

Chosen = tuple[Exchange | None, MarketType | None, Sequence[str] | None]
"""Exchange, type of market and instruments; None is all."""

EXCH = "ifNull(ts_event, ts_recv)"
LOCAL = f"if(abs(ts_recv - {EXCH}) > {HISTORY_NS}, {EXCH}, ts_recv)"
DIGITS = "length(splitByChar('.', toString({}))[2])"


class CannotExport(TerminalError):
    """One file cannot be written; the others can."""


@dataclass(frozen=True, order=True)
class Day:
    """One instrument on one day in UTC."""

    exchange: str
    market_type: MarketType
    instrument: str
    symbol: str
    date: dt.date

    @property
    def start(self) -> int:
        """Midnight in ns since 1970."""
        return int(dt.datetime.combine(self.date, dt.time(), dt.UTC).timestamp()) * 1_000_000_000

    def hours(self) -> Iterator[tuple[int, int]]:
        """Start and end of its hours, ns."""
        for hour in range(HOURS):
            yield self.start + hour * HOUR, self.start + (hour + 1) * HOUR


def days(
    client: Client,
    record_type: str,
    chosen: Chosen,
    first: dt.date,
    last: dt.date,
    *,
    by_receipt: bool,
) -> dict[Day, str]:
    """The days with records of a type, and a fingerprint of the rows of each."""
    table = TABLES[record_type]
    begin = dt.datetime.combine(first, dt.time(), dt.UTC)
    end = dt.datetime.combine(last, dt.time(), dt.UTC) + dt.timedelta(days=1)
    around = dt.timedelta(hours=1 if by_receipt else 0)
    where = about(table.name, *chosen, begin - around, end + around)
    when = f"fromUnixTimestamp64Nano({LOCAL}, 'UTC')" if by_receipt else "time"
    recorded = "ts_from, ifNull(healed_at, 0)" if record_type == "gap" else "ts_recv"
    sql = f"""
        SELECT toString(exchange) AS exchange, toString(market_type) AS market_type,
            toString(instrument) AS instrument, toString(any(symbol)) AS symbol, toDate({when}, 'UTC') AS day,
            concat(toString(count()), ' ', toString(groupBitXor(xxh3(time, {recorded})))) AS version
        FROM {table.name} FINAL WHERE {where} GROUP BY exchange, market_type, instrument, day
        HAVING day >= toDate('{first}') AND day <= toDate('{last}') SETTINGS {FINAL}
    """
    rows = columnar.ask(client, table.name, sql, where.values)
    fields = rows.select("exchange", "market_type", "instrument", "symbol", pl.col("day").cast(pl.Date), "version")
    return {Day(*values): version for *values, version in fields.iter_rows()}


def trades(client: Client, day: Day, begin: int, end: int) -> pl.DataFrame:
    """Trades received in a span: local, exch (ns), trade_id, price, size, buy. `size` is in contracts where known."""
    fields = "trade_id, price, ifNull(contracts, size) AS size, side = 'buy' AS buy"
    frame = _between(client, "trade", day, begin, end, fields, "trade_id").filter(pl.col("size").is_not_null())
    return frame.with_columns(pl.col("buy").cast(pl.Boolean))


def books(client: Client, day: Day, begin: int, end: int) -> pl.DataFrame:
    """Records of books received in a span, as BookEvents takes them."""
    fields = "kind != 'delta' AS whole, ifNull(prev_id, first_id - 1) AS begin, last_id, bids, asks"
    frame = _between(client, "orderbook", day, begin, end, fields, "last_id, whole")
    return frame.with_columns(pl.col("whole").cast(pl.Boolean))


def book_gaps(client: Client, day: Day) -> list[Gap]:
    """The gaps of the instrument's books."""
    return BookMarket(client, day.exchange, day.market_type, day.instrument).gaps()


def precisions(client: Client, record_type: str, day: Day) -> tuple[int, int]:
    """Digits after the point of prices and sizes of that day, the most of any."""
    if record_type == "trade":
        price, size = DIGITS.format("price"), f"ifNull({DIGITS.format('ifNull(contracts, size)')}, 0)"
    else:
        levels = "arrayMap(x -> {}, arrayConcat(bids, asks, [(toDecimal128(0, 18), toDecimal128(0, 18))]))"
        price, size = (f"arrayMax({levels.format(DIGITS.format(f'x.{part}'))})" for part in (1, 2))
    where = _span(record_type, day, day.start - HOUR, day.start + (HOURS + 1) * HOUR)
    table = TABLES[record_type].name
    sql = f"SELECT toInt64(max({price})) AS price, toInt64(max({size})) AS size FROM {table} WHERE {where}"
    row = columnar.ask(client, table, sql, where.values).row(0)
    return int(row[0]), int(row[1])


def _between(client: Client, record_type: str, day: Day, begin: int, end: int, fields: str, order: str) -> pl.DataFrame:
    where = _span(record_type, day, begin - HOUR, end + HOUR)
    where.conditions.append(f"local >= {begin} AND local < {end}")
    table = TABLES[record_type].name
    sql = f"""
        SELECT {LOCAL} AS local, {EXCH} AS exch, {fields} FROM {table} FINAL WHERE {where}
        ORDER BY local, {order}, ts_recv SETTINGS {FINAL}
    """
    return columnar.ask(client, table, sql, where.values)


def _span(record_type: str, day: Day, begin: int, end: int) -> Where:
    moments = (dt.datetime.fromtimestamp(ns // 1_000_000_000, dt.UTC) for ns in (begin, end))
    return about(TABLES[record_type].name, day.exchange, day.market_type, day.instrument, *moments)

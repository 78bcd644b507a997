"""The ClickHouse tables of the records: one for each type, read with FINAL.

The key of a table deduplicates an event, whichever socket, process or redelivery delivered it; until ClickHouse has
merged the copies, only FINAL hides them. All copies of an event are in one partition, so FINAL_SETTINGS makes FINAL
cheap. Rows are inserted by `rows`.
"""

import datetime as dt
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import msgspec

from marketdata_assets.errors import did_you_mean
from marketdata_assets.exchanges import records
from marketdata_assets.exchanges.errors import ExchangesError
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse import create, naming_failures, quoted, read
from marketdata_assets.stores.clients import Client

PRECISION, SCALE = 38, 18
"""Of every decimal. A number that does not fit exactly is rejected, never rounded."""

FINAL_SETTINGS = {"do_not_merge_across_partitions_select_final": 1}  # settings of queries with FINAL
FINAL = ", ".join(f"{name} = {value}" for name, value in FINAL_SETTINGS.items())  # the same as text, behind SETTINGS
_TTL = re.compile(r"TTL (to(?:DateTime|Date)\(time\) \+ toIntervalDay\(\d+\))")
_NAME = re.compile(r"\w+")
_DECIMAL = re.compile(r"^    (\w+) +\S*Decimal\(", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """The table of one record type. Each field of the record is the column of that name."""

    name: str
    record: type[msgspec.Struct]
    positive: tuple[str, ...] = ()  # the decimals that are above 0

    @property
    def type(self) -> str:
        """The record type, as in its JSON."""
        return str(self.record.__struct_config__.tag)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The fields of the record; the table computes further columns."""
        return tuple(field.encode_name for field in msgspec.structs.fields(self.record))

    @cached_property
    def decimals(self) -> tuple[str, ...]:
        """The columns that are one decimal each."""
        return tuple(_DECIMAL.findall(sql(self.name)))


_TABLES = (
    Table("exchange_trades", records.Trade, positive=("price", "size", "contracts")),
    Table("exchange_orderbooks", records.OrderBook),
    Table("exchange_klines", records.Kline),
    Table("exchange_tickers", records.Ticker),
    Table("exchange_funding_rates", records.FundingRate),
    Table("exchange_open_interest", records.OpenInterest),
    Table("exchange_liquidations", records.Liquidation),
    Table("exchange_instrument_states", records.InstrumentState),
    Table("exchange_gaps", records.Gap),
)
TABLES: Mapping[str, Table] = {table.type: table for table in _TABLES}
"""By type."""

TRADES, ORDERBOOKS, KLINES, GAPS = (TABLES[name] for name in ("trade", "orderbook", "kline", "gap"))
OHLCV_1M = "exchange_ohlcv_1m"
OHLCV_COLUMNS = (
    *("exchange", "market_type", "symbol", "instrument", "time", "open", "high", "low", "close"),
    *("volume", "contracts", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "trades", "open_gaps"),
)
REJECTS = "exchange_rejects"
POSITIONS = "exchange_stream_positions"


def table_of(type_name: str) -> Table:
    """The table of a record type. Raises ExchangesError for a type without one."""
    if type_name not in TABLES:
        raise ExchangesError(f"no table holds records of type {type_name!r}; {did_you_mean(type_name, TABLES)}")
    return TABLES[type_name]


def ensure(client: Client, keep_days: Mapping[str, int] | None = None) -> None:
    """Create missing tables and the ledger, bring older ones to the present form, and set the retention; idempotent.

    `keep_days` is by record type; 0, or a type that is not named, means no limit. Without `keep_days` the retention
    is left unchanged. Raises ExchangesError, or TerminalError for tables of another version.
    """
    for name in keep_days or {}:
        table_of(name)
    names = [table.name for table in TABLES.values()]
    clickhouse_ledger.ensure(client, *map(sql, names), tables=names)
    with naming_failures():
        _add_columns(client)
        _compare_columns(client)
        if keep_days is not None:
            _set_retention(client, keep_days)
        create(client, *map(sql, (OHLCV_1M, REJECTS, POSITIONS)))


def _set_retention(client: Client, keep_days: Mapping[str, int]) -> None:
    """Change the TTL of the tables of which it is another one."""
    query = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    statements = dict(read(client, query).iter_rows())
    for table in TABLES.values():
        wanted, ttl = _ttl(table, keep_days.get(table.type, 0)), _TTL.search(statements[table.name])
        if (ttl[1] if ttl else "") != wanted:
            change = f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL"
            client.command(f"ALTER TABLE {quoted(table.name)} {change} SETTINGS mutations_sync = 0")


def _add_columns(client: Client) -> None:
    """Add what tables of before a column was declared lack; their rows have the default of its type."""
    query = (
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND table IN {names:Array(String)}"
    )
    present = set(read(client, query, {"names": [table.name for table in TABLES.values()]}).iter_rows())
    for table in TABLES.values():
        declared = dict(re.findall(r"^    (\w+) +(.*?),?(?: *--.*)?$", sql(table.name), re.MULTILINE))
        for name in (one for one in table.columns if (table.name, one) not in present):
            client.command(f"ALTER TABLE {quoted(table.name)} ADD COLUMN IF NOT EXISTS {name} {declared[name]}")


def _compare_columns(client: Client) -> None:
    """Have `content` compare columns that were declared after it, of what happens from now on.

    By the venue's time: so a copy of a row of before has the same key, whenever it is received.
    """
    query = (
        "SELECT table, default_expression FROM system.columns"
        " WHERE database = currentDatabase() AND table IN {names:Array(String)} AND name = 'content'"
    )
    for name, present in read(client, query, {"names": [table.name for table in TABLES.values()]}).iter_rows():
        [declared] = re.findall(r"^    content +UInt64 MATERIALIZED (.*?) CODEC", sql(name), re.MULTILINE | re.DOTALL)
        if not set(_NAME.findall(declared)) <= set(_NAME.findall(present)):
            rule = f"if(time < fromUnixTimestamp64Nano({time.time_ns()}, 'UTC'), {present}, {declared})"
            client.command(f"ALTER TABLE {quoted(name)} MODIFY COLUMN content UInt64 MATERIALIZED {rule}")


def _ttl(table: Table, days: int) -> str:
    """When rows expire; books by whole UTC days, which begin with checkpoints, so that no change loses its base."""
    if not days:
        return ""
    return (
        f"toDate(time) + toIntervalDay({days + 1})"
        if table is ORDERBOOKS
        else f"toDateTime(time) + toIntervalDay({days})"
    )


def sql(name: str) -> str:
    """A statement of this package."""
    return files(__package__).joinpath(f"sql/{name}.sql").read_text("utf-8")


DAY_NS = 86_400_000_000_000


def day_span(day: dt.date) -> dict[str, dt.datetime]:
    """The UTC day as half-open bounds `first` and `end`, to bind in a query."""
    first = dt.datetime.combine(day, dt.time(), dt.UTC)
    return {"first": first, "end": first + dt.timedelta(days=1)}

"""The tables of the records in ClickHouse: one for each type, read with FINAL.

The key of a table makes the same event one row, whichever socket, process or redelivery it came through; until
ClickHouse has merged the copies, only FINAL hides them. All copies of an event are in one partition, so the setting
FINAL_SETTINGS makes that cheap. Rows go in by `rows`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from marketdata_assets.exchanges.errors import UnknownTable
from marketdata_assets.exchanges.records import (
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
)
from marketdata_assets.stores.clickhouse import naming_failures, quoted

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

import datetime as dt

PRECISION, SCALE = 38, 18
"""Of every decimal. A number that does not fit exactly is a reject, never a rounded one."""

FINAL_SETTINGS = {"do_not_merge_across_partitions_select_final": 1}
"""Of queries with FINAL."""

_DECIMAL = re.compile(r"^    (\w+) +\S*Decimal\(", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """The table of one type of record. A field of the record is the column of that name."""

    name: str
    record: type[msgspec.Struct]

    @property
    def type(self) -> str:
        """The type's name, as in the JSON of the record."""
        return str(self.record.__struct_config__.tag)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The fields of the record; the table has some more that it computes."""
        return tuple(field.encode_name for field in msgspec.structs.fields(self.record))

    @cached_property
    def ddl(self) -> str:
        """The statement that makes the table when it is missing."""
        return _sql(self.name)

    @cached_property
    def decimals(self) -> tuple[str, ...]:
        """The columns that are one decimal each."""
        return tuple(_DECIMAL.findall(self.ddl))


TRADES = Table("exchange_trades", Trade)
ORDERBOOKS = Table("exchange_orderbooks", OrderBook)
KLINES = Table("exchange_klines", Kline)
TICKERS = Table("exchange_tickers", Ticker)
FUNDING_RATES = Table("exchange_funding_rates", FundingRate)
OPEN_INTEREST = Table("exchange_open_interest", OpenInterest)
LIQUIDATIONS = Table("exchange_liquidations", Liquidation)
GAPS = Table("exchange_gaps", Gap)

TABLES: Mapping[str, Table] = {
    table.type: table
    for table in (TRADES, ORDERBOOKS, KLINES, TICKERS, FUNDING_RATES, OPEN_INTEREST, LIQUIDATIONS, GAPS)
}
"""By type."""

OHLCV_1M = "exchange_ohlcv_1m"
REJECTS = "exchange_rejects"


def table_of(type_name: str) -> Table:
    """The table of a type of record. Raises UnknownTable."""
    found = TABLES.get(type_name)
    if found is None:
        raise UnknownTable(type_name, TABLES)
    return found


def ensure(client: "Client", keep_days: Mapping[str, int] | None = None) -> None:
    """Create the tables where they are missing, and have rows go that are older; safe to call at any time.

    `keep_days` is by type; of types that it does not name, or gives 0, nothing goes. Without it all stays as it is,
    and a new table keeps everything. Raises UnknownTable.
    """
    for name in keep_days or {}:
        table_of(name)
    with naming_failures():
        for table in TABLES.values():
            client.command(table.ddl)
            if keep_days is not None:
                _keep(client, table.name, keep_days.get(table.type, 0))
        for name in (OHLCV_1M, REJECTS):
            client.command(_sql(name))


def _keep(client: "Client", name: str, days: int) -> None:
    """The table's TTL, changed only where it is another one."""
    wanted = f"toDateTime(time) + toIntervalDay({days})" if days else ""
    ddl = str(client.command(f"SHOW CREATE TABLE {quoted(name)}"))
    found = re.search(r"TTL (toDateTime\(time\) \+ toIntervalDay\(\d+\))", ddl)
    if (found[1] if found else "") == wanted:
        return
    change = f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL"
    client.command(f"ALTER TABLE {quoted(name)} {change} SETTINGS mutations_sync = 0")


def _sql(name: str) -> str:
    return files(__package__).joinpath(f"sql/{name}.sql").read_text()


DAY_NS = 86_400_000_000_000


def day_span(day: dt.date) -> dict[str, dt.datetime]:
    """The day as `first` and `end`, half open, to bind."""
    first = dt.datetime.combine(day, dt.time(), dt.UTC)
    return {"first": first, "end": first + dt.timedelta(days=1)}


def day_bounds(day: dt.date) -> tuple[int, int]:
    """The day's first moment and the one behind it, ns."""
    first = int(day_span(day)["first"].timestamp()) * 1_000_000_000
    return first, first + DAY_NS

"""The tables of reference data in ClickHouse; their columns are in `sql/tables.sql`.

How they are read is in `stored`, how they are written in `load`.
"""

from typing import Literal, get_args

import polars as pl

from marketdata_assets.stores import clickhouse_ddl, clickhouse_ledger
from marketdata_assets.stores.clickhouse import check_types
from marketdata_assets.stores.clients import Client

DailyName = Literal["suspensions", "adjust_factors", "price_limits"]
DAILY: tuple[DailyName, ...] = get_args(DailyName)
"""Tables with rows for each trading day, in monthly partitions."""


class Table(clickhouse_ddl.Table):
    """A table of reference data, each row with its source and since when it was seen."""

    @property
    def values(self) -> pl.Schema:
        """The columns without those that say where a row comes from: what a provider or a file delivers."""
        return pl.Schema({name: kind for name, kind in self.columns.items() if name not in ("source", "seen")})


_TABLES = tuple(
    Table(name, __package__, "tables")
    for name in ("trading_calendar", "instruments", "name_history", "code_changes", *DAILY)
)
TRADING_CALENDAR, INSTRUMENTS, NAME_HISTORY, CODE_CHANGES, SUSPENSIONS, ADJUST_FACTORS, PRICE_LIMITS = _TABLES
TABLES = {table.name: table for table in _TABLES}


def ensure(client: Client) -> None:
    """Create the tables and the ledger where they are missing; safe to call at any time. Raises TerminalError."""
    clickhouse_ledger.ensure(client, TRADING_CALENDAR.ddl)
    check_types(client, [*TABLES.values()])

"""The tables of reference data in ClickHouse: their columns as polars sees them, and their DDL.

How they are read is in `stored`, how they are written in `load`.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, get_args

import polars as pl

from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse import create
from marketdata_assets.stores.clients import Client

_SOURCE = {"source": pl.String(), "seen": pl.Datetime("ms", "UTC")}

DailyName = Literal["suspensions", "adjust_factors", "price_limits"]
DAILY: tuple[DailyName, ...] = get_args(DailyName)
"""Tables with rows for each trading day, in monthly partitions."""


@dataclass(frozen=True)
class Table:
    """A table; a row is identified by its `keys`. `dictionaries` are its columns of few values."""

    name: str
    keys: tuple[str, ...]
    columns: pl.Schema
    dictionaries: tuple[str, ...]

    @property
    def values(self) -> pl.Schema:
        """The columns without those that say where a row comes from: what a provider or a file delivers."""
        return pl.Schema({name: kind for name, kind in self.columns.items() if name not in _SOURCE})


def _table(name: str, keys: tuple[str, ...], values: dict[str, pl.DataType], *dictionaries: str) -> Table:
    return Table(name, keys, pl.Schema(values | _SOURCE), (*dictionaries, "source"))


_SYMBOL_DAY: dict[str, pl.DataType] = {"symbol": pl.String(), "date": pl.Date()}

TRADING_CALENDAR = _table("trading_calendar", ("date",), {"date": pl.Date(), "open": pl.Boolean()})
INSTRUMENTS = _table(
    "instruments",
    ("symbol",),
    {
        "symbol": pl.String(),
        "name": pl.String(),
        "listed": pl.Date(),
        "delisted": pl.Date(),
        "status": pl.String(),
        "board": pl.String(),
        "lot": pl.UInt32(),
    },
    "status",
    "board",
)
NAME_HISTORY = _table(
    "name_history",
    ("symbol", "first"),
    {"symbol": pl.String(), "name": pl.String(), "first": pl.Date(), "last": pl.Date(), "reason": pl.String()},
)
CODE_CHANGES = _table("code_changes", ("old", "date"), {"old": pl.String(), "new": pl.String(), "date": pl.Date()})
SUSPENSIONS = _table("suspensions", ("symbol", "date", "timing"), _SYMBOL_DAY | {"timing": pl.String()}, "symbol")
ADJUST_FACTORS = _table("adjust_factors", ("symbol", "date"), _SYMBOL_DAY | {"adj_factor": pl.Float64()}, "symbol")
PRICE_LIMITS = _table(
    "price_limits", ("symbol", "date"), _SYMBOL_DAY | {"up": pl.Float64(), "down": pl.Float64()}, "symbol"
)
TABLES = {
    table.name: table
    for table in (
        TRADING_CALENDAR,
        INSTRUMENTS,
        NAME_HISTORY,
        CODE_CHANGES,
        SUSPENSIONS,
        ADJUST_FACTORS,
        PRICE_LIMITS,
    )
}


def ensure(client: Client) -> None:
    """Create the tables and the ledger where they are missing; safe to call at any time."""
    clickhouse_ledger.ensure(client)
    text = files(__package__).joinpath("sql/tables.sql").read_text("utf-8")
    create(client, text)

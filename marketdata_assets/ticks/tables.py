"""The tables of ticks in ClickHouse: their columns as polars sees them, and their DDL."""

from dataclasses import dataclass
from importlib.resources import files

import polars as pl

from marketdata_assets.stores import clickhouse_files, clickhouse_ledger
from marketdata_assets.stores.clickhouse import create
from marketdata_assets.stores.clients import Client

_UTC = pl.Datetime("ms", "UTC")


@dataclass(frozen=True)
class Table:
    """A table; `dictionaries` are its columns of few values. `sql/NAME.sql` creates it."""

    name: str
    columns: pl.Schema
    dictionaries: tuple[str, ...]


TICK_DATA = Table(
    "tick_data",
    pl.Schema(
        {
            "symbol": pl.String(),
            "date": pl.Date(),
            "ts": _UTC,
            "label": pl.String(),
            "interval": pl.String(),
            **dict.fromkeys(("open", "high", "low", "close"), pl.Float64()),
            "volume": pl.Int64(),
            "turnover": pl.Float64(),
            "currency": pl.String(),
            "flags": pl.UInt8(),
            "provider": pl.String(),
            "file": pl.String(),
        }
    ),
    ("symbol", "label", "interval", "currency", "provider", "file"),
)
ORDER_BOOK = Table(
    "order_book",
    pl.Schema(
        {
            "symbol": pl.String(),
            "date": pl.Date(),
            "ts": _UTC,
            "provider": pl.String(),
            **dict.fromkeys(("bid_price", "bid_size", "ask_price", "ask_size"), pl.List(pl.Float64())),
            "file": pl.String(),
        }
    ),
    ("symbol", "provider", "file"),
)
FACTORS = Table(
    "factors",
    pl.Schema(
        {
            "symbol": pl.String(),
            "date": pl.Date(),
            "factor": pl.String(),
            "value": pl.Float64(),
            "provider": pl.String(),
        }
    ),
    ("symbol", "factor", "provider"),
)
SYMBOLS = Table(
    "symbols",
    pl.Schema(
        {
            "symbol": pl.String(),
            "name": pl.String(),
            "listed": pl.Date(),
            "delisted": pl.Date(),
            "status": pl.String(),
            "source": pl.String(),
            "seen": _UTC,
        }
    ),
    ("status", "source"),
)
TICK_FILE_UNITS = Table(
    "tick_file_units",
    pl.Schema(
        {
            "dataset": pl.String(),
            "file": pl.String(),
            "symbol": pl.String(),
            "month": pl.String(),
            "size": pl.Int64(),
            "modified": pl.Int64(),
            "units": pl.Int64(),
            "first": pl.Date(),
            "last": pl.Date(),
            "compared": pl.Date(),
            "newer": pl.List(pl.String()),
            "newer_rows": pl.List(pl.Int64()),
        }
    ),
    ("dataset", "file", "symbol", "month"),
)
TABLES = (TICK_DATA, ORDER_BOOK, FACTORS, SYMBOLS, TICK_FILE_UNITS)


def statement(name: str) -> str:
    """The text of `sql/NAME.sql`."""
    return files(__package__).joinpath(f"sql/{name}.sql").read_text("utf-8")


def ensure(client: Client) -> None:
    """Create the tables and the ledger where they are missing; safe to call at any time."""
    clickhouse_ledger.ensure(client)
    clickhouse_files.ensure(client)
    for table in TABLES:
        create(client, statement(table.name))

"""The tables of ticks in ClickHouse; their columns are in `sql/NAME.sql`."""

from importlib.resources import files

from marketdata_assets.stores import clickhouse_ddl, clickhouse_files, clickhouse_ledger
from marketdata_assets.stores.clickhouse import check_types
from marketdata_assets.stores.clients import Client

Table = clickhouse_ddl.Table

TABLES = tuple(
    Table(name, __package__) for name in ("tick_data", "order_book", "factors", "symbols", "tick_file_units")
)
TICK_DATA, ORDER_BOOK, FACTORS, SYMBOLS, TICK_FILE_UNITS = TABLES


def statement(name: str) -> str:
    """The text of `sql/NAME.sql`."""
    return files(__package__).joinpath(f"sql/{name}.sql").read_text("utf-8")


def ensure(client: Client) -> None:
    """Create the tables and the ledger where they are missing; safe to call at any time. Raises TerminalError."""
    clickhouse_ledger.ensure(client, *(table.ddl for table in (clickhouse_files.TABLE, *TABLES)))
    check_types(client, TABLES)

"""The domain `exchanges`: records of crypto exchanges, from the live stream, captures, dumps and histories."""

import datetime as dt
from typing import TYPE_CHECKING

from marketdata_assets.domains import Domain
from marketdata_assets.months import last_days
from marketdata_assets.overview import STATES, Folders, Row, asset_row, files_rows

if TYPE_CHECKING:
    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.clients import Client

WITH_OPEN = (*STATES, "open")


def files(client: "Client", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.exchanges.tables import captures

    return {"exchange_feed": captures.entries(client, settings.captures_folder)}


def rows(client: "Client", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the captures of the folder; one for each table, bars and gaps by day, open are days with gaps of
    trades; and one for histories, by day. None of tables when nothing ever came."""
    from marketdata_assets.exchanges.tables.status import history, overview

    found = overview(client, last_days(settings.exchange_days, now))
    if backfilled := history(client):
        found.append(backfilled)
    shown = files_rows("exchanges", files(client, settings, now))
    for one in found if any(one.rows for one in found) else ():
        others: Row = {"rows": one.rows, "quarantine": one.rejected, "open_gaps": one.open_gaps}
        newest = one.newest, dt.UTC, "%Y-%m-%d %H:%M"
        shown.append(asset_row("exchanges", one.table, one.days, *newest, WITH_OPEN, **others))
    return shown


def rejected(client: "Client", _: "Settings", limit: int) -> list[Row]:
    """Captures whose load failed, records that their tables rejected, and unreadable messages, newest first."""
    from marketdata_assets.exchanges.tables.captures import LEDGER
    from marketdata_assets.exchanges.tables.status import rejected

    return [*LEDGER.failures(client, limit), *rejected(client, limit)]


def make_tables(client: "Client") -> None:
    """They get the retention of the settings."""
    from marketdata_assets.exchanges.tables import schema
    from marketdata_assets.settings import Settings

    schema.ensure(client, Settings().exchange_keep_days)


def backed_up(_: "Settings") -> list[str]:
    from marketdata_assets.exchanges.tables import schema

    tables = (table.name for table in schema.TABLES.values())
    return [schema.POSITIONS, *tables, schema.OHLCV_1M, schema.REJECTS]


DOMAIN = Domain(
    "exchanges",
    "clickhouse",
    ("asset", *WITH_OPEN, "rows", "newest", "quarantine", "open_gaps"),
    "ingest days",
    rows,
    files,
    rejected,
    load_files="ingest captures",
    servers=("nats",),
    make_tables="marketdata_assets.declarations.exchanges:make_tables",
    backed_up=backed_up,
    repairs="marketdata_assets.defs.exchanges.automation:repairs",
)

"""The domain `ticks`: 1-minute bars, order books and factors by symbol, of providers and dropped files."""

import datetime as dt
from typing import TYPE_CHECKING

from marketdata_assets.domains import Domain
from marketdata_assets.months import last_months
from marketdata_assets.overview import TICK_STATES, Folders, Row, asset_row, files_rows, rejected_rows

if TYPE_CHECKING:
    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.clients import Client
    from marketdata_assets.ticks.files import Files


def dropped_files(settings: "Settings") -> "Files | None":
    """The dropped files; None where the providers file does not use them."""
    from marketdata_assets.ticks import providers_file
    from marketdata_assets.ticks.files import Files

    known = providers_file.chosen(settings.providers).files
    return Files(settings.ticks_folder, known) if known and known.enabled else None


def files(client: "Client", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.ticks import file_ledger

    dropped = dropped_files(settings)
    return {"tick_files": file_ledger.entries(client, dropped)} if dropped else {}


def rows(client: "Client", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the dropped files, and for each table, its symbol-months of the last months by state; none of tables
    when no symbol was ever registered. Files that no scan has seen are due, and their months are not stale yet."""
    from marketdata_assets.ticks import file_ledger, registry
    from marketdata_assets.ticks.status import overview

    shown = files_rows("ticks", files(client, settings, now))
    listed, removed = registry.listed(client, vanished=True), len(registry.removed(client))
    changed = file_ledger.due_by_table(client, now) if dropped_files(settings) else {}
    found = overview(client, last_months(settings.ticks_months, now), now, changed=changed)
    for one in (table for table in found if listed or table.rows):
        states: dict[str, int] = {state: one.count(state) for state in TICK_STATES}
        others: Row = {"symbols": len(listed) - removed, "rows": one.rows, "quarantine": one.rejected}
        others |= {"provisional_days": one.provisional_days, "incomplete_days": one.incomplete_days}
        shown.append(asset_row("ticks", one.table, states, one.newest, names=TICK_STATES, **others))
    return shown


def rejected(client: "Client", _: "Settings", limit: int) -> list[Row]:
    """Rejected rows of providers' responses and of dropped files, by symbol and month."""
    from marketdata_assets.stores.clickhouse_ledger import quarantined
    from marketdata_assets.ticks.file_ledger import DATASET
    from marketdata_assets.ticks.providers_file import TABLES

    return [row for table in (*TABLES, DATASET) for row in rejected_rows(table, quarantined(client, table, limit))]


def register_files(client: "Client", settings: "Settings", _: dt.datetime) -> None:
    from marketdata_assets.ticks import file_ledger

    if dropped := dropped_files(settings):
        file_ledger.register(client, dropped)


def backed_up(_: "Settings") -> list[str]:
    from marketdata_assets.ticks import tables

    return [table.name for table in tables.TABLES]


DOMAIN = Domain(
    "ticks",
    "clickhouse",
    ("asset", *TICK_STATES, "rows", "newest", "quarantine"),
    "ingest ticks --symbols ALL",
    rows,
    files,
    rejected,
    register_files=register_files,
    needs=("reference",),
    make_tables="marketdata_assets.ticks.tables:ensure",
    backed_up=backed_up,
    repairs="marketdata_assets.defs.ticks.automation:repairs",
)

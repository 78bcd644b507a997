"""The domain `reference`: calendar, instruments, suspensions, adjustment factors and price limits of A-shares."""

import datetime as dt
from typing import TYPE_CHECKING

from marketdata_assets.domains import Domain
from marketdata_assets.months import last_months
from marketdata_assets.overview import WITH_UNSUPPORTED, Folders, Row, asset_row, files_rows

if TYPE_CHECKING:
    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.clients import Client


def files(client: "Client", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.reference import file_states

    return {"reference_files": file_states.entries(client, settings.reference_folder)}


def rows(client: "Client", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the files, and one for each table, its last months by state, where anything was ever loaded."""
    from marketdata_assets.reference.status import overview

    found = overview(client, last_months(settings.ticks_months, now), now)
    shown = files_rows("reference", files(client, settings, now))
    for one in found if any(one.rows for one in found) else ():
        others: Row = {"rows": one.rows, "unknown_days": one.unknown_days}
        shown.append(asset_row("reference", one.table, one.states, one.newest, names=WITH_UNSUPPORTED, **others))
    return shown


def rejected(client: "Client", _: "Settings", limit: int) -> list[Row]:
    """Rejected rows of dropped files."""
    from marketdata_assets.reference.file_states import DATASET
    from marketdata_assets.stores.clickhouse_ledger import quarantined

    found = quarantined(client, DATASET, limit)
    return [{"dataset": DATASET} | vars(one) | {"place": f"{one.source}:{one.line}"} for one in found]


def backed_up(_: "Settings") -> tuple[str, ...]:
    from marketdata_assets.reference import tables

    return (*tables.TABLES,)


DOMAIN = Domain(
    "reference",
    "clickhouse",
    ("asset", *WITH_UNSUPPORTED, "rows", "newest", "unknown_days"),
    "ingest reference",
    rows,
    files,
    rejected,
    make_tables="marketdata_assets.reference.tables:ensure",
    backed_up=backed_up,
    repairs="marketdata_assets.defs.reference.automation:repairs",
)

"""The domain `flows`: pipelines that YAML files define, of the package and a person's own, a table each."""

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from marketdata_assets.domains import Domain
from marketdata_assets.overview import STATES, Folders, Row, asset_row, files_rows, rejected_rows

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.loading.file_ledger import FileEntry
    from marketdata_assets.settings import Settings

BOOKS = ("units", "moves", "new_columns", "added_columns", "stored", "tables")


def files(connection: "psycopg.Connection", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.flows import status
    from marketdata_assets.local.flow_addresses import readable

    folder, flows = settings.flows_data_folder, readable(settings.flows_folder)
    return {f"{flow.name}_files": status.entries(connection, flow, folder) for flow in flows}


def rows(connection: "psycopg.Connection", settings: "Settings", _: dt.datetime) -> list[Row]:
    """Two rows for each flow that has files or rows: the files of its folder, and those in its table by state.

    A flow that cannot be read counts as failed.
    """
    from marketdata_assets.flows import run, status
    from marketdata_assets.local.flow_addresses import found

    folder, folders, tables = settings.flows_data_folder, dict[str, "list[FileEntry]"](), list[Row]()
    for one in found(settings.flows_folder):
        flow = one.flow
        if flow is None:
            tables.append(asset_row("flows", one.name, {"failed": 1}, None, rows=0, quarantine=0))
            continue
        outdated = run.outdated(connection, flow, folder)
        folders[f"{flow.name}_files"] = status.entries(connection, flow, folder, outdated)
        seen = status.summary(connection, flow, folder, outdated)
        if any(seen.states.values()) or seen.rows:
            others: Row = {"rows": seen.rows, "quarantine": seen.quarantined}
            tables.append(asset_row("flows", one.name, seen.states, seen.newest, ZoneInfo(flow.timezone), **others))
    return [*files_rows("flows", folders), *tables]


def rejected(connection: "psycopg.Connection", settings: "Settings", limit: int) -> list[Row]:
    """Rejected rows of the files of every flow."""
    from marketdata_assets.local.flow_addresses import readable
    from marketdata_assets.stores.ledger import quarantined

    flows = readable(settings.flows_folder)
    return [row for flow in flows for row in rejected_rows(flow.name, quarantined(connection, flow.dataset, limit))]


def backed_up(settings: "Settings") -> list[str]:
    from marketdata_assets.local.flow_addresses import readable

    own = dict.fromkeys(flow.target.table for flow in readable(settings.flows_folder) if flow.target.kind == "postgres")
    return [*(f"marketdata_flow_{name}" for name in BOOKS), *own]


DOMAIN = Domain(
    "flows",
    "postgres",
    ("asset", *STATES, "rows", "newest", "quarantine"),
    "flows run --all",
    rows,
    files,
    rejected,
    make_tables="marketdata_assets.flows.storage:ensure_books",
    backed_up=backed_up,
    repairs="marketdata_assets.defs.flows.automation:repairs",
)

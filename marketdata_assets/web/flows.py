"""Flows as the page shows them: their files and last loads, rows of a table, and what was rejected."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from marketdata_assets.flows.definition import dataset_of
from marketdata_assets.flows.targets import contents
from marketdata_assets.local.flow_addresses import found
from marketdata_assets.stores.ledger import quarantined
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.errors import Unknown
from marketdata_assets.web.stocks import exists

MOST_LOADS, MOST_ROWS, MOST_REJECTED = 100, 20, 100


def listed(connection: psycopg.Connection, folder: Path) -> dict[str, Any]:
    """`{"flows": [...], "loads": [...]}`: every flow with its table and files, and the last loads of all of them."""
    files = found(folder)
    names = {dataset_of(one.name): one.name for one in files}

    def by_flow(table: str, sql: str) -> dict[str, list[Any]]:
        known, values = exists(connection, table), {"datasets": list(names)}
        rows = connection.execute(statement(__package__, sql), values).fetchall() if known else []
        return {names[dataset]: row for dataset, *row in rows}

    counts, kept = by_flow("marketdata_ledger", "flow_files.sql"), by_flow("marketdata_quarantine", "flow_rejected.sql")
    flows = []
    for one in files:
        units, failed, rows, rejected, last = counts.get(one.name, (0, 0, 0, 0, None))
        table, mode = (one.flow.target.table, one.flow.target.mode) if one.flow else (None, None)
        facts = {"name": one.name, "table": table, "mode": mode, "error": str(one.error) if one.error else None}
        counted = {"files": units, "failed": failed, "rows": rows, "rejected": max(rejected, *kept.get(one.name, [0]))}
        flows.append({**facts, **counted, "finished": _utc(last)})
    return {"flows": flows, "loads": _loads(connection, names)}


def _loads(connection: psycopg.Connection, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The last loads of some datasets, which are flows of these names."""
    if not exists(connection, "marketdata_ledger_log"):
        return []
    values = {"datasets": list(names), "most": MOST_LOADS}
    loads = connection.execute(statement(__package__, "flow_loads.sql"), values).fetchall()
    columns = ("file", "outcome", "read", "rows", "rejected", "finished", "error")
    named = [{"flow": names[dataset], **dict(zip(columns, row, strict=True))} for dataset, *row in loads]
    return [{**one, "finished": _utc(one["finished"])} for one in named]


def shown(connection: psycopg.Connection, folder: Path, name: str) -> dict[str, Any]:
    """`{"columns": {name: type}, "table": bool, "rows": [[...]], "rejected": [...], "loads": [...]}` of a flow: whether
    its table exists, the rows of its last keys as text, its first rejected rows with file, line and reason, and its
    last loads. Raises Unknown."""
    flow = next((one.flow for one in found(folder) if one.flow and one.name == name), None)
    if flow is None:
        raise Unknown(f'no flow {name!r} that can be read; "marketdata flows list" names them.')
    table = contents.of(connection, flow)
    rows = table.last(MOST_ROWS)
    known = exists(connection, "marketdata_quarantine")
    rejected = quarantined(connection, flow.dataset, MOST_REJECTED) if known else []
    return {
        "columns": {column: str(kind) for column, kind in flow.target.columns.items()},
        "table": table.exist(),
        "rows": [[_text(value) for value in row.values()] for row in rows],
        "rejected": [{"file": one.unit, "line": one.line, "reason": one.reason, "raw": one.raw} for one in rejected],
        "loads": _loads(connection, {flow.dataset: name}),
    }


def _utc(time: dt.datetime | None) -> str | None:
    return None if time is None else f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)

"""Forget files of a flow: their rows, rejected rows and ledger entries, such as those of a file that was deleted.

The files themselves stay where they are; one that is still in the folder is loaded again by the next run.
"""

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from marketdata_assets.errors import did_you_mean
from marketdata_assets.flows import new_columns, owners
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.prepare import KEY_LOCKS
from marketdata_assets.flows.table_writer import lock_keys, lock_table
from marketdata_assets.flows.targets import unit_store
from marketdata_assets.loading.errors import CannotForget
from marketdata_assets.loading.files import everything
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.postgres import lift_decompression_limit


@dataclass(frozen=True)
class Forgotten:
    """A file that is forgotten, and how many rows were deleted."""

    unit: str
    rows: int


def forget_deleted(
    connection: psycopg.Connection, flow: FlowDefinition, root: Path, present: Collection[str]
) -> list[Forgotten]:
    """Forget the loaded files that are not among the units `present` in the folder `root`.

    None where part of the folder cannot be listed, or a link leads to nothing: such files would count as deleted.
    """
    loaded = [one.unit for one in ledger.entries(connection, flow.dataset) if one.content_hash or one.rows]
    return _forget_gone(connection, flow, root, {*loaded} - {*present})


def forget_renamed(
    connection: psycopg.Connection, flow: FlowDefinition, root: Path, present: Collection[str]
) -> list[Forgotten]:
    """Forget the loaded files that are gone, and whose bytes are loaded from a file that is `present`.

    Both have rows only after a change of the declaration: before, the bytes were loaded once. None where part of the
    folder cannot be listed.
    """
    if not (flow.target.replaceable and flow.takes_bytes_once):
        return []
    loaded = [one for one in ledger.entries(connection, flow.dataset) if one.rows]
    here = {*present}
    again = {one.content_hash for one in loaded if one.unit in here} - {None}
    gone = {one.unit for one in loaded if (one.content_hash or one.previous_hash) in again} - here
    return _forget_gone(connection, flow, root, gone)


def _forget_gone(connection: psycopg.Connection, flow: FlowDefinition, root: Path, gone: set[str]) -> list[Forgotten]:
    if not gone or any(found.kind != "file" for found in everything(root)):
        return []
    return forget(connection, flow, sorted(gone), missing_ok=True)  # another run may have forgotten them meanwhile


def forget(
    connection: psycopg.Connection, flow: FlowDefinition, units: Iterable[str], *, missing_ok: bool = False
) -> list[Forgotten]:
    """Delete all that is stored of the files `units`, all or nothing.

    Raises CannotForget, for a file of which nothing is stored unless `missing_ok`.

    An archive is all of its members. Files of which they had superseded rows become stale: the next run loads them.
    """
    if not flow.target.replaceable:
        cause = f"mode append keeps no record of which rows of {flow.target.table} are whose; declare mode: replace"
        raise CannotForget(f"flow {flow.name}", cause)
    store = unit_store.of(flow)
    with connection.transaction():
        lock_keys(connection, flow.target.place, range(KEY_LOCKS))
        lock_table(connection, flow.target.place, alone=store is not None)
        if flow.target.hypertable:
            lift_decompression_limit(connection)
        known = [one.unit for one in ledger.entries(connection, flow.dataset) if one.outcome != "removed"]
        members = {name: [unit for unit in known if unit.startswith(f"{name}!")] for name in units}
        named = [
            unit
            for name, found in members.items()
            for unit in (found if name not in known else [name, *found]) or ([] if missing_ok else [name])
        ]
        forgotten = [_forget(connection, flow, unit) for unit in named]
        if store:  # at the end: what is removed of it does not come back
            return [Forgotten(one.unit, unit_store.remove(connection, flow, store, one.unit)) for one in forgotten]
        return forgotten


def _forget(connection: psycopg.Connection, flow: FlowDefinition, unit: str) -> Forgotten:
    known = ledger.locked(connection, flow.dataset, unit, unit)
    if (known is None or known.outcome == "removed") and not unit_store.has_record(connection, flow, unit):
        loaded = [entry.unit for entry in ledger.entries(connection, flow.dataset) if entry.outcome != "removed"]
        raise CannotForget(f"flow {flow.name}", f"nothing of {unit!r} is loaded; {did_you_mean(unit, loaded)}")
    if flow.target.mode == "replace":
        owners.reload_repeats(connection, flow.dataset, [unit])
    deleted = 0
    row = connection.execute(
        "DELETE FROM marketdata_flow_units WHERE (dataset, unit) = (%s, %s) RETURNING id", [flow.dataset, unit]
    ).fetchone()
    if row is not None and flow.target.kind == "postgres":
        table = sql.SQL("DELETE FROM {} WHERE etl_unit = %s").format(sql.Identifier(flow.target.table))
        deleted = connection.execute(table, [row[0]]).rowcount
        if flow.target.mode == "upsert":
            owners.move(connection, row[0], owners.NOBODY, deleted)
            owners.reload_overwritten(connection, row[0])
    new_columns.record(connection, flow.dataset, unit, ())
    ledger.replace_rejects(connection, flow.dataset, unit, unit, [])
    now = dt.datetime.now(dt.UTC)
    ledger.record(
        connection,
        Entry(
            dataset=flow.dataset,
            source=unit,
            unit=unit,
            outcome="removed",
            code_version=known.code_version if known else "",
            run_id="forget",
            started=now,
        ),
    )
    return Forgotten(unit, deleted)

"""A flow's table, rebuilt from all its files beside the present one, whose name it takes in one transaction.

Readers see the old rows or the new. A rebuild that was killed is continued by the next one. What of a changed
declaration needs no rebuild is decided in `alterations`.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.backoff import retry
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import new_columns, owners, run, storage
from marketdata_assets.flows.alterations import widens
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.table_writer import lock_table
from marketdata_assets.flows.targets import contents
from marketdata_assets.loading.reports import and_more
from marketdata_assets.progress import Progress
from marketdata_assets.stores import ledger, relation_swap, schema_version
from marketdata_assets.stores.postgres import connect, statement, value
from marketdata_assets.stores.relation_swap import LONGEST, RelationInUse

SUFFIX = "~rebuild"
LISTED = 3


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did: rows and files of the new table; rows of the old one that it does not have."""

    table: str
    rows: int
    files: int
    dropped: int
    seconds: float


def rebuild(
    flow: FlowDefinition,
    dsn: str,
    folder: Path,
    *,
    run_id: str,
    fanout: Fanout,
    drop_rows: bool = False,
    progress: Progress | None = None,
) -> Rebuilt:
    """Load all files of `flow` into a new table, and put it in place of the present one.

    Rows that the present table has and the files do not are dropped only with `drop_rows`. Raises FlowError, and
    what a run raises; then the present table is unchanged.
    """
    started = time.monotonic()
    if flow.target.kind != "postgres":
        cause = f"of kind {flow.target.kind} every file is loaded again: marketdata flows run {flow.name} --force"
        raise _cannot(flow, cause)
    new = beside(flow)
    with connect(dsn, autocommit=True) as connection:
        lock = "SELECT pg_try_advisory_lock(hashtextextended(%s, 4))"  # of this connection
        if not value(connection, lock, [f"rebuild of {flow.target.table}"]):
            raise _cannot(flow, "another rebuild of it is in progress; wait for its end")
        _begin(connection, flow, new, folder)
        report = run.run_flow(new, dsn, folder, run_id=run_id, fanout=fanout, progress=progress)
        if report.failed:
            errors = [unit.error or unit.unit for unit in report.failed]
            cause = (
                f"{len(errors)} files failed: {and_more(errors, LISTED, '; ').rstrip('.')}. Correct them and rebuild"
            )
            raise _cannot(flow, cause)
        dropped = _missing(connection, flow, new)
        if dropped and not drop_rows:
            raise _cannot(flow, _said_of_missing(connection, flow, folder, dropped))
        retry(partial(_replace, connection, flow, new), pg.LockNotAvailable, relation_swap.WAITS)
        count = contents.of(connection, flow).count()
        files = len(ledger.entries(connection, flow.dataset)) if report.unchanged or report.units else 0
    return Rebuilt(flow.target.table, count, files, dropped, time.monotonic() - started)


def beside(flow: FlowDefinition) -> FlowDefinition:
    """The flow of the new table, until it takes the other's place."""
    target = flow.target.model_copy(update={"table": f"{flow.target.table[:LONGEST]}_rebuild"})
    return flow.model_copy(update={"name": f"{flow.name}{SUFFIX}", "target": target})


def _cannot(flow: FlowDefinition, cause: str) -> FlowError:
    return FlowError(f"flow {flow.name}: table {flow.target.table} is not rebuilt: {cause}. Its rows are unchanged.")


def _begin(connection: psycopg.Connection, flow: FlowDefinition, new: FlowDefinition, folder: Path) -> None:
    """Create the new table, or keep what a killed rebuild has loaded; what cannot be swapped fails here."""
    if not contents.of(connection, flow).exist():
        raise _cannot(flow, f"it does not exist yet; marketdata flows run {flow.name} creates it")
    schema_version.lock(connection)
    storage.ensure_books(connection)
    if others := owners.other_flows(connection, flow):
        raise _cannot(flow, f"flows {', '.join(others)} load into it too; drop it and run them all")
    known = connection.execute("SELECT FROM marketdata_flow_tables WHERE dataset = %s", [new.dataset]).fetchone()
    if known is None and contents.of(connection, new).exist():
        raise _cannot(flow, f"a table {new.target.table} exists, which it would take; rename it")
    if known is not None and not _continues(connection, new, folder):
        _discard(connection, new)
    new_columns.copy(connection, flow.dataset, new.dataset)
    run.prepare_table(connection, new)
    with connection.transaction(force_rollback=True):
        retry(partial(_swap, connection, flow, new), pg.LockNotAvailable, relation_swap.WAITS)


def _continues(connection: psycopg.Connection, new: FlowDefinition, folder: Path) -> bool:
    """Whether all that a killed rebuild has loaded is what would be loaded now."""
    present = new_columns.present(connection, new)
    if not contents.of(connection, new).exist() or storage.alterations(connection, present.target):
        return False
    found = {unit.place for unit in run.find_units(new, folder)}
    current = found - {unit.place for unit in run.outdated(connection, new, folder)}
    version = run.code_version(new)
    entries = ledger.entries(connection, new.dataset)
    return all(entry.unit in current and entry.code_version == version for entry in entries)


def _discard(connection: psycopg.Connection, new: FlowDefinition) -> None:
    with connection.transaction():
        relation_swap.drop(connection, new.target.table)
        for text in statement(__package__, "discard.sql").split(";\n"):
            connection.execute(text, {"dataset": new.dataset})


def _missing(connection: psycopg.Connection, flow: FlowDefinition, new: FlowDefinition) -> int:
    """Rows of the present table that the new one does not have: by key where both have the same, else by number."""
    key = flow.target.key
    old_types, new_types = (storage.columns_of(connection, one.target.table) for one in (flow, new))
    comparable = all(name in old_types for name in key) and all(
        old_types[name] == new_types[name] or widens(old_types[name], new_types[name]) for name in key
    )
    if not key or not comparable or set(storage.key_of(connection, flow.target.table)) != set(key):
        return max(0, contents.of(connection, flow).count() - contents.of(connection, new).count())
    same = sql.SQL(" AND ").join(sql.SQL("old.{0} = new.{0}").format(sql.Identifier(name)) for name in key)
    query = sql.SQL("SELECT count(*) FROM {} AS old WHERE NOT EXISTS (SELECT FROM {} AS new WHERE {})").format(
        sql.Identifier(flow.target.table), sql.Identifier(new.target.table), same
    )
    return int(value(connection, query))


def _said_of_missing(connection: psycopg.Connection, flow: FlowDefinition, folder: Path, rows: int) -> str:
    present = {unit.place for unit in run.find_units(flow, folder)}
    gone = [one.unit for one in ledger.entries(connection, flow.dataset) if one.rows and one.unit not in present]
    files = f", such as those of {and_more(gone, LISTED)}, which no longer exist" if gone else ""
    return (
        f"{rows} of its rows are in no file now{files}. The new table is built and kept beside it: deliver such"
        " files again, or drop these rows with --drop-rows"
    )


def _replace(connection: psycopg.Connection, flow: FlowDefinition, new: FlowDefinition) -> None:
    """Swap the tables, and all that is recorded of their files."""
    with connection.transaction():
        _swap(connection, flow, new)
        values = {"dataset": flow.dataset, "new": new.dataset, "mode": flow.target.mode, "table": flow.target.table}
        for text in statement(__package__, "take_over.sql").split(";\n"):
            connection.execute(text, {**values, "version": run.code_version(flow)})


def _swap(connection: psycopg.Connection, flow: FlowDefinition, new: FlowDefinition) -> None:
    """Raises FlowError, or LockNotAvailable while old rows are being read."""
    table = flow.target.table
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [relation_swap.LOCK_TIMEOUT])
            lock_table(connection, table, alone=True)
            for text in connection.execute(statement(__package__, "own_indexes.sql"), {"table": table}).fetchall():
                connection.execute(text[0].encode())  # the new table has its own
            with storage.without_views(connection, flow):
                relation_swap.swap(connection, table, new.target.table)
    except RelationInUse as error:
        cause = f"other objects depend on it: {', '.join(error.dependants)}. Drop them, rebuild, and make them again"
        raise _cannot(flow, cause) from error

"""Columns of a flow's files that it neither takes nor ignores, as they were when the files were loaded.

Where the flow says `new_columns: add` they are in its table and part of the flow from then on: optional, and text,
since a type that is guessed from the file that comes first would depend on which one does.
"""

import glob
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.backoff import retry
from marketdata_assets.flows import header, owners
from marketdata_assets.flows.definition import IDENTIFIER, OWN_COLUMNS, FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.table_writer import lock_table
from marketdata_assets.flows.types import ColumnType
from marketdata_assets.stores.postgres import column, value
from marketdata_assets.stores.relation_swap import LOCK_TIMEOUT, WAITS

TEXT = ColumnType("text")


@dataclass(frozen=True)
class NewColumn:
    """A column by its name in the files, how many of these have it, and the first of them by name."""

    name: str
    files: int
    first: str

    def __str__(self) -> str:
        return f"{self.name} ({self.files} files, such as {self.first})"


def record(connection: psycopg.Connection, dataset: str, unit: str, names: Collection[str]) -> None:
    """Make `names` the undeclared columns of a unit."""
    connection.execute(
        "DELETE FROM marketdata_flow_new_columns WHERE (dataset, unit) = (%s, %s) AND name <> ALL(%s)",
        [dataset, unit, list(names)],
    )
    if names:
        connection.execute(
            "INSERT INTO marketdata_flow_new_columns SELECT %s, %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [dataset, unit, list(names)],
        )


def of_flow(connection: psycopg.Connection, flow: FlowDefinition) -> list[NewColumn]:
    """The columns that the flow does not declare by now, by name; those of files that are gone included."""
    rows = connection.execute(
        """SELECT name, count(*), min(unit COLLATE "C") FROM marketdata_flow_new_columns
           WHERE dataset = %s GROUP BY name ORDER BY name COLLATE "C" """,
        [flow.dataset],
    ).fetchall()
    unknown = header.undeclared((name for name, _, _ in rows), present(connection, flow).loader)
    return [NewColumn(*row) for row in rows if row[0] in unknown]


def waiting(connection: psycopg.Connection, flow: FlowDefinition) -> set[str]:
    """The files whose new columns a run would add: they were loaded before the flow said so.

    Rows of mode append are never loaded again.
    """
    if flow.loader.new_columns != "add" or flow.target.mode == "append":
        return set()
    names = [new.name for new in of_flow(connection, flow)]
    query = "SELECT DISTINCT unit FROM marketdata_flow_new_columns WHERE dataset = %s AND name = ANY(%s)"
    return {*column(connection, query, [flow.dataset, names])}


@dataclass(frozen=True)
class Added:
    """A column by its name in the files, and ours."""

    source: str
    name: str


def added(connection: psycopg.Connection, dataset: str) -> tuple[Added, ...]:
    """The columns that a flow's files have added, in the order they came in."""
    rows = connection.execute(
        "SELECT source, name FROM marketdata_flow_added_columns WHERE dataset = %s ORDER BY added_at, name", [dataset]
    ).fetchall()
    return tuple(Added(*row) for row in rows)


def present(connection: psycopg.Connection, flow: FlowDefinition) -> FlowDefinition:
    """The flow as it is by now: with the added columns that its file does not declare."""
    exists = value(connection, "SELECT to_regclass('marketdata_flow_added_columns') IS NOT NULL")
    return extended(flow, added(connection, flow.dataset)) if exists else flow


def extended(flow: FlowDefinition, columns: Collection[Added]) -> FlowDefinition:
    """The flow with `columns`; what it declares or ignores is left as it says."""
    loader, target = flow.loader, flow.target
    unknown = header.undeclared((one.source for one in columns), loader)
    more = [one for one in columns if one.source in unknown and one.name not in target.columns]
    if not more:
        return flow
    taken = {"columns": loader.columns | {one.source: one.name for one in more}}
    optional = {"optional_columns": [*loader.optional_columns, *(glob.escape(one.source) for one in more)]}
    kept = {"columns": target.columns | {one.name: TEXT for one in more}}
    return flow.model_copy(
        update={"loader": loader.model_copy(update=taken | optional), "target": target.model_copy(update=kept)}
    )


def cannot_add(place: str, column: str, cause: str) -> FlowError:
    """The error for a new column of a file that is not added to the table."""
    return FlowError(
        f"{place}: new column {column} is not added: {cause}. Nothing of the file is loaded; name it in"
        " loader.columns and target.columns, or in loader.ignored_columns, and run the flow again."
    )


def named(flow: FlowDefinition, place: str, sources: Collection[str]) -> tuple[Added, ...]:
    """Names in the table for new columns of the file `place`. Raises FlowError where one has none of its own."""
    loader = flow.loader
    taken = {*loader.columns.values(), *loader.captures, *loader.file_columns, *flow.target.columns}
    found: list[Added] = []
    for source in sorted(sources):
        name = header.identifier(f"column_{source}" if source.isdigit() else source)
        if not re.fullmatch(IDENTIFIER, name):
            raise cannot_add(place, source, "no name of small letters, digits and _ follows from it")
        if name in OWN_COLUMNS or name in taken:
            raise cannot_add(place, source, f"the flow has another column {name}")
        taken.add(name)
        found.append(Added(source, name))
    return tuple(found)


def add(connection: psycopg.Connection, flow: FlowDefinition, columns: Collection[Added], unit: str, run: str) -> None:
    """Add to the table what of `columns` no other worker has added, with their record, in one transaction.

    `flow` is the flow as it is. It waits for units that are being written. Raises FlowError.
    """
    retry(partial(_add, connection, flow, columns, unit, run), pg.LockNotAvailable, WAITS)


def _add(connection: psycopg.Connection, flow: FlowDefinition, columns: Collection[Added], unit: str, run: str) -> None:
    table = flow.target.table
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        lock_table(connection, table, alone=True)
        if others := owners.other_flows(connection, flow):
            cause = f"flows {', '.join(others)} load into {table} too, and every flow of a table declares its columns"
            raise cannot_add(unit, next(iter(columns)).source, cause)
        before = {one.source: one.name for one in added(connection, flow.dataset)}
        for one in columns:
            if one.source in before:
                continue
            if one.name in before.values():
                raise cannot_add(unit, one.source, f"the flow has another column {one.name}")
            connection.execute(
                "INSERT INTO marketdata_flow_added_columns (dataset, source, name, unit, run_id)"
                " VALUES (%s, %s, %s, %s, %s)",
                [flow.dataset, one.source, one.name, unit, run],
            )
            statement = "ALTER TABLE {} ADD COLUMN {} text"
            try:
                connection.execute(sql.SQL(statement).format(sql.Identifier(table), sql.Identifier(one.name)))
            except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
                cause = f"table {table} does not take it: {error.diag.message_primary or error}"
                raise cannot_add(unit, one.source, cause) from error


def of_run(connection: psycopg.Connection, flow: FlowDefinition, run: str) -> list[str]:
    """What a run has added, for people."""
    rows = connection.execute(
        "SELECT name, unit FROM marketdata_flow_added_columns WHERE (dataset, run_id) = (%s, %s)"
        " ORDER BY added_at, name",
        [flow.dataset, run],
    ).fetchall()
    return [f"new column {name} of {unit}, NULL in rows of files that lack it" for name, unit in rows]


def copy(connection: psycopg.Connection, source: str, target: str) -> None:
    """Make the added columns of one dataset those of another as well."""
    connection.execute(
        "INSERT INTO marketdata_flow_added_columns (dataset, source, name, unit, run_id, added_at)"
        " SELECT %s, source, name, unit, run_id, added_at FROM marketdata_flow_added_columns WHERE dataset = %s"
        " ON CONFLICT DO NOTHING",
        [target, source],
    )


def with_columns(flow: FlowDefinition, names: Collection[str]) -> FlowDefinition:
    """The flow whose table has columns `names` as well, such as that of a backup, where it declares them not."""
    given = {*flow.target.columns, *OWN_COLUMNS}
    more = {name: TEXT for name in names if name not in given}
    return flow.model_copy(update={"target": flow.target.model_copy(update={"columns": flow.target.columns | more})})

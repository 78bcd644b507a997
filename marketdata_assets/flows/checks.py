"""Queries that check a flow's table after a run. What a finding means for a run is decided in `defs.flows.build`."""

import psycopg
from psycopg import sql

from marketdata_assets.flows import evolution, new_columns, owners, status, storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.targets import questions, unit_store
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding
from marketdata_assets.stores.postgres import objections, statement

ROWS_OF_MODE = {"upsert": "rows_of_owners", "replace": "rows_of_units", "append": "rows_of_table"}


def keys_unique(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """No two rows have one key."""
    if not flow.target.key or not status.exists(connection, flow):
        return Finding(0, (), 0)
    if store := unit_store.of(flow):
        return questions.keys_unique(flow, store)
    return _ask(connection, flow, "repeated_keys", status.row_count(connection, flow))


def every_row_accounted(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """Each row that was read is in the table, in quarantine, or was left out by a handler of the flow.

    Rows in the table are counted file by file: of mode upsert those that belong to a file, which are fewer than it has
    where other files overwrite them; of mode append the rows of all files, of all flows of the table. Of mode upsert
    the finding also says which rows of which file were replaced by those of which other.
    """
    if not status.exists(connection, flow):
        return Finding(0, (), 0)
    storage.ensure_books(connection)
    row = connection.execute("SELECT count(*) FROM marketdata_ledger WHERE dataset = %s", [flow.dataset]).fetchone()
    units = int(row[0]) if row else 0
    unaccounted = _ask(connection, flow, "units_not_accounted", units)
    if store := unit_store.of(flow):
        others = questions.rows_of_units(connection, flow, store)
        examples = (*unaccounted.examples, *others)[:EXAMPLES]
        return Finding(unaccounted.count + len(others), examples, units, facts=_replaced(connection, flow))
    owned_by = storage.owner_columns(flow.target).keys()
    if not owned_by <= storage.columns_of(connection, flow.target.table).keys():  # the next run adds them
        return Finding(unaccounted.count, unaccounted.examples, units, left_out=units)
    uncounted = _ask(connection, flow, ROWS_OF_MODE[flow.target.mode], units)
    lost = status.unexplained(connection, flow) if flow.target.mode == "upsert" and uncounted.passed else []
    examples = (*unaccounted.examples, *uncounted.examples, *lost)[:EXAMPLES]
    count = unaccounted.count + uncounted.count + len(lost)
    return Finding(count, examples, units, facts=_replaced(connection, flow))


def _replaced(connection: psycopg.Connection, flow: FlowDefinition) -> dict[str, int]:
    """The rows that were replaced, by what is said of them; those of the most files."""
    found = status.replaced(connection, flow)
    return {text: int(text.partition(" ")[0]) for text in found[:EXAMPLES]}


def no_drift(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """The table has the columns, types and key that the flow declares."""
    present = evolution.present(connection, flow)
    store = unit_store.of(flow)
    said = store.drift() if store else storage.drift(connection, present)
    return Finding(len(said), tuple({"difference": text} for text in said[:EXAMPLES]), len(present.target.columns))


def no_new_columns(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """The files have no columns but those that the flow takes or ignores."""
    storage.ensure_books(connection)
    found = new_columns.of_flow(connection, flow)
    examples = tuple({"column": one.name, "files": one.files, "first": one.first} for one in found[:EXAMPLES])
    return Finding(len(found), examples, len(flow.loader.columns) + len(found), advice=True)


def _ask(connection: psycopg.Connection, flow: FlowDefinition, name: str, checked: int) -> Finding:
    query = sql.SQL(statement(__package__, f"checks/{name}.sql")).format(
        table=sql.Identifier(flow.target.table),
        key=sql.SQL(", ").join(map(sql.Identifier, flow.target.key)),
    )
    return objections(
        connection, query, {"dataset": flow.dataset, "datasets": owners.datasets_of_table(connection, flow)}, checked
    )

"""What is checked of a flow's table after a run. What a finding means for a run is decided in `defs.flows.build`."""

import psycopg
from psycopg import sql

from marketdata_assets.flows import new_columns, status, storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.expectations import Change, Expectation
from marketdata_assets.flows.targets import contents
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding
from marketdata_assets.stores.postgres import objections, statement, value

NOTHING = Finding(0, (), 0)


def keys_unique(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """No two rows have one key."""
    found = contents.of(connection, flow)
    return found.repeated_keys() if flow.target.key and found.exist() else NOTHING


def every_row_accounted(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """Each row that was read is in the table, in quarantine, or was left out by a handler of the flow.

    Rows in the table are counted file by file: of mode upsert those that belong to a file, which are fewer than it has
    where other files overwrite them; of mode append the rows of all files, of all flows of the table. Of mode upsert
    the finding also says which rows of which file were replaced by those of which other.
    """
    kept = contents.of(connection, flow)
    if not kept.exist():
        return NOTHING
    storage.ensure_books(connection)
    units = value(connection, "SELECT count(*) FROM marketdata_ledger WHERE dataset = %s", [flow.dataset])
    query = sql.SQL(statement(__package__, "checks/units_not_accounted.sql"))
    unaccounted = objections(connection, query, {"dataset": flow.dataset}, units)
    uncounted = kept.not_counted(units)
    if uncounted is None:
        return Finding(unaccounted.count, unaccounted.examples, units, left_out=units)
    of_table = flow.target.kind == "postgres" and flow.target.mode == "upsert" and uncounted.passed
    lost = status.unexplained(connection, flow) if of_table else []
    examples = (*unaccounted.examples, *uncounted.examples, *lost)[:EXAMPLES]
    count = unaccounted.count + uncounted.count + len(lost)
    return Finding(count, examples, units, facts=dict(status.replaced(connection, flow)[:EXAMPLES]))


def no_drift(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """The table has the columns, types and key that the flow declares."""
    said = contents.of(connection, flow).drift()
    columns = new_columns.present(connection, flow).target.columns
    return Finding(len(said), tuple({"difference": text} for text in said[:EXAMPLES]), len(columns))


def no_new_columns(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """The files have no columns but those that the flow takes or ignores."""
    storage.ensure_books(connection)
    found = new_columns.of_flow(connection, flow)
    examples = tuple({"column": one.name, "files": one.files, "first": one.first} for one in found[:EXAMPLES])
    return Finding(len(found), examples, len(flow.loader.columns) + len(found), advice=True)


def column_as_expected(
    connection: psycopg.Connection, flow: FlowDefinition, column: str, expected: Expectation
) -> Finding:
    """The rows whose value in `column` is as expected, but for those that may differ."""
    kept = contents.of(connection, flow)
    found = kept.unexpected(column, expected) if kept.exist() else NOTHING
    if found.count and expected.allows(found.count, found.checked):
        return Finding(0, found.examples, found.checked, facts={"within tolerance": found.count})
    return found


def rows_as_expected(connection: psycopg.Connection, flow: FlowDefinition, change: Change) -> Finding:
    """The newest day has about as many rows as the day before."""
    kept = contents.of(connection, flow)
    return kept.changed(change) if kept.exist() else NOTHING

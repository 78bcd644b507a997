"""Queries that check a flow's table after a run. What a finding means for a run is decided in `defs.flows.checks`."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from marketdata_assets.flows import storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.stores.findings import Finding

EXAMPLES = 5

UNITS_NOT_ACCOUNTED = """
    SELECT ledger.unit, ledger.read, ledger.rows, ledger.rejected, ledger.skipped, coalesce(kept.rows, 0) AS quarantined
    FROM marketdata_ledger AS ledger
    LEFT JOIN (
        SELECT unit, count(*) AS rows FROM marketdata_quarantine WHERE dataset = %(dataset)s GROUP BY unit) AS kept
        USING (unit)
    WHERE ledger.dataset = %(dataset)s AND ledger.content_hash IS NOT NULL
      AND (ledger.rejected <> coalesce(kept.rows, 0) OR ledger.read > ledger.rows + ledger.rejected + ledger.skipped)"""
"""Files of which a row that was read is neither in the table, nor rejected, nor left out by a handler.

A handler may give more rows than it was given."""

ROWS_OF_UNITS = """
    SELECT ledger.unit, ledger.rows AS loaded, coalesce(counted.rows, 0) AS in_table
    FROM marketdata_ledger AS ledger
    JOIN marketdata_flow_units AS units USING (dataset, unit)
    LEFT JOIN (SELECT etl_unit, count(*) AS rows FROM {table} GROUP BY etl_unit) AS counted ON etl_unit = units.id
    WHERE ledger.dataset = %(dataset)s AND ledger.rows <> coalesce(counted.rows, 0)"""

ROWS_OF_TABLE = """
    SELECT * FROM (
        SELECT (SELECT count(*) FROM {table}) AS in_table,
               (SELECT coalesce(sum(rows), 0) FROM marketdata_ledger WHERE dataset = %(dataset)s) AS loaded) AS counts
    WHERE {objection}"""

REPEATED_KEYS = "SELECT {key}, count(*) AS times FROM {table} GROUP BY {key} HAVING count(*) > 1"


def keys_unique(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """No two rows have one key."""
    if not flow.target.key or not _exists(connection, flow):
        return Finding(0, (), 0)
    return _ask(connection, flow, REPEATED_KEYS, _rows(connection, flow))


def every_row_accounted(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """Each row that was read is in the table, in quarantine, or was left out by a handler of the flow.

    Of mode upsert, rows of several files may share a key, so the table may hold fewer rows than were loaded, never
    more. The other modes are counted exactly, replace file by file.
    """
    if not _exists(connection, flow):
        return Finding(0, (), 0)
    units = _units(connection, flow)
    found = _ask(connection, flow, UNITS_NOT_ACCOUNTED, units)
    if flow.target.mode == "replace":
        uncounted = _ask(connection, flow, ROWS_OF_UNITS, units)
    else:
        objection = "in_table > loaded" if flow.target.mode == "upsert" else "in_table <> loaded"
        uncounted = _ask(connection, flow, ROWS_OF_TABLE.replace("{objection}", objection), units)
    return Finding(found.count + uncounted.count, (found.examples + uncounted.examples)[:EXAMPLES], units)


def no_drift(connection: psycopg.Connection, flow: FlowDefinition) -> Finding:
    """The table has the columns, types and key that the flow declares."""
    said = storage.drift(connection, flow)
    return Finding(len(said), tuple({"difference": text} for text in said[:EXAMPLES]), len(flow.target.columns))


def _exists(connection: psycopg.Connection, flow: FlowDefinition) -> bool:
    """Whether the table and the ledger are there."""
    row = connection.execute(
        "SELECT to_regclass(quote_ident(%s)) IS NOT NULL AND to_regclass('marketdata_flow_units') IS NOT NULL",
        [flow.target.table],
    ).fetchone()
    return bool(row and row[0])


def _rows(connection: psycopg.Connection, flow: FlowDefinition) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(flow.target.table))
    row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


def _units(connection: psycopg.Connection, flow: FlowDefinition) -> int:
    row = connection.execute("SELECT count(*) FROM marketdata_ledger WHERE dataset = %s", [flow.dataset]).fetchone()
    assert row
    return int(row[0])


def _ask(connection: psycopg.Connection, flow: FlowDefinition, question: str, looked_at: int) -> Finding:
    counted = f"WITH found AS ({question}) SELECT *, count(*) OVER () AS total FROM found LIMIT {EXAMPLES}"
    key = sql.SQL(", ").join(map(sql.Identifier, flow.target.key))
    query = sql.SQL(counted).format(table=sql.Identifier(flow.target.table), key=key)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows: list[dict[str, Any]] = cursor.execute(query, {"dataset": flow.dataset}).fetchall()
    total = int(rows[0]["total"]) if rows else 0
    examples = tuple({name: str(value) for name, value in row.items() if name != "total"} for row in rows)
    return Finding(total, examples, looked_at)

"""Which file each row of a table belongs to, and what the files of a table have in common.

A row belongs to the file that `etl_unit` numbers. `marketdata_flow_moves` counts the rows that passed from one file to
another, so that a lost row is found, and the files whose rows have to be loaded again when a file changes.
"""

from collections.abc import Collection

import psycopg
from psycopg import sql

from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.stores.postgres import column, take_lock, value

NOBODY = 0
"""The owner of rows that no file of a flow has given."""
UNKNOWN = -1
"""The owner of existing rows of a table that had no owners, until a file overwrites them."""
REPEATED = "the same bytes as"
"""What is said first of a file none of whose rows were loaded."""


def move(connection: psycopg.Connection, source: int, target: int, rows: int) -> None:
    """Record that `rows` of the file `source` belong to `target` now; NOBODY for new and for deleted rows."""
    if rows:
        connection.execute(
            "INSERT INTO marketdata_flow_moves AS known (source, target, rows) VALUES (%s, %s, %s)"
            " ON CONFLICT (source, target) DO UPDATE SET rows = known.rows + EXCLUDED.rows",
            [source, target, rows],
        )


def compare_again(connection: psycopg.Connection, number: int) -> None:
    """Forget which rows of a file others have superseded, before all that it has now are compared with theirs."""
    connection.execute("UPDATE marketdata_flow_moves SET superseded = 0 WHERE source = %s AND superseded > 0", [number])


def keep(connection: psycopg.Connection, number: int, rows: int) -> None:
    """Record that `rows` of earlier contents of a file stay in the table."""
    if rows:
        connection.execute(
            "INSERT INTO marketdata_flow_moves (source, target, rows, superseded) VALUES (%(id)s, %(id)s, 0, %(rows)s)"
            " ON CONFLICT (source, target) DO UPDATE SET superseded = EXCLUDED.superseded",
            {"id": number, "rows": rows},
        )


def owned(connection: psycopg.Connection, number: int) -> int:
    """Rows of the table that belong to a file."""
    query = (
        "SELECT coalesce(sum(CASE WHEN target = %(number)s THEN rows ELSE -rows END), 0) FROM marketdata_flow_moves"
        " WHERE source = %(number)s OR target = %(number)s"
    )
    return int(value(connection, query, {"number": number}))


def reload_overwritten(connection: psycopg.Connection, number: int) -> None:
    """Make the files stale whose rows are superseded by those of a file, directly or through others."""
    rows = connection.execute(
        """WITH RECURSIVE overwritten (id) AS (
               SELECT source FROM marketdata_flow_moves WHERE target = %(number)s
               UNION SELECT source FROM overwritten JOIN LATERAL (
                   SELECT source FROM marketdata_flow_moves WHERE target = id OFFSET 0) AS given ON id <> %(nobody)s)
           SELECT dataset, array_agg(unit) FROM overwritten JOIN LATERAL (
               SELECT dataset, unit FROM marketdata_flow_units AS units WHERE units.id = overwritten.id LIMIT 1
               ) AS named ON id <> %(number)s GROUP BY dataset""",
        {"number": number, "nobody": NOBODY},
    )
    for dataset, units in rows.fetchall():
        reload(connection, dataset, units)


def reload(connection: psycopg.Connection, dataset: str, units: Collection[str]) -> None:
    """Make files stale by name."""
    if units:
        connection.execute(
            "UPDATE marketdata_ledger SET content_hash = NULL, previous_hash = content_hash"
            " WHERE dataset = %s AND source = ANY(%s) AND content_hash IS NOT NULL",
            [dataset, list(units)],
        )


def lock_content(connection: psycopg.Connection, dataset: str, content: str) -> None:
    """Wait until no other file of these bytes is being written, and keep it so until the transaction ends."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))"
    take_lock(connection, f"{dataset}: files of one content", lock, [f"{dataset}\n{content}"])


def reload_repeats(connection: psycopg.Connection, dataset: str, units: Collection[str]) -> None:
    """Make the files stale none of whose rows are loaded, since those of one of `units` with their bytes were."""
    query = (
        "SELECT coalesce(content_hash, previous_hash) FROM marketdata_ledger WHERE dataset = %s AND source = ANY(%s)"
    )
    for content in sorted({*column(connection, query, [dataset, list(units)])} - {None}):
        lock_content(connection, dataset, content)
        same = (
            "SELECT unit FROM marketdata_ledger WHERE (dataset, content_hash) = (%s, %s) AND rows = 0 AND error LIKE %s"
        )
        reload(connection, dataset, column(connection, same, [dataset, content, f"{REPEATED}%"]))


def settle_gone(connection: psycopg.Connection, dataset: str, present: Collection[str]) -> None:
    """End the failures of files that are not `present` any more and of which nothing is loaded."""
    connection.execute(
        """WITH gone AS (UPDATE marketdata_ledger SET outcome = 'removed', error = NULL
                         WHERE dataset = %s AND outcome = 'failed' AND content_hash IS NULL AND rows = 0
                           AND unit <> ALL(%s) RETURNING dataset, source, unit)
           DELETE FROM marketdata_quarantine AS rejected USING gone
           WHERE (rejected.dataset, rejected.source, rejected.unit) = (gone.dataset, gone.source, gone.unit)""",
        [dataset, list(present)],
    )


def to_reload(connection: psycopg.Connection, dataset: str) -> set[str]:
    """The files that `reload_overwritten` has made stale."""
    query = (
        "SELECT unit FROM marketdata_ledger WHERE dataset = %s AND content_hash IS NULL AND outcome IN ('ok', 'empty')"
    )
    return {*column(connection, query, [dataset])}


def register(connection: psycopg.Connection, flow: FlowDefinition) -> bool:
    """Record which table the flow loads into; whether it was another one, or loaded in another mode, before.

    What the flow has loaded into another table counts no more.
    """
    row = connection.execute(
        "SELECT table_name, mode FROM marketdata_flow_tables WHERE dataset = %s", [flow.dataset]
    ).fetchone()
    table, mode = flow.target.place, flow.target.mode
    if row == (table, mode):
        return False
    connection.execute(
        "INSERT INTO marketdata_flow_tables (dataset, table_name, mode) VALUES (%s, %s, %s)"
        " ON CONFLICT (dataset) DO UPDATE SET (table_name, mode) = (EXCLUDED.table_name, EXCLUDED.mode)",
        [flow.dataset, table, mode],
    )
    if row is not None and row[0] != table:
        connection.execute("DELETE FROM marketdata_flow_units WHERE dataset = %s", [flow.dataset])
        connection.execute("DELETE FROM marketdata_flow_stored WHERE dataset = %s", [flow.dataset])
        nothing_loaded(connection, [flow.dataset])
    return True


def recount(connection: psycopg.Connection, flow: FlowDefinition, units: Collection[str] | None = None) -> None:
    """Take the rows that the table has of the flow's files, or of some, for those that belong to them."""
    query = sql.SQL(
        """WITH counted AS (SELECT etl_unit AS id, count(*) AS rows FROM {} GROUP BY etl_unit), owned AS MATERIALIZED (
               SELECT id, coalesce((SELECT sum(rows) FROM marketdata_flow_moves WHERE target = id), 0)
                        - coalesce((SELECT sum(rows) FROM marketdata_flow_moves WHERE source = id), 0) AS rows
               FROM marketdata_flow_units WHERE dataset = %s AND (%s::text[] IS NULL OR unit = ANY(%s)))
           INSERT INTO marketdata_flow_moves AS known (source, target, rows)
           SELECT %s, id, coalesce(counted.rows, 0) - owned.rows FROM owned LEFT JOIN counted USING (id)
           WHERE coalesce(counted.rows, 0) <> owned.rows
           ON CONFLICT (source, target) DO UPDATE SET rows = known.rows + EXCLUDED.rows"""
    ).format(sql.Identifier(flow.target.table))
    names = None if units is None else list(units)
    connection.execute(query, [flow.dataset, names, names, NOBODY])


def table_lost_its_rows(connection: psycopg.Connection, flow: FlowDefinition) -> None:
    """Make every file stale that any flow has loaded into the flow's table, which is new or empty."""
    datasets = datasets_of_table(connection, flow)
    connection.execute(
        """DELETE FROM marketdata_flow_moves
           WHERE source = ANY(ARRAY(SELECT id FROM marketdata_flow_units WHERE dataset = ANY(%(datasets)s)))
              OR target = ANY(ARRAY(SELECT id FROM marketdata_flow_units WHERE dataset = ANY(%(datasets)s)))""",
        {"datasets": datasets},
    )
    nothing_loaded(connection, datasets)


def datasets_of_table(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """The datasets of all flows that load into the flow's table, its own included."""
    query = "SELECT dataset FROM marketdata_flow_tables WHERE table_name = %s"
    return sorted({flow.dataset, *column(connection, query, [flow.target.table])})


def other_flows(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """The names of other flows that have loaded rows into the flow's table."""
    query = (
        "SELECT DISTINCT substr(dataset, 6) FROM marketdata_ledger WHERE dataset = ANY(%s) AND rows > 0"
        " AND dataset <> %s ORDER BY 1"
    )
    return column(connection, query, [datasets_of_table(connection, flow), flow.dataset])


def nothing_loaded(connection: psycopg.Connection, datasets: list[str], units: Collection[str] | None = None) -> None:
    """Make the files of these datasets stale, or some of them, whose rows are gone; so are their rejected rows."""
    names = None if units is None else list(units)
    for dataset in datasets:
        reload_repeats(connection, dataset, names or [])
    connection.execute(
        "DELETE FROM marketdata_quarantine WHERE dataset = ANY(%s) AND (%s::text[] IS NULL OR unit = ANY(%s))",
        [datasets, names, names],
    )
    connection.execute(
        "UPDATE marketdata_ledger SET outcome = 'removed', content_hash = NULL, rows = 0, read = 0, rejected = 0,"
        " skipped = 0"
        " WHERE dataset = ANY(%s) AND (%s::text[] IS NULL OR unit = ANY(%s))",
        [datasets, names, names],
    )

"""Keep a store of rows and the ledger in step: a unit whose rows are not those of its ledger entry is loaded again.

The token of a unit's rows is recorded in the transaction of its ledger entry, after the rows are stored. A process that
is killed in between leaves rows with another token. Before rows of a new unit are stored a record without a token is
committed, so that they are found when the unit is never loaded.
"""

import psycopg

from marketdata_assets.flows import owners
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.frames import FrameSpool
from marketdata_assets.flows.table_writer import lock_table
from marketdata_assets.flows.targets.unit_store import UnitStore


def ensure(connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore) -> None:
    """Create the store, and make stale what it does not have as recorded. Raises FlowError."""
    row = connection.execute(
        "SELECT substr(dataset, 6) FROM marketdata_flow_tables WHERE table_name = %s AND dataset <> %s LIMIT 1",
        [flow.target.place, flow.dataset],
    ).fetchone()
    if row is not None:
        raise FlowError(
            f"flow {flow.name}: {flow.target.place} has the rows of flow {row[0]}. Give target.table or target.folder"
            " another name."
        )
    store.ensure()
    if lost(connection, flow, store) or _never_loaded(connection, flow, store) or store.has_leftovers():
        with connection.transaction():
            lock_table(connection, flow.target.place, alone=True)  # nobody is storing rows now
            owners.nothing_loaded(connection, [flow.dataset], lost(connection, flow, store))
            for unit in _never_loaded(connection, flow, store):
                store.remove(unit)
            store.clean()


def lost(connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore) -> set[str]:
    """The units that are loaded, by the ledger, and whose rows in the store are missing or others."""
    recorded: dict[str, str | None] = dict(
        connection.execute(
            "SELECT unit, token FROM marketdata_ledger LEFT JOIN marketdata_flow_stored USING (dataset, unit)"
            " WHERE dataset = %s AND (marketdata_ledger.content_hash IS NOT NULL OR rows > 0)",
            [flow.dataset],
        ).fetchall()
    )
    present = store.tokens(recorded)
    return {unit for unit, token in recorded.items() if token is None or present.get(unit) != token}


def _never_loaded(connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore) -> set[str]:
    """The units whose rows are in the store although none were ever committed."""
    rows = connection.execute(
        "SELECT unit FROM marketdata_flow_stored WHERE dataset = %s AND token IS NULL", [flow.dataset]
    )
    return set(store.tokens([unit for (unit,) in rows]))


def has_record(connection: psycopg.Connection, flow: FlowDefinition, unit: str) -> bool:
    """Whether rows of the unit may be in a store."""
    query = "SELECT FROM marketdata_flow_stored WHERE (dataset, unit) = (%s, %s)"
    return connection.execute(query, [flow.dataset, unit]).fetchone() is not None


def announce(connection: psycopg.Connection, flow: FlowDefinition, unit: str) -> None:
    """Record that rows of the unit may be in the store from now on; outside the transaction that stores them."""
    connection.execute(
        "INSERT INTO marketdata_flow_stored (dataset, unit) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [flow.dataset, unit],
    )


def put(
    connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore, unit: str, rows: FrameSpool | None
) -> None:
    """Store the rows of a unit and record their token; the transaction does nothing after it."""
    token = store.put(unit, rows)
    connection.execute(
        "INSERT INTO marketdata_flow_stored (dataset, unit, token) VALUES (%s, %s, %s)"
        " ON CONFLICT (dataset, unit) DO UPDATE SET token = EXCLUDED.token",
        [flow.dataset, unit, token],
    )


def remove(connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore, unit: str) -> int:
    """Delete the rows of a unit and their token; how many rows the store had."""
    counts, _ = store.rows_of_units([unit])
    connection.execute(
        "DELETE FROM marketdata_flow_stored WHERE (dataset, unit) = (%s, %s)",
        [flow.dataset, unit],
    )
    store.remove(unit)
    return counts[unit]

"""What a store of rows beside Postgres does for a flow: keep the rows of each unit apart, and replace them as a whole.

A token names what the store has of a unit. It is recorded in the transaction of the unit's ledger entry, after the rows
are stored. A process that is killed in between leaves rows with another token; such a unit is loaded again. Before rows
of a new unit are stored a record without a token is committed, so that they are found when the unit is never loaded.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import polars as pl
import psycopg

from marketdata_assets.flows import owners
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.frames import FrameSpool
from marketdata_assets.flows.table_writer import lock_table
from marketdata_assets.flows.targets.clickhouse_table import ClickHouseTable
from marketdata_assets.flows.targets.parquet_folder import ParquetFolder
from marketdata_assets.stores.postgres import column, value


class UnitStore(Protocol):
    """The rows of one flow."""

    def exists(self) -> bool:
        """Whether it was created."""

    def ensure(self) -> None:
        """Create it."""

    def has_leftovers(self) -> bool:
        """Whether something is left of a writer that was killed."""

    def clean(self) -> None:
        """Delete what is left of writers that were killed; none may be writing."""

    def drift(self) -> list[str]:
        """What is not as declared."""

    def tokens(self, units: Collection[str]) -> dict[str, str]:
        """What it has of each of these units; nothing of a unit that it does not have."""

    def put(self, unit: str, rows: FrameSpool | None) -> str:
        """Replace the rows of a unit atomically, and the new token; no rows are those of an empty unit."""

    def remove(self, unit: str) -> None:
        """Delete the rows of a unit, if it has any."""

    def rows_of_units(self, units: Collection[str]) -> tuple[dict[str, int], int]:
        """How many rows it has of each of these units, and how many that are of none of them."""

    def holders(self) -> Iterable[tuple[str, str | None, int]]:
        """Of mode upsert: a unit, the unit whose rows of its keys readers see, and how many there are."""

    def rows(self, columns: Sequence[str]) -> pl.LazyFrame:
        """These columns of all rows that are as declared."""

    def row_count(self) -> int:
        """How many rows readers see."""


def of(flow: FlowDefinition) -> UnitStore | None:
    """The store of the flow's rows; None where that is the table in Postgres."""
    target = flow.target
    if target.kind == "parquet":
        home = flow.file.parent if flow.file else Path.cwd()
        return ParquetFolder((home / (target.folder or "") / target.table).resolve(), target)
    if target.kind == "clickhouse":
        return ClickHouseTable(flow.clickhouse_url, target)
    return None


def pinned(flow: FlowDefinition) -> FlowDefinition:
    """The flow with the address of its target looked up, for workers that may be on other machines."""
    return flow.at(partial(str, flow.clickhouse_url)) if flow.target.kind == "clickhouse" else flow


def ensure(connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore) -> None:
    """Create the store, and make stale what it does not have as recorded. Raises FlowError."""
    query = "SELECT substr(dataset, 6) FROM marketdata_flow_tables WHERE table_name = %s AND dataset <> %s LIMIT 1"
    if other := value(connection, query, [flow.target.place, flow.dataset]):
        raise FlowError(
            f"flow {flow.name}: {flow.target.place} has the rows of flow {other}. Give target.table or target.folder"
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
    query = "SELECT unit FROM marketdata_flow_stored WHERE dataset = %s AND token IS NULL"
    return {*store.tokens(column(connection, query, [flow.dataset]))}


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

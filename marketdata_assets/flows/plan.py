"""What a run of a flow would do, for a person to read before: to its table, and which files it would read.

Nothing is changed here; what is altered and when is decided in `alterations`.
"""

from dataclasses import dataclass
from pathlib import Path

import psycopg

from marketdata_assets.flows import evolution, new_columns, run, status, storage
from marketdata_assets.flows.alterations import Alteration
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.new_columns import NewColumn
from marketdata_assets.loading.files import Unit
from marketdata_assets.stores import ledger


@dataclass(frozen=True)
class Plan:
    """Changes of the table, which has `rows` now, and its files: `stale` ones are loaded, and would be again."""

    table: str
    exists: bool
    rows: int
    alterations: tuple[Alteration, ...]
    new_columns: tuple[NewColumn, ...]
    new: tuple[Unit, ...]
    stale: tuple[Unit, ...]

    @property
    def needs_rebuild(self) -> bool:
        """Whether a run would stop."""
        return any(change.done == "by a rebuild" for change in self.alterations)


def plan(connection: psycopg.Connection, flow: FlowDefinition, folder: Path) -> Plan:
    """Compare the declaration with table and ledger, and the files below `folder` with the ledger."""
    outdated = run.outdated(connection, flow, folder)
    loaded = {entry.unit for entry in ledger.entries(connection, flow.dataset) if entry.content_hash or entry.rows}
    return Plan(
        table=flow.target.table,
        exists=status.exists(connection, flow),
        rows=status.row_count(connection, flow),
        alterations=_alterations(connection, flow),
        new_columns=tuple(new_columns.of_flow(connection, flow)),
        new=tuple(unit for unit in outdated if unit.place not in loaded),
        stale=tuple(unit for unit in outdated if unit.place in loaded),
    )


def _alterations(connection: psycopg.Connection, flow: FlowDefinition) -> tuple[Alteration, ...]:
    if flow.target.kind != "postgres":
        return ()
    return tuple(storage.alterations(connection, evolution.present(connection, flow).target))

"""What a store of rows beside Postgres does for a flow: keep the rows of each unit apart, and replace them as a whole.

A token names what the store has of a unit; `books` compares it with the one that the ledger's transaction recorded.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import polars as pl

from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.frames import FrameSpool
from marketdata_assets.flows.targets.clickhouse_table import ClickHouseTable
from marketdata_assets.flows.targets.parquet_folder import ParquetFolder


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

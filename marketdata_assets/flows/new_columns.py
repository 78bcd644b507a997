"""Columns of a flow's files that it neither takes nor ignores, as they were when the files were loaded."""

from collections.abc import Collection
from dataclasses import dataclass

import psycopg

from marketdata_assets.flows import evolution, header
from marketdata_assets.flows.definition import FlowDefinition


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
    unknown = header.undeclared((name for name, _, _ in rows), evolution.present(connection, flow).loader)
    return [NewColumn(*row) for row in rows if row[0] in unknown]


def waiting(connection: psycopg.Connection, flow: FlowDefinition) -> set[str]:
    """The files whose new columns a run would add: they were loaded before the flow said so.

    Rows of mode append are never loaded again.
    """
    if flow.loader.new_columns != "add" or flow.target.mode == "append":
        return set()
    names = [column.name for column in of_flow(connection, flow)]
    rows = connection.execute(
        "SELECT DISTINCT unit FROM marketdata_flow_new_columns WHERE dataset = %s AND name = ANY(%s)",
        [flow.dataset, names],
    ).fetchall()
    return {unit for (unit,) in rows}

"""Rows of a ClickHouse table: the requested columns, and conditions by which the server can skip data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from marketdata_assets.read.errors import NothingLoaded, UnknownColumn, UnknownName
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse import quoted
from marketdata_assets.stores.clients import Client

UNKNOWN_TABLE = 60


@dataclass
class Where:
    """Conditions that all hold, and the values that are bound to them."""

    conditions: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, column: str, sign: str, kind: str, value: Any) -> None:
        """That a column compares like this with a value of a type of ClickHouse's."""
        name = f"v{len(self.values)}"
        self.conditions.append(f"{quoted(column)} {sign} {{{name}:{kind}}}")
        self.values[name] = value

    def among(self, column: str, values: Sequence[str] | None) -> None:
        """That a column is one of some texts; None is any."""
        if values is not None:
            self.add(column, "IN", "Array(String)", list(values))

    def __str__(self) -> str:
        return " AND ".join(self.conditions) or "true"


def several(names: str | Sequence[str] | None) -> list[str] | None:
    """One name or many, as a list; None stays None."""
    return [names] if isinstance(names, str) else None if names is None else list(names)


def known(table: str, columns: Sequence[str] | None, there: Sequence[str]) -> list[str]:
    """The requested columns, or all. Raises UnknownColumn."""
    for name in columns or ():
        if name not in there:
            raise UnknownColumn(table, name, there)
    return list(there) if columns is None else list(columns)


def check_names(
    client: Client,
    table: str,
    column: str,
    frame: pl.DataFrame,
    asked: Sequence[str] | None,
    known: str,
    values: Mapping[str, Any],
) -> None:
    """Raise UnknownName for a requested name that is in no row of `frame` and not among those of the query `known`.

    The query gives a column `name`; it runs only where names have no row.
    """
    missing = set(asked or ()) - (set(frame[column]) if column in frame.columns else set())
    if not missing:
        return
    sql = f"SELECT name FROM ({known}) WHERE name IN {{missing:Array(String)}}"
    found = ask(client, table, sql, {**values, "missing": sorted(missing)})["name"]
    if unknown := sorted(missing.difference(found)):
        raise UnknownName(f"{column} of {table}", unknown[0], ask(client, table, known, values)["name"])


def read(
    client: Client,
    table: str,
    columns: Sequence[str],
    where: Where,
    order: Sequence[str],
    *,
    final: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The rows in order. With `final`, its settings, copies of a row that ClickHouse has not merged yet are one."""
    names, merged = ", ".join(map(quoted, columns)), " FINAL" if final is not None else ""
    settings = ", ".join(f"{name} = {value}" for name, value in (final or {}).items())
    sql = f"SELECT {names} FROM {quoted(table)}{merged} WHERE {where} ORDER BY {', '.join(map(quoted, order))}"
    return ask(client, table, f"{sql} SETTINGS {settings}" if settings else sql, where.values)


def ask(client: Client, table: str, sql: str, values: Mapping[str, Any]) -> pl.DataFrame:
    """The result of a query about a table. Raises NothingLoaded when the table does not exist."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    try:
        frame = clickhouse.read(client, sql, values)
    except DatabaseError as error:
        if error.code == UNKNOWN_TABLE:
            raise NothingLoaded(table) from None
        raise
    return frame.with_columns(pl.col(pl.Categorical, pl.Binary).cast(pl.String))

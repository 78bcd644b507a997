"""What separates a flow's table from its declaration, and by which statements it is brought there in place.

In place is done what loses nothing: new columns, wider types, our own columns and indexes. All else needs a rebuild.
Nothing is read from or written to a database here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from marketdata_assets.flows.definition import OWN_COLUMNS, Target

Columns = dict[str, str]
"""Types as Postgres spells them, by name."""
OWNER_DEFAULTS = {"etl_unit": " NOT NULL DEFAULT 0", "etl_time": " NOT NULL DEFAULT '-infinity'"}
TIMESTAMPS = ("created_at", "updated_at")
Done = Literal["in place", "by a rebuild", "by a rebuild, or never"]
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
_WIDER = {
    "smallint": ("integer", "bigint"),
    "integer": ("bigint",),
    "real": ("double precision",),
    "date": ("timestamp without time zone",),
}


@dataclass(frozen=True)
class Found:
    """A table as it is in the database. `required` columns are NOT NULL; `partly_null` ones have a NULL.

    `hypertable` is its time column; None where there is no TimescaleDB.
    """

    columns: Columns
    key: list[str]
    required: frozenset[str] = frozenset()
    partly_null: frozenset[str] = frozenset()
    indexed: frozenset[str] = frozenset()
    hypertable: str | Literal[False] | None = None


@dataclass(frozen=True)
class Alteration:
    """One difference: what it is, how it goes, and the statement that does so, or would."""

    text: str
    done: Done
    statement: sql.Composed | None = None
    rewrites: bool = False
    """Whether views on the column have to make way, and the server may write the whole table."""

    def __str__(self) -> str:
        return f"{self.text} ({self.statement.as_string()})" if self.statement else self.text


def widens(found: str, wanted: str) -> bool:
    """Whether each value of one type is one of the other: the types that a column may change to in place."""
    if found.startswith("character varying"):
        return wanted == "text"
    if target := _NUMERIC.fullmatch(wanted):
        scale = int(target[2])
        whole = int(target[1]) - scale
        if found in _DIGITS:
            return whole >= _DIGITS[found]
        given = _NUMERIC.fullmatch(found)
        return bool(given) and int(given[2]) <= scale and int(given[1]) - int(given[2]) <= whole  # type: ignore[index]
    return wanted in _WIDER.get(found, ())


def alterations(target: Target, wanted: Columns, found: Found) -> list[Alteration]:
    """All that separates the table from `wanted` columns and the rest of `target`."""
    return [
        *_added(target, wanted, found),
        *_removed(target, wanted, found),
        *_retyped(target, wanted, found),
        *_required(target, found),
        *_key(target, found),
        *_index(target, found),
        *_hypertable(target, found),
    ]


def required_columns(target: Target) -> set[str]:
    """The columns of a target that may not be NULL, its key's included."""
    return {name for name in (*target.key, target.order_column, target.hypertable) if name}


def _alter(target: Target, what: str, column: str, kind: str = "") -> sql.Composed:
    return sql.SQL("ALTER TABLE {} " + what).format(
        sql.Identifier(target.table), column=sql.Identifier(column), kind=sql.SQL(kind)
    )


def _added(target: Target, wanted: Columns, found: Found) -> Iterator[Alteration]:
    for name in wanted:
        if name in found.columns or (name in OWNER_DEFAULTS and target.mode == "upsert"):
            continue  # the table gets the owner's columns, and its rows are overwritten by any file
        statement = _alter(target, "ADD COLUMN {column} {kind}", name, wanted[name])
        text = f"it has no column {name}"
        if name in TIMESTAMPS:
            kind = f"{wanted[name]} NOT NULL DEFAULT now()"
            yield Alteration(text, "in place", _alter(target, "ADD COLUMN {column} {kind}", name, kind))
        elif name in OWNER_DEFAULTS or name in required_columns(target):
            yield Alteration(text, "by a rebuild", statement)
        else:
            until = "a rebuild" if target.mode == "append" else "their files are loaded again"
            yield Alteration(f"{text}, NULL in present rows until {until}", "in place", statement)


def _removed(target: Target, wanted: Columns, found: Found) -> Iterator[Alteration]:
    for name in found.columns:
        if name in wanted:
            continue
        statement = _alter(target, "DROP COLUMN {column}", name)
        ours = name == "etl_time" and target.mode != "append"
        yield Alteration(f"its column {name} is not declared", "in place" if ours else "by a rebuild", statement)


def _retyped(target: Target, wanted: Columns, found: Found) -> Iterator[Alteration]:
    for name, kind in wanted.items():
        given = found.columns.get(name, kind)
        if given == kind:
            continue
        done: Done = "in place" if widens(given, kind) and name not in OWN_COLUMNS else "by a rebuild"
        statement = _alter(target, "ALTER COLUMN {column} TYPE {kind}", name, kind)
        yield Alteration(f"{name} is {given}, declared {kind}", done, statement, rewrites=True)


def _required(target: Target, found: Found) -> Iterator[Alteration]:
    for name in sorted((target.columns.keys() & found.columns.keys()) - {*target.key, *found.key}):
        needed = name in required_columns(target)
        if needed and name not in found.required:
            done: Done = "by a rebuild" if name in found.partly_null else "in place"
            text = f"{name} {'is NULL in some rows' if name in found.partly_null else 'may be NULL'}, declared never"
            yield Alteration(text, done, _alter(target, "ALTER COLUMN {column} SET NOT NULL", name))
        elif name in found.required and not needed and name != found.hypertable:
            statement = _alter(target, "ALTER COLUMN {column} DROP NOT NULL", name)
            yield Alteration(f"{name} is NOT NULL, declared as it comes", "in place", statement)


def _key(target: Target, found: Found) -> Iterator[Alteration]:
    if set(found.key) != set(target.key):
        text = f"its primary key is ({', '.join(found.key)}), declared ({', '.join(target.key)})"
        yield Alteration(text, "by a rebuild")


def _index(target: Target, found: Found) -> Iterator[Alteration]:
    searched = target.mode == "replace" or target.removed_rows == "delete"
    if searched and "etl_unit" in found.columns and "etl_unit" not in found.indexed:
        statement = sql.SQL("CREATE INDEX ON {} (etl_unit)").format(sql.Identifier(target.table))
        yield Alteration("it has no index of the rows of a file", "in place", statement)


def _hypertable(target: Target, found: Found) -> Iterator[Alteration]:
    if found.hypertable is not None and found.hypertable != target.hypertable:
        now = f"a hypertable by {found.hypertable}" if found.hypertable else "a plain table"
        wanted = f"a hypertable by {target.hypertable}" if target.hypertable else "a plain table"
        yield Alteration(f"it is {now}, declared {wanted}", "by a rebuild, or never")

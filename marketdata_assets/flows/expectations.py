"""What a flow expects of its table: of a column's values, and of the newest day beside the day before.

Declared below `quality` in the flow's YAML. All that is expected of one column is one asset check.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from psycopg import sql
from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from marketdata_assets.config_files import Section
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.postgres import objections, statement

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.flows.definition import Target

Value = Annotated[str, BeforeValidator(str), WithJsonSchema({"type": ["string", "number"]})]
"""As it is written in YAML, a number or date too; the column's type reads it."""
CHANGE_DAYS = 31
"""How far back the day before the newest one may be; a longer pause is not compared."""


class Change(Section):
    """The newest day of the column `by` is at most `share` above or below the day before it."""

    by: str
    share: Annotated[float, Field(gt=0)]


class Expectation(Section):
    """Of one column. `max_rows` and `max_share` of the rows may differ, whichever is more: by default none."""

    not_null: bool = False
    min: Value | None = None
    max: Value | None = None
    one_of: list[Value] = Field(default=[])
    matches: str | None = None
    unique: bool = False
    increasing_by: str | None = None
    within: list[str] = Field(default=[])
    mean: Change | None = None
    max_rows: Annotated[int, Field(ge=0)] = 0
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    @field_validator("matches")
    @classmethod
    def _an_expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression: {error}") from None
        return text

    def allows(self, differing: int, rows: int) -> bool:
        """Whether so many of `rows` rows may differ."""
        return differing <= max(self.max_rows, self.max_share * rows)

    def __str__(self) -> str:
        declared = self.model_dump(exclude_defaults=True, exclude={"max_rows", "max_share"})
        return ", ".join(f"{name} {value}" for name, value in declared.items())


def mistakes(target: "Target", column: str, expected: Expectation) -> Iterator[tuple[tuple[str, ...], str]]:
    """What of `expected` the column cannot have: where it is, and why."""
    for field, names in (("increasing_by", [expected.increasing_by]), ("within", expected.within)):
        for name in filter(None, names):
            if name not in target.columns:
                yield (field,), f"{name!r} is no column of the target"
    if expected.within and not expected.increasing_by:
        yield ("within",), "belongs to increasing_by; name the column along which the values increase"
    kind = target.columns[column].kind
    numbers = kind in ("numeric", "bigint", "integer", "double")
    if (expected.matches is not None) and kind != "text":
        yield ("matches",), f"the column is {kind}; only text is matched"
    if expected.mean and not numbers:
        yield ("mean",), f"the column is {kind}; only numbers have a mean"
    if expected.mean:
        yield from ((("mean", *place), cause) for place, cause in change_mistakes(target, expected.mean))
    for field, value in (("min", expected.min), ("max", expected.max)):
        if value is not None and numbers and not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", value):
            yield (field,), f"{value!r} is no number"


def change_mistakes(target: "Target", change: Change) -> Iterator[tuple[tuple[str, ...], str]]:
    """Why days of the target cannot be compared along `change.by`."""
    if change.by not in target.columns:
        yield ("by",), f"{change.by!r} is no column of the target"
    elif target.columns[change.by].kind not in ("date", "timestamp", "timestamptz"):
        yield ("by",), f"{change.by!r} is {target.columns[change.by]}; it must be date or timestamp"


def of_column(connection: "psycopg.Connection", target: "Target", column: str, expected: Expectation) -> Finding:
    """The rows whose value in `column` is not as expected."""
    rows = _row_count(connection, target)
    queries = list(_queries(target, column, expected))
    found = objections(connection, sql.SQL(" UNION ALL ").join(queries), {}, rows) if queries else Finding(0, (), rows)
    if found.count and expected.allows(found.count, rows):
        return Finding(0, found.examples, rows, facts={"within tolerance": found.count})
    return found


def of_rows(connection: "psycopg.Connection", target: "Target", change: Change) -> Finding:
    """The newest day, where its number of rows is too far from that of the day before."""
    return objections(connection, _changed(target, change, sql.SQL("count(*)")), {}, _row_count(connection, target))


def _queries(target: "Target", column: str, expected: Expectation) -> Iterator[sql.Composed]:
    name = sql.Identifier(column)
    if wrong := list(_wrong_values(target, column, expected)):
        cases = sql.SQL(" ").join(sql.SQL("WHEN {} THEN {}").format(when, text) for when, text in wrong)
        yield _query(target, "values", column=name, cases=cases)
    if expected.unique:
        yield _query(target, "unique", column=name)
    if expected.increasing_by:
        groups = sql.SQL(", ").join(map(sql.Identifier, expected.within))
        partition = sql.SQL("PARTITION BY {}").format(groups) if expected.within else sql.SQL("")
        yield _query(target, "increasing", column=name, groups=partition, by=sql.Identifier(expected.increasing_by))
    if expected.mean:
        yield _changed(target, expected.mean, sql.SQL("avg({})").format(name))


def _changed(target: "Target", change: Change, figure: sql.Composable) -> sql.Composed:
    share = sql.Literal(Decimal(str(change.share)))
    return _query(
        target, "change", by=sql.Identifier(change.by), figure=figure, share=share, days=sql.Literal(CHANGE_DAYS)
    )


def _query(target: "Target", name: str, **parts: sql.Composable) -> sql.Composed:
    """A query of `sql/expectations`: its rows have `row` (the key, or the day), `value` and what was `expected`."""
    row = sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(map(sql.Identifier, target.key or target.columns)))
    query = sql.SQL(statement(__package__, f"expectations/{name}.sql").rstrip())
    return query.format(table=sql.Identifier(target.table), row=row, **parts)


def _wrong_values(target: "Target", column: str, expected: Expectation) -> Iterator[tuple[sql.Composed, sql.Literal]]:
    """Conditions under which one value is not as expected, each with what is expected; NULL meets all but not_null."""
    name, kind = sql.Identifier(column), sql.SQL(target.columns[column].sql)

    def value(text: str) -> sql.Composed:
        return sql.SQL("{}::{}").format(sql.Literal(text), kind)

    if expected.not_null:
        yield sql.SQL("{} IS NULL").format(name), sql.Literal("not null")
    if expected.min is not None:
        yield sql.SQL("{} < {}").format(name, value(expected.min)), sql.Literal(f"min {expected.min}")
    if expected.max is not None:
        yield sql.SQL("{} > {}").format(name, value(expected.max)), sql.Literal(f"max {expected.max}")
    if expected.one_of:
        values = sql.SQL(", ").join(map(value, expected.one_of))
        yield sql.SQL("{} NOT IN ({})").format(name, values), sql.Literal(f"one of {', '.join(expected.one_of)}")
    if expected.matches is not None:
        yield (
            sql.SQL("{} !~ {}").format(name, sql.Literal(expected.matches)),
            sql.Literal(f"matches {expected.matches}"),
        )


def _row_count(connection: "psycopg.Connection", target: "Target") -> int:
    counted: Any = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(target.table))
    ).fetchone()
    return int(counted[0])

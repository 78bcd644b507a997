"""Queries that check what a flow expects of its table, as `expectations` declares it."""

from collections.abc import Iterator
from decimal import Decimal

import psycopg
from psycopg import sql

from marketdata_assets.flows import status
from marketdata_assets.flows.definition import FlowDefinition, Target
from marketdata_assets.flows.expectations import Change, Expectation
from marketdata_assets.flows.targets import questions, unit_store
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.postgres import objections, statement

CHANGE_DAYS = 31
"""How far back the day before the newest one may be; a longer pause is not compared."""


def of_column(connection: psycopg.Connection, flow: FlowDefinition, column: str, expected: Expectation) -> Finding:
    """The rows whose value in `column` is not as expected."""
    rows = status.row_count(connection, flow) if status.exists(connection, flow) else 0
    if rows and (store := unit_store.of(flow)):
        found = questions.of_column(connection, flow, store, column, expected)
    else:
        queries = list(_queries(flow, column, expected)) if rows else []
        union = sql.SQL(" UNION ALL ").join(queries)
        found = objections(connection, union, {}, rows) if queries else Finding(0, (), rows)
    if found.count and expected.allows(found.count, rows):
        return Finding(0, found.examples, rows, facts={"within tolerance": found.count})
    return found


def of_rows(connection: psycopg.Connection, flow: FlowDefinition, change: Change) -> Finding:
    """The newest day, where its number of rows is too far from that of the day before."""
    if not status.exists(connection, flow):
        return Finding(0, (), 0)
    if store := unit_store.of(flow):
        return questions.of_rows(flow, store, change)
    changed = _changed(flow, change, sql.SQL("count(*)"))
    return objections(connection, changed, {}, status.row_count(connection, flow))


def _queries(flow: FlowDefinition, column: str, expected: Expectation) -> Iterator[sql.Composed]:
    name, target = sql.Identifier(column), flow.target
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
        yield _changed(flow, expected.mean, sql.SQL("avg({})").format(name))


def _changed(flow: FlowDefinition, change: Change, figure: sql.Composable) -> sql.Composed:
    by = sql.Identifier(change.by)
    local = sql.SQL("({} AT TIME ZONE {})").format(by, sql.Literal(flow.timezone))
    instants = flow.target.columns[change.by].kind == "timestamptz"
    return _query(
        flow.target,
        "change",
        by=by,
        day=sql.SQL("{}::date").format(local if instants else by),
        figure=figure,
        share=sql.Literal(Decimal(str(change.share))),
        days=sql.Literal(CHANGE_DAYS),
    )


def _query(target: Target, name: str, **parts: sql.Composable) -> sql.Composed:
    """A query of `sql/expectations`: its rows have `row` (the key, or the day), `value` and what was `expected`."""
    row = sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(map(sql.Identifier, target.key or target.columns)))
    query = sql.SQL(statement(__package__, f"expectations/{name}.sql").rstrip())
    return query.format(table=sql.Identifier(target.table), row=row, **parts)


def _wrong_values(target: Target, column: str, expected: Expectation) -> Iterator[tuple[sql.Composed, sql.Literal]]:
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

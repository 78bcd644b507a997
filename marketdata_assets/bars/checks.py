"""Checks of the tables after a run, one query each; a query that returns no rows has passed.

`defs.bars.checks` decides what a finding means for a run.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from marketdata_assets.bars import kline, schema
from marketdata_assets.bars.coverage import first_day
from marketdata_assets.stores.findings import sample_evenly

MAX_RECOMPUTED_MONTHS = 36
EXAMPLES = 5

KLINE_RULES = ("month_gain", "negative_volume_or_amount", "ohlc_order", "volume_without_amount", "missing_name")


@dataclass(frozen=True)
class Finding:
    """The rows that a check objects to: their count, some examples, and the months that were checked."""

    count: int
    examples: tuple[dict[str, Any], ...]
    months: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.count == 0


def kline_rule(connection: psycopg.Connection, name: str, months: Sequence[str]) -> Finding:
    """Check the K-lines of `months` against one of KLINE_RULES."""
    stamps = [dt.datetime.combine(first_day(month), dt.time()) for month in months]
    query = schema.statement(f"checks/{name}.sql")
    return _ask(connection, query, {"months": stamps}, months)


def every_row_accounted(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Compare the rows of the files with those in the table and in quarantine."""
    if not months:
        return Finding(0, (), ())
    low, high = kline.months_range(months)
    parameters = {"months": [first_day(month) for month in months], "slices": list(months), "lo": low, "hi": high}
    return _ask(connection, schema.statement("checks/every_row_accounted.sql"), parameters, months)


def kline_equals_minutes(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Compare the K-lines with a recomputation; more than MAX_RECOMPUTED_MONTHS are sampled evenly."""
    sampled = sample_evenly(_with_rows(connection, months), MAX_RECOMPUTED_MONTHS)
    query = schema.statement("checks/kline_equals_minutes.sql").replace("{rows}", kline.rows_query())
    kline.plan_by_hashing(connection)
    count = 0
    examples: list[dict[str, Any]] = []
    for month in sampled:
        low, high = kline.months_range([month])
        finding = _ask(connection, query, {"lo": low, "hi": high}, [month])
        count += finding.count
        examples += finding.examples
    return Finding(count, tuple(examples[:EXAMPLES]), tuple(sampled))


def _ask(connection: psycopg.Connection, query: str, parameters: dict[str, Any], months: Sequence[str]) -> Finding:
    counted = sql.SQL("WITH found AS ({}) SELECT *, count(*) OVER () AS total FROM found LIMIT {}").format(
        sql.SQL(query),
        sql.Literal(EXAMPLES),
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(counted, parameters).fetchall()
    total = int(rows[0]["total"]) if rows else 0
    examples = tuple({key: str(value) for key, value in row.items() if key != "total"} for row in rows)
    return Finding(total, examples, tuple(months))


def _with_rows(connection: psycopg.Connection, months: Sequence[str]) -> list[str]:
    """Of `months`, those that have minutes on record or a K-line."""
    rows = connection.execute(
        """SELECT to_char(month, 'YYYY-MM') FROM stock_1min_coverage WHERE month = ANY(%(m)s::date[])
           UNION SELECT to_char(month, 'YYYY-MM') FROM stock_monthly_kline WHERE month = ANY(%(m)s::timestamp[])
           ORDER BY 1""",
        {"m": [first_day(month) for month in months]},
    )
    return [month for (month,) in rows]

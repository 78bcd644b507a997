"""Checks of the tables after a run, one query each; a query that returns no rows has passed.

`defs.bars.checks` decides what a finding means for a run.
"""

import datetime as dt
from collections.abc import Sequence

import psycopg
from psycopg import sql

from marketdata_assets.bars import kline, schema, status
from marketdata_assets.bars.coverage import first_day
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding, sample_evenly
from marketdata_assets.stores.postgres import objections, statement

MAX_RECOMPUTED_MONTHS = 36


def rule(connection: psycopg.Connection, months: Sequence[str], name: str) -> Finding:
    """What the query in `sql/checks/NAME.sql` objects to in `months`, of bars or of the K-line.

    A query of minutes takes `sampled` months: all, or MAX_RECOMPUTED_MONTHS of them, evenly.
    """
    stamps = [dt.datetime.combine(first_day(month), dt.time()) for month in months]
    query = sql.SQL(statement(__package__, f"checks/{name}.sql"))
    return objections(
        connection, query, {"months": stamps, "sampled": sample_evenly(stamps, MAX_RECOMPUTED_MONTHS)}, len(months)
    )


def every_row_accounted(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Compare the rows of the files with those in the table and in quarantine; no minute may be there twice."""
    if not months:
        return Finding(0, (), 0)
    low, high = kline.months_range(months)
    parameters = {"months": [first_day(month) for month in months], "slices": list(months), "lo": low, "hi": high}
    queries = ["every_row_accounted"]
    if not schema.unique(connection):
        queries.append("minutes_twice")
    query = sql.SQL(" UNION ALL ").join(
        sql.SQL("({})").format(sql.SQL(statement(__package__, f"checks/{name}.sql"))) for name in queries
    )
    return objections(connection, query, parameters, len(months))


def kline_equals_minutes(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Compare the K-lines with a recomputation; more than MAX_RECOMPUTED_MONTHS are sampled evenly."""
    either = status.by_month(connection, months).keys() | status.kline_rows_by_month(connection, months).keys()
    sampled = sample_evenly(sorted(either), MAX_RECOMPUTED_MONTHS)
    query = sql.SQL(statement(__package__, "checks/kline_equals_minutes.sql").replace("{rows}", kline.rows_query()))
    kline.plan_by_hashing(connection)
    findings = []
    for month in sampled:
        low, high = kline.months_range([month])
        findings.append(objections(connection, query, {"lo": low, "hi": high}, 1))
    examples = [example for finding in findings for example in finding.examples]
    return Finding(sum(finding.count for finding in findings), tuple(examples[:EXAMPLES]), len(sampled))

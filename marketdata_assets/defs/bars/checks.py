"""Checks of the bars domain: each one query, on the months of the run.

The queries are in `marketdata_assets.bars.checks`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import dagster as dg
import polars as pl
import psycopg

from marketdata_assets.bars import bases, checks, schema
from marketdata_assets.bars.completeness import bars_complete
from marketdata_assets.defs.checks import meaning, result, specs
from marketdata_assets.defs.metadata import check_evaluation
from marketdata_assets.partitions import BAR_MONTHS, months_of_tags
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, NoServer, Postgres
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect

BARS, KLINE, EQUALS = "stock_1min_qfq", "stock_monthly_kline", "kline_equals_minutes"
ACCOUNTED = "every_row_accounted"
Question = Callable[[psycopg.Connection, Sequence[str]], Finding]
RULES = tuple(spec.name for spec in specs(KLINE) if spec.name != EQUALS)


@dataclass(frozen=True)
class Known:
    """Reference data, and the adjustment factors."""

    reference: Reference
    factors: pl.DataFrame


AGAINST_REFERENCE: dict[str, Callable[[psycopg.Connection, Sequence[str], Known], Finding]] = {
    "bars_complete": lambda connection, months, known: bars_complete(connection, months, known.reference),
    "one_price_basis": lambda connection, months, known: bases.one_price_basis(
        connection, months, known.reference, known.factors
    ),
}


def _check(asset: str, name: str, question: Question) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=meaning(asset, name), pool="timescale")
    def check(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> dg.AssetCheckResult:
        with connect(postgres.dsn) as connection:
            return _answer(connection, asset, name, question, months_of_run(context))

    return check


def _answer(
    connection: psycopg.Connection, asset: str, name: str, question: Question, months: Sequence[str]
) -> dg.AssetCheckResult:
    finding = question(connection, months)
    return result(asset, name, replace(finding, facts={"months": finding.checked}))


def kline_evaluations(dsn: str, months: Sequence[str]) -> list[dg.AssetCheckEvaluation]:
    """The answers of the K-line's checks, for a run in which Dagster skips them because files failed."""
    with connect(dsn) as connection:
        return [
            check_evaluation(_answer(connection, KLINE, name, question, months))
            for name, question in _kline_questions().items()
        ]


def bar_evaluations(dsn: str, clickhouse: ClickHouse, months: Sequence[str]) -> list[dg.AssetCheckEvaluation]:
    """The answers of the checks of minute bars, for a run that has no steps for them; `months` ascend."""
    known = _known(clickhouse, months)
    with connect(dsn) as connection:
        answers = [_answer(connection, BARS, ACCOUNTED, checks.every_row_accounted, months)]
        answers += [
            result(BARS, name, question(connection, months, known)) for name, question in AGAINST_REFERENCE.items()
        ]
    return [check_evaluation(answer) for answer in answers]


def _kline_questions() -> dict[str, Question]:
    rules: dict[str, Question] = {name: partial(checks.kline_rule, name=name) for name in RULES}
    return rules | {EQUALS: checks.kline_equals_minutes}


def _check_against_reference(
    name: str, question: Callable[[psycopg.Connection, Sequence[str], Known], Finding]
) -> dg.AssetChecksDefinition:
    """A check of the minute bars that takes reference data into account, as far as there is any."""

    @dg.asset_check(asset=BARS, name=name, description=meaning(BARS, name), pool="timescale")
    def check(
        context: dg.AssetCheckExecutionContext, postgres: Postgres, clickhouse: ClickHouse
    ) -> dg.AssetCheckResult:
        months = months_of_run(context)
        with connect(postgres.dsn) as connection:
            schema.ensure(connection)
            finding = question(connection, months, _known(clickhouse, months))
        return result(BARS, name, finding)

    return check


def _known(clickhouse: ClickHouse, months: Sequence[str]) -> Known:
    """The reference data of some months; without a server nothing is known."""
    from marketdata_assets.reference import stored

    try:
        with clickhouse.client() as client:
            days = Days(Days.month(months[0]).first, Days.month(months[-1]).last)
            return Known(Reference.of(client, days), stored.adjust_factors(client))
    except (NoServer, StoreAway):
        return Known(Reference(), bases.FACTORS.to_frame())


def months_of_run(context: dg.AssetCheckExecutionContext) -> list[str]:
    """The months of the run; all months when only the check is run."""
    return months_of_tags(context.run.tags) or list(BAR_MONTHS.get_partition_keys())


all_checks = [
    _check(BARS, ACCOUNTED, checks.every_row_accounted),
    *(_check_against_reference(name, question) for name, question in AGAINST_REFERENCE.items()),
    *(_check(KLINE, name, question) for name, question in _kline_questions().items()),
]

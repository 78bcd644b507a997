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
from marketdata_assets.defs.metadata import check_evaluation, check_result
from marketdata_assets.partitions import BAR_MONTHS, months_of_tags
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, NoServer, Postgres
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect

BARS, KLINE, EQUALS, ADVICE = "stock_1min_qfq", "stock_monthly_kline", "kline_equals_minutes", "month_gain"
ACCOUNTED = "every_row_accounted"
Question = Callable[[psycopg.Connection, Sequence[str]], Finding]
RULES = {
    "month_gain": "A month that gained more than 1000 %: review it; adjusted prices near zero can cause this.",
    "negative_volume_or_amount": "No month has a negative volume or amount; negative prices are legal.",
    "ohlc_order": "High is the highest and low the lowest of the four prices.",
    "volume_without_amount": "No month has shares traded and no money paid.",
    "units": "Amount by volume is a price: volume is in lots of 100 shares, amount in yuan. Else the file is named,"
    " with the remedy; old adjusted bars say nothing.",
    "missing_name": "Every K-line carries the stock's name.",
}


@dataclass(frozen=True)
class Known:
    """Reference data, and the adjustment factors."""

    reference: Reference
    factors: pl.DataFrame


AGAINST_REFERENCE: dict[str, tuple[str, Callable[[psycopg.Connection, Sequence[str], Known], Finding]]] = {
    "bars_complete": (
        "Every stock has every minute of every trading day on which it was listed and not suspended; what is"
        " missing is named, and so are days of which all bars are outside of the session.",
        lambda connection, months, known: bars_complete(connection, months, known.reference),
    ),
    "one_price_basis": (
        "The adjusted prices of a stock have one base in all files. Otherwise have all years delivered again,"
        " on one date.",
        lambda connection, months, known: bases.one_price_basis(connection, months, known.reference, known.factors),
    ),
}


def _check(asset: str, name: str, description: str, question: Question) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description, pool="timescale")
    def check(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> dg.AssetCheckResult:
        with connect(postgres.dsn) as connection:
            return _answer(connection, asset, name, question, months_of_run(context))

    return check


def _answer(
    connection: psycopg.Connection, asset: str, name: str, question: Question, months: Sequence[str]
) -> dg.AssetCheckResult:
    finding = question(connection, months)
    return check_result(asset, name, replace(finding, facts={"months": finding.checked}), advice=name == ADVICE)


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
            check_result(BARS, name, question(connection, months, known))
            for name, (_, question) in AGAINST_REFERENCE.items()
        ]
    return [check_evaluation(answer) for answer in answers]


def _kline_questions() -> dict[str, Question]:
    rules: dict[str, Question] = {name: partial(checks.kline_rule, name=name) for name in RULES}
    return rules | {EQUALS: checks.kline_equals_minutes}


def _check_against_reference(
    name: str, description: str, question: Callable[[psycopg.Connection, Sequence[str], Known], Finding]
) -> dg.AssetChecksDefinition:
    """A check of the minute bars that takes reference data into account, as far as there is any."""

    @dg.asset_check(asset=BARS, name=name, description=description, pool="timescale")
    def check(
        context: dg.AssetCheckExecutionContext, postgres: Postgres, clickhouse: ClickHouse
    ) -> dg.AssetCheckResult:
        months = months_of_run(context)
        with connect(postgres.dsn) as connection:
            schema.ensure(connection)
            finding = question(connection, months, _known(clickhouse, months))
        return check_result(BARS, name, finding)

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


@dg.definitions
def defs() -> dg.Definitions:
    texts = RULES | {EQUALS: "Every K-line equals a recomputation from the minutes."}
    questions = _kline_questions().items()
    return dg.Definitions(
        asset_checks=[
            _check(
                BARS,
                ACCOUNTED,
                "Rows in the files = rows in the table + rows in quarantine + rows that newer files provide.",
                checks.every_row_accounted,
            ),
            *(_check_against_reference(name, *told) for name, told in AGAINST_REFERENCE.items()),
            *(_check(KLINE, name, texts[name], question) for name, question in questions),
        ]
    )

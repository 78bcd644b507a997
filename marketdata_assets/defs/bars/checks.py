"""Checks of the bars domain: each one query, on the months of the run.

The queries are in `marketdata_assets.bars.checks`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import dagster as dg
import psycopg

from marketdata_assets.bars import checks
from marketdata_assets.defs.metadata import check_result
from marketdata_assets.partitions import BAR_MONTHS, PARTITION, RANGE_END, RANGE_START
from marketdata_assets.resources import Postgres
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.postgres import connect

Question = Callable[[psycopg.Connection, Sequence[str]], Finding]
RULES = {
    "month_gain": "A month that gained more than 1000 %: review it; adjusted prices near zero can cause this.",
    "negative_volume_or_amount": "No month has a negative volume or amount; negative prices are legal.",
    "ohlc_order": "High is the highest and low the lowest of the four prices.",
    "volume_without_amount": "No month has shares traded and no money paid.",
    "missing_name": "Every K-line carries the stock's name.",
}


def _check(
    asset: str, name: str, description: str, question: Question, *, advice: bool = False
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description, pool="timescale")
    def check(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> dg.AssetCheckResult:
        with connect(postgres.dsn) as connection:
            finding = question(connection, months_of_run(context))
        finding = replace(finding, facts={"months": finding.checked})
        return check_result(asset, name, finding, advice=advice)

    return check


def months_of_run(context: dg.AssetCheckExecutionContext) -> list[str]:
    """The months of the run; all months when only the check is run."""
    tags, keys = context.run.tags, list(BAR_MONTHS.get_partition_keys())
    if single := tags.get(PARTITION):
        return [single]
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    return keys[keys.index(first) : keys.index(last) + 1] if first and last else keys


@dg.definitions
def defs() -> dg.Definitions:
    rules = []
    for name, text in RULES.items():
        question = partial(checks.kline_rule, name=name)
        rules.append(_check("stock_monthly_kline", name, text, question, advice=name == "month_gain"))
    return dg.Definitions(
        asset_checks=[
            _check(
                "stock_1min_qfq",
                "every_row_accounted",
                "Rows in the files = rows in the table + rows in quarantine + rows that newer files provide.",
                checks.every_row_accounted,
            ),
            *rules,
            _check(
                "stock_monthly_kline",
                "kline_equals_minutes",
                "Every K-line equals a recomputation from the minutes.",
                checks.kline_equals_minutes,
            ),
        ]
    )

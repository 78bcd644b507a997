"""Checks of the bars domain: each one query, on the months of the run.

The queries are in `marketdata_assets.bars.checks`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import psycopg

from marketdata_assets.bars import checks
from marketdata_assets.partitions import BAR_MONTHS, RANGE_END, RANGE_START
from marketdata_assets.resources import Postgres
from marketdata_assets.stores.findings import Finding
from marketdata_assets.stores.postgres import connect

Question = Callable[[psycopg.Connection, Sequence[str]], Finding]

MONTH_GAIN = "A month that gained more than 1000 %: look at it; adjusted prices near zero can do that."
RULES = {
    "month_gain": MONTH_GAIN,
    "negative_volume_or_amount": "No month has a negative volume or amount; negative prices are legal.",
    "ohlc_order": "High is the highest and low the lowest of the four prices.",
    "volume_without_amount": "No month has shares traded and no money paid.",
    "missing_name": "Every K-line carries the stock's name.",
}


def _check(
    asset: str, name: str, description: str, question: Question, severity: dg.AssetCheckSeverity
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description, pool="timescale")
    def check(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> dg.AssetCheckResult:
        with connect(postgres.dsn) as connection:
            finding = question(connection, months_of_run(context))
        metadata: dict[str, Any] = {
            "objections": finding.count,
            "months": finding.looked_at,
            "examples": dg.MetadataValue.json([dict(example) for example in finding.examples]),
        }
        return dg.AssetCheckResult(passed=finding.passed, severity=severity, metadata=metadata)

    return check


def months_of_run(context: dg.AssetCheckExecutionContext) -> list[str]:
    """The months of the run; all months when only the check is run."""
    tags = context.run.tags
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    single = tags.get("dagster/partition")
    if single:
        return [single]
    keys = list(BAR_MONTHS.get_partition_keys())
    if first and last:
        return keys[keys.index(first) : keys.index(last) + 1]
    return keys


def _rule(name: str) -> Question:
    return lambda connection, months: checks.kline_rule(connection, name, months)


@dg.definitions
def defs() -> dg.Definitions:
    error, warn = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    rules = [
        _check("stock_monthly_kline", name, text, _rule(name), warn if name == "month_gain" else error)
        for name, text in RULES.items()
    ]
    return dg.Definitions(
        asset_checks=[
            _check(
                "stock_1min_qfq",
                "every_row_accounted",
                "Rows in the files = rows in the table + rows in quarantine + rows that newer files provide.",
                checks.every_row_accounted,
                error,
            ),
            *rules,
            _check(
                "stock_monthly_kline",
                "kline_equals_minutes",
                "Every K-line equals a recomputation from the minutes.",
                checks.kline_equals_minutes,
                error,
            ),
        ]
    )

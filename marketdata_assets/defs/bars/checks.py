"""Checks of the bars domain: each one query, on the months of the run.

The queries are in `marketdata_assets.bars.checks`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import dagster as dg
import polars as pl
import psycopg

from marketdata_assets.bars import bases, checks, schema
from marketdata_assets.bars.completeness import bars_complete
from marketdata_assets.defs.checks import meaning, result, specs
from marketdata_assets.partitions import BAR_MONTHS, months_of_tags
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, NoServer, Postgres
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect

BARS, KLINE = "stock_1min_qfq", "stock_monthly_kline"


@dataclass(frozen=True)
class Known:
    """Reference data, and the adjustment factors."""

    reference: Reference
    factors: pl.DataFrame


Question = Callable[[psycopg.Connection, Sequence[str], Callable[[], Known]], Finding]
"""About some months; what is known of the stocks is read when it is needed."""


def _without_reference(query: Callable[[psycopg.Connection, Sequence[str]], Finding]) -> Question:
    def ask(connection: psycopg.Connection, months: Sequence[str], _: Callable[[], Known]) -> Finding:
        finding = query(connection, months)
        return replace(finding, facts={"months": finding.checked})

    return ask


def _of_kline(name: str) -> Question:
    equals = name == "kline_equals_minutes"
    return _without_reference(checks.kline_equals_minutes if equals else partial(checks.kline_rule, name=name))


QUESTIONS: dict[str, dict[str, Question]] = {
    BARS: {
        "every_row_accounted": _without_reference(checks.every_row_accounted),
        "bars_complete": lambda connection, months, known: bars_complete(connection, months, known().reference),
        "one_price_basis": lambda connection, months, known: bases.one_price_basis(
            connection, months, known().reference, known().factors
        ),
    },
    KLINE: {spec.name: _of_kline(spec.name) for spec in specs(KLINE)},
}


def unknown() -> Known:
    """What is known of the stocks without a server."""
    return Known(Reference(), bases.FACTORS.to_frame())


def known_of(clickhouse: ClickHouse, months: Sequence[str]) -> Known:
    """The reference data of some months, which ascend."""
    from marketdata_assets.reference import stored

    try:
        with clickhouse.client() as client:
            days = Days(Days.month(months[0]).first, Days.month(months[-1]).last)
            return Known(Reference.of(client, days), stored.adjust_factors(client))
    except (NoServer, StoreAway):
        return unknown()


def answers(
    dsn: str, asset: str, months: Sequence[str], known: Callable[[], Known], names: Collection[str] = ()
) -> list[dg.AssetCheckResult]:
    """The results of the checks of an asset, or of those that are named."""
    known = cache(known)
    with connect(dsn) as connection:
        schema.ensure(connection)
        asked = {name: ask for name, ask in QUESTIONS[asset].items() if not names or name in names}
        return [result(asset, name, ask(connection, months, known)) for name, ask in asked.items()]


def _check(asset: str, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=meaning(asset, name), pool="timescale")
    def check(
        context: dg.AssetCheckExecutionContext, postgres: Postgres, clickhouse: ClickHouse
    ) -> dg.AssetCheckResult:
        months = months_of_run(context)
        [answer] = answers(postgres.dsn, asset, months, partial(known_of, clickhouse, months), [name])
        return answer

    return check


def months_of_run(context: dg.AssetCheckExecutionContext) -> list[str]:
    """The months of the run; all months when only the check is run."""
    return months_of_tags(context.run.tags) or list(BAR_MONTHS.get_partition_keys())


all_checks = [_check(asset, name) for asset, questions in QUESTIONS.items() for name in questions]

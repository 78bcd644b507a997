"""Checks of the bars domain: each one query, on the months of the run; those of an asset share one step.

The queries are in `marketdata_assets.bars.checks`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import dagster as dg
import polars as pl

from marketdata_assets.bars import bases, checks, schema
from marketdata_assets.bars.completeness import bars_complete
from marketdata_assets.defs.checks import results, specs
from marketdata_assets.partitions import BAR_MONTHS, months_of_tags
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, NoServer, Postgres
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect

BARS, KLINE = "stock_1min_qfq", "stock_monthly_kline"
QUERIES = {"every_row_accounted": checks.every_row_accounted, "kline_equals_minutes": checks.kline_equals_minutes}
"""Of the checks that need nothing but the bars; the others are a query each, see `checks.rule`."""


@dataclass(frozen=True)
class Known:
    """Reference data, and the adjustment factors; by default what is known of the stocks without a server."""

    reference: Reference = field(default_factory=Reference)
    factors: pl.DataFrame = field(default_factory=bases.FACTORS.to_frame)


def known_of(clickhouse: ClickHouse, months: Sequence[str]) -> Known:
    """The reference data of some months, which ascend."""
    from marketdata_assets.reference import stored

    try:
        with clickhouse.client() as client:
            days = Days(Days.month(months[0]).first, Days.month(months[-1]).last)
            return Known(Reference.of(client, days), stored.adjust_factors(client))
    except (NoServer, StoreAway):
        return Known()


def answers(
    dsn: str,
    asset: str,
    months: Sequence[str],
    known: Callable[[], Known],
    wanted: Collection[dg.AssetCheckKey] | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """The results of the checks of an asset, of all or those `wanted`; what is `known` is read when it is needed."""
    known = cache(known)

    def find(_: str, name: str) -> Finding:
        if name == "bars_complete":
            return bars_complete(connection, months, known().reference)
        if name == "one_price_basis":
            return bases.one_price_basis(connection, months, known().reference, known().factors)
        finding = QUERIES.get(name, partial(checks.rule, name=name))(connection, months)
        return replace(finding, facts={"months": finding.checked})

    with connect(dsn) as connection:
        schema.ensure(connection)
        yield from results([asset], wanted, find)


def _checks(asset: str) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs(asset), can_subset=True, pool="timescale")
    def checks(
        context: dg.AssetCheckExecutionContext, postgres: Postgres, clickhouse: ClickHouse
    ) -> Iterator[dg.AssetCheckResult]:
        months = months_of_run(context)
        known = partial(known_of, clickhouse, months)
        yield from answers(postgres.dsn, asset, months, known, context.selected_asset_check_keys)

    return checks


def months_of_run(context: dg.AssetCheckExecutionContext) -> list[str]:
    """The months of the run; all months when only the check is run."""
    return months_of_tags(context.run.tags) or list(BAR_MONTHS.get_partition_keys())


all_checks = [_checks(asset) for asset in (BARS, KLINE)]

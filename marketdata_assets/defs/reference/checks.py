"""Checks of the reference data. The queries are in `marketdata_assets.reference.checks`.

Those of daily tables run in the step that loads, on its months: a table that nobody offers has no output.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.defs.metadata import check_result
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.resources import ClickHouse, Ticks

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.stores.bookkeeping import Finding

DAILY = {
    ("suspensions", "suspensions_consistent"): "Suspensions are on trading days, for the whole day or a span of it.",
    ("adjust_factors", "factors_monotone"): "No cumulative factor falls; a consolidation of shares is the exception.",
    ("price_limits", "limits_ordered"): "The upper limit of a price is above the lower, and both are positive.",
}
ADVICE = ("calendar_agrees", "known_ahead", "factors_monotone")
"""Sources may be right to differ: for a person to review."""

READ = "files_read"
"""A file that cannot be read fails its check and not its step, so that Dagster does not skip the steps after it."""
READ_TEXT = "Every dropped file of the table could be read; the others are loaded."
WITH_INSTRUMENTS = ("instruments", "name_history", "code_changes")

SPECS = [
    *(dg.AssetCheckSpec(name, asset=asset, description=text) for (asset, name), text in DAILY.items()),
    *(dg.AssetCheckSpec(READ, asset=asset, description=READ_TEXT) for asset, _ in DAILY),
]


def answers(
    client: "Client", folder: Path, wanted: Collection[dg.AssetCheckKey], months: Sequence[str]
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks of daily tables that are `wanted`, on some months and the files in `folder`."""
    from marketdata_assets.reference import checks

    for asset, name in DAILY:
        if dg.AssetCheckKey(dg.AssetKey(asset), READ) in wanted:
            yield check_result(asset, READ, checks.files_read(client, folder, [asset]))
        if dg.AssetCheckKey(dg.AssetKey(asset), name) in wanted:
            yield check_result(asset, name, getattr(checks, name)(client, months), advice=name in ADVICE)


def _check(asset: str, name: str, description: str, *about: Callable[[], Any]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description, pool="clickhouse")
    def check(clickhouse: ClickHouse) -> dg.AssetCheckResult:
        from marketdata_assets.reference import checks

        with clickhouse.client() as client:
            finding: Finding = getattr(checks, name)(client, *(value() for value in about))
        return check_result(asset, name, finding, advice=name in ADVICE)

    return check


def _files_check(asset: str, tables: Collection[str]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=READ, description=READ_TEXT, pool="clickhouse")
    def check(clickhouse: ClickHouse, ticks: Ticks) -> dg.AssetCheckResult:
        from marketdata_assets.reference import checks

        with clickhouse.client() as client:
            return check_result(asset, READ, checks.files_read(client, ticks.reference().files.folder, tables))

    return check


def _today() -> dt.date:
    return dt.datetime.now(ZoneInfo(EXCHANGE_CLOCK)).date()


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        asset_checks=[
            _files_check("trading_calendar", ["trading_calendar"]),
            _files_check("instruments", WITH_INSTRUMENTS),
            _check(
                "trading_calendar",
                "calendar_agrees",
                "The exchange and the library agree on the days that both know, unless a holiday was changed.",
            ),
            _check("trading_calendar", "known_ahead", "The trading days of the next 60 days are known.", _today),
            _check(
                "instruments",
                "instruments_consistent",
                "Every instrument is there once, with a valid symbol and ordered dates; its names do not overlap.",
            ),
        ]
    )

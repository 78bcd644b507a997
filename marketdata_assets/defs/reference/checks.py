"""Checks of the reference data. The queries are in `marketdata_assets.reference.checks`.

Those of daily tables run in the step that loads, on its months: a table that nobody offers has no output.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.defs.checks import meaning, result, results, specs
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.clients import Client

DAILY = ("suspensions", "adjust_factors", "price_limits")
READ = "files_read"
"""A file that cannot be read fails its check and not its step, so that Dagster does not skip the steps after it."""
WITH_INSTRUMENTS = ("instruments", "name_history", "code_changes")
SPECS = specs(*DAILY)


def answers(
    client: Client, folder: Path, wanted: Collection[dg.AssetCheckKey], months: Sequence[str]
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks of daily tables that are `wanted`, on some months and the files in `folder`."""
    from marketdata_assets.reference import checks

    def find(asset: str, name: str) -> Finding:
        found: Finding = getattr(checks, name)(client, *([folder, [asset]] if name == READ else [months]))
        return found

    yield from results(DAILY, wanted, find)


def _check(asset: str, name: str, *about: Callable[[], Any]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=meaning(asset, name), pool="clickhouse")
    def check(clickhouse: ClickHouse) -> dg.AssetCheckResult:
        from marketdata_assets.reference import checks

        with clickhouse.client() as client:
            finding: Finding = getattr(checks, name)(client, *(value() for value in about))
        return result(asset, name, finding)

    return check


def _files_check(asset: str, tables: Collection[str]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=READ, description=meaning(asset, READ), pool="clickhouse")
    def check(clickhouse: ClickHouse, ticks: Ticks) -> dg.AssetCheckResult:
        from marketdata_assets.reference import checks

        with clickhouse.client() as client:
            return result(asset, READ, checks.files_read(client, ticks.reference().files.folder, tables))

    return check


def _today() -> dt.date:
    return dt.datetime.now(ZoneInfo(EXCHANGE_CLOCK)).date()


whole_tables = [
    _files_check("trading_calendar", ["trading_calendar"]),
    _files_check("instruments", WITH_INSTRUMENTS),
    _check("trading_calendar", "calendar_agrees"),
    _check("trading_calendar", "known_ahead", _today),
    _check("instruments", "instruments_consistent"),
]

"""The assets of reference data: the provider and dropped files -> calendar, instruments -> tables by day, in months.

Loading is in `marketdata_assets.reference`. Without a token and without files the calendar is the library's.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.dagster_internals import log_materializations
from marketdata_assets.defs.checks import meaning, result, results, specs
from marketdata_assets.defs.metadata import TRADING_DAYS, WEEKDAYS, asset, row_count, spec
from marketdata_assets.defs.partition_results import as_dagster_failure, failure, retry_later, run_partitions
from marketdata_assets.loading.reports import and_more
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.partitions import BAR_MONTHS, months_of_tags
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.settings import Settings
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.reference.load import Run, UnitReport
    from marketdata_assets.reference.tables import DailyName

STEP = "reference_tables"
DAILY: tuple["DailyName", ...] = ("suspensions", "adjust_factors", "price_limits")

STORED: dict[str, Any] = {"kinds": {"clickhouse", "table"}, "code_version": "reference-1"}


class SourceConfig(dg.Config):
    """Who is queried."""

    providers: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """These only, such as `files`; all that are enabled when left out."""


class DaysConfig(SourceConfig):
    """Which days are requested."""

    refetch: bool = False
    """Request all days of the months, to find what has changed."""


TABLES = {
    "suspensions": "Stocks that did not trade on a trading day, or in a part of it. Days without a complete answer are"
    " unknown, and are named in the ledger.",
    "adjust_factors": "The cumulative adjustment factor of each stock and day: price * factor compares prices across"
    " dividends, splits and rights issues.",
    "price_limits": "The highest and the lowest price that the exchange accepts for a stock on a day.",
}


@asset("reference", deps=["tushare_api", "reference_files"], **STORED, pool="clickhouse", freshness_policy=WEEKDAYS)
def trading_calendar(
    context: dg.AssetExecutionContext, config: SourceConfig, clickhouse: ClickHouse, ticks: Ticks
) -> dg.MaterializeResult:
    """The days that the exchanges have announced as open or closed. Other days are those of the library.

    Weekdays after the end of both are provisional trading days.
    """
    from marketdata_assets.reference import load, stored
    from marketdata_assets.reference.calendar import ashares

    began = time.monotonic()
    with as_dagster_failure(), clickhouse.client() as client:
        report = load.load_calendar(_run(context, client, ticks, config))
        calendar = stored.calendar(client)
    known = {"known_until": str(calendar.known.last), "library_until": str(ashares().known.last)}
    return _result([report], began, known)


@asset("reference", deps=["tushare_api", "reference_files"], **STORED, pool="clickhouse", freshness_policy=WEEKDAYS)
def instruments(
    context: dg.AssetExecutionContext, config: SourceConfig, clickhouse: ClickHouse, ticks: Ticks
) -> dg.MaterializeResult:
    """Every stock of the three exchanges with its name, board and lot, and when it was listed and delisted.

    The tables `name_history` and `code_changes` have the names and the codes that stocks had before.
    """
    from marketdata_assets.reference import load

    began = time.monotonic()
    with as_dagster_failure(), clickhouse.client() as client:
        reports = load.load_instruments(_run(context, client, ticks, config))
    others = {f"{one.table}_rows": one.rows for one in reports[1:]}
    return _result(reports, began, others)


READ = "files_read"
"""A file that cannot be read fails its check and not its step, so that Dagster does not skip the steps after it."""
WITH_INSTRUMENTS = ("instruments", "name_history", "code_changes")


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


@dg.multi_asset(
    name=STEP,
    # Materializations are logged, one for each loaded month; a table that the account may not read has none.
    specs=[
        spec(
            name,
            "reference",
            deps=["trading_calendar", "tushare_api", "reference_files"],
            description=text,
            skippable=True,
            freshness_policy=TRADING_DAYS,
            **STORED,
        )
        for name, text in TABLES.items()
    ],
    check_specs=specs(*DAILY),
    can_subset=True,
    partitions_def=BAR_MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="clickhouse",
)
def reference_tables(
    context: dg.AssetExecutionContext, config: DaysConfig, clickhouse: ClickHouse, ticks: Ticks
) -> Iterator[dg.AssetCheckResult]:
    from marketdata_assets.reference import stored
    from marketdata_assets.reference.daily import load_days

    wanted = [name for name in DAILY if dg.AssetKey(name) in context.selected_asset_keys]
    # Checks alone have no partitions, but may have the tags of some.
    named = run_partitions(context) if wanted else months_of_tags(context.run.tags)
    months = [*(named or BAR_MONTHS.get_partition_keys()[-1:])]
    reports: list[UnitReport] = []
    with as_dagster_failure(), clickhouse.client("reference") as client:
        run = _run(context, client, ticks, config)
        calendar = stored.calendar(client)
        for name in wanted:
            done = load_days(run, name, months, calendar=calendar, refetch=config.refetch)
            # A month has rows, or was answered in full and has none.
            loaded = [one for one in done if one.outcome == "ok" and (one.rows > 0 or one.covered == one.days)]
            log_materializations(context, _of_months(client, loaded))
            reports += [one for one in done if one.unit in months]  # files that failed are those of a check
        _retry_outages(reports)
        folder = run.sources.files.folder
        yield from answers(client, folder, context.selected_asset_check_keys, months)
    _raise_failures(reports)


def _run(context: dg.AssetExecutionContext, client: Client, ticks: Ticks, config: SourceConfig) -> "Run":
    from marketdata_assets.reference.load import Run

    settings, sources = Settings(), ticks.restricted(config.providers).reference()
    now = dt.datetime.now(dt.UTC)
    return Run(client, sources, context.run.run_id, now, settings.turns_folder, settings.ticks_workers)


def _of_months(client: Client, reports: Sequence["UnitReport"]) -> list[dg.AssetMaterialization]:
    """One for each month; the last one also has the rows of the whole table."""
    events = []
    for report in reports:
        facts = {"provider": report.origin, "note": report.note}
        metadata: dict[str, Any] = {"dagster/partition_row_count": report.rows, "outcome": report.outcome}
        metadata |= {"trading_days": report.days, "final_days": report.covered}
        metadata |= {name: value for name, value in facts.items() if value}
        if report is reports[-1]:
            metadata |= row_count(client, report.table)
        events.append(dg.AssetMaterialization(report.table, partition=report.unit, metadata=metadata))
    return events


def _result(reports: Sequence["UnitReport"], began: float, more: dict[str, Any]) -> dg.MaterializeResult:
    """The result of a table that is loaded as a whole, which is the first of `reports`; what is unknown is in notes."""
    first = reports[0]
    _retry_outages(reports[:1])
    _raise_failures(reports[:1])
    notes = "; ".join(text for one in reports if (text := one.note or one.error))
    metadata = {"dagster/row_count": first.rows, "outcome": first.outcome, "changed": first.changed, **more}
    metadata |= {name: value for name, value in (("provider", first.origin), ("note", notes)) if value}
    return dg.MaterializeResult(metadata=metadata | {"seconds": round(time.monotonic() - began, 2)})


def _retry_outages(reports: Sequence["UnitReport"]) -> None:
    """Have the step run again after a while when an outage of the provider made something fail."""
    for one in reports:
        if one.transient:
            retry_later(f"{one.table} of {one.unit}: {one.error}")


def _raise_failures(reports: Sequence["UnitReport"]) -> None:
    units: dict[tuple[str, str | None], list[str]] = {}
    for one in reports:
        if one.outcome == "failed":
            units.setdefault((one.table, one.error), []).append(one.unit)
    causes = {key: f"{key[0]} of {and_more(own, 3)}: {key[1]}" for key, own in units.items()}  # a file's is said once
    failed = {f"{key[0]} {unit}": causes[key] for key, own in units.items() for unit in own}
    if failed:
        raise failure(failed, len(reports), {})

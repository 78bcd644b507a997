"""The job over symbol-months that are no rectangle: named symbols, outdated months, dropped files, old history.

It loads like the step of the assets, and materializes the partitions that were loaded. Months outside the window of the
grid are loaded too, without an event: the ledger records them.
"""

import datetime as dt

import dagster as dg

from marketdata_assets.defs.checks import log_results
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.defs.selection import check_months
from marketdata_assets.defs.ticks import checks, report, symbols
from marketdata_assets.defs.ticks.assets import LoadConfig, LoadOp
from marketdata_assets.defs.ticks.run_config import DAILY, JOB, OP, adhoc_config, window_now
from marketdata_assets.errors import TerminalError
from marketdata_assets.loading import watch
from marketdata_assets.loading.reports import and_more
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.providers_file import NETWORK, TABLES
from marketdata_assets.ticks.reports import Unit

RESTORE = '"marketdata symbols restore" takes that back'
EXAMPLE = adhoc_config({"2026-01": ["600000.SH", "000001.SZ"], "2026-03": ["600000.SH"]}, DAILY)
"""What the launchpad shows."""


class AdhocConfig(LoadConfig):
    """Which tables of which symbol-months."""

    months: dict[str, list[str]]
    """By month `2026-01` the symbols; an empty list is every symbol that is registered."""

    tables: list[str] = ["tick_data", "factors"]  # noqa: RUF012

    first_day: str = ""
    """Ask for no day before this one, such as 2026-01-05."""

    last_day: str = ""


@dg.op(name=OP, pool="clickhouse", out=dg.Out(dg.Nothing))
def load_selected(context: dg.OpExecutionContext, config: AdhocConfig, clickhouse: ClickHouse, ticks: Ticks) -> None:
    """Load tables of some symbol-months."""
    window = window_now()
    with as_dagster_failure(), clickhouse.client() as client:
        if unknown := sorted(set(config.tables) - set(TABLES)):
            raise TerminalError(f"tables: {unknown[0]!r} is none of {', '.join(TABLES)}")
        tables, days = [table for table in TABLES if table in config.tables], _days(config)
        units, usable = _units(context, client, config), _without_unfinished(context, ticks, config)
        if usable is None:
            return
        done = LoadOp(context, client, ticks, usable, window, planned=False, days=days).load(tables, units)
        report.retry_outages(done)
        wanted = {spec.key for spec in checks.SPECS if spec.asset_key.to_user_string() in tables}
        answers = log_results(context, checks.answers(client, wanted, units))
    metadata = report.summary(done) | {"checks": {answer.check_name: answer.passed for answer in answers}}
    report.raise_failures(done, metadata)
    context.add_output_metadata(metadata)


def _without_unfinished(context: dg.OpExecutionContext, ticks: Ticks, config: AdhocConfig) -> AdhocConfig | None:
    """The config without the provider `files` while a dropped file is being written: a load reads all of them.

    None when there is no other provider.
    """
    if not config.finished_only or "files" not in (config.providers or ["files"]):
        return config
    unfinished = watch.still_changing(lambda: _dropped(ticks), ticks.quiet_seconds)
    if not unfinished:
        return config
    context.log.warning(f"still being written: {and_more(sorted(unfinished), 3)}; no dropped file is read by this run")
    others = [name for name in NETWORK if getattr(ticks.config(), name) and name in (config.providers or NETWORK)]
    return config.model_copy(update={"providers": others}) if others else None


def _dropped(ticks: Ticks) -> dict[str, watch.State]:
    """Size and modification time of the dropped files that loads read; none when the providers file has no files."""
    section = ticks.config().files
    if section is None or not section.enabled:
        return {}
    folders = (ticks.files().of_bars, ticks.files().of_books)
    files = {f"{folder.path}/{file.name}": file for folder in folders for file in folder.files()}
    return {path: [file.size, file.modified_ns] for path, file in files.items()}


def _days(config: AdhocConfig) -> Days | None:
    if not config.first_day and not config.last_day:
        return None
    try:
        return Days(
            dt.date.fromisoformat(config.first_day or "1990-01-01"),
            dt.date.fromisoformat(config.last_day or "2999-12-31"),
        )
    except ValueError as error:
        raise TerminalError(f"first_day and last_day: {error}; write 2026-01-05") from error


def _units(context: dg.OpExecutionContext, client: Client, config: AdhocConfig) -> list[Unit]:
    """The selected units, the newest month first; registered symbols become partitions."""
    from marketdata_assets.ticks import registry
    from marketdata_assets.ticks.tables import ensure

    check_months(config.months)
    ensure(client)
    registered = [listing.symbol for listing in registry.listed(client)]
    symbols.add(context.instance, registered)
    every = registered or symbols.known(context.instance)
    months = sorted(config.months, reverse=True)
    units = [Unit(symbol, month) for month in months for symbol in dict.fromkeys(config.months[month] or every)]
    if removed := registry.removed(client) & {unit.symbol for unit in units}:
        context.log.warning(f"removed from the registry, not loaded: {and_more(sorted(removed), 20)}; {RESTORE}")
        units = [unit for unit in units if unit.symbol not in removed]
    if not units:
        if removed:
            raise TerminalError(f"every symbol was removed from the registry; {RESTORE}")
        raise TerminalError(
            "no symbol is registered, and none is named. Fill the registry: marketdata symbols refresh, or drop files"
            " into MARKETDATA_TICKS_DIR"
        )
    return units


@dg.job(name=JOB, config=EXAMPLE, description="Load ticks of symbols and months that are no rectangle, in one run.")
def selected_job() -> None:
    load_selected()

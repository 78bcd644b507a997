"""The assets of the ticks domain: providers and files -> minute bars and order books -> factors, by month and symbol.

The three tables are one step. Of thousands of symbols a few fail at any time, and Dagster does not run what comes
after a failed step; so the loaded ones get their factors and checks in the same step, which fails at its end.

The job `ticks_selected` loads symbol-months that are no rectangle: named symbols, outdated months, dropped files, old
history. It materializes the partitions that were loaded; months outside the window of the grid are loaded too, without
an event: the ledger records them.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.dagster_internals import StepContext, log_materializations, plan_materialization
from marketdata_assets.defs.checks import log_results, results, specs
from marketdata_assets.defs.metadata import TRADING_DAYS, observed_files, spec
from marketdata_assets.defs.partition_results import Batches, as_dagster_failure, run_partitions
from marketdata_assets.defs.selection import check_months
from marketdata_assets.defs.ticks import report, symbols
from marketdata_assets.defs.ticks.run_config import DAILY, JOB, OP, adhoc_config, window_now
from marketdata_assets.errors import TerminalError
from marketdata_assets.loading import watch
from marketdata_assets.loading.reports import and_more
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.partitions import tick_key, tick_months, tick_partitions, tick_unit, tick_units
from marketdata_assets.progress import ProgressLog
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.providers_file import NETWORK, TABLES, Table
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport

STEP = "tick_tables"
CHECKS = specs(*DAILY)
PROVIDERS = {"tushare": "tushare_api", "yahoo": "yahoo_chart", "alpaca": "alpaca_bars"}

table = partial(spec, group="ticks", skippable=True)
SPECS = [
    table(
        "tick_data",
        deps=["symbol_registry", "trading_calendar", "suspensions", *PROVIDERS.values(), "tick_files"],
        description="1-minute bars as the first provider in order delivers them: labelled as it labels them, with its"
        " name on every row. Missing values are null and suspicious bars are flagged; nothing is synthesized.",
        kinds={"clickhouse", "table"},
        code_version="bars-1",
        freshness_policy=TRADING_DAYS,
    ),
    table(
        "order_book",
        deps=["symbol_registry", "tick_files"],
        description="Snapshots of order books, up to ten levels a side, only as files bring them. No provider on the"
        " network has the history of books, and none is invented.",
        kinds={"clickhouse", "table"},
        code_version="books-1",
    ),
    table(
        "factors",
        deps=["tick_data", "tushare_api", "yahoo_chart"],
        description="A number for each symbol, day and factor: return, volatility, volume ratio and deviation from the"
        " VWAP out of `tick_data`; daily figures, adjustment factors, splits and dividends as providers return them.",
        kinds={"clickhouse", "polars", "table"},
        code_version="factors-1",
        freshness_policy=TRADING_DAYS,
    ),
]


class LoadConfig(dg.Config):
    """What is loaded, and from which providers."""

    refetch: bool = False
    """Fetch covered days too, to find what has changed."""

    accept_empty: bool = False
    """Allow an empty response to delete existing rows; otherwise such a symbol-month fails."""

    providers: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """Use these only, such as `files`; all that are enabled when left out."""

    finished_only: bool = False
    """First wait for MARKETDATA_TICKS_QUIET_SECONDS, and use no dropped file when one has changed meanwhile."""

    registered_files: bool = False
    """Read only dropped files that a scan has found finished; otherwise new ones are read as well."""

    workers: int = 0
    """Concurrent requests to one provider; 0 is MARKETDATA_TICKS_WORKERS."""

    first: list[str] = []  # noqa: RUF012
    """Symbols to load first, before those of the providers file."""


@dataclass(frozen=True)
class LoadOp:
    """One load within a run. Months outside `window` have no partitions, so they are loaded without an event.

    `planned` says that Dagster has planned every partition of the run, and marks those that failed. Otherwise a symbol
    without a partition gets one once it has rows, so that a mistyped symbol leaves no partition.
    """

    context: StepContext
    client: Client
    ticks: Ticks
    config: LoadConfig
    window: Collection[str]
    planned: bool
    days: Days | None = None

    def load(self, tables: Sequence[Table], units: Sequence[Unit]) -> dict[Table, LoadReport]:
        """Load the tables; failed units are in the reports. Raises what fails the whole load."""
        done: dict[Table, LoadReport] = {}
        for table in tables:
            marks = Marks(self, table)
            loaded = done[table] = self._one(table, units, marks)
            marks.finish(loaded)
            failed = [unit for unit in loaded.units if unit.outcome == "failed"]
            for unit in self.with_partition(failed):
                # Planned and not materialized is failed. Dagster plans every partition, a few milliseconds each.
                if not self.planned or unit.unit in marks.logged:
                    plan_materialization(self.context, dg.AssetKey(table), tick_key(unit.unit))
        self._observe(done)
        return done

    def with_partition(self, units: Sequence[UnitReport]) -> list[UnitReport]:
        """Those that have a partition, now that symbols with rows have one."""
        from marketdata_assets.ticks import registry

        inside = [unit for unit in units if unit.month in self.window]
        if self.planned:
            return inside
        removed = registry.removed(self.client)  # perhaps while this run was in progress
        loaded = (unit.symbol for unit in inside if unit.rows)
        symbols.add(self.context.instance, (symbol for symbol in loaded if symbol not in removed))
        known = set(symbols.known(self.context.instance))
        return [unit for unit in inside if unit.symbol in known]

    def _observe(self, done: dict[Table, LoadReport]) -> None:
        """What was found outside: the dropped files, and how many symbol-months came from whom on the network."""
        ticks = self.ticks.restricted(self.config.providers)
        if ticks.config().files and {"tick_data", "order_book"} & done.keys():
            files = ticks.files()
            dropped = [file.path for folder in (files.of_bars, files.of_books) for file in folder.files()]
            self.context.log_event(observed_files("tick_files", files.folder, dropped))
        for provider, asset in PROVIDERS.items():
            answered: dict[str, Any] = {table: loaded.providers().get(provider, 0) for table, loaded in done.items()}
            if any(answered.values()):
                self.context.log_event(dg.AssetObservation(asset, metadata=answered))

    def _one(self, table: Table, units: Sequence[Unit], marks: "Marks") -> LoadReport:
        from marketdata_assets.ticks import factors, registry
        from marketdata_assets.ticks.load import load
        from marketdata_assets.ticks.tables import ORDER_BOOK

        ticks, wanted = self.ticks.restricted(self.config.providers), self.config
        changes: dict[str, Any] = {"refetch": wanted.refetch, "accept_empty": wanted.accept_empty, "days": self.days}
        changes["registered_files"] = wanted.registered_files
        if wanted.workers:
            changes["workers"] = wanted.workers
        if wanted.first:
            changes["first"] = (*wanted.first, *ticks.config().queue.first)
        loader: Callable[..., LoadReport] = factors.compute if table == "factors" else load
        own: dict[str, Any] = {}
        if table == "tick_data":
            own = {"listings": registry.listed(self.client)}
        elif table == "order_book":
            own = {"table": ORDER_BOOK}
        return loader(
            self.client,
            ticks.providers(),
            units,
            options=ticks.options(**changes),
            run_id=self.context.run.run_id,
            now=dt.datetime.now(dt.UTC),
            progress=ProgressLog(self.context.log.info, f"symbol-months of {table}"),
            ended=marks,
            **own,
        )


class Marks(Batches[Unit, UnitReport]):
    """Materializations of one table, logged while the load is in progress, so that a killed run has those before."""

    def __init__(self, op: LoadOp, table: Table) -> None:
        super().__init__(op.context, lambda units: report.materializations(table, op.with_partition([*units.values()])))
        self._op, self._table = op, table

    def __call__(self, units: Sequence[UnitReport]) -> None:
        """Take units that have ended; those that are loaded are logged."""
        self.take({unit.unit: unit for unit in units if unit.outcome in report.LOADED})

    def finish(self, loaded: LoadReport) -> None:
        """Log what is not logged as it ended; the last loaded unit, which also summarizes the load, in any case."""
        every = self._op.with_partition([unit for unit in loaded.units if unit.outcome in report.LOADED])
        rest = [unit for unit in every[:-1] if self.logged.get(unit.unit) != unit] + every[-1:]
        summary = report.of_load(self._op.client, self._table, loaded) if rest else {}
        log_materializations(self._op.context, report.materializations(self._table, rest, summary))


def answers(
    client: Client, wanted: Collection[dg.AssetCheckKey], units: Sequence[Unit]
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks that are `wanted`, even when some symbols failed: the others are loaded. Without `units` they are
    about the newest loaded month."""
    from marketdata_assets.ticks import checks as questions

    if not wanted:
        return
    question = questions.Question.of(client, units) if units else questions.newest(client)
    yield from results(DAILY, wanted, lambda _, name: getattr(questions, name)(question))


def tick_tables(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The three tables over the grid of `partitions`."""

    @dg.multi_asset(
        name=STEP,
        # Materializations are logged, one for each loaded symbol-month; an output would be one for all of them.
        specs=SPECS,
        check_specs=CHECKS,
        can_subset=True,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="clickhouse",
    )
    def tables(
        context: dg.AssetExecutionContext, config: LoadConfig, clickhouse: ClickHouse, ticks: Ticks
    ) -> Iterator[dg.AssetCheckResult]:
        months = tick_months(partitions)
        wanted = [name for name in TABLES if dg.AssetKey(name) in context.selected_asset_keys]
        if wanted:
            units = [tick_unit(key) for key in run_partitions(context)]
        else:  # checks alone have no partitions, but may have the tags of some
            units = tick_units(context.run.tags, symbols.known(context.instance))
        with as_dagster_failure(), clickhouse.client("ticks") as client:
            done = LoadOp(context, client, ticks, config, months, planned=True).load(wanted, units)
            report.retry_outages(done)
            yield from answers(client, context.selected_asset_check_keys, units)
        report.raise_failures(done, report.summary(done))

    return tables


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
    with as_dagster_failure(), clickhouse.client("ticks") as client:
        if unknown := sorted(set(config.tables) - set(TABLES)):
            raise TerminalError(f"tables: {unknown[0]!r} is none of {', '.join(TABLES)}")
        tables, days = [table for table in TABLES if table in config.tables], _days(config)
        units, usable = _units(context, client, config), _without_unfinished(context, ticks, config)
        if usable is None:
            return
        done = LoadOp(context, client, ticks, usable, window, planned=False, days=days).load(tables, units)
        report.retry_outages(done)
        wanted = {spec.key for spec in CHECKS if spec.asset_key.to_user_string() in tables}
        found = log_results(context, answers(client, wanted, units))
    metadata = report.summary(done) | {"checks": {answer.check_name: answer.passed for answer in found}}
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
    """Size and last change of the dropped files that loads read; none when the providers file has no files."""
    folders = (dropped.of_bars, dropped.of_books) if (dropped := ticks.dropped()) else ()
    files = {f"{folder.path}/{file.name}": file for folder in folders for file in folder.files()}
    return {path: [file.size, file.changed_ns] for path, file in files.items()}


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

    check_months(config.months)
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


@dg.definitions
def defs() -> dg.Definitions:
    today = dt.datetime.now(ZoneInfo(EXCHANGE_CLOCK)).date()
    tables = tick_tables(tick_partitions(Settings().ticks_months, today))
    return dg.Definitions(assets=[tables], jobs=[selected_job])

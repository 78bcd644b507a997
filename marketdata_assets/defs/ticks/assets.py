"""The assets of the ticks domain: providers and files -> minute bars and order books -> factors, by month and symbol.

The three tables are one step. Of thousands of symbols a few fail at any time, and Dagster does not run what comes
a failed step; so the loaded ones get their factors and checks in the same step, which fails at its end.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.dagster_internals import StepContext, log_materializations, plan_materialization
from marketdata_assets.defs.marks import Batches
from marketdata_assets.defs.metadata import observed_files, spec
from marketdata_assets.defs.partition_results import as_dagster_failure, run_partitions
from marketdata_assets.defs.ticks import checks, report, symbols
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.partitions import tick_key, tick_months, tick_partitions, tick_unit, tick_units
from marketdata_assets.progress import ProgressLog
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.providers_file import TABLES, Table
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport

STEP = "tick_tables"
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
        from marketdata_assets.ticks.tables import ensure

        ensure(self.client)
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


def tick_tables(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The three tables over the grid of `partitions`."""

    @dg.multi_asset(
        name=STEP,
        # Materializations are logged, one for each loaded symbol-month; an output would be one for all of them.
        specs=SPECS,
        check_specs=checks.SPECS,
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
        with as_dagster_failure(), clickhouse.client() as client:
            done = LoadOp(context, client, ticks, config, months, planned=True).load(wanted, units)
            report.retry_outages(done)
            yield from checks.answers(client, context.selected_asset_check_keys, units)
        report.raise_failures(done, report.summary(done))

    return tables


@dg.definitions
def defs() -> dg.Definitions:
    today = dt.datetime.now(ZoneInfo(EXCHANGE_CLOCK)).date()
    tables = tick_tables(tick_partitions(Settings().ticks_months, today))
    return dg.Definitions(assets=[tables])

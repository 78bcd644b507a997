"""One round: tables of some symbol-months, loaded one after the other by the library, each materialised as it landed.

Both the step of the assets and the job over named symbols are such a round.
"""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg

from marketdata_assets.dagster_internals import StepContext, log_materializations
from marketdata_assets.defs.metadata import observed_files
from marketdata_assets.defs.partition_results import mark_failed
from marketdata_assets.defs.ticks import report, symbols
from marketdata_assets.partitions import tick_key
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import Ticks
from marketdata_assets.ticks.providers_file import Table
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

STEP = "tick_tables"
TABLES: tuple[Table, ...] = get_args(Table)
"""In the order in which they are loaded."""

Loader = Callable[..., LoadReport]


class LoadConfig(dg.Config):
    """What is asked for, and of whom."""

    refetch: bool = False
    """Ask also for days that are covered, to find what has changed."""

    accept_empty: bool = False
    """Believe a provider that now has nothing where rows stand; otherwise such a symbol-month fails."""

    providers: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """Ask these only, such as `files`; all that are enabled when left out."""

    workers: int = 0
    """Requests under way at most; 0 is MARKETDATA_TICKS_WORKERS."""

    first: list[str] = []  # noqa: RUF012
    """Symbols to begin with, before those of the providers file."""


@dataclass(frozen=True)
class LoadOp:
    """A round within a run. Months outside `window` have no partitions, so they are loaded without an event.

    `planned` says that Dagster counts on every partition of the round, and finds those that failed by itself. If not,
    a symbol that is none yet becomes a partition when rows of it stand: one that was mistyped must not be there for
    ever.
    """

    context: StepContext
    client: "Client"
    ticks: Ticks
    config: LoadConfig
    window: Collection[str]
    planned: bool
    days: Days | None = None

    def load(self, tables: Sequence[Table], units: Sequence[Unit]) -> dict[Table, LoadReport]:
        """Load the tables; what failed stands in the reports. Raises what the library raises of all of it."""
        from marketdata_assets.ticks.tables import ensure

        ensure(self.client)
        done: dict[Table, LoadReport] = {}
        for table in tables:
            loaded = done[table] = self._one(table, units)
            inside = self._inside(loaded)
            landed = [unit for unit in inside if unit.outcome in report.LANDED]
            log_materializations(self.context, report.materializations(self.client, table, loaded, landed))
            if not self.planned:
                failed = [tick_key(unit.unit) for unit in inside if unit.outcome == "failed"]
                mark_failed(self.context, dg.AssetKey(table), failed)
        self._observe(done)
        return done

    def _observe(self, done: dict[Table, LoadReport]) -> None:
        """What was found outside: the dropped files, and how many symbol-months came from whom on the network."""
        ticks = self.ticks.restricted(self.config.providers)
        if ticks.config().files and {"tick_data", "order_book"} & done.keys():
            files = ticks.files()
            dropped = [file.path for folder in (files.of_bars, files.of_books) for file in folder.files()]
            self.context.log_event(observed_files("tick_files", files.folder, dropped))
        for provider, asset in (("tushare", "tushare_api"), ("yahoo", "yahoo_chart")):
            answered: dict[str, Any] = {table: loaded.providers().get(provider, 0) for table, loaded in done.items()}
            if any(answered.values()):
                self.context.log_event(dg.AssetObservation(asset, metadata=answered))

    def _inside(self, loaded: LoadReport) -> list[UnitReport]:
        """The units that have partitions."""
        units = [unit for unit in loaded.units if unit.month in self.window]
        if self.planned:
            return units
        symbols.add(self.context.instance, (unit.symbol for unit in units if unit.rows))
        known = set(symbols.known(self.context.instance))
        return [unit for unit in units if unit.symbol in known]

    def _one(self, table: Table, units: Sequence[Unit]) -> LoadReport:
        from marketdata_assets.ticks import registry

        ticks = self.ticks.restricted(self.config.providers)
        only_bars = {"listings": registry.listed(self.client)} if table == "tick_data" else {}
        return _loader(table)(
            self.client,
            ticks.providers(),
            units,
            options=ticks.options(**self._changes(ticks)),
            run_id=self.context.run.run_id,
            now=dt.datetime.now(dt.UTC),
            progress=ProgressLog(self.context.log.info, f"symbol-months of {table}"),
            **only_bars,
        )

    def _changes(self, ticks: Ticks) -> dict[str, Any]:
        """What differs from the settings."""
        wanted = self.config
        changes: dict[str, Any] = {"refetch": wanted.refetch, "accept_empty": wanted.accept_empty, "days": self.days}
        if wanted.workers:
            changes["workers"] = wanted.workers
        if wanted.first:
            changes["first"] = (*wanted.first, *ticks.config().queue.first)
        return changes


def _loader(table: Table) -> Loader:
    from functools import partial

    from marketdata_assets.ticks import factors, load, tables

    loaders: dict[Table, Loader] = {
        "tick_data": load.load,
        "order_book": partial(load.load, table=tables.ORDER_BOOK),
        "factors": factors.compute,
    }
    return loaders[table]

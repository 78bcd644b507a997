"""What a run over a month of 5000 symbols costs beside the work on its data, per symbol.

Nothing is to be loaded: the ledger knows that every symbol-month is as it should be. The same calls of the library are
timed without Dagster and taken off. Dagster's storage is Postgres on disk.
"""

import datetime as dt
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from bench.figure import Figure, spread
from bench.size import sized
from marketdata_assets.cli.instance import environment
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.providers_file import Table

SYMBOLS = sized(5000, 5)
ROUNDS = sized(3, 1)
TARGET = 15
TABLES: tuple[Table, ...] = ("tick_data", "factors")
OPTIONS = {"providers": ["files"]}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def figures() -> Iterator[Figure]:
    """A run as the schedule asks for it, and one over partitions as the UI asks for it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder) / "stack", postgres_dsn=None, clickhouse_url=None)
        with LocalStack(settings, services=("postgres", "clickhouse")) as stack:
            os.environ.update(environment(settings, stack.endpoints))
            month = f"{dt.datetime.now(dt.UTC).date().replace(day=1) - dt.timedelta(days=1):%Y-%m}"
            symbols = [f"{number:06d}.SZ" for number in range(SYMBOLS)]
            _register(stack.endpoints.clickhouse_url or "", symbols)
            _library(symbols, month)  # fills the ledger
            library = [_timed(lambda: _library(symbols, month)) for _ in range(ROUNDS)]
            yield _of_the_schedule(symbols, month, library)
            yield _of_partitions(symbols, month, library)


def _register(url: str, symbols: list[str]) -> None:
    from marketdata_assets.ticks.tables import SYMBOLS as TABLE
    from marketdata_assets.ticks.tables import ensure

    row = {"name": "", "listed": None, "delisted": None, "status": "listed", "source": "bench"}
    rows = [{"symbol": symbol, **row, "seen": dt.datetime.now(dt.UTC)} for symbol in symbols]
    with clickhouse.connect(url) as client:
        ensure(client)
        clickhouse.insert(client, TABLE.name, pl.DataFrame(rows, TABLE.columns), TABLE.dictionaries)


def _library(symbols: list[str], month: str) -> None:
    """What a run does, without the run."""
    from marketdata_assets.defs.ticks.assets import CHECKS
    from marketdata_assets.resources import ClickHouse, Ticks
    from marketdata_assets.ticks import checks, factors, load, registry
    from marketdata_assets.ticks.reports import Unit
    from marketdata_assets.ticks.tables import ensure

    ticks = Ticks().restricted(OPTIONS["providers"])
    units = [Unit(symbol, month) for symbol in symbols]
    with ClickHouse().client() as client:
        ensure(client)
        for one, more in ((load.load, {"listings": registry.listed(client)}), (factors.compute, {})):
            assert callable(one)
            done = one(
                client,
                ticks.providers(),
                units,
                options=ticks.options(),
                run_id="bench",
                now=dt.datetime.now(dt.UTC),
                **more,  # type: ignore[arg-type]
            )
            assert not done.failed, done.failed[:3]
        question = checks.Question.of(client, units)
        for spec in CHECKS:
            getattr(checks, spec.name)(question)


def _of_the_schedule(symbols: list[str], month: str, library: list[float]) -> Figure:
    from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config

    def run(instance: Any, job: Any) -> None:
        config = {**QUIET, **adhoc_config({month: []}, TABLES, **OPTIONS)}
        _done(job.execute_in_process(instance=instance, run_config=config))

    taken = _runs(JOB, run, pooled=False)
    return _figure("ticks.overhead_ms_per_symbol", taken, library, "as the daily schedule asks for it")


def _of_partitions(symbols: list[str], month: str, library: list[float]) -> Figure:
    import dagster as dg

    from marketdata_assets.defs.ticks.assets import STEP
    from marketdata_assets.partitions import tick_rectangle

    assets = [dg.AssetKey(table) for table in TABLES]

    def run(instance: Any, job: Any) -> None:
        config: Mapping[str, Any] = {**QUIET, "ops": {STEP: {"config": OPTIONS}}}
        tags = tick_rectangle([month], symbols)
        _done(job.execute_in_process(instance=instance, tags=tags, run_config=config, asset_selection=assets))

    taken = _runs("ticks", run, pooled=True)
    return _figure("ticks.overhead_of_partitions_ms_per_symbol", taken, library, "of partitions, as the UI asks for it")


def _runs(name: str, run: Callable[[Any, Any], None], pooled: bool) -> list[float]:
    """Seconds of some runs; only Dagster's webserver keeps its connections, others open one for each statement."""
    import dagster as dg

    from marketdata_assets.definitions import defs

    with dg.DagsterInstance.get() as instance:
        if pooled:
            instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=10)
        job = defs().get_repository_def().get_job(name)
        return [_timed(lambda: run(instance, job)) for _ in range(ROUNDS)]


def _done(result: Any) -> None:
    assert result.success


def _timed(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _figure(name: str, taken: list[float], library: list[float], how: str) -> Figure:
    beside = [1000 * (one - median(library)) / SYMBOLS for one in taken]
    detail = (
        f"one run of {SYMBOLS} symbols x 1 month x {len(TABLES)} tables with checks, {how}, all unchanged, storage on"
        f" Postgres, {spread(beside)}; the library alone takes {median(library):.1f} s"
    )
    return Figure(name, median(beside), "ms", ("<=", TARGET), detail)

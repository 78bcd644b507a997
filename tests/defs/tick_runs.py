"""Ticks at servers that behave like the providers, runs of the ticks jobs in this process, and what they left."""

import datetime as dt
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.defs.ticks.assets import STEP
from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config
from marketdata_assets.partitions import TICK_SYMBOLS, tick_key, tick_rectangle, tick_unit
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import registry, tables
from marketdata_assets.ticks.providers_file import Table
from marketdata_assets.ticks.reports import Unit
from marketdata_demo.servers.tushare import DAILY, TOKEN, TushareServer
from tests.defs.bar_runs import execute

BARS, BOOKS, FACTORS, REGISTRY = map(dg.AssetKey, ("tick_data", "order_book", "factors", "symbol_registry"))
SYMBOLS = ("600000.SH", "600001.SH", "000001.SZ")
TABLES: Sequence[Table] = ("tick_data", "factors")


def sessions(month: str) -> list[dt.date]:
    return list(ashares().trading_days(Days.month(month)))


def _without_holidays() -> tuple[str, str]:
    """The last two months, one after the other, in which the exchange traded on every weekday, as the test servers do;
    the newer first."""
    found: list[str] = []
    last = dt.datetime.now(dt.UTC).date().replace(day=1)
    while len(found) < 2:
        last = (last - dt.timedelta(days=1)).replace(day=1)
        month = f"{last:%Y-%m}"
        every_weekday = sessions(month) == [day for day in Days.month(month) if day.weekday() < 5]
        found = [*found, month] if every_weekday else []
    return found[0], found[1]


MONTH, EARLIER = _without_holidays()
OLD = "2019-09"
"""Outside the window of the partitions."""

BARS_A_DAY = 241


@dataclass(frozen=True)
class TicksEnv:
    """A ClickHouse, a provider, a folder for files and a Dagster instance, all of which have seen nothing yet."""

    client: Client
    tushare: TushareServer
    home: Path
    instance: dg.DagsterInstance
    patch: pytest.MonkeyPatch

    @property
    def folder(self) -> Path:
        return self.home / "ticks"

    def sign_in(self) -> None:
        """From now on Tushare may be asked."""
        self.patch.setenv("TUSHARE_TOKEN", TOKEN)

    def stocks(self, *symbols: str, listed: str = "20100104") -> None:
        """Let Tushare list these and have bars of them, and no daily figures."""
        self.tushare.symbols[:] = symbols
        fields = ["ts_code", "name", "list_date", "delist_date", "list_status", "exchange"]
        rows = [[symbol, f"name of {symbol}", listed, None, "L", "SSE"] for symbol in symbols]
        self.tushare.tables["stock_basic"] = (fields, rows)
        self.tushare.tables["daily_basic"] = (["ts_code", "trade_date", *DAILY], [])
        self.tushare.tables["adj_factor"] = (["ts_code", "trade_date", "adj_factor"], [])

    def partitions(self, *symbols: str) -> None:
        self.instance.add_dynamic_partitions(str(TICK_SYMBOLS.name), list(symbols))

    def ready(self, *symbols: str, listed: str = "2010-01-04") -> None:
        """Stocks that are listed, registered and partitions, and a token: as after `registry`, with less work."""
        self.sign_in()
        self.stocks(*symbols, listed=listed.replace("-", ""))
        facts = {"listed": dt.date.fromisoformat(listed), "delisted": None, "status": "listed", "source": "tushare"}
        known = [{"symbol": one, "name": f"name of {one}", **facts} for one in symbols]
        registry.refresh(self.client, pl.DataFrame(known), None, None, now=dt.datetime.now(dt.UTC))
        self.partitions(*sorted(symbols))

    def registry(self, *, checks: bool = False, **config: Any) -> dg.ExecuteInProcessResult:
        steps = ("trading_calendar", "instruments", "symbol_registry")
        return execute(self.instance, "symbols", {"ops": {step: {"config": config} for step in steps}}, checks=checks)

    def run(
        self,
        months: Sequence[str],
        symbols: Sequence[str],
        assets: Sequence[dg.AssetKey] = (BARS, FACTORS),
        *,
        checks: bool = False,
        **config: Any,
    ) -> dg.ExecuteInProcessResult:
        """Run partitions, as the UI does; a failed run is returned, not raised."""
        ops = {"ops": {STEP: {"config": config}}}
        return execute(self.instance, "ticks", ops, tick_rectangle(months, symbols), assets, checks=checks)

    def select(
        self, months: Mapping[str, Sequence[str]], wanted: Sequence[Table] = TABLES, **config: Any
    ) -> dg.ExecuteInProcessResult:
        """Run the job over what is no rectangle."""
        return execute(self.instance, JOB, adhoc_config(months, wanted, **config))

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return list(clickhouse.read(self.client, sql, parameters or None).rows())

    def counts(self, table: str = "tick_data") -> dict[Unit, int]:
        """Rows by symbol and month."""
        tables.ensure(self.client)
        found = self.rows(
            f"SELECT toString(symbol), formatDateTime(date, '%Y-%m'), toInt64(count()) FROM {table} GROUP BY ALL"
        )
        return {Unit(_text(symbol), _text(month)): count for symbol, month, count in found}

    def materialized(self, asset: dg.AssetKey) -> set[Unit]:
        return {tick_unit(key) for key in self.instance.get_materialized_partitions(asset)}

    def metadata(self, asset: dg.AssetKey, unit: Unit) -> dict[str, Any]:
        """What the last run that landed it said of a partition."""
        event = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset, asset_partitions=[str(tick_key(unit))]), limit=1
        ).records[0]
        told = event.asset_materialization
        assert told
        return {key: value.value for key, value in told.metadata.items()}

    def verdicts(self, result: dg.ExecuteInProcessResult) -> dict[str, bool]:
        """By check that the run asked, whether it passed."""
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        events = [entry.dagster_event for entry in self.instance.all_logs(result.run_id, of_type=kind)]
        found = [event.asset_check_evaluation_data for event in events if event]
        return {one.check_name: one.passed for one in found}

    def failed(self, asset: dg.AssetKey) -> set[Unit]:
        """The partitions that Dagster shows as failed: counted on by a run that failed, and not materialised."""
        storage = self.instance.event_log_storage
        attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
        bad = {dg.DagsterRunStatus.FAILURE}
        found = {key for key, (run_id, _) in attempts.items() if self.instance.get_run_by_id(run_id).status in bad}  # type: ignore[union-attr]
        return {tick_unit(key) for key in found}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def units(symbols: Iterable[str], months: Iterable[str] = (MONTH,)) -> set[Unit]:
    names = list(symbols)
    return {Unit(symbol, month) for month in months for symbol in names}


def whole(symbols: Iterable[str], month: str = MONTH) -> dict[Unit, int]:
    """How many bars Tushare's test server has of a month."""
    return {Unit(symbol, month): BARS_A_DAY * len(sessions(month)) for symbol in symbols}


def drop(folder: Path, name: str, bars: Sequence[tuple[str, dt.datetime, float]], *, age: float = 3600.0) -> Path:
    """Put a file of bars into the folder, written a while ago; times are the exchange's clock."""
    frame = pl.DataFrame(
        {
            "symbol": [symbol for symbol, _, _ in bars],
            "ts": [f"{moment:%Y-%m-%d %H:%M:%S}" for _, moment, _ in bars],
            **{price: [close for _, _, close in bars] for price in ("open", "high", "low", "close")},
            "volume": [100] * len(bars),
        }
    )
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_csv(path)
    os.utime(path, (time.time() - age,) * 2)
    return path


def minutes(symbol: str, day: dt.date, count: int = 20, price: float = 10.0) -> list[tuple[str, dt.datetime, float]]:
    """The first bars of a day."""
    first = dt.datetime.combine(day, dt.time(9, 31))
    return [(symbol, first + dt.timedelta(minutes=number), price + number / 100) for number in range(count)]

"""Bars that tests write, and what is stored of them afterwards."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import Load, entries
from marketdata_assets.ticks import table_writer
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import TICK_DATA

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
MONTH = "2026-01"
JANUARY = Days.month(MONTH)
PATIENT = table_writer.WriteRetries(contended=200, longest_pause_s=0.3, courtesy_s=0.1)


def weekdays(days: Days) -> list[dt.date]:
    return [day for day in days if day.weekday() < 5]


def bars(symbol: str, days: Days, *, seed: int = 0, minutes: int = 20) -> pl.DataFrame:
    """Some bars a weekday; every number of them depends on `seed`."""
    chance = np.random.default_rng([seed, *symbol.encode()])
    dates = [day for day in weekdays(days) for _ in range(minutes)]
    opened = [dt.datetime.combine(day, dt.time(1, 31), tzinfo=dt.UTC) for day in weekdays(days)]
    times = [start + dt.timedelta(minutes=minute) for start in opened for minute in range(minutes)]
    close = np.round(10 + np.cumsum(chance.normal(0, 0.01, len(dates))), 2)
    volume = chance.integers(1, 1000, len(dates)) * 100
    made = {"date": dates, "ts": times, "open": close, "high": close + 0.01, "low": close - 0.01, "close": close}
    frame = pl.DataFrame({**made, "volume": volume, "turnover": close * volume}).with_columns(
        symbol=pl.lit(symbol),
        label=pl.lit("end"),
        interval=pl.lit("1m"),
        currency=pl.lit("CNY"),
        flags=pl.lit(0),
        provider=pl.lit("tushare"),
        file=pl.lit(""),
    )
    return frame.select(TICK_DATA.columns.names()).cast(TICK_DATA.columns)


def content_hash(frame: pl.DataFrame) -> str:
    """A hash of the rows, whatever their order."""
    return hashlib.sha256(frame.sort("ts").write_csv().encode()).hexdigest()


def load(symbol: str, days: Days, frame: pl.DataFrame | None, **changes: Any) -> Load:
    rows = 0 if frame is None else frame.height
    found = None if frame is None else content_hash(frame)
    known: dict[str, Any] = {
        "dataset": TICK_DATA.name,
        "source": symbol,
        "unit": days.first.strftime("%Y-%m"),
        "content_hash": found,
        "previous_hash": None,
        "slices": [day.isoformat() for day in days],
        "read": rows,
        "skipped": 0,
        "rows": rows,
        "rejected": 0,
        "outcome": "ok" if frame is not None else "failed",
        "attempted_hash": found,
        "error": None,
        "code_version": "1",
        "run_id": "test",
        "started": NOW,
        "finished": NOW,
        "origin": "tushare",
    }
    return Load(**(known | changes))


def one(symbol: str, days: Days = JANUARY, *, seed: int = 0, minutes: int = 20, **changes: Any) -> UnitWrite:
    """A landing of made-up bars."""
    frame = bars(symbol, days, seed=seed, minutes=minutes)
    return UnitWrite(days, frame, load(symbol, days, frame, **changes))


def without_rows(symbol: str, days: Days = JANUARY, **changes: Any) -> UnitWrite:
    """A landing that only writes down how an attempt ended."""
    return UnitWrite(days, None, load(symbol, days, None, **changes))


def land(client: Client, landings: Sequence[UnitWrite], **options: Any) -> None:
    table_writer.write(client, TICK_DATA, landings[0].load.unit, landings, **({"retries": PATIENT} | options))


def stored(client: Client, symbol: str | None = None) -> pl.DataFrame:
    """The stored rows, of one symbol or of all, in the order of the key."""
    where = "" if symbol is None else f"WHERE symbol = '{symbol}'"
    return clickhouse.read(client, f"SELECT * FROM tick_data {where} ORDER BY symbol, ts").cast(TICK_DATA.columns)


def entry(client: Client, symbol: str, month: str = MONTH) -> Load:
    (found,) = entries(client, TICK_DATA.name, [month], [symbol])
    return found


def assert_ledger_agrees(client: Client) -> None:
    """Every unit of the ledger says how many rows stand, and that nobody left it in doubt."""
    names = "toString(symbol) AS symbol, formatDateTime(date, '%Y-%m') AS unit"
    sql = f"SELECT {names}, count() AS rows FROM tick_data GROUP BY ALL"
    counted = {(symbol, unit): rows for symbol, unit, rows in clickhouse.read(client, sql).iter_rows()}
    loads = entries(client, TICK_DATA.name)
    assert {(load.source, load.unit): load.rows for load in loads if load.rows} == counted
    assert [load for load in loads if load.pending] == []
    for load in loads:
        where = "symbol = %(symbol)s AND formatDateTime(date, '%%Y-%%m') = %(unit)s ORDER BY ts"
        rows = clickhouse.read(
            client, f"SELECT * FROM tick_data WHERE {where}", {"symbol": load.source, "unit": load.unit}
        )
        assert content_hash(rows.cast(TICK_DATA.columns)) == load.content_hash, (load.source, load.unit)

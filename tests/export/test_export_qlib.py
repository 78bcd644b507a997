"""qlib's files, read as qlib reads them: a place in the calendar, then one float for each entry of it."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import export, read
from marketdata_assets.bars import ingest as load_bars
from marketdata_assets.export.folder import Report
from marketdata_assets.fanout import Fanout
from marketdata_assets.read.bars import Query
from tests.bar_tables import minutes_of, put_factors, put_ticks
from tests.bars.bar_files import csv_text, deliver, line

A, B = "600000.SH", "000001.SZ"
FACTORS = {"2024-05-06": 1.0, "2024-05-07": 2.0, "2024-05-08": 2.0, "2024-05-09": 2.5}


@pytest.fixture
def client(tables_client: Client) -> Client:
    """Ticks of two stocks: one of them is suspended on 7 May, the other one listed on it."""
    put(tables_client, A, "2024-05-06", "2024-05-08", "2024-05-09")
    put(tables_client, B, "2024-05-07", "2024-05-08")
    for code in (A, B):
        put_factors(tables_client, code, FACTORS)
    return tables_client


def put(client: Client, code: str, *days: str) -> None:
    rows = [
        {"trade_date": dt.date.fromisoformat(day), "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.0 + number}
        | {"volume": 24_100 + number, "amount": 250_000.0}
        for number, day in enumerate(days)
    ]
    put_ticks(client, code, minutes_of(pl.DataFrame(rows).with_columns(pl.col("close").clip(9, 11))))


def series(folder: Path, name: str, field: str, freq: str) -> dict[str, float]:
    """Label and value, as the readers of qlib find them."""
    calendar = (folder / "calendars" / f"{freq}.txt").read_text().splitlines()
    found = np.fromfile(folder / "features" / name / f"{field}.{freq}.bin", "<f4")
    values = {calendar[int(found[0]) + at]: float(value) for at, value in enumerate(found[1:])}
    return {label: value for label, value in values.items() if not np.isnan(value)}


@pytest.mark.parametrize(
    ("freq", "name"),
    [("1d", "day"), *(pytest.param(*one, marks=pytest.mark.slow) for one in (("1m", "1min"), ("1w", "1week")))],
)
def test_every_field_is_the_bars(client: Client, tables_url: str, tmp_path: Path, freq: Any, name: str) -> None:
    done = export.qlib(tmp_path, Query("ticks", freq, "back"), connection=tables_url)
    intraday = freq.endswith("m")
    label = "start" if intraday else "end"
    bars = read.bars(source="ticks", freq=freq, adjust="back", label=label, connection=client)
    assert (done.written, done.rows) == (2, bars.height)
    key = pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S") if intraday else pl.col("date").cast(pl.String)
    for code in (A, B):
        frame = bars.filter(code=code).with_columns(
            key.alias("label"),
            pl.col("volume") / pl.col("factor"),
            vwap=pl.col("amount") / pl.col("volume") * pl.col("factor"),
            change=pl.col("close").pct_change(),
        )
        for field in ("open", "high", "low", "close", "volume", "amount", "factor", "vwap", "change"):
            expected = dict(frame.select("label", field).drop_nulls().filter(pl.col(field).is_finite()).iter_rows())
            found = series(tmp_path, f"{code[7:]}{code[:6]}".lower(), field, name)
            assert found == pytest.approx(expected, rel=1e-6), field


def test_calendar_and_instruments_name_days_and_stocks(client: Client, tables_url: str, tmp_path: Path) -> None:
    export.qlib(tmp_path / "day", Query("ticks", "1d", "back"), connection=tables_url)
    assert (tmp_path / "day/calendars/day.txt").read_text().split() == list(FACTORS)
    listed = "SZ000001\t2024-05-07\t2024-05-08\nSH600000\t2024-05-06\t2024-05-09\n"
    assert (tmp_path / "day/instruments/all.txt").read_text() == listed
    raw = np.fromfile(tmp_path / "day/features/sh600000/close.day.bin", "<f4")
    assert np.array_equal(raw, np.array([0, 10, np.nan, 22, 27.5], "<f4"), equal_nan=True)
    export.qlib(tmp_path / "hour", Query("ticks", "60m", "back"), connection=tables_url)
    hours = (tmp_path / "hour/calendars/60min.txt").read_text().splitlines()
    assert hours[:5] == [f"2024-05-06 {clock}:00" for clock in ("09:30", "10:30", "13:00", "14:00")] + [
        "2024-05-07 09:30:00"
    ]
    instruments = (tmp_path / "hour/instruments/all.txt").read_text()
    assert instruments.startswith("SZ000001\t2024-05-07 09:30:00\t2024-05-08 14:00:00\n")


def test_only_stocks_whose_bars_or_places_changed_are_written(client: Client, tables_url: str, tmp_path: Path) -> None:
    query = Query("ticks", "1d", "back")
    asked: dict[str, Any] = {"connection": tables_url}
    export.qlib(tmp_path, query, **asked)
    assert export.qlib(tmp_path, query, **asked) == Report(unchanged=2)
    put(client, B, "2024-05-10")
    put_factors(client, B, {"2024-05-10": 2.0})
    done = export.qlib(tmp_path, query, **asked)
    assert (done.written, done.unchanged) == (1, 1)
    put(client, A, "2024-04-30")  # a day before all others moves every place
    put_factors(client, A, {"2024-04-30": 1.0})
    assert export.qlib(tmp_path, query, **asked).written == 2
    assert series(tmp_path, "sz000001", "open", "day") == {"2024-05-07": 20.0, "2024-05-08": 20.0, "2024-05-10": 20.0}
    (tmp_path / "features/sh600000/close.day.bin").unlink()
    (tmp_path / "features/sh600000/.version").unlink()  # as after a kill
    assert export.qlib(tmp_path, query, **asked).written == 1
    for table in ("tick_data", "marketdata_ledger_rows"):
        name = "symbol" if table == "tick_data" else "source"
        client.command(f"ALTER TABLE {table} DELETE WHERE {name} = '{B}' SETTINGS mutations_sync = 2")
    done = export.qlib(tmp_path, query, **asked)
    assert (done.removed, sorted(path.name for path in (tmp_path / "features").iterdir())) == (1, ["sh600000"])
    assert (tmp_path / "instruments/all.txt").read_text() == "SH600000\t2024-04-30\t2024-05-09\n"


def test_prices_that_the_vendor_adjusted_have_no_factor(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "in/sh600000_2024.csv", csv_text([line("2024-01-02 09:31:00", price="-2.01")]))
    load_bars.ingest(dsn, tmp_path / "in", ["2024-01"], run_id="test", fanout=Fanout(1))
    export.qlib(tmp_path / "out", Query(freq="1d"), connection=dsn)
    fields = {path.name.split(".")[0] for path in (tmp_path / "out/features/sh600000").glob("*.bin")}
    assert fields == {"open", "high", "low", "close", "volume", "amount", "change"}
    assert series(tmp_path / "out", "sh600000", "close", "day") == {"2024-01-02": pytest.approx(-2.01)}
    assert series(tmp_path / "out", "sh600000", "volume", "day") == {"2024-01-02": 500.0}

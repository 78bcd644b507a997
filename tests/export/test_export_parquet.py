"""A Parquet export equals the bars, is written once, and follows what changes in the tables."""

import datetime as dt
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import export, read
from marketdata_assets.bars import ingest as load_bars
from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.export.folder import LOCK, Report
from marketdata_assets.fanout import Fanout
from marketdata_assets.read.bars import Query
from marketdata_assets.read.errors import UnknownName
from tests.bar_tables import minutes_of, put_factors, put_ticks
from tests.bars.bar_files import csv_text, deliver, line
from tests.databases import fresh_postgres

DAYS = ["2023-12-28", "2023-12-29", "2024-01-02", "2024-01-03"]
Stamps = dict[str, int]


def load(dsn: str, folder: Path, prices: dict[str, str], day: int = 1, days: Sequence[str] = DAYS) -> None:
    """Two minutes a day of each stock at its price, in a zip for each year."""
    for year in ("2023", "2024"):
        times = [f"{day} {clock}:00" for day in days if day.startswith(year) for clock in ("09:31", "14:59")]
        members = {f"{code}.csv": csv_text(line(time, code, price) for time in times) for code, price in prices.items()}
        deliver(folder / f"{year}_1min.zip", members, day)
    load_bars.ingest(dsn, folder, ["2023-12", "2024-01"], run_id="test", fanout=Fanout(1))


def stamps(folder: Path) -> Stamps:
    return {str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in folder.glob("*/*/bars.parquet")}


def exported(folder: Path) -> pl.DataFrame:
    found = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True).collect()
    return found.select("code", pl.exclude("code", "year")).sort("code", found.columns[0])


@pytest.mark.parametrize("freq", ["1m", "1w"])
def test_the_files_have_the_bars_in_partitions_of_year_and_code(dsn: str, tmp_path: Path, freq: Any) -> None:
    load(dsn, tmp_path / "in", {"sh600000": "10.00", "sz000001": "-3.21"})
    folder = tmp_path / "out"
    done = export.parquet(folder, Query(freq=freq), connection=dsn)
    bars = read.bars(freq=freq, connection=dsn)
    assert exported(folder).equals(bars)
    assert (done.rows, done.written) == (bars.height, len(stamps(folder)))
    if freq == "1m":
        codes = ("code=000001.SZ", "code=600000.SH")
        assert sorted(stamps(folder)) == [f"year={year}/{code}" for year in (2023, 2024) for code in codes]
    before = stamps(folder)
    again = export.parquet(folder, Query(freq=freq), connection=dsn)
    assert again == Report(unchanged=len(before))
    assert stamps(folder) == before


def test_only_what_changed_is_written_and_what_is_gone_is_removed(dsn: str, tmp_path: Path) -> None:
    source, folder, query = tmp_path / "in", tmp_path / "out", Query(freq="1d")
    load(dsn, source, {"sh600000": "10.00", "sz000001": "3.00"})
    export.parquet(folder, query, connection=dsn)
    before = stamps(folder)
    deliver(source / "2024_1min.zip", {"sh600000.csv": csv_text([line("2024-01-02 09:31:00", price="11.00")])}, 2)
    load_bars.ingest(dsn, source, ["2024-01"], run_id="test", fanout=Fanout(1))
    done = export.parquet(folder, query, connection=dsn, years=[2023])
    assert (done.written, done.unchanged, done.removed) == (0, 2, 0)
    done = export.parquet(folder, query, connection=dsn)
    assert (done.written, done.unchanged, done.removed) == (1, 2, 1)
    changed = {place for place, stamp in stamps(folder).items() if before[place] != stamp}
    assert changed == {"year=2024/code=600000.SH"}
    assert exported(folder).equals(read.bars(freq="1d", connection=dsn))
    with pytest.raises(UnknownName, match=r"600009\.SH"):
        export.parquet(folder, query, ["600009.SH"], connection=dsn)


def test_a_write_that_fails_leaves_the_old_file_and_is_repeated(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder, query = tmp_path / "in", tmp_path / "out", Query(freq="1d")
    load(dsn, source, {"sh600000": "10.00"})
    export.parquet(folder, query, connection=dsn)
    old = exported(folder)
    load(dsn, source, {"sh600000": "11.00"}, day=2)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="power"):
        patch.setattr(os, "fsync", _fails)
        export.parquet(folder, query, connection=dsn)
    assert exported(folder).equals(old)
    assert export.parquet(folder, query, connection=dsn).written == 2
    assert exported(folder)["close"].unique().to_list() == [11.0]
    assert list(folder.rglob("*.partial")) == []


def _fails(_: int) -> None:
    raise OSError("the power fails")


def test_a_folder_has_one_kind_of_bars_and_one_writer(dsn: str, tmp_path: Path) -> None:
    load(dsn, tmp_path / "in", {"sh600000": "10.00"})
    folder = tmp_path / "out"
    export.parquet(folder, Query(freq="1d"), connection=dsn)
    with pytest.raises(TerminalError, match="to another folder"):
        export.parquet(folder, Query(freq="5m"), connection=dsn)
    with (folder / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match="in progress"):
            export.parquet(folder, Query(freq="1d"), connection=dsn)


@pytest.fixture
def client(tables_client: Client) -> Client:
    """Ticks of two years of two stocks; the factors of one of them."""
    price = dict.fromkeys(("open", "high", "low", "close"), 10.0)
    rows = [{"trade_date": dt.date.fromisoformat(day), **price, "volume": 24_100, "amount": 241_000.0} for day in DAYS]
    for code in ("600000.SH", "000001.SZ"):
        put_ticks(tables_client, code, minutes_of(pl.DataFrame(rows)))
    put_factors(tables_client, "600000.SH", dict.fromkeys(DAYS, 1.0))
    return tables_client


def test_a_stock_without_factors_fails_alone(client: Client, tables_url: str, tmp_path: Path) -> None:
    done = export.parquet(tmp_path, Query("ticks", "1d", "back"), connection=tables_url)
    assert (done.written, list(done.failed)) == (2, ["000001.SZ"])
    assert "no factor of 000001.SZ for bars from 2023-12-28 to 2023-12-29" in done.failed["000001.SZ"]


def test_a_new_factor_rewrites_the_years_that_it_changes(client: Client, tables_url: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"codes": ["600000.SH"], "connection": tables_url}
    rewritten: dict[Any, int] = {"back": 1, "forward": 2, "none": 0}
    for adjust in rewritten:
        assert export.parquet(tmp_path / adjust, Query("ticks", "1d", adjust), **asked).written == 2
    client.command("ALTER TABLE adjust_factors DELETE WHERE date = '2024-01-03' SETTINGS mutations_sync = 2")
    put_factors(client, "600000.SH", {"2024-01-03": 2.0})
    for adjust, written in rewritten.items():
        done = export.parquet(tmp_path / adjust, Query("ticks", "1d", adjust), **asked)
        assert (done.written, done.unchanged) == (written, 2 - written)
        expected = read.bars("600000.SH", source="ticks", freq="1d", adjust=adjust, connection=client)
        assert exported(tmp_path / adjust).equals(expected)


def test_the_export_as_of_a_day_has_nothing_later(client: Client, tables_url: str, tmp_path: Path) -> None:
    as_of = dt.date(2024, 1, 2)
    query = Query("ticks", "1d", "forward", as_of=as_of)
    export.parquet(tmp_path, query, ["600000.SH"], connection=tables_url)
    assert exported(tmp_path)["date"].max() == as_of


def test_all_kinds_of_tables_are_followed(server_dsn: str, tmp_path: Path) -> None:
    """Rows of the daily table, which a flow may load, count by their values."""
    with fresh_postgres(server_dsn) as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("""CREATE TABLE stock_daily (code text, trade_date date, open numeric(16,4),
                high numeric(16,4), low numeric(16,4), close numeric(16,4), volume bigint, amount numeric(20,4));
                INSERT INTO stock_daily SELECT code, day::date, 1, 1, 1, 1, 100, 100 FROM unnest(ARRAY['sh600000',
                'bj920000']) code, generate_series(date '2023-12-28', '2024-01-05', interval '1 day') day""")
            query = Query("daily", "1d", "none")
            assert export.parquet(tmp_path, query, connection=dsn).written == 4
            connection.execute("UPDATE stock_daily SET close = 2 WHERE code = 'bj920000' AND trade_date = '2024-01-03'")
        assert export.parquet(tmp_path, query, connection=dsn) == Report(
            written=1, unchanged=3, rows=5, bytes=(tmp_path / "year=2024/code=920000.BJ/bars.parquet").stat().st_size
        )
        assert exported(tmp_path).equals(read.bars(source="daily", freq="1d", adjust="none", connection=dsn))

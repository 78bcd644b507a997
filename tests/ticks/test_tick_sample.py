"""The invented files: the shape of real ones, the same every time, read without a refused row."""

import asyncio
import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.records import FLAGS, Delivery
from marketdata_demo import sample_ticks
from tests.ticks.tick_clients import files_config

TODAY = dt.date(2025, 6, 17)
BOTH = Days(dt.date(2025, 4, 1), dt.date(2025, 5, 31))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> sample_ticks.Written:
    folder = tmp_path_factory.mktemp("sample")
    return sample_ticks.write(folder / "ticks", folder / "symbols.csv", TODAY)


@pytest.fixture(scope="module")
def deliveries(written: sample_ticks.Written) -> dict[str, Delivery]:
    files = Files(written.files[0].parent, files_config())
    return {symbol: asyncio.run(files.bars(symbol, BOTH)) for symbol in written.symbols}


@pytest.mark.slow
def test_bars_are_complete_but_for_what_the_report_says(
    written: sample_ticks.Written, deliveries: dict[str, Delivery]
) -> None:
    listings = dict(pl.read_csv(written.symbols_file, try_parse_dates=True).select("symbol", "listed").iter_rows())
    assert sum(delivery.rows.height for delivery in deliveries.values()) == written.bars
    for symbol, delivery in deliveries.items():
        assert (delivery.outcome, delivery.rejected) == ("ok", ())
        days = [day for day in ashares().trading_days(BOTH) if day >= listings[symbol]]
        days = [day for day in days if (symbol, day) not in written.suspended]
        assert delivery.rows["ts"].to_list() == [time for day in days for time in ashares().labels(day, "end")]
    assert len(written.suspended) == 1
    assert min(listings.values()) < BOTH.first < max(listings.values())


def test_bars_are_plausible(deliveries: dict[str, Delivery]) -> None:
    bars = pl.concat([delivery.rows for delivery in deliveries.values()])
    flags = bars.group_by("flags").len()
    assert set(flags["flags"]) == {0, FLAGS["zero_volume"]}
    traded = bars.filter(pl.col("volume") > 0)
    average = traded["turnover"] / traded["volume"]
    assert ((average >= traded["low"] - 0.01) & (average <= traded["high"] + 0.01)).all()
    assert bars["close"].round(2).equals(bars["close"])
    assert (bars["volume"] % 100 == 0).all()
    daily = bars.group_by("symbol", pl.col("ts").dt.date(), maintain_order=True).agg(pl.last("close"))
    moves = daily.select((pl.col("close") / pl.col("close").shift(1).over("symbol") - 1).abs()).to_series().drop_nulls()
    assert 0.002 < moves.median() < moves.max() < 0.1  # type: ignore[operator]


def test_prices_stay_while_nobody_trades(deliveries: dict[str, Delivery]) -> None:
    bars = deliveries["929001.BJ"].rows
    silent = bars.with_columns(before=pl.col("close").shift(1)).filter(pl.col("volume") == 0)
    assert silent.height > 100
    stays = pl.all_horizontal(pl.col(name) == pl.col("before") for name in ("open", "high", "low", "close"))
    assert silent.select(stays.all()).item()


def test_books_of_the_last_day_are_read_without_a_refused_row(written: sample_ticks.Written) -> None:
    files = Files(written.files[0].parent, files_config())
    last = ashares().trading_days(BOTH)[-1]
    found = [asyncio.run(files.books(symbol, Days(last, last))) for symbol in written.symbols]
    assert {delivery.rejected for delivery in found} == {()}
    books = pl.concat([delivery.rows for delivery in found])
    assert books.height == written.books
    both = books.filter(pl.col("ask_price").list.len() > 0)
    assert 0 < books.height - both.height < 30
    assert (both["bid_price"].list.first() < both["ask_price"].list.first()).all()
    assert (books["bid_price"].list.len() == sample_ticks.BOOK_DEPTH).all()


def test_equal_arguments_give_equal_files_that_are_written_once(tmp_path: Path, written: sample_ticks.Written) -> None:
    again = sample_ticks.write(tmp_path / "ticks", tmp_path / "symbols.csv", TODAY)
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in written.files]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert sample_ticks.write(tmp_path / "ticks", tmp_path / "symbols.csv", TODAY) == again
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    other = sample_ticks.write(tmp_path / "other", tmp_path / "other.csv", TODAY, seed=8)
    assert other.files[0].read_bytes() != written.files[0].read_bytes()


def test_a_day_is_the_same_whatever_else_is_written() -> None:
    days = ashares().trading_days(BOTH)
    whole = sample_ticks.stock_bars(sample_ticks.STOCKS[0], days)
    alone = sample_ticks.stock_bars(sample_ticks.STOCKS[0], days[7:8])
    assert whole.filter(pl.col("ts").str.starts_with(str(days[7]))).equals(alone)


@pytest.mark.parametrize(
    ("today", "months"), [(TODAY, ["2025-04", "2025-05"]), (dt.date(2026, 1, 31), ["2025-11", "2025-12"])]
)
def test_the_last_whole_months_are_written(today: dt.date, months: list[str]) -> None:
    assert sample_ticks.last_months(today) == months

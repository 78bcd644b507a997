"""The sample minute bars: they move as A-shares do, and the same arguments give the same bars."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marketdata_assets.bars.layout import COLUMNS
from marketdata_demo import sample_bars

DAYS = [*sample_bars.weekdays(2024), *sample_bars.weekdays(2025)]


@pytest.fixture(scope="module", params=[code for code, _ in sample_bars.STOCKS])
def stock(request: pytest.FixtureRequest) -> tuple[str, pl.DataFrame]:
    """Two years of a stock, from two files, without a dividend; prices in cents."""
    code = request.param
    years = [sample_bars.stock_year(code, "示例", sample_bars.weekdays(year), 7) for year in (2024, 2025)]
    return code, cents(pl.concat(years))


def cents(frame: pl.DataFrame) -> pl.DataFrame:
    prices = ["open", "high", "low", "close"]
    named = frame.rename(COLUMNS).with_columns(pl.col("time").str.to_datetime())
    exact = named.select(pl.col(prices) * 100).to_numpy()
    assert np.abs(exact - np.rint(exact)).max() < 1e-6
    return named.with_columns(pl.col(prices).mul(100).round().cast(pl.Int64), day=pl.col("time").dt.date())


def daily(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.group_by("day", maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )


def test_every_price_is_within_the_limits_of_the_day_also_from_one_file_to_the_next(
    stock: tuple[str, pl.DataFrame],
) -> None:
    code, bars = stock
    days = daily(bars)
    before = days["close"].to_list()
    for (day, _, high, low, *_), close in zip(days.rows()[1:], before, strict=False):
        lowest, highest = sample_bars.price_limits(code, day, close)
        assert lowest <= low <= high <= highest, day


def test_bars_are_consistent(stock: tuple[str, pl.DataFrame]) -> None:
    _, bars = stock
    assert bars.height == 241 * len(DAYS)
    low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    assert bars.filter((pl.col("low") > low) | (pl.col("high") < high) | (pl.col("low") < 1)).is_empty()
    paid = pl.col("amount")
    assert bars.filter(
        (paid < pl.col("low") * pl.col("volume")) | (paid > pl.col("high") * pl.col("volume"))
    ).is_empty()
    within = bars.filter(pl.col("time").dt.time() != dt.time(9, 30), pl.col("day") == pl.col("day").shift(1))
    assert within.filter(pl.col("open") != pl.col("close").shift(1).over("day")).is_empty()


def test_little_is_traded_at_midday_and_nothing_moves_where_nothing_is(stock: tuple[str, pl.DataFrame]) -> None:
    code, bars = stock
    quiet = bars.filter(pl.col("volume") == 0)
    assert quiet.filter((pl.col("high") != pl.col("low")) | (pl.col("amount") != 0)).is_empty()
    assert (quiet.height > 0.05 * bars.height) == code.startswith("bj")
    usual = bars["volume"].to_numpy().reshape(-1, 241).mean(axis=0)
    midday = usual[90:110].mean()
    assert usual[[-3, -2]].sum() == 0, "the closing auction collects orders"
    assert (usual[1:6].mean() > 2 * midday, usual[230:236].mean() > 1.3 * midday, usual[-1] > 2 * midday) == (True,) * 3


def test_daily_returns_are_a_walk_with_gaps_overnight_and_days_at_the_limit() -> None:
    returns, gaps, sealed = [], [], 0
    for code, _ in sample_bars.STOCKS:
        days = daily(cents(sample_bars.stock_year(code, "示例", sample_bars.weekdays(2024), 7)))
        close = days["close"].to_numpy()
        returns.append(np.diff(np.log(close)))
        gaps.append(np.log(days["open"].to_numpy()[1:] / close[:-1]))
        for day, before, now in zip(days["day"][1:], close, close[1:], strict=False):
            sealed += int(now) in sample_bars.price_limits(code, day, int(before))
    moves = np.concatenate(returns)
    assert 0.015 < moves.std() < 0.03
    assert abs(np.corrcoef(moves[:-1], moves[1:])[0, 1]) < 0.1
    assert abs(np.corrcoef(np.stack(returns))[np.triu_indices(len(returns), 1)]).mean() < 0.1
    assert 0.003 < np.concatenate(gaps).std() < 0.02
    assert sealed > 0


def test_a_dividend_moves_prices_alone() -> None:
    days = sample_bars.weekdays(2024)[:20]
    raw, adjusted = (cents(sample_bars.stock_year("sh600001", "示例", days, 7, dividend)) for dividend in (0.0, 40.0))
    assert raw.select("volume", "amount").equals(adjusted.select("volume", "amount"))
    for name in ("open", "high", "low", "close"):
        assert (raw[name] - adjusted[name]).unique().to_list() == [4000]


def test_the_same_arguments_give_the_same_bars_and_more_days_leave_them_as_they_are(tmp_path: Path) -> None:
    days = sample_bars.weekdays(2024)[:80]
    whole = sample_bars.stock_year("bj920001", "示例", days, 7)
    for count in (1, 2, 60):
        assert sample_bars.stock_year("bj920001", "示例", days[:count], 7).equals(whole.head(241 * count))
    first, again, other = (
        sample_bars.write_year(tmp_path / name, 2024, until=dt.date(2024, 1, 5), seed=seed).read_bytes()
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )
    assert first == again != other


def test_until_2020_the_limit_of_chinext_is_that_of_the_main_boards() -> None:
    assert sample_bars.price_limits("sz300001", dt.date(2020, 8, 21), 1000) == (900, 1100)
    assert sample_bars.price_limits("sz300001", dt.date(2020, 8, 24), 1000) == (800, 1200)
    assert sample_bars.price_limits("bj920001", dt.date(2024, 1, 2), 1005) == (704, 1307)

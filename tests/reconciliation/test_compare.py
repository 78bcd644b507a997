"""Sources that say the same in their own units agree, and each value that differs is named."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.bars.bases import FACTORS
from marketdata_assets.reconciliation.compare import BARS, DAILY, DAYS, TICKS, disagreements
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days

DATES = ashares().trading_days(Days(dt.date(2026, 3, 2), dt.date(2026, 3, 20)))
SYMBOL = "600000.SH"
NOTHING = DAYS.to_frame()
CONSTANT = pl.DataFrame([(SYMBOL, dt.date(2026, 1, 5), 2.0)], FACTORS, orient="row")

Found = tuple[str, dt.date, Any, str, Any]


def raw(price: float = 20.0, symbol: str = SYMBOL) -> pl.DataFrame:
    """Days that rise by 0.1 yuan each."""
    rows = []
    for number, day in enumerate(DATES):
        close = round(price + 0.1 * number, 2)
        volume = 1_000_000.0 + 100 * number
        rows.append((symbol, day, None, close - 0.05, close + 0.2, close - 0.3, close, volume, volume * close))
    return pl.DataFrame(rows, DAYS, orient="row")


def adjusted(days: pl.DataFrame, ratio: float = 0.5) -> pl.DataFrame:
    """The same as minute bars show it: other prices, to the cent, and lots."""
    prices = (pl.col(name) * ratio for name in ("open", "high", "low", "close"))
    lots = (pl.col("volume") / 100).round() * 100
    return days.with_columns(*(price.round(2) for price in prices), volume=lots, bars=pl.lit(241, pl.Int64))


def changed(days: pl.DataFrame, number: int, **values: float) -> pl.DataFrame:
    here = pl.col("date") == DATES[number]
    return days.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    )


def found(
    bars: pl.DataFrame = NOTHING,
    ticks: pl.DataFrame = NOTHING,
    daily: pl.DataFrame = NOTHING,
    factors: pl.DataFrame = CONSTANT,
) -> list[Found]:
    rows = disagreements(bars, ticks, daily, factors)
    return list(rows.select("field", "date", "value", "other_source", "other_value").iter_rows())


@given(ratio=st.sampled_from([1.0, 0.5, 0.137, 1.8]), price=st.floats(5, 900), ex=st.integers(1, len(DATES) - 1))
def test_the_same_days_agree_in_any_units(ratio: float, price: float, ex: int) -> None:
    """Minute bars on another base, with an ex-dividend day on which the traded price falls."""
    days = raw(round(price, 2))
    factors = pl.DataFrame([(SYMBOL, DATES[0], 2.0), (SYMBOL, DATES[ex], 2.5)], FACTORS, orient="row")
    fall = pl.when(pl.col("date") >= DATES[ex]).then(0.8).otherwise(1.0)
    prices = ("open", "high", "low", "close")
    traded = days.with_columns((pl.col(name) * fall).round(2) for name in prices)
    assert found(adjusted(days, ratio), traded, traded, factors) == []
    assert found(adjusted(days, ratio), traded, factors=factors) == []


@pytest.mark.parametrize(
    ("field", "value", "tolerated"),
    [
        ("close", 20.34, 20.305),
        ("high", 20.7, 20.5),
        ("low", 19.5, 20.0),
        ("open", 20.0, 20.25),
        ("volume", 1_003_000.0, 1_000_900.0),
        ("turnover", 20_400_000.0, 20_310_000.0),
    ],
)
def test_a_value_that_differs_is_named_once(field: str, value: float, tolerated: float) -> None:
    daily, ticks = raw(), changed(raw(), 3, **{field: value})
    [(name, day, ours, other_source, theirs)] = found(ticks=ticks, daily=daily)
    assert (name, day, ours, other_source) == (field, DATES[3], value, DAILY)
    assert theirs == daily[field][3]
    assert found(ticks=changed(raw(), 3, **{field: tolerated}), daily=daily) == []


def test_bars_are_compared_with_ticks_where_there_is_no_daily_file() -> None:
    bars = adjusted(changed(raw(), 2, volume=2_000_000.0))
    assert [row[:2] for row in found(bars, raw())] == [("volume", DATES[2])]
    rows = disagreements(bars, raw(), raw(), CONSTANT)
    assert rows.select("source", "other_source").rows() == [(BARS, DAILY)]
    assert disagreements(bars, raw(), NOTHING, CONSTANT).select("source", "other_source").rows() == [(BARS, TICKS)]


def test_prices_of_bars_are_rebased_and_then_compared() -> None:
    bars = changed(adjusted(raw()), 4, high=11.0)
    [(field, day, value, _, other)] = found(bars, daily=raw())
    assert (field, day, value, other) == ("high", DATES[4], pytest.approx(22.0), pytest.approx(20.6))


@pytest.mark.parametrize(("factors", "shift"), [(FACTORS.to_frame(), 0.0), (CONSTANT, 15.0)])
def test_prices_that_cannot_be_rebased_are_left_out(factors: pl.DataFrame, shift: float) -> None:
    """Without factors, and with dividends subtracted below zero; volume is compared all the same."""
    prices = (pl.col(name) - shift for name in ("open", "high", "low", "close"))
    bars = changed(adjusted(raw()).with_columns(prices), 4, high=11.0, volume=1.0)
    assert [row[0] for row in found(bars, daily=raw(), factors=factors)] == ["volume"]


def test_a_day_that_one_source_lacks_is_a_disagreement_between_days_that_both_have() -> None:
    lacking = raw().filter(pl.col("date") != DATES[5])
    assert found(ticks=lacking, daily=raw()) == [("volume", DATES[5], None, DAILY, 1_000_500.0)]
    assert found(ticks=raw(), daily=lacking) == [("volume", DATES[5], 1_000_500.0, DAILY, None)]
    assert found(ticks=raw()[3:], daily=raw()[:-2]) == []
    assert found(ticks=lacking, daily=changed(raw(), 5, volume=0.0)) == []


def test_symbols_that_one_source_has_are_not_compared() -> None:
    assert found(ticks=raw(symbol="000001.SZ"), daily=raw()) == []

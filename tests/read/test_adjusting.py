"""Adjusted prices against a series computed by hand: a split, dividends and a rights issue."""

import datetime as dt
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.read.adjusting import FACTORS, adjusted
from marketdata_assets.read.errors import MissingFactors, OddValue, UnknownColumn

CODE = "600000.SH"
FIRST = dt.date(2024, 1, 1)
# Each event changes the closing price of the day before to the price at which nobody gains or loses:
# day 1  a split, 10 new shares for 10     10.00 -> 10.00 / 2                        =  5.00
# day 3  a dividend of 0.50                 5.00 ->  5.00 - 0.50                     =  4.50
# day 4  rights, 3 for 10 at 3.00           4.50 -> (4.50 + 0.3 * 3.00) / 1.3        =  4.153846...
# day 6  a dividend of 0.20 and 5 for 10    4.20 -> (4.20 - 0.20) / 1.5              =  2.666666...
CLOSES = ["10.00", "5.00", "5.00", "4.50", "4.20", "4.20", "2.80"]
FACTOR = {1: Fraction(2), 3: Fraction(2) * 10 / 9, 4: Fraction(65, 27), 6: Fraction(65, 27) * Fraction(63, 40)}
# The wealth of someone who held one share from day 0 and put every dividend and right back into the stock at the price
# of that moment: 1, 2, 2, 20/9, 65/27, 65/27 and 91/24 shares, times the close.
WEALTH = [
    Fraction(10),
    Fraction(10),
    Fraction(10),
    Fraction(10),
    Fraction(65, 27) * Fraction("4.2"),
    Fraction(65, 27) * Fraction("4.2"),
    Fraction(91, 24) * Fraction("2.8"),
]
AS_OF_3 = ["4.50", "4.50", "4.50", "4.50"]
"""Forward-adjusted as of day 3, by hand: (10.00 / 2) * 0.9, 5.00 * 0.9, 5.00 * 0.9, 4.50."""


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def factors(rows: Any = None, code: str = CODE) -> pl.DataFrame:
    found = {0: Fraction(1), **FACTOR} if rows is None else rows
    data = [(code, day(number), float(factor)) for number, factor in found.items()]
    return pl.DataFrame(data, schema=FACTORS, orient="row")


def bars(count: int = len(CLOSES), code: str = CODE) -> pl.DataFrame:
    rows = [(code, day(number), float(close), 100) for number, close in enumerate(CLOSES[:count])]
    return pl.DataFrame(rows, schema=["code", "date", "close", "volume"], orient="row")


def test_back_adjusted_prices_are_the_wealth_of_a_holder() -> None:
    found = adjusted(bars(), factors(), "back")
    assert found["close"].to_list() == pytest.approx([float(one) for one in WEALTH], rel=1e-12)
    assert found["volume"].to_list() == [100] * len(CLOSES)


def test_forward_adjusted_prices_end_at_the_price_of_the_as_of_day() -> None:
    found = adjusted(bars(4), factors(), "forward", day(3))
    assert found["close"].to_list() == pytest.approx([float(one) for one in AS_OF_3], rel=1e-12)
    newest = adjusted(bars(), factors(), "forward")
    assert newest["close"].to_list()[-1] == 2.8
    assert newest["close"].to_list() == pytest.approx([float(one / WEALTH[-1]) * 2.8 for one in WEALTH], rel=1e-12)


def test_unadjusted_prices_are_as_traded() -> None:
    found = adjusted(bars(), factors({}), "none")
    assert (found["close"].to_list(), found["factor"].unique().to_list()) == ([float(one) for one in CLOSES], [1.0])


@given(later=st.dictionaries(st.integers(4, 9), st.floats(0.1, 10)), as_of=st.integers(0, 3))
def test_nothing_after_the_as_of_day_matters(later: dict[int, float], as_of: int) -> None:
    known = {number: factor for number, factor in {0: Fraction(1), **FACTOR}.items() if number <= as_of}
    expected = adjusted(bars(as_of + 1), factors(known), "forward", day(as_of))
    for more in (later, FACTOR):
        assert adjusted(bars(as_of + 1), factors(more | known), "forward", day(as_of)).equals(expected)


def test_stocks_are_adjusted_apart_and_minutes_by_their_day() -> None:
    both = pl.concat([bars(2), bars(2, "000001.SZ")]).sort("code", "date")
    known = pl.concat([factors(), factors({0: 3.0}, "000001.SZ")])
    by_minute = both.select(
        "code", (pl.col("date").cast(pl.Datetime("us")) + pl.duration(hours=15)).alias("time"), "close"
    )
    for one in (both, by_minute):
        assert adjusted(one, known, "back")["close"].to_list() == [30.0, 15.0, 10.0, 10.0]
    assert adjusted(both, known, "forward", day(1))["factor"].to_list() == [1.0, 1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("rows", "known", "words"),
    [
        ({}, None, r"of 600000\.SH for bars from 2024-01-01 to 2024-01-07.*adjust_factors.*factors="),
        ({2: 1.0}, None, "from 2024-01-01 to 2024-01-02"),
        ({0: 1.0}, [day(number) for number in range(5)], "from 2024-01-06 to 2024-01-07"),
    ],
)
def test_an_unknown_factor_is_an_error_and_never_one(rows: Any, known: Any, words: str) -> None:
    with pytest.raises(MissingFactors, match=words):
        adjusted(bars(), factors(rows), "forward", known=known)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_no_factor_is_named(factor: float) -> None:
    odd = pl.DataFrame([(CODE, FIRST, factor)], schema=FACTORS, orient="row")
    with pytest.raises(OddValue, match=r"600000\.SH on 2024-01-01 is not a number above 0"):
        adjusted(bars(), odd, "back")
    with pytest.raises(UnknownColumn, match="adj_factor"):
        adjusted(bars(), odd.drop("adj_factor"), "back")

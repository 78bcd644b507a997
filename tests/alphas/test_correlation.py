"""Correlations of daily returns against an oracle of plain Python, with gaps, windows and series that are unusable."""

import datetime as dt
import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.alphas import correlation
from marketdata_assets.alphas.correlation import daily_returns, strongest

DAY = dt.date(2020, 1, 1)
Series = dict[dt.date, float | None]


def oracle(first: Series, second: Series, start: dt.date) -> tuple[float | None, int]:
    """Pearson's correlation of the returns of common days after `start`, and how many days these are."""

    def returns(series: Series) -> dict[dt.date, float]:
        known = [(day, pnl) for day, pnl in sorted(series.items()) if pnl is not None]
        return {day: pnl - before for (_, before), (day, pnl) in pairwise(known) if day > start}

    one, other = returns(first), returns(second)
    days = sorted(one.keys() & other.keys())
    if len(days) < 2:
        return None, len(days)
    x, y = [one[day] for day in days], [other[day] for day in days]
    x, y = [value - fmean(x) for value in x], [value - fmean(y) for value in y]
    spread = math.sqrt(math.fsum(value**2 for value in x) * math.fsum(value**2 for value in y))
    return (math.fsum(a * b for a, b in zip(x, y, strict=True)) / spread if spread else None), len(days)


def rows(alphas: dict[str, Series]) -> list[tuple[str, Sequence[str], Sequence[float | None]]]:
    return [
        (name, [f"{day}" for day in sorted(one)], [one[day] for day in sorted(one)]) for name, one in alphas.items()
    ]


PNL = st.none() | st.integers(-1000, 1000).map(float)
ALPHAS = st.lists(st.dictionaries(st.integers(0, 25), PNL, min_size=3, max_size=20), min_size=2, max_size=7)


@given(ALPHAS)
def test_correlations_are_those_of_common_days(drawn: list[dict[int, float | None]]) -> None:
    alphas = {
        f"A{number}": {DAY + dt.timedelta(days=day): pnl for day, pnl in one.items()}
        for number, one in enumerate(drawn)
    }
    found = daily_returns(rows(alphas))
    values, days = correlation.correlations(found.values, found.values, least_days=2)
    for row, name in enumerate(found.ids):
        for column, other in enumerate(found.ids):
            wanted, common = oracle(alphas[name], alphas[other], dt.date.min)
            assert days[row, column] == common
            if wanted is None:
                assert math.isnan(values[row, column])
            else:
                assert values[row, column] == pytest.approx(wanted, abs=1e-9)


def test_a_gap_gives_the_day_after_it_the_whole_change() -> None:
    found = daily_returns([("A", ["2024-01-02", "2024-01-03", "2024-01-05"], [1.0, None, 5.0])])
    assert ([f"{day}" for day in found.days], found.values.tolist()) == (["2024-01-05"], [[4.0]])


def test_days_are_of_the_last_years_of_all_alphas() -> None:
    """From the newest day of any alpha; that of a leap day is the 28th."""
    long = [("A", ["2020-02-27", "2020-02-28", "2020-02-29", "2024-02-29"], [0.0, 1.0, 3.0, 9.0])]
    assert [f"{day}" for day in daily_returns(long).days] == ["2024-02-29"]
    assert [f"{day}" for day in daily_returns(long, years=1).days] == ["2024-02-29"]
    assert [
        f"{day}" for day in daily_returns([("A", ["2020-02-27", "2020-02-29", "2023-02-28"], [0.0, 1.0, 3.0])], 3).days
    ] == [
        "2020-02-29",
        "2023-02-28",
    ]
    older = ("B", ["2019-01-02", "2019-01-03"], [0.0, 1.0])
    both = daily_returns([*long, older])
    assert both.ids == ("A", "B")
    assert np.isnan(both.values[1]).all()


DAYS = [f"2024-01-{day:02d}" for day in range(1, 32)]


@pytest.mark.parametrize(
    ("dates", "pnl", "cause"),
    [
        (["2024-01-02", "yesterday"], [1.0, 2.0], "cannot be read"),
        (["2024-01-02", "2024-01-03"], [1.0, "much"], "cannot be read"),
        (["2024-01-02"], [1.0, 2.0], "not as many"),
        (["2024-01-03", "2024-01-02"], [1.0, 2.0], "do not ascend"),
        (["2024-01-02", "2024-01-02"], [1.0, 2.0], "do not ascend"),
        (["2024-01-02", None], [1.0, 2.0], "do not ascend"),
        (["2024-01-02", "2024-01-03"], [1.0, None], "fewer than two days"),
        ([], [], "fewer than two days"),
        (["2024-01-02", "2024-01-03", "2999-01-01"], [1.0, 2.0, 0.0], "PnL of a day to come: 2999-01-01"),
        (DAYS, [7.0] * len(DAYS), "constant"),
        (DAYS, [0.1 * day for day in range(len(DAYS))], "constant"),
    ],
)
def test_series_that_cannot_be_used_are_left_out_by_name(dates: list[str], pnl: list[float], cause: str) -> None:
    found = daily_returns([("A", dates, pnl), ("B", ["2024-01-02", "2024-01-03"], [0.0, 1.0])])
    assert (found.ids, [f"{day}" for day in found.days]) == (("B",), ["2024-01-03"])
    assert cause in found.left_out["A"]


def test_few_common_days_and_constant_returns_have_no_correlation() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(3, 100))
    values[1] = 7.7
    values[2, 59:] = np.nan
    assert np.isnan(correlation.correlations(values, values)[0])[np.triu_indices(3, 1)].all()
    found, days = correlation.correlations(values, values, least_days=59)
    assert days[0, 2] == 59
    assert found[0, 2] == pytest.approx(np.corrcoef(values[0, :59], values[2, :59])[0, 1])


def test_the_strongest_of_a_pool_are_those_of_the_whole_matrix() -> None:
    """Also in blocks of two alphas; an alpha is not compared with itself."""
    random = np.random.default_rng(2)
    values = random.normal(size=(9, 300)) + random.normal(size=300)
    values[3:6, 40:60] = np.nan
    days = np.arange(300).astype("datetime64[D]")
    alphas = correlation.Returns(tuple("ABCDEFGHI"), days, values)
    whole, common = correlation.correlations(values, values)
    pool = alphas.of("BCDEFGHZ")
    assert pool.ids == tuple("BCDEFGH")
    for row, one in enumerate(strongest(alphas, pool, top=3, block=14)):
        others = [column for column in range(1, 8) if column != row]
        order = sorted(others, key=lambda column: -whole[row, column])
        assert one.id == alphas.ids[row]
        assert one.others == tuple(alphas.ids[column] for column in order[:3])
        assert one.correlations == pytest.approx([whole[row, column] for column in order[:3]], abs=1e-12)
        assert one.days == tuple(common[row, column] for column in order[:3])
        assert (one.compared, one.greatest) == (len(others), pytest.approx(whole[row, order[0]]))
        assert one.least == pytest.approx(whole[row, order[-1]])
    assert [one.left_out for one in strongest(alphas.of("A"), pool, least_days=290)] == [
        dict.fromkeys("DEF", "fewer than 290 common days")
    ]
    alone = list(strongest(alphas.of("A"), alphas.of("A")))
    assert [(one.compared, one.greatest, one.others) for one in alone] == [(0, None, ())]
    assert list(strongest(alphas.of(""), alphas)) == []

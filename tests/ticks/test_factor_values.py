"""Factors by their definitions, and in polars: two computations of the same bars."""

import datetime as dt
import itertools
import math
import statistics

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import records
from marketdata_assets.ticks.factor_sql import COMPUTED, computed, differences, recomputed, window
from marketdata_assets.ticks.reports import Unit
from tests.examples import FEW
from tests.ticks.factor_bars import (
    FEBRUARY,
    JANUARY,
    MONTH,
    OTHER,
    SYMBOL,
    UNITS,
    Bar,
    Computer,
    day_of,
    factors,
    flat,
    months,
    stand,
    values,
    weekdays,
)


def test_the_four_factors_are_what_their_definitions_say(client: Client, compute_all: Computer) -> None:
    closes = [10.0, 10.1, 10.05, 10.2, 10.2, 10.1, 10.3, 10.25, 10.4, 10.5]
    bars: list[Bar] = [
        (close, 200 + 10 * number, close * (200 + 10 * number) + 5) for number, close in enumerate(closes)
    ]
    stand(client, months(d20260202=bars))
    report = compute_all([UNITS[0]])
    assert [(unit.outcome, unit.provider, unit.error) for unit in report.units] == [("ok", "tick_data", None)]
    day = FEBRUARY[0]
    shares = sum(bar[1] or 0 for bar in bars)
    vwap = sum(bar[2] or 0 for bar in bars) / shares
    returns = [after / before - 1 for before, after in itertools.pairwise(closes)]
    assert values(client, "daily_return")[day] == pytest.approx(0.05)
    assert values(client, "volatility")[day] == pytest.approx(statistics.stdev(returns))
    assert values(client, "volume_ratio")[day] == pytest.approx(shares / 1200)
    assert values(client, "vwap_deviation")[day] == pytest.approx(10.5 / vwap - 1)
    assert values(client, "daily_return")[FEBRUARY[1]] == pytest.approx(10 / 10.5 - 1)
    assert set(factors(client)["factor"]) == set(COMPUTED)
    assert set(factors(client)["date"]) == set(FEBRUARY)


ABSENT: list[tuple[list[Bar], set[str]]] = [
    (flat(10.0, count=9), set(COMPUTED)),
    ([(None, 100, 1000.0)] * 5 + flat(10.0, count=9), set(COMPUTED)),
    ([(10.0, None, 1000.0), *flat(10.0)], {"volume_ratio", "vwap_deviation"}),
    ([(10.0, 100, None), *flat(10.0)], {"vwap_deviation"}),
    ([(10.0, 0, None), *flat(10.0)], set()),
    (flat(10.0, 0), {"vwap_deviation"}),
    ([(0.0, 100, 0.0), *flat(10.0)], {"volatility"}),
    ([*flat(10.0), (-1.0, 100, -100.0)], {"volatility", "daily_return", "vwap_deviation"}),
]
"""The bars of a day, and the factors that it has not."""


def test_what_cannot_be_computed_is_absent(client: Client, compute_all: Computer) -> None:
    symbols = {f"60000{number}.SH": case for number, case in enumerate(ABSENT)}
    stand(client, [frame for symbol, (bars, _) in symbols.items() for frame in months(symbol, d20260210=bars)])
    compute_all([Unit(symbol, MONTH) for symbol in symbols])
    found = factors(client).filter(pl.col("date") == dt.date(2026, 2, 10))
    for symbol, (bars, absent) in symbols.items():
        assert set(COMPUTED) - set(found.filter(symbol=symbol)["factor"]) == absent, bars


def test_days_before_a_month_count_and_those_without_bars_are_stepped_over_up_to_five(
    client: Client, compute_all: Computer
) -> None:
    before, four, five = "600000.SH", "600001.SH", "600002.SH"
    gone: dict[str, list[Bar]] = {f"d2026020{day}": [] for day in (4, 5, 6, 9)}
    frames = [
        *months(before, d20260130=flat(8.0, 700)),
        *months(four, d20260203=flat(8.0), **gone),
        *months(five, d20260203=[], **gone),
    ]
    stand(client, frames)
    compute_all([Unit(symbol, MONTH) for symbol in (before, four, five)])
    assert values(client, "daily_return", before)[FEBRUARY[0]] == pytest.approx(0.25)
    ratios = values(client, "volume_ratio", before)
    assert [ratios[day] for day in FEBRUARY[:6]] == pytest.approx([100 / 220] * 5 + [1.0])
    # A return is that since the last day with bars, a volume is compared with that of five days in a row.
    assert values(client, "daily_return", four)[dt.date(2026, 2, 10)] == pytest.approx(0.25)
    without = {dt.date(2026, 2, day) for day in (4, 5, 6, 9, 10, 11, 12, 13, 16)}
    assert set(FEBRUARY) - set(values(client, "volume_ratio", four)) == without
    assert dt.date(2026, 2, 10) not in values(client, "daily_return", five)
    assert dt.date(2026, 2, 11) in values(client, "daily_return", five)


def test_bars_outside_the_session_are_no_part_of_a_day(client: Client, compute_all: Computer) -> None:
    night = [
        day_of(SYMBOL, day, [(55.0, 900, 1.0)] * 12, flags=records.FLAGS["outside_session"]).with_columns(
            pl.col("ts") + dt.timedelta(hours=12)
        )
        for day in (FEBRUARY[3], FEBRUARY[4])
    ]
    alone = f"d{FEBRUARY[4]:%Y%m%d}"
    stand(client, [*months(**{alone: []}), *months(OTHER, **{alone: []}), *night])
    compute_all()
    mine, other = (factors(client, symbol).drop("symbol") for symbol in (SYMBOL, OTHER))
    assert mine.equals(other)
    frames = pl.concat([*months(**{alone: []}), *night])
    assert differences(factors(client, SYMBOL), recomputed(frames, window(MONTH, weekdays), FEBRUARY[0])).is_empty()


BARS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-1, 20).map(lambda x: round(x, 2))),
        st.one_of(st.none(), st.integers(0, 10**6)),
        st.one_of(st.none(), st.floats(0, 1e7).map(lambda x: round(x, 2))),
    ),
    max_size=16,
)


@FEW
@given(st.lists(BARS, min_size=14, max_size=14))
def test_query_and_polars_agree_on_any_bars(client: Client, drawn: list[list[Bar]]) -> None:
    days = [*JANUARY[-6:], *FEBRUARY[:8]]
    frames = [day_of(SYMBOL, day, bars) for day, bars in zip(days, drawn, strict=True)]
    client.command("TRUNCATE TABLE tick_data")
    if any(frame.height for frame in frames):
        clickhouse.insert(client, "tick_data", pl.concat(frames))
    actual = computed(client, [SYMBOL], MONTH, weekdays)
    expected = recomputed(pl.concat(frames), window(MONTH, weekdays), FEBRUARY[0])
    assert differences(actual, expected).rows() == []
    assert all(math.isfinite(value) for value in actual["value"])


def test_differences_are_found() -> None:
    one = pl.DataFrame(
        {"symbol": [SYMBOL] * 3, "date": FEBRUARY[:3], "factor": ["volatility"] * 3, "value": [1.0, 2.0, 3.0]}
    )
    other = one.with_columns(value=pl.Series([1.0, 2.0 + 1e-6, 3.0])).slice(0, 2)
    assert differences(one, one).is_empty()
    assert differences(one, other).select("date", "value", "expected").rows() == [
        (FEBRUARY[1], 2.0, 2.000001),
        (FEBRUARY[2], 3.0, None),
    ]

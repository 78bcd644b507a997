"""Longer bars against a plain loop over the minutes, whatever the provider's label and the hour of a row."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.read.resampling import MINUTES, VALUES, Frequency, of_days, of_minutes, times_of_day
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Label

DAY = dt.date(2024, 1, 2)
ENDS = [
    dt.datetime.combine(DAY, start) + dt.timedelta(minutes=n)
    for start in (dt.time(9, 30), dt.time(13))
    for n in range(1, 121)
]
"""The ends of the 240 minutes of a day."""
AUCTION = dt.datetime(2024, 1, 2, 9, 30)
SCHEMA = {"code": pl.String, "time": pl.Datetime("us"), "label": pl.String, **dict.fromkeys(VALUES, pl.Float64)}
Row = dict[str, Any]


def frame(rows: list[Row]) -> pl.DataFrame:
    plain = {"code": "600000.SH", "label": "end", **dict.fromkeys(("open", "high", "low", "close"), 10.0)}
    filled = [plain | {"volume": 100, "amount": 1000.0} | row for row in rows]
    return pl.DataFrame(filled, schema=SCHEMA).with_columns(pl.col("volume").cast(pl.Int64))


def by_hand(bars: list[Row], freq: Frequency, label: Label) -> list[Row]:
    """The periods, one after the other, each with the minutes that end in it."""
    step, found = MINUTES[freq], []
    for at in range(0, 240, step):
        ends = ENDS[at : at + step]
        inside = [row for row in bars if row["time"] in ends or (at == 0 and row["time"] == AUCTION)]
        if inside:
            row = {name: [one[name] for one in inside if one[name] is not None] for name in VALUES}
            time = ends[-1] if label == "end" else ends[0] - dt.timedelta(minutes=1)
            first, last = row["open"][:1] or [None], row["close"][-1:] or [None]
            found.append(
                {"code": "600000.SH", "time": time, "open": first[0], "close": last[0]}
                | {"high": max(row["high"], default=None), "low": min(row["low"], default=None)}
                | {name: sum(row[name]) if row[name] else None for name in ("volume", "amount")}
            )
    return found


values = st.integers(1, 1000) | st.none()
minute_rows = st.dictionaries(
    st.sampled_from([AUCTION, *ENDS]), st.fixed_dictionaries(dict.fromkeys(VALUES, values)), min_size=1, max_size=60
).map(lambda found: [{"time": time, **found[time]} for time in sorted(found)])


@given(rows=minute_rows, freq=st.sampled_from(list(MINUTES)), label=st.sampled_from(["start", "end"]))
def test_a_bar_is_made_of_its_minutes_and_never_spans_lunch(rows: list[Row], freq: Frequency, label: Label) -> None:
    found = of_minutes(frame(rows), freq, label)
    assert found.to_dicts() == [{name: row[name] for name in found.columns} for row in by_hand(rows, freq, label)]
    assert set(found["time"].dt.time()) <= set(times_of_day(freq, label))


@given(rows=minute_rows, freq=st.sampled_from([*MINUTES, "1d"]))
def test_the_providers_label_changes_nothing(rows: list[Row], freq: Frequency) -> None:
    rows = [row for row in rows if row["time"] != AUCTION] or [{"time": ENDS[0]}]
    started = [row | {"time": row["time"] - dt.timedelta(minutes=1), "label": "start"} for row in rows]
    assert of_minutes(frame(started), freq, "end").equals(of_minutes(frame(rows), freq, "end"))


@pytest.mark.parametrize(
    ("freq", "label", "times"),
    [
        ("60m", "end", "10:30 11:30 14:00 15:00"),
        ("60m", "start", "09:30 10:30 13:00 14:00"),
        ("30m", "end", "10:00 10:30 11:00 11:30 13:30 14:00 14:30 15:00"),
        ("30m", "start", "09:30 10:00 10:30 11:00 13:00 13:30 14:00 14:30"),
    ],
)
def test_the_labels_of_a_whole_day(freq: Frequency, label: Label, times: str) -> None:
    found = of_minutes(frame([{"time": time} for time in [AUCTION, *ENDS]]), freq, label)
    assert found["time"].dt.strftime("%H:%M").to_list() == times.split()
    assert [f"{time:%H:%M}" for time in times_of_day(freq, label)] == times.split()
    assert found["volume"].to_list()[0] == MINUTES[freq] * 100 + 100  # with the opening auction
    assert found["volume"].sum() == 24_100


@pytest.mark.parametrize(
    ("clock", "label", "end"),
    [
        ("09:25", "end", "09:31"),
        ("11:30", "start", "11:30"),  # a last trade after the last minute
        ("12:00", "end", "11:30"),
        ("13:00", "end", "13:01"),
        ("13:00", "start", "13:01"),
        ("15:00", "start", "15:00"),
        ("15:30", "end", "15:00"),  # trading at the closing price after the close
        ("14:56:03", "end", "14:57"),
        ("14:56:03", "start", "14:57"),
    ],
)
def test_a_row_outside_the_sessions_is_counted_once(clock: str, label: Label, end: str) -> None:
    found = of_minutes(frame([{"time": dt.datetime.fromisoformat(f"2024-01-02 {clock}"), "label": label}]), "1m", "end")
    assert found["time"].dt.strftime("%H:%M").to_list() == [end]


def days(*dates: str) -> pl.DataFrame:
    rows = [{"time": dt.datetime.fromisoformat(f"{date} 15:00"), "open": n, "close": n} for n, date in enumerate(dates)]
    return of_minutes(frame(rows), "1d", "end")


@pytest.mark.parametrize(
    ("freq", "label", "expected"),
    [
        # The National Day holidays of 2024 are 1 to 7 October; 12 October is a Saturday.
        ("1w", "end", [("2024-09-30", 0, 0), ("2024-10-11", 1, 2), ("2024-10-18", 3, 3)]),
        ("1w", "start", [("2024-09-30", 0, 0), ("2024-10-08", 1, 2), ("2024-10-14", 3, 3)]),
        ("1mo", "end", [("2024-09-30", 0, 0), ("2024-10-31", 1, 3)]),
        ("1mo", "start", [("2024-09-02", 0, 0), ("2024-10-08", 1, 3)]),
    ],
)
def test_weeks_and_months_are_named_by_trading_days(freq: Frequency, label: Label, expected: list[Any]) -> None:
    daily = days("2024-09-30", "2024-10-08", "2024-10-10", "2024-10-14")
    found = of_days(daily, freq, label, ashares().trading_days)
    assert [
        (str(day), opened, closed) for day, opened, closed in found["date", "open", "close"].iter_rows()
    ] == expected


def test_a_week_that_trades_against_the_calendar_is_not_named_before_its_last_bar() -> None:
    found = of_days(days("2024-10-11", "2024-10-12"), "1w", "end", ashares().trading_days)
    assert found["date"].to_list() == [dt.date(2024, 10, 12)]

"""Checks: good bars pass each of them, and each finds the flaw that it is for."""

import datetime as dt
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference import tables as reference_stored
from marketdata_assets.reference.calendar import Calendar, ashares
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.ticks import checks, coverage, factors, registry
from marketdata_assets.ticks.checks import Question
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.reports import Unit
from tests.ticks.factor_bars import day_of, stand
from tests.ticks.tick_rows import entry

MONTH = "2026-01"
DAYS = ashares().trading_days(Days.month(MONTH))
SYMBOL, OTHER = "600000.SH", "000001.SZ"
NOW = dt.datetime(2026, 2, 2, 1, tzinfo=dt.UTC)
NO_SUSPENSION = Suspensions.unknown()
NOBODY = "nothing of 2 of 2 symbols of Shanghai, Shenzhen and Beijing"


@lru_cache(256)
def whole(symbol: str, day: dt.date, label: Label = "end", without: tuple[str, ...] = ()) -> pl.DataFrame:
    """A day with every minute of the calendar but for some, as the exchange's clock shows them."""
    times = pl.Series(ashares().labels(day, label), dtype=pl.Datetime("ms", "UTC"))
    bars: list[Any] = [(10.0 + number % 7 / 100, 100, 1000.0) for number in range(len(times))]
    frame = day_of(symbol, day, bars, label=label).with_columns(ts=times)
    clock = pl.col("ts").dt.convert_time_zone("Asia/Shanghai").dt.strftime("%H:%M")
    return frame.filter(~clock.is_in(list(without)))


def month(symbol: str = SYMBOL, **changed: pl.DataFrame | None) -> list[pl.DataFrame]:
    """All days of the month; `d05` is another frame for the fifth, or none."""
    given = {int(name[1:]): frame for name, frame in changed.items()}
    frames = [given.get(day.day, whole(symbol, day)) if day.day in given else whole(symbol, day) for day in DAYS]
    return [frame for frame in frames if frame is not None]


def question(client: Client, *units: Unit) -> Question:
    return Question.of(client, units or [Unit(SYMBOL, MONTH), Unit(OTHER, MONTH)])


def day(number: int) -> dt.date:
    return dt.date(2026, 1, number)


def compute(client: Client, *symbols: str) -> None:
    units = [Unit(symbol, MONTH) for symbol in symbols or (SYMBOL, OTHER)]
    report = factors.compute(client, [], units, run_id="run", now=NOW)
    assert not report.failed


NAMES = (
    "duplicates",
    "ohlc_order",
    "price_bounds",
    "volume_bounds",
    "units_agree",
    "prices_in_limits",
    "ticks_complete",
    "factors_recomputed",
    "ledger_agrees",
)


def ask(client: Client, name: str, *units: Unit) -> Finding:
    found = getattr(checks, name)(question(client, *units))
    assert isinstance(found, Finding)
    return found


def test_good_bars_pass_every_check(client: Client) -> None:
    stand(client, [*month(), *month(OTHER, d05=whole(OTHER, day(5), "start"))])
    compute(client)
    found = {name: ask(client, name) for name in NAMES}
    assert {name: finding.examples for name, finding in found.items() if not finding.passed} == {}
    facts = found["ticks_complete"].facts
    assert facts["minutes_expected"] == 241 * (2 * len(DAYS) - 1) + 240
    assert {count for name, count in facts.items() if name != "minutes_expected"} == {0}
    assert (found["factors_recomputed"].checked, found["factors_recomputed"].left_out) == (2, 0)


def test_nothing_at_all_passes_too(client: Client) -> None:
    assert checks.newest(client).units == ()
    assert all(ask(client, name).passed for name in NAMES)


def test_the_newest_month_is_asked_when_none_is_named(client: Client) -> None:
    stand(client, [*month(), whole(OTHER, dt.date(2025, 12, 1))])
    assert checks.newest(client).units == (Unit(SYMBOL, MONTH),)


def test_a_minute_that_is_there_twice_is_found(client: Client) -> None:
    stand(client, [*month(), *month(OTHER)])
    clickhouse.insert(client, "tick_data", whole(SYMBOL, day(6)).slice(3, 2))
    found = ask(client, "duplicates")
    assert (found.count, found.examples) == (2, ({"symbol": SYMBOL, "day": "2026-01-06", "bars": 2},))
    assert ask(client, "duplicates", Unit(OTHER, MONTH)).passed


OUT_OF_ORDER: tuple[dict[str, float | None], ...] = (
    {"high": 9.0},
    {"low": 11.0},
    {"high": 9.0, "low": 9.5, "open": None, "close": None},
    {"open": 10.5, "high": 10.2},
    {"high": None},  # a price that was not sent breaks no order
)


def test_prices_out_of_order_are_found(client: Client) -> None:
    frames = {}
    for number, prices in enumerate(OUT_OF_ORDER, 5):
        frame = whole(SYMBOL, day(number)).with_row_index()
        frames[f"d{number:02}"] = frame.with_columns(
            pl.when(pl.col("index") == 9).then(pl.lit(value, pl.Float64)).otherwise(pl.col(name)).alias(name)
            for name, value in prices.items()
        ).drop("index")
    stand(client, month(**frames))
    found = ask(client, "ohlc_order")
    assert found.count == len(found.examples) == 4
    assert {one["symbol"] for one in found.examples} == {SYMBOL}
    assert sorted(one["ts"] for one in found.examples) == [f"2026-01-0{day} 01:39:00+00:00" for day in range(5, 9)]


def test_days_with_another_unit_are_found_and_have_no_factors(client: Client) -> None:
    flags = pl.lit(FLAGS["units"], pl.UInt8)
    stand(
        client, [*month(d08=whole(SYMBOL, day(8)).with_columns(pl.col("turnover") * 100, flags=flags)), *month(OTHER)]
    )
    compute(client)
    found = ask(client, "units_agree")
    [example] = found.examples
    assert (found.count, example["symbol"], example["date"]) == (1, SYMBOL, "2026-01-08")
    assert (example["low"], example["high"], example["paid"]) == ("10.0", "10.06", "1000.0")
    assert example["ratio"].startswith("99.4 times the high: ")
    assert "--refetch" in example["ratio"]
    of_day = "SELECT toInt64(count()) AS n FROM factors WHERE symbol = {symbol:String} AND date = '2026-01-08'"
    counts = [clickhouse.read(client, of_day, {"symbol": symbol}).item() for symbol in (SYMBOL, OTHER)]
    assert counts[0] == 0 < counts[1]
    # The day after it is compared with the last day whose units agree, and its volume with five such days alone.
    after = (
        "SELECT toString(factor) AS factor, value FROM factors WHERE symbol = {symbol:String} AND date = '2026-01-09'"
    )
    assert dict(clickhouse.read(client, after, {"symbol": SYMBOL}).iter_rows())["daily_return"] == 0.0
    assert ask(client, "factors_recomputed").passed


def test_prices_beyond_the_limits_of_the_day_are_found(client: Client) -> None:
    """Only those of a day that has limits; a cent more is a limit that was rounded."""
    stand(client, [*month(), *month(OTHER)])
    reference_stored.ensure(client)
    limits = {5: (11.0, 9.0), 6: (10.0, 9.0), 7: (9.9, 8.1), 8: (12.0, 11.0)}
    about = {"symbol": SYMBOL, "source": "test", "seen": NOW}
    rows = [{**about, "date": day(number), "up": up, "down": down} for number, (up, down) in limits.items()]
    clickhouse.insert(client, "price_limits", pl.DataFrame(rows))
    found = ask(client, "prices_in_limits")
    named = sorted((one["symbol"], one["date"], one["up"]) for one in found.examples)
    assert (found.count, named) == (2, [(SYMBOL, "2026-01-07", "9.9"), (SYMBOL, "2026-01-08", "12.0")])
    assert all("times the upper limit: " in one["ratio"] for one in found.examples)


def test_flagged_bars_are_found(client: Client) -> None:
    def flagged(number: int, flag: str, count: int) -> pl.DataFrame:
        flags = [FLAGS[flag] + FLAGS["ohlc_order"]] * count + [FLAGS["zero_volume"]] * (241 - count)
        return whole(SYMBOL, day(number)).with_columns(flags=pl.Series(flags, dtype=pl.UInt8))

    stand(client, month(d08=flagged(8, "price_bounds", 3), d09=flagged(9, "volume_bound", 2)))
    assert (ask(client, "price_bounds").count, ask(client, "volume_bounds").count) == (3, 2)


# Completeness.


def named(found: Finding) -> list[dict[str, Any]]:
    """The examples that name a symbol."""
    return [one for one in found.examples if "symbol" in one]


def test_missing_minutes_are_listed_by_symbol_and_day(client: Client) -> None:
    by_start = whole(OTHER, day(12), "start", without=("09:30", "14:59"))
    many = tuple(f"10:{minute:02d}" for minute in range(30))
    stand(
        client,
        [
            *month(
                d09=whole(SYMBOL, day(9), without=("09:30", "11:30", "15:00")), d13=whole(SYMBOL, day(13), without=many)
            ),
            *month(OTHER, d12=by_start),
        ],
    )
    found = ask(client, "ticks_complete")
    ten = ", ".join(many[:10])
    assert (found.count, found.advice) == (3, True)
    assert [(one["symbol"], one["first"], one["have"], one["want"], one["minutes"]) for one in named(found)] == [
        (SYMBOL, "2026-01-13", 211, 241, f"{ten} and 20 more"),
        (SYMBOL, "2026-01-09", 238, 241, "09:30, 11:30, 15:00"),
        (OTHER, "2026-01-12", 238, 240, "09:30, 14:59"),
    ]
    assert (found.facts["minutes_missing"], found.facts["days_with_holes"]) == (35, 3)
    assert found.checked == 2 * len(DAYS)


def test_a_minute_that_is_there_twice_hides_none_that_is_missing(client: Client) -> None:
    day_without = whole(SYMBOL, day(9), without=("10:31",))
    stand(client, month(d09=pl.concat([day_without, day_without.tail(1)])))
    [missing] = named(ask(client, "ticks_complete"))
    assert (missing["have"], missing["want"], missing["minutes"]) == (240, 241, "10:31")


def test_a_suspended_day_is_told_and_a_day_without_anybody_is_objected_to(client: Client) -> None:
    stand(client, [*month(d09=None), *month(OTHER)])
    found = ask(client, "ticks_complete")
    assert (found.passed, found.facts["days_silent"]) == (True, 1)
    stand(client, [*month(d09=None), *month(OTHER, d09=None)])
    found = ask(client, "ticks_complete")
    assert (found.count, found.advice) == (1, False)
    assert found.examples[0] == {
        "day": "2026-01-09",
        "note": "nothing of 2 of 2 symbols of Shanghai, Shenzhen and Beijing",
    }


@pytest.mark.parametrize("traded", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_day_after_the_end_of_the_calendar_is_no_missing_day_unless_somebody_traded(
    client: Client, traded: bool
) -> None:
    """A weekday that nobody has announced, such as the first of January, was requested of all and answered by none."""
    other = month(OTHER) if traded else month(OTHER, d30=None)
    stand(client, [*month(d30=None), *other], covered=DAYS)
    asked = question(client)
    sessions = tuple(one for one in ashares().sessions if one <= day(29))
    calendar = Calendar(Days(ashares().known.first, day(29)), sessions)
    days = frozenset(DAYS)
    asked = replace(
        asked, reference=replace(asked.reference, calendar=calendar, suspensions=replace(NO_SUSPENSION, known=days))
    )
    found = checks.ticks_complete(asked)
    assert (found.count, found.facts["days_provisional"]) == ((1, 0) if traded else (0, 2))
    assert found.facts["days_missing"] == int(traded)


@pytest.mark.parametrize("suspended", [True, False])
def test_a_silent_day_is_missing_where_suspensions_are_known(client: Client, suspended: bool) -> None:
    stand(client, [*month(d09=None), *month(OTHER)])
    rows = [(SYMBOL, day(9), "")] if suspended else []
    unknown = Suspensions.unknown()
    frame = pl.DataFrame(rows, unknown.frame.schema, orient="row")
    asked = question(client)
    asked = replace(asked, reference=replace(asked.reference, suspensions=Suspensions(frame, frozenset(DAYS))))
    found = checks.ticks_complete(asked)
    assert (found.count, found.advice) == ((0, True) if suspended else (1, False))
    assert found.facts["days_suspended"] == int(suspended)


def test_symbols_of_an_exchange_that_are_all_silent_are_not_outweighed_by_others(client: Client) -> None:
    """Two of Shanghai on a day on which twelve currencies traded, which is every day."""
    coins = [f"C{number}-USD" for number in range(12)]
    traded = [whole(coin, each).with_columns(currency=pl.lit("USD")) for coin in coins for each in (day(9), day(10))]
    stand(client, [*month(d09=None), *month(OTHER, d09=None), *traded])
    units = [Unit(symbol, MONTH) for symbol in (SYMBOL, OTHER, *coins)]
    found = checks.ticks_complete(Question.of(client, units))
    notes = [one["note"] for one in found.examples if one.get("day") == str(day(9))]
    assert notes == [NOBODY]
    assert (found.advice, found.facts["days_with_many_silent"] > 0) == (False, True)


def test_days_before_the_listing_and_after_the_end_are_not_expected(client: Client, tmp_path: Path) -> None:
    stand(client, [*month()[10:], *month(OTHER)[:4]])
    file = tmp_path / "symbols.csv"
    file.write_text(f"{SYMBOL},a,{DAYS[10]},\n{OTHER},b,,{DAYS[3]}\n")
    registry.refresh(client, None, file, None, now=NOW)
    found = ask(client, "ticks_complete")
    assert (found.passed, found.checked) == (True, len(DAYS) - 10 + 4)
    assert found.facts["days_silent"] == 0


def test_days_that_nobody_asked_for_are_not_expected(client: Client) -> None:
    stand(client, month()[:3], covered=DAYS[:4])
    found = ask(client, "ticks_complete")
    assert (found.passed, found.checked, found.facts["days_silent"]) == (True, 4, 1)
    assert ask(client, "ticks_complete", Unit("600009.SH", MONTH)).checked == 0


def test_bars_outside_of_the_hours_fill_no_hole(client: Client) -> None:
    odd = whole(SYMBOL, day(14)).with_columns(ts=pl.col("ts").dt.offset_by("3h"))
    stand(client, month(d14=odd))
    days = coverage.symbol_days(client, MONTH, [SYMBOL], ashares())
    [row] = days.filter(pl.col("date") == day(14)).to_dicts()
    hours = set(ashares().labels(day(14), "end"))
    present = sum(time in hours for time in odd["ts"])
    assert 0 < present < 241
    assert (row["bars"], row["present"], row["missing"]) == (241, present, 241 - present)


# Factors and the ledger.


def test_factors_that_are_not_what_the_bars_say_are_found(client: Client) -> None:
    stand(client, [*month(), *month(OTHER)])
    compute(client)
    client.command(
        f"ALTER TABLE factors UPDATE value = value + 0.001 WHERE symbol = '{SYMBOL}' AND date = '2026-01-20'"
        " AND factor = 'volatility' SETTINGS mutations_sync = 1"
    )
    found = ask(client, "factors_recomputed")
    assert found.count == 1
    assert (found.examples[0]["symbol"], found.examples[0]["factor"]) == (SYMBOL, "volatility")
    client.command(f"DELETE FROM factors WHERE symbol = '{OTHER}' AND date = '2026-01-20'")
    assert ask(client, "factors_recomputed").count == 1 + 4


def test_factors_older_than_their_bars_are_left_out(client: Client) -> None:
    stand(client, [*month(), *month(OTHER)])
    compute(client)
    stand(client, month(d30=whole(SYMBOL, day(30)).with_columns(close=pl.col("close") + 1)))
    found = ask(client, "factors_recomputed")
    assert (found.passed, found.checked, found.left_out) == (True, 1, 1)


def test_only_a_sample_is_recomputed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "RECOMPUTED_SYMBOLS", 3)
    symbols = [f"{600000 + number}.SH" for number in range(7)]
    stand(client, [whole(symbol, DAYS[0]) for symbol in symbols])
    compute(client, *symbols)
    found = ask(client, "factors_recomputed", *(Unit(symbol, MONTH) for symbol in symbols))
    assert (found.passed, found.checked) == (True, 3)


def test_ledger_that_disagrees_with_the_table_is_found(client: Client) -> None:
    stand(client, [*month(), *month(OTHER)])
    client.command(f"DELETE FROM tick_data WHERE symbol = '{SYMBOL}' AND ts = '2026-01-06 01:31:00'")
    rows = entry(client, SYMBOL, MONTH).rows
    found = ask(client, "ledger_agrees")
    wrong = {"table": "tick_data", "month": MONTH, "symbol": SYMBOL, "rows": rows - 1, "entered": rows}
    assert (found.count, found.examples) == (1, (wrong,))
    client.command(f"DELETE FROM tick_data WHERE symbol = '{SYMBOL}'")
    assert ask(client, "ledger_agrees").examples[0]["rows"] == 0


def test_many_symbols_are_asked_for_as_a_whole_month(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(client, [*month(), *month(OTHER, d05=whole(OTHER, day(5), without=("10:00",)))])
    clickhouse.insert(client, "tick_data", whole(OTHER, day(6)).slice(3, 2))
    monkeypatch.setattr(coverage, "MAX_BOUND", 0)
    assert ask(client, "duplicates", Unit(SYMBOL, MONTH)).passed
    assert ask(client, "duplicates").count == 2
    assert ask(client, "ticks_complete", Unit(SYMBOL, MONTH)).passed
    assert ask(client, "ticks_complete").count == 1

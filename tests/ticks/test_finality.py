"""Days that are not final: which answers prove a day, when it is requested again, and when that ends."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.records import Days
from marketdata_assets.stores.clickhouse_ledger import SliceState, entries
from marketdata_assets.ticks import registry, status
from marketdata_assets.ticks.finality import Finality, Moment, Rules, complete_days, due_again
from marketdata_assets.ticks.reports import LoadReport, UnitReport
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.publishing import Published, PublishingServer, Version, at
from tests.ticks.tick_clients import SYMBOL, Clients
from tests.ticks.tick_loads import Loader, codes, landed, suspensions, told, units
from tests.ticks.tick_rows import weekdays

DAY = 241
MONDAY = dt.date(2025, 6, 9)
TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = (MONDAY + dt.timedelta(days=number) for number in range(1, 5))
NEXT_MONDAY = MONDAY + dt.timedelta(days=7)
EVENING, NIGHT = (15, 40), (2, 30)


def judged(
    *answers: tuple[dt.date, str, bool], fallback: bool = False, known: bool = False, rules: Rules | None = None
) -> list[str]:
    """The state of Monday after each answer: the day whose evening it comes on, its digest, whether it is complete."""
    state: SliceState | None = None
    found = []
    for evening, digest, complete in answers:
        finality = Finality(rules or Rules(), Moment(at(evening, *EVENING), weekdays))
        state = finality.judge(MONDAY, digest, state, complete=complete, fallback=fallback, known=known)
        found.append(state.state if state else "final")
    return found


@pytest.mark.parametrize(
    ("answers", "options", "states"),
    [
        ([(MONDAY, "a", True), (TUESDAY, "a", True)], {}, ["provisional", "final"]),
        ([(MONDAY, "a", True), (TUESDAY, "b", True)], {}, ["provisional", "final"]),  # corrected, and complete
        ([(MONDAY, "a", False), (TUESDAY, "a", False)], {}, ["provisional", "final"]),  # the same twice
        ([(MONDAY, "", False), (MONDAY, "", False), (TUESDAY, "", False)], {}, ["provisional", "provisional", "final"]),
        ([(MONDAY, "", False), (TUESDAY, "a", False)], {}, ["provisional", "provisional"]),
        ([(MONDAY, "", False), (TUESDAY, "a", False), (WEDNESDAY, "a", False)], {}, ["provisional"] * 2 + ["final"]),
        ([(MONDAY, "", False), (FRIDAY, "", False)], {"known": True}, ["provisional"] * 2),
        ([(MONDAY, "", False), (NEXT_MONDAY, "", False)], {"known": True}, ["provisional", "incomplete"]),
        ([(MONDAY, "a", True), (FRIDAY, "a", True)], {"fallback": True}, ["provisional"] * 2),
        ([(MONDAY, "a", True), (NEXT_MONDAY, "a", True)], {"fallback": True}, ["provisional", "final"]),
        ([(NEXT_MONDAY, "a", False)], {}, ["final"]),  # history that nobody can prove
        ([(MONDAY, "a", True), (TUESDAY, "a", True)], {"rules": Rules(confirm_days=2)}, ["provisional"] * 2),
        ([(TUESDAY, "", False)], {"rules": Rules(deadline_days=1)}, ["final"]),
    ],
)
def test_an_answer_proves_a_day(
    answers: list[tuple[dt.date, str, bool]], options: dict[str, Any], states: list[str]
) -> None:
    assert judged(*answers, **options) == states


def test_a_provisional_day_is_due_with_the_next_closing_and_a_short_one_once_in_the_night() -> None:
    finality = Finality(Rules(), Moment(at(FRIDAY, *EVENING), weekdays))
    for short in (False, True):
        state = finality.judge(FRIDAY, "a", None, complete=not short)
        assert state is not None
        times = (at(FRIDAY, 20), at(FRIDAY + dt.timedelta(days=1), *NIGHT), at(NEXT_MONDAY, *EVENING))
        assert [due_again(state, Moment(time, weekdays)) for time in times] == [False, short, True]
        asked = replace_asked(state, FRIDAY + dt.timedelta(days=1))
        assert not due_again(asked, Moment(at(NEXT_MONDAY, *NIGHT), weekdays))


def replace_asked(state: SliceState, day: dt.date) -> SliceState:
    return SliceState(state.slice, state.state, state.digest, state.since, state.closed, str(day), state.short)


def test_a_suspension_of_some_hours_takes_its_minutes_away() -> None:
    times = landed_minutes(gap=("09:31", "10:00"))
    rows = [(SYMBOL, MONDAY, "09:30-10:00"), ("600001.SH", MONDAY, ""), ("600002.SH", MONDAY, "until noon")]
    suspended = suspensions([*rows, ("600003.SH", MONDAY, "09:30-10:00"), ("600003.SH", MONDAY, "13:00-13:30")], set())
    found = {symbol: complete_days(suspended, symbol, [MONDAY], "end", times)[MONDAY] for symbol in codes(5)}
    assert found == {
        "600000.SH": True,
        "600001.SH": True,
        "600002.SH": True,  # hours that cannot be read expect nothing
        "600003.SH": True,
        "600004.SH": False,
    }
    assert (suspended.all_day("600001.SH", MONDAY), suspended.all_day(SYMBOL, MONDAY)) == (True, False)


def landed_minutes(gap: tuple[str, str]) -> pl.Series:
    rows = Version(at(MONDAY, 15), gap=gap).rows(SYMBOL, MONDAY)
    local = pl.Series([row[1] for row in rows]).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms")
    return local.dt.replace_time_zone("Asia/Shanghai").dt.convert_time_zone("UTC")


@pytest.mark.parametrize(("confirm", "deadline"), [(0, 5), (3, 2), (1, 31)])
def test_rules_that_cannot_hold_are_refused(confirm: int, deadline: int) -> None:
    with pytest.raises(ValueError, match=f"was {confirm} and {deadline}"):
        Rules(confirm, deadline)


# Loads.


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def server(published: Published) -> Iterator[PublishingServer]:
    with PublishingServer(codes(6), published) as server:
        yield server


Load = Callable[..., LoadReport]


@pytest.fixture
def run(loader: Loader, server: PublishingServer) -> Load:
    """Loads symbols of June at a time of the exchange's clock."""

    def loaded(now: dt.datetime, *symbols: str, **options: Any) -> LoadReport:
        server.now = now
        return replace(loader, server=server)(units(symbols or [SYMBOL]), now=now, **options)

    return loaded


def one(report: LoadReport) -> UnitReport:
    [unit] = report.units
    return unit


def states(client: Client, symbol: str = SYMBOL) -> dict[str, str]:
    [load] = entries(client, "tick_data", ["2025-06"], [symbol])
    return {state.slice: state.state for state in load.states}


def test_what_a_provider_had_not_published_at_the_close_is_loaded_in_the_night(
    run: Load, server: PublishingServer, published: Published, client: Client, tmp_path: Path
) -> None:
    """Of 6 symbols 2 are there at 15:40, and of a third the bars to 14:30."""
    symbols = server.symbols
    for symbol in symbols[2:]:
        published.days[symbol, MONDAY] = [Version(at(MONDAY, 17))]
    published.days[symbols[2], MONDAY].insert(0, Version(at(MONDAY, 15), bars=211))
    (tmp_path / "symbols.csv").write_text("\n".join(symbols))
    registry.refresh(client, None, tmp_path / "symbols.csv", None, now=at(MONDAY, 8))
    friday = at(MONDAY - dt.timedelta(days=3), 18)
    run(friday, *symbols)

    early = run(at(MONDAY, *EVENING), *symbols)
    days = {unit.symbol: (unit.rows, unit.provisional) for unit in early.units}
    assert days[symbols[0]] == (6 * DAY, 1)
    assert days[symbols[2]] == (5 * DAY + 211, 1)
    assert days[symbols[3]] == (5 * DAY, 1)
    found = status.overview(client, ["2025-06"], at(MONDAY, 20), trading_days=weekdays)[0]
    assert (found.months, found.provisional_days) == ({"2025-06": {"provisional": 6}}, 6)

    night = at(TUESDAY, *NIGHT)
    behind = status.behind(client, ["2025-06"], night, trading_days=weekdays).load
    assert {unit.symbol for unit in behind} == set(symbols[2:])
    repaired = run(night, *(unit.symbol for unit in behind))
    assert {unit.rows for unit in repaired.units} == {6 * DAY}
    assert status.behind(client, ["2025-06"], at(TUESDAY, 10), trading_days=weekdays).load == []

    before = server.sent
    whole = run(at(TUESDAY, 16), *symbols)
    assert {(unit.rows, unit.provisional) for unit in whole.units} == {(7 * DAY, 1)}
    assert server.sent - before == 6  # Monday and Tuesday in one request
    assert status.overview(client, ["2025-06"], at(TUESDAY, 20), trading_days=weekdays)[0].provisional_days == 6


def test_a_month_without_an_answer_is_provisional_until_the_same_answer_comes_again(
    run: Load, published: Published, client: Client, server: PublishingServer
) -> None:
    first = dt.date(2025, 6, 2)
    for number in range(30):
        published.days[SYMBOL, first + dt.timedelta(days=number)] = []
    assert one(run(at(first, *EVENING))).outcome == "provisional"
    assert states(client) == {"2025-06-02": "provisional"}
    assert one(run(at(first, 20))).outcome == "provisional"
    assert server.sent == 1
    assert states(client) == {"2025-06-02": "provisional"}
    run(at(first + dt.timedelta(days=1), *EVENING))
    assert states(client) == {"2025-06-03": "provisional"}


def test_a_known_suspension_proves_an_empty_day_without_a_request(
    run: Load, published: Published, client: Client, server: PublishingServer
) -> None:
    run(at(MONDAY, *EVENING))
    published.days[SYMBOL, TUESDAY] = published.days[SYMBOL, WEDNESDAY] = []
    suspended = suspensions([(SYMBOL, TUESDAY, "")], {MONDAY, TUESDAY, WEDNESDAY})
    before = server.sent
    run(at(TUESDAY, *EVENING), suspended=suspended)
    assert (server.sent - before, states(client)) == (1, {})  # Monday is proven by it, and Tuesday by the suspension
    suspended = suspensions([(SYMBOL, day, "") for day in (TUESDAY, WEDNESDAY)], {MONDAY, TUESDAY, WEDNESDAY})
    covered = one(run(at(WEDNESDAY, *EVENING), suspended=suspended))
    assert (covered.note, covered.rows, server.sent - before) == ("suspended", 6 * DAY, 1)
    assert "2025-06-11" in entries(client, "tick_data")[0].slices
    assert one(run(at(WEDNESDAY, 20), suspended=suspended)).note == "complete; no request was needed"


def test_a_stock_that_was_not_suspended_is_requested_until_the_deadline_and_then_incomplete(
    run: Load, published: Published, client: Client
) -> None:
    published.days[SYMBOL, MONDAY] = [Version(at(MONDAY, 15), bars=200)]
    suspended = suspensions([], set(Days.month("2025-06")))
    rules = Rules(deadline_days=2)
    for day in (MONDAY, TUESDAY):
        run(at(day, *EVENING), suspended=suspended, rules=rules)
        assert states(client)[str(MONDAY)] == "provisional"
    last = one(run(at(WEDNESDAY, *EVENING), suspended=suspended, rules=rules))
    assert states(client) == {str(MONDAY): "incomplete", str(WEDNESDAY): "provisional"}
    assert (last.incomplete, last.provisional) == (1, 1)
    run(at(THURSDAY, 8), refetch=True, suspended=suspended, rules=rules)
    assert states(client)[str(MONDAY)] == "incomplete"


def test_a_day_that_turns_out_a_holiday_is_no_longer_provisional(
    run: Load, published: Published, client: Client
) -> None:
    published.days[SYMBOL, MONDAY] = []
    run(at(MONDAY, *EVENING))
    assert states(client) == {str(MONDAY): "provisional"}

    def without(days: Days) -> list[dt.date]:
        return [day for day in weekdays(days) if day != MONDAY]

    run(at(TUESDAY, *EVENING), trading_days=without)
    assert states(client) == {str(TUESDAY): "provisional"}


@pytest.fixture
def yahoo(loader: Loader, clients: Clients, yahoo_server: YahooServer) -> YahooServer:
    yahoo_server.symbols = ["600000.SS", "600001.SS"]
    loader.others = [lambda: clients.yahoo(yahoo_server)]
    return yahoo_server


def providers_by_day(client: Client) -> dict[str, str]:
    return {str(day): provider for day, provider in landed(client).select("date", "provider").unique().iter_rows()}


def test_a_fallbacks_day_is_replaced_when_the_better_provider_has_it(
    run: Load, published: Published, client: Client, yahoo: YahooServer, server: PublishingServer
) -> None:
    run(at(FRIDAY, 20))
    yahoo.now = at(NEXT_MONDAY, 16)
    server.fail(503, 4)
    fallen = one(run(at(NEXT_MONDAY, *EVENING)))
    assert (fallen.outcome, fallen.rows, fallen.provisional) == ("ok", 10 * DAY + 240, 2)
    assert providers_by_day(client)[str(NEXT_MONDAY)] == "yahoo"
    assert providers_by_day(client)[str(FRIDAY)] == "tushare"  # Yahoo had it too
    run(at(NEXT_MONDAY + dt.timedelta(days=1), *EVENING))
    assert set(providers_by_day(client).values()) == {"tushare"}
    assert states(client) == {"2025-06-17": "provisional"}


@pytest.mark.slow
def test_the_last_day_comes_from_the_fallback_in_the_run_in_which_the_better_provider_has_the_day_before_only(
    run: Load, published: Published, client: Client, yahoo: YahooServer
) -> None:
    tuesday = NEXT_MONDAY + dt.timedelta(days=1)
    published.days[SYMBOL, NEXT_MONDAY] = [Version(at(tuesday, 12))]
    run(at(FRIDAY, 20))
    yahoo.now = at(NEXT_MONDAY, 16)
    report = one(run(at(NEXT_MONDAY, *EVENING)))
    assert (report.outcome, report.rows, report.provisional) == ("ok", 10 * DAY + 240, 1)
    assert providers_by_day(client)[str(NEXT_MONDAY)] == "yahoo"
    assert providers_by_day(client)[str(FRIDAY)] == "tushare"
    asked = yahoo.requests
    run(at(tuesday, *EVENING))
    assert set(providers_by_day(client).values()) == {"tushare"}
    assert (states(client), yahoo.requests) == ({str(tuesday): "provisional"}, asked)


@pytest.mark.parametrize("outage", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_fallback_without_the_last_day_leaves_it_to_the_next_request(
    run: Load, published: Published, client: Client, yahoo: YahooServer, outage: bool
) -> None:
    published.days[SYMBOL, NEXT_MONDAY] = []
    run(at(FRIDAY, 20))
    yahoo.now = at(FRIDAY, 16)
    if outage:
        yahoo.fail(503, 100)
    report = one(run(at(NEXT_MONDAY, *EVENING)))
    assert (report.outcome, report.provisional) == ("ok", 1)
    assert states(client) == {str(NEXT_MONDAY): "provisional"}


@pytest.mark.slow
def test_a_fallbacks_day_is_final_after_the_deadline(
    run: Load, published: Published, client: Client, yahoo: YahooServer, server: PublishingServer
) -> None:
    for day in Days(NEXT_MONDAY, NEXT_MONDAY + dt.timedelta(days=10)):
        published.days[SYMBOL, day] = []
    evenings, rules = weekdays(Days(NEXT_MONDAY, NEXT_MONDAY + dt.timedelta(days=2))), Rules(deadline_days=2)
    run(at(FRIDAY, 20), rules=rules)
    for evening in evenings:
        yahoo.now = at(evening, 16)
        run(at(evening, *EVENING), rules=rules)
        run(at(evening + dt.timedelta(days=1), *NIGHT), rules=rules)
        assert providers_by_day(client)[str(NEXT_MONDAY)] == "yahoo"
    assert states(client) == {str(day): "provisional" for day in evenings[1:]}


def test_without_a_token_yahoo_is_no_fallback(run: Load, client: Client, yahoo: YahooServer) -> None:
    yahoo.now = at(TUESDAY, 16)
    report = one(run(at(TUESDAY, *EVENING), tushare={"token": None}))
    assert (report.provider, states(client)) == ("yahoo", {str(TUESDAY): "provisional"})
    assert "needs a token" in report.note


def test_days_that_no_configured_provider_reaches_are_unsupported_and_not_empty(
    run: Load, client: Client, yahoo: YahooServer, loader: Loader
) -> None:
    yahoo.now = at(dt.date(2025, 7, 20), 16)
    report = run(yahoo.now, SYMBOL, "920000.BJ", tushare={"token": None})
    by_symbol = told(report)
    assert by_symbol["920000.BJ"] == "unsupported"
    reached = weekdays(Days(dt.date(2025, 6, 21), dt.date(2025, 6, 30)))
    [load] = entries(client, "tick_data", ["2025-06"], [SYMBOL])
    assert (load.rows, by_symbol[SYMBOL]) == (240 * len(reached), "ok")
    assert {state.state for state in load.states} == {"unsupported"}
    assert len(load.states) == 15
    again = run(yahoo.now, tushare={"token": None})
    assert (again.requests, one(again).note) == (0, "complete; no request was needed")
    whole = one(run(yahoo.now))  # with a token
    assert (whole.provider, whole.rows, states(client)) == ("tushare", 21 * DAY, {})


@pytest.mark.slow
def test_a_better_day_that_is_not_answered_stays_while_other_days_are_loaded(
    run: Load, published: Published, client: Client
) -> None:
    run(at(MONDAY, *EVENING))
    published.days[SYMBOL, MONDAY] = [Version(at(MONDAY, 15)), Version(at(TUESDAY, 10), bars=0)]
    report = one(run(at(TUESDAY, *EVENING)))
    assert (report.outcome, report.rows) == ("ok", 7 * DAY)
    assert states(client) == {str(MONDAY): "provisional", str(TUESDAY): "provisional"}


def test_a_correction_of_the_next_day_replaces_the_day(run: Load, published: Published, client: Client) -> None:
    published.days[SYMBOL, MONDAY] = [Version(at(MONDAY, 15)), Version(at(TUESDAY, 10), raised=1.0)]
    run(at(MONDAY, *EVENING))
    before = landed(client)["close"].max()
    report = one(run(at(TUESDAY, *EVENING)))
    assert (report.rows, landed(client)["close"].max()) == (7 * DAY, before + 1.0)
    assert states(client) == {str(TUESDAY): "provisional"}

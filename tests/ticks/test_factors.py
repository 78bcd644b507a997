"""Factors: what is computed again and what is not, and what lands when providers send or fail."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from factor_bars import FEBRUARY, MONTH, NOW, OTHER, SYMBOL, UNITS, Computer, factors, flat, months, stand, values
from tick_clients import Clients
from tick_rows import entry

from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks import factors as module
from marketdata_assets.ticks import table_writer
from marketdata_assets.ticks.factor_reconcile import Inputs
from marketdata_assets.ticks.reports import Unit
from marketdata_demo.servers.tushare import DAILY, TushareServer
from marketdata_demo.servers.yahoo import YahooServer

# What is done again, and what is not.


def test_what_has_not_changed_is_left_alone(client: Client, compute_all: Computer) -> None:
    stand(client, [*months(), *months(OTHER)])
    first = compute_all()
    assert [(unit.outcome, unit.changed) for unit in first.units] == [("ok", True)] * 2
    before = factors(client)
    again = compute_all()
    assert [(unit.outcome, unit.changed, unit.note) for unit in again.units] == [
        ("ok", False, "unchanged inputs; skipped")
    ] * 2
    assert [unit.rows for unit in again.units] == [unit.rows for unit in first.units] == [80, 80]
    forced = compute_all(refetch=True)
    assert [unit.changed for unit in forced.units] == [False, False]
    assert factors(client).equals(before)


def test_new_bars_of_the_month_or_of_the_one_before_are_noticed(client: Client, compute_all: Computer) -> None:
    stand(client, [*months(), *months(OTHER)])
    compute_all()
    stand(client, months(d20260227=flat(12.0)))
    assert {unit.symbol: unit.changed for unit in compute_all().units} == {SYMBOL: True, OTHER: False}
    assert values(client, "daily_return", SYMBOL)[FEBRUARY[-1]] == pytest.approx(0.2)
    stand(client, [*months(OTHER, d20260130=flat(5.0))])
    assert {unit.symbol: unit.changed for unit in compute_all().units} == {SYMBOL: False, OTHER: True}
    assert values(client, "daily_return", OTHER)[FEBRUARY[0]] == pytest.approx(1.0)
    stand(client, [*months(OTHER, d20260105=flat(5.0), d20260130=flat(5.0))])
    looked_at = compute_all().units
    assert [(unit.note != "unchanged inputs; skipped", unit.changed) for unit in looked_at] == [
        (True, False),
        (False, False),
    ]


def test_factors_of_bars_that_are_gone_go_too(client: Client, compute_all: Computer) -> None:
    stand(client, months())
    compute_all([UNITS[0]])
    client.command("TRUNCATE TABLE tick_data")
    [unit] = compute_all([UNITS[0]], refetch=True).units
    assert (unit.outcome, unit.rows, unit.changed) == ("empty", 0, True)
    assert factors(client).is_empty()


def test_a_symbol_without_bars_is_empty_and_a_month_to_come_too(client: Client, compute_all: Computer) -> None:
    report = compute_all([UNITS[0], Unit(SYMBOL, "2026-03")])
    assert [(unit.month, unit.outcome) for unit in report.units] == [(MONTH, "empty"), ("2026-03", "empty")]
    assert "no day of 2026-03 is closed yet" in report.units[1].note
    assert [load.unit for load in ledger.entries(client, "factors")] == [MONTH]


def test_rows_in_doubt_are_written_anew(client: Client, compute_all: Computer) -> None:
    stand(client, months())
    compute_all([UNITS[0]])
    [load] = ledger.entries(client, "factors")
    ledger.record_pending(client, [load], ledger.next_version(client))
    [unit] = compute_all([UNITS[0]]).units
    assert (unit.outcome, unit.changed) == ("ok", True)
    assert not ledger.entries(client, "factors")[0].pending


def test_bars_in_doubt_make_no_factor_final(client: Client, compute_all: Computer) -> None:
    stand(client, months())
    ledger.record_pending(client, [entry(client, SYMBOL, MONTH)], ledger.next_version(client))
    assert compute_all([UNITS[0]]).units[0].outcome == "ok"
    assert compute_all([UNITS[0]]).units[0].note != "unchanged inputs; skipped"


# What providers send.


@pytest.fixture
def tushare(compute_all: Computer, clients: Clients, tushare_server: TushareServer) -> TushareServer:
    """A server that knows two figures of each day and symbol, and every adjustment factor."""
    compute_all.providers.append(lambda: clients.tushare(tushare_server))
    fill(tushare_server, {SYMBOL: 1.5, OTHER: 2.0})
    return tushare_server


def fill(server: TushareServer, factor: dict[str, float], days: list[dt.date] = FEBRUARY) -> None:
    blank = [None] * (len(DAILY) - 2)
    rows: list[list[Any]] = []
    adjustments: list[list[Any]] = []
    for symbol, value in factor.items():
        for number, day in enumerate(days):
            rows.append([symbol, f"{day:%Y%m%d}", 10.0 + number, 0.5, *blank])
            adjustments.append([symbol, f"{day:%Y%m%d}", value])
    server.tables["daily_basic"] = (["ts_code", "trade_date", *DAILY], rows)
    server.tables["adj_factor"] = (["ts_code", "trade_date", "adj_factor"], adjustments)


def test_what_a_provider_sends_lands_beside_what_is_computed(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    stand(client, months())
    report = compute_all()
    assert [(unit.symbol, unit.outcome, unit.provider, unit.rows) for unit in report.units] == [
        (OTHER, "ok", "tushare", 3 * 20),
        (SYMBOL, "ok", "tick_data,tushare", 3 * 20 + 4 * 20),
    ]
    assert values(client, "adj_factor", SYMBOL) == dict.fromkeys(FEBRUARY, 1.5)
    assert values(client, "close", OTHER) == {day: 10.0 + number for number, day in enumerate(FEBRUARY)}
    assert set(factors(client, OTHER)["factor"]) == {"close", "turnover_rate", "adj_factor"}
    assert report.requests == 4
    assert compute_all().requests == 0


def test_all_symbols_are_asked_for_by_day_when_that_is_fewer_requests(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    symbols = [f"{600000 + number}.SH" for number in range(30)]
    fill(tushare, dict.fromkeys(symbols, 1.25))
    report = compute_all([Unit(symbol, MONTH) for symbol in symbols])
    assert report.requests == 2 * len(FEBRUARY)
    assert {(unit.outcome, unit.rows) for unit in report.units} == {("ok", 60)}


def test_trouble_fails_only_its_symbol_and_takes_nothing_away(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    stand(client, [*months(), *months(OTHER)])
    compute_all()
    stand(client, [*months(d20260227=flat(12.0)), *months(OTHER, d20260227=flat(12.0))])
    tushare.fail(503, 4, where=f"adj_factor {{'ts_code': '{SYMBOL}'")
    fill(tushare, {SYMBOL: 1.75, OTHER: 2.25})
    report = compute_all(refetch=True)
    assert {unit.symbol: unit.outcome for unit in report.units} == {SYMBOL: "failed", OTHER: "ok"}
    assert "no successful response in 4 attempts" in (report.failed[0].error or "")
    for symbol in (SYMBOL, OTHER):
        assert values(client, "daily_return", symbol)[FEBRUARY[-1]] == pytest.approx(0.2)
    assert set(values(client, "adj_factor", SYMBOL).values()) == {1.5}
    assert set(values(client, "adj_factor", OTHER).values()) == {2.25}
    healed = compute_all()
    assert [(unit.symbol, unit.outcome, unit.changed) for unit in healed.units] == [
        (OTHER, "ok", False),
        (SYMBOL, "ok", True),
    ]
    assert set(values(client, "adj_factor", SYMBOL).values()) == {1.75}


def test_a_missing_permission_is_heard_once_and_computed_factors_land(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    tushare.denied.add("daily_basic")
    symbols = [f"{600000 + number}.SH" for number in range(8)]
    fill(tushare, dict.fromkeys(symbols, 1.25))
    stand(client, [frame for symbol in symbols for frame in months(symbol)])
    report = compute_all([Unit(symbol, MONTH) for symbol in symbols])
    assert {unit.outcome for unit in report.units} == {"failed"}
    assert all("this account has no permission" in (unit.error or "") for unit in report.units)
    assert report.requests <= 4 + 8  # those that were under way, and all adjustment factors
    assert factors(client).group_by("factor").len().filter(pl.col("len") == 160).height == 5


def test_without_the_provider_its_factors_stay_and_its_failure_is_remembered(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    stand(client, months())
    compute_all([UNITS[0]])
    tushare.fail(503, 8)
    assert compute_all([UNITS[0]], refetch=True).units[0].outcome == "failed"
    stand(client, months(d20260227=flat(12.0)))
    [unit] = compute_all([UNITS[0]], providers=("files",)).units
    assert (unit.outcome, unit.changed) == ("ok", True)
    assert "tushare failed in an earlier run" in unit.note
    assert values(client, "adj_factor") == dict.fromkeys(FEBRUARY, 1.5)
    assert values(client, "daily_return")[FEBRUARY[-1]] == pytest.approx(0.2)
    [load] = ledger.entries(client, "factors")
    assert (load.outcome, Inputs.of(load).answered) == ("failed", {"tushare": "failed"})
    assert compute_all([UNITS[0]]).units[0].outcome == "ok"


def test_days_that_a_provider_no_longer_has_stay_unless_accepted(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    compute_all()
    fill(tushare, {SYMBOL: 3.0, OTHER: 3.0}, FEBRUARY[:-2])
    fill_other = compute_all([UNITS[0]], refetch=True)
    assert "tushare now returns no factors for 2 days that have some; kept" in (fill_other.units[0].error or "")
    assert list(values(client, "adj_factor", SYMBOL).values()) == [3.0] * 18 + [1.5] * 2
    assert compute_all([UNITS[0]], refetch=True, accept_empty=True).units[0].outcome == "ok"
    assert list(values(client, "adj_factor", SYMBOL)) == FEBRUARY[:-2]


def test_a_new_day_is_asked_for_though_no_bar_is_new(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    compute_all.now = dt.datetime(2026, 2, 25, 12, tzinfo=dt.UTC)
    fill(tushare, {SYMBOL: 1.0}, FEBRUARY[:-2])
    assert compute_all([UNITS[0]]).units[0].rows == 54
    assert compute_all([UNITS[0]]).requests == 0
    compute_all.now = NOW
    fill(tushare, {SYMBOL: 1.0})
    assert compute_all([UNITS[0]]).units[0].rows == 60


def test_splits_and_dividends_land_and_unknown_symbols_are_no_failure(
    client: Client, compute_all: Computer, clients: Clients, yahoo_server: YahooServer
) -> None:
    def at(day: int, hour: int = 2) -> int:
        return int(dt.datetime(2026, 2, day, hour, tzinfo=dt.UTC).timestamp())

    yahoo_server.events = {
        "splits": {"1": {"date": at(10), "numerator": 3, "denominator": 2}},
        "dividends": {"2": {"date": at(11), "amount": 0.25}, "3": {"date": at(11, 3), "amount": 0.5}},
    }
    compute_all.providers.append(lambda: clients.yahoo(yahoo_server))
    report = compute_all([*UNITS, Unit("920000.BJ", MONTH), Unit(SYMBOL, "2026-01")])
    assert [(unit.symbol, unit.month, unit.outcome, unit.rows) for unit in report.units] == [
        (SYMBOL, "2026-01", "empty", 0),
        (OTHER, MONTH, "empty", 0),
        (SYMBOL, MONTH, "ok", 2),
        ("920000.BJ", MONTH, "empty", 0),
    ]
    assert "yahoo does not know it" in report.units[1].note
    assert "no provider of factors was requested" in report.units[3].note
    assert report.requests == 2
    assert factors(client).select("factor", "date", "value", "provider").rows() == [
        ("split", dt.date(2026, 2, 10), 1.5, "yahoo"),
        ("dividend", dt.date(2026, 2, 11), 0.75, "yahoo"),
    ]


def test_a_store_that_is_away_fails_every_symbol(
    client: Client, compute_all: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(client, months())

    def away(*_: object, **__: object) -> None:
        raise StoreAway("ClickHouse", "connection refused")

    monkeypatch.setattr(table_writer, "write", away)
    monkeypatch.setattr(module, "SYMBOLS_A_PUBLISH", 1)
    report = compute_all()
    assert [(unit.outcome, "connection refused" in (unit.error or "")) for unit in report.units] == [
        ("failed", True)
    ] * 2
    assert factors(client).is_empty()


def test_who_is_overtaken_says_so(client: Client, compute_all: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run lands between the look and the publish: what it had of a provider is gone."""
    stand(client, months())
    compute_all([UNITS[0]])
    stand(client, months(d20260227=flat(12.0)))
    original, calls = table_writer.write, []

    def slow(*arguments: Any, **options: Any) -> None:
        if not calls:
            calls.append(1)
            stand(client, months(d20260227=flat(13.0)))
            with ThreadPoolExecutor(1) as other:
                assert other.submit(compute_all, [UNITS[0]]).result().units[0].outcome == "ok"
            stand(client, months(d20260227=flat(12.0)))
        original(*arguments, **options)

    monkeypatch.setattr(table_writer, "write", slow)
    [unit] = compute_all([UNITS[0]]).units
    assert (unit.outcome, "another run wrote" in (unit.error or "")) == ("failed", True)
    assert ledger.entries(client, "factors")[0].outcome == "failed"
    [unit] = compute_all([UNITS[0]]).units
    assert unit.outcome == "ok"
    assert values(client, "daily_return")[FEBRUARY[-1]] == pytest.approx(0.2)


def test_two_runs_at_once_end_in_the_same_rows(client: Client, compute_all: Computer, tushare: TushareServer) -> None:
    stand(client, [*months(), *months(OTHER)])
    with ThreadPoolExecutor(2) as both:
        reports = [run.result() for run in [both.submit(compute_all) for _ in range(2)]]
    assert [unit.error for report in reports for unit in report.units] == [None] * 4
    assert factors(client).height == 2 * (3 * 20 + 4 * 20)
    assert not factors(client).select(pl.struct("symbol", "date", "factor", "provider").is_duplicated().any()).item()
    assert {load.rows for load in ledger.entries(client, "factors")} == {140}

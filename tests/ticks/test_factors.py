"""What of the factors is computed again, and what is written when providers send or fail."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from shutil import rmtree
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference import tables as reference_tables
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks import factors as module
from marketdata_assets.ticks import providers_file, records, status, table_writer
from marketdata_assets.ticks.factor_reconcile import FAILED, Inputs
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import SYMBOLS
from marketdata_demo.servers.tushare import DAILY, TushareServer
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.factor_bars import (
    FEBRUARY,
    MONTH,
    NOW,
    OTHER,
    SYMBOL,
    UNITS,
    Computer,
    factors,
    flat,
    months,
    stand,
    values,
    weekdays,
)
from tests.ticks.tick_clients import Clients
from tests.ticks.tick_rows import entry

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


def test_a_corrected_calendar_makes_the_factors_stale_that_looked_at_the_day(
    client: Client, compute_all: Computer
) -> None:
    """The first of January was taken for a trading day without bars: no volume ratio has five days behind it."""
    holiday, spring = dt.date(2026, 1, 30), dt.date(2026, 2, 27)
    register_all(client)
    stand(client, [*months(d20260130=[]), *months(OTHER)])
    compute_all()
    assert values(client, "volume_ratio", SYMBOL).keys() == set(FEBRUARY[5:])

    def corrected(days: Days) -> list[dt.date]:
        return [day for day in weekdays(days) if day != holiday]

    window, now = [MONTH], compute_all.now
    assert set(status.behind(client, window, now, trading_days=weekdays).factors) == set()
    assert set(status.behind(client, window, now, trading_days=corrected).factors) >= {UNITS[0]}
    compute_all.trading_days = corrected
    assert {unit.symbol: unit.changed for unit in compute_all().units}[SYMBOL]
    assert values(client, "volume_ratio", SYMBOL).keys() == set(FEBRUARY)
    assert set(status.behind(client, window, now, trading_days=corrected).factors) == set()

    def announced(days: Days) -> list[dt.date]:
        """A later month has other days: nothing of this one follows from them."""
        return [day for day in corrected(days) if day.month < 3 or day.day > 10]

    assert set(status.behind(client, window, now, trading_days=announced).factors) == set()
    assert spring in values(client, "daily_return", SYMBOL)


def test_a_day_with_prices_beyond_its_limits_has_no_factors_and_its_limits_are_inputs(
    client: Client, compute_all: Computer
) -> None:
    """Limits may come, change and go after the bars, whose content stays the same."""
    register_all(client)
    stand(client, [*months(), *months(OTHER)])
    compute_all()
    whole, wrong = factors(client), FEBRUARY[9]
    assert wrong in values(client, "volatility", SYMBOL)
    reference_tables.ensure(client)

    def limit(day: dt.date, up: float, down: float) -> None:
        client.command("DELETE FROM price_limits WHERE date = %(day)s", {"day": day})
        row = {"symbol": SYMBOL, "date": day, "up": up, "down": down, "source": "test", "seen": NOW}
        clickhouse.insert(client, "price_limits", pl.DataFrame([row]))

    def behind() -> set[Unit]:
        return set(status.behind(client, [MONTH], compute_all.now, trading_days=weekdays).factors)

    limit(wrong, 0.11, 0.09)
    assert behind() == {UNITS[0]}
    compute_all()
    assert behind() == set()
    for name in ("daily_return", "volatility", "vwap_deviation", "volume_ratio"):
        assert wrong not in values(client, name, SYMBOL)
    after = [FEBRUARY[10], FEBRUARY[14], FEBRUARY[15]]
    assert values(client, "daily_return", SYMBOL).keys() == set(FEBRUARY) - {wrong}
    assert [day in values(client, "volume_ratio", SYMBOL) for day in after] == [False, False, True]
    mine = pl.col("symbol") == OTHER
    assert factors(client).filter(mine).equals(whole.filter(mine))
    limit(wrong, 11.0, 9.0)
    assert behind() == {UNITS[0]}
    compute_all()
    assert factors(client).equals(whole)
    limit(dt.date(2026, 3, 20), 0.11, 0.09)
    assert behind() == set(), "limits of a day that nothing is computed of yet"
    limit(dt.date(2026, 1, 30), 0.11, 0.09)
    assert behind() == {UNITS[0]}, "the first days of a month use the last ones of the month before"
    compute_all()
    assert FEBRUARY[0] in values(client, "daily_return", SYMBOL)
    assert FEBRUARY[0] not in values(client, "volume_ratio", SYMBOL)


def test_factors_of_bars_that_are_gone_go_too(client: Client, compute_all: Computer) -> None:
    stand(client, months())
    compute_all([UNITS[0]])
    client.command("TRUNCATE TABLE tick_data")
    [unit] = compute_all([UNITS[0]], refetch=True).units
    assert (unit.outcome, unit.rows, unit.changed) == ("unsupported", 0, True)
    assert factors(client).is_empty()


def test_nothing_is_proven_of_a_symbol_without_bars_and_of_a_month_to_come(
    client: Client, compute_all: Computer
) -> None:
    """Nobody was asked for its factors."""
    report = compute_all([UNITS[0], Unit(SYMBOL, "2026-03")])
    assert [(unit.month, unit.outcome) for unit in report.units] == [(MONTH, "unsupported"), ("2026-03", "provisional")]
    assert "no day of 2026-03 is closed yet" in report.units[1].note
    assert [load.unit for load in ledger.entries(client, "factors")] == [MONTH]


@pytest.mark.slow
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


def test_a_provider_of_any_class_is_asked_for_its_daily_figures(client: Client, compute_all: Computer) -> None:
    async def daily(days: Days, symbol: str | None = None) -> pl.DataFrame:
        return records.DAILY.to_frame()

    async def adjustments(days: Days, symbol: str | None = None) -> pl.DataFrame:
        return pl.DataFrame([("vendor", SYMBOL, day, 1.5) for day in FEBRUARY], records.ADJUSTMENTS, orient="row")

    config = providers_file.shipped().tushare
    vendor: Any = SimpleNamespace(
        name="vendor", label="end", configured=True, config=config, bars=daily, daily=daily, adjustments=adjustments
    )
    compute_all.providers.append(lambda: vendor)
    compute_all([UNITS[0]])
    assert values(client, "adj_factor") == dict.fromkeys(FEBRUARY, 1.5)


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


@pytest.mark.slow
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
    assert (load.outcome, Inputs.of(load).answered) == ("failed", {"tushare": FAILED})
    assert compute_all([UNITS[0]]).units[0].outcome == "ok"


@pytest.mark.slow
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


def shanghai(day: int, hour: int, minute: int = 11, month: int = 2) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, minute, tzinfo=dt.timezone(dt.timedelta(hours=8)))


def test_figures_that_come_after_the_run_of_a_months_last_day_are_not_lost(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    """daily_basic is published between 15:00 and 17:00, the run is at 16:11."""
    register_all(client)
    stand(client, [*months(), *months(OTHER)])
    fill(tushare, {SYMBOL: 1.5, OTHER: 2.0}, FEBRUARY[:-1])
    compute_all.now = shanghai(27, 16)
    early = compute_all()
    assert [(unit.outcome, unit.provisional) for unit in early.units] == [("ok", 1)] * 2
    assert compute_all().requests == 0
    window = ["2026-01", "2026-02", "2026-03"]
    overview = status.overview(client, window, shanghai(27, 20), trading_days=weekdays)[2]
    assert (overview.months[MONTH], overview.provisional_days) == ({"provisional": 2}, 2)

    fill(tushare, {SYMBOL: 1.5, OTHER: 2.0})
    compute_all.now = shanghai(28, 2)
    assert set(UNITS) <= set(status.behind(client, window, compute_all.now, trading_days=weekdays).factors)
    night = compute_all()
    assert values(client, "adj_factor", SYMBOL) == dict.fromkeys(FEBRUARY, 1.5)
    assert values(client, "close", OTHER)[FEBRUARY[-1]] == 29.0
    assert night.requests == 2  # of the last day only
    assert compute_all().requests == 0
    compute_all.now = shanghai(2, 16, month=3)
    assert [(unit.provisional, unit.changed) for unit in compute_all().units] == [(0, False)] * 2
    assert status.overview(client, window, compute_all.now, trading_days=weekdays)[2].provisional_days == 0
    compute_all.now = shanghai(3, 16, month=3)
    assert compute_all().requests == 0


def register_all(client: Client) -> None:
    rows = [
        {"symbol": symbol, "status": "listed", "seen": NOW, "source": "test", "name": ""} for symbol in (SYMBOL, OTHER)
    ]
    frame = pl.DataFrame(rows).with_columns(listed=pl.lit(None, pl.Date), delisted=pl.lit(None, pl.Date))
    clickhouse.insert(client, "symbols", frame.select(SYMBOLS.columns.names()).cast(SYMBOLS.columns))


@pytest.mark.slow
def test_a_stock_without_figures_on_its_last_day_is_asked_for_until_the_same_answer_comes_again(
    client: Client, compute_all: Computer, tushare: TushareServer
) -> None:
    fill(tushare, {SYMBOL: 1.5}, FEBRUARY[:-1])
    days = []
    for now in (shanghai(27, 16), shanghai(28, 2), shanghai(2, 16, month=3), shanghai(3, 16, month=3)):
        compute_all.now = now
        report = compute_all([UNITS[0]])
        days.append((report.units[0].provisional, report.requests))
    assert days == [(1, 2), (1, 2), (0, 2), (0, 0)]


@pytest.mark.parametrize("broken", [pytest.param("tushare without a token", marks=pytest.mark.slow), "yahoo at 429"])
def test_one_provider_that_answers_is_enough(
    client: Client,
    compute_all: Computer,
    clients: Clients,
    tushare_server: TushareServer,
    yahoo_server: YahooServer,
    broken: str,
) -> None:
    token = None if broken.startswith("tushare") else "canary-token"
    fill(tushare_server, {SYMBOL: 1.5, OTHER: 2.0})
    if token:
        yahoo_server.fail(429, 100)
    compute_all.providers += [
        lambda: clients.tushare(tushare_server, token=token),
        lambda: clients.yahoo(yahoo_server),
    ]
    stand(client, [*months(), *months(OTHER)])
    report = compute_all(patience=0.0)
    assert {unit.outcome for unit in report.units} == {"ok"}
    assert (tushare_server.requests == 0) == (token is None)
    notes = [unit.note for unit in report.units]
    [first, *_] = ledger.entries(client, "factors")
    if token:
        assert all("yahoo: " in note for note in notes)
        assert Inputs.of(first).answered["yahoo"] == FAILED
        register_all(client)
        late = status.overview(client, [MONTH], NOW, trading_days=weekdays)[2]
        assert late.months[MONTH] == {"stale": 2}
        yahoo_server.no_more_faults()
        rmtree(clients.home / "budgets")  # half an hour later, when the block is over
        assert {unit.outcome for unit in compute_all().units} == {"ok"}
        assert Inputs.of(ledger.entries(client, "factors")[0]).answered["yahoo"].final == str(FEBRUARY[-2])
    else:
        assert list(Inputs.of(first).answered) == ["yahoo"]


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
        (OTHER, MONTH, "provisional", 0),
        (SYMBOL, MONTH, "ok", 2),
        ("920000.BJ", MONTH, "unsupported", 0),
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


@pytest.mark.slow
def test_who_is_overtaken_says_so(client: Client, compute_all: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run lands between the look and the publish: what it had of a provider is gone."""
    stand(client, months())
    compute_all([UNITS[0]])
    stand(client, months(d20260227=flat(12.0)))
    original, calls = table_writer.write, []

    def slow(*arguments: Any, **options: Any) -> Any:
        if not calls:
            calls.append(1)
            stand(client, months(d20260227=flat(13.0)))
            with ThreadPoolExecutor(1) as other:
                assert other.submit(compute_all, [UNITS[0]]).result().units[0].outcome == "ok"
            stand(client, months(d20260227=flat(12.0)))
        return original(*arguments, **options)

    monkeypatch.setattr(table_writer, "write", slow)
    [unit] = compute_all([UNITS[0]]).units
    assert (unit.outcome, "another run wrote" in (unit.error or "")) == ("failed", True)
    assert ledger.entries(client, "factors")[0].outcome == "failed"
    [unit] = compute_all([UNITS[0]]).units
    assert unit.outcome == "ok"
    assert values(client, "daily_return")[FEBRUARY[-1]] == pytest.approx(0.2)


@pytest.mark.slow
def test_two_runs_at_once_end_in_the_same_rows(client: Client, compute_all: Computer, tushare: TushareServer) -> None:
    stand(client, [*months(), *months(OTHER)])
    with ThreadPoolExecutor(2) as both:
        reports = [run.result() for run in [both.submit(compute_all) for _ in range(2)]]
    assert [unit.error for report in reports for unit in report.units] == [None] * 4
    assert factors(client).height == 2 * (3 * 20 + 4 * 20)
    assert not factors(client).select(pl.struct("symbol", "date", "factor", "provider").is_duplicated().any()).item()
    assert {load.rows for load in ledger.entries(client, "factors")} == {140}

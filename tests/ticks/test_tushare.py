"""Tushare against a server with its cap, its codes and its faults, and its recorded answers."""

import asyncio
import datetime as dt
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.errors import MarketDataError
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import (
    BadResponse,
    NoPermission,
    NoToken,
    ProviderUnavailable,
    QuotaSpent,
    RequestRejected,
    TicksError,
    TokenRejected,
    UnknownSymbol,
)
from marketdata_assets.ticks.provider_client import RateLimiter, rate_limiter
from marketdata_assets.ticks.providers_file import RateLimits
from marketdata_assets.ticks.records import BARS, Delivery
from marketdata_assets.ticks.tushare import Account, Tushare
from marketdata_demo.servers.tushare import DAILY, TOKEN, TushareServer, minute_rows
from tests.ticks.tick_clients import HASTY, JUNE, SYMBOL, Clients, flag_names, tushare_config, week

MONDAY = dt.date(2025, 6, 2)


async def june(client: Tushare) -> Delivery:
    return await client.bars(SYMBOL, JUNE)


def one_day(day: dt.date = MONDAY) -> Days:
    return Days(day, day)


def fixture(folder: Path, name: str) -> bytes:
    return (folder / "tushare" / name).read_bytes()


def test_a_month_is_one_request_and_comes_in_utc_shares_and_yuan(
    tushare_server: TushareServer, clients: Clients
) -> None:
    delivery = clients.with_tushare(tushare_server, june)
    bars = delivery.rows
    assert (delivery.outcome, delivery.provider, delivery.label, delivery.currency) == ("ok", "tushare", "end", "CNY")
    assert (bars.schema, bars.height, tushare_server.requests) == (BARS, 21 * 241, 1)
    first = bars.row(0, named=True)
    assert first["ts"] == dt.datetime(2025, 6, 2, 1, 30, tzinfo=dt.UTC)
    _, _, close, open_, high, low, volume, turnover = minute_rows(SYMBOL, MONDAY)[0]
    assert [first[name] for name in ("open", "high", "low", "close", "volume", "turnover")] == [
        open_, high, low, close, volume, turnover,
    ]  # fmt: skip
    assert bars["ts"].is_sorted()
    assert bars["ts"].n_unique() == bars.height
    assert bars["ts"].max() == dt.datetime(2025, 6, 30, 7, tzinfo=dt.UTC)


def test_zero_volume_minutes_stay_and_are_flagged(tushare_server: TushareServer, clients: Clients) -> None:
    delivery = clients.with_tushare(tushare_server, lambda one: one.bars(SYMBOL, one_day()))
    still = delivery.rows.row(239, named=True)
    assert (still["volume"], still["turnover"], flag_names(still["flags"])) == (0, 0.0, ["zero_volume"])


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("cap", [241, 242, 1000, 21 * 241])
def test_an_answer_at_the_cap_is_asked_for_in_halves(
    tushare_server: TushareServer, clients: Clients, cap: int, more: bool
) -> None:
    tushare_server.cap, tushare_server.more = cap, more
    if cap == 241:  # a full day is at the cap: it cannot be told from a cut one
        with pytest.raises(BadResponse, match=r"one day has 241 rows and more, the cap is 241"):
            clients.with_tushare(tushare_server, june, cap=cap)
        return
    delivery = clients.with_tushare(tushare_server, june, cap=cap)
    assert delivery.rows.height == 21 * 241
    assert delivery.rows["ts"].n_unique() == 21 * 241


def test_has_more_splits_even_below_the_cap(tushare_server: TushareServer, clients: Clients) -> None:
    tushare_server.cap = 3000  # the server gives fewer rows than we count on
    assert clients.with_tushare(tushare_server, june).rows.height == 21 * 241
    assert tushare_server.requests == 3


def test_33_days_are_one_request_and_34_are_two(tushare_server: TushareServer, clients: Clients) -> None:
    first = dt.date(2025, 6, 1)
    for length, requests in ((33, 1), (34, 3)):
        days = Days(first, first + dt.timedelta(days=length - 1))
        clients.with_tushare(tushare_server, lambda one, days=days: one.bars(SYMBOL, days))  # type: ignore[misc]
        assert tushare_server.requests == requests


def test_suspended_and_other_exchanges_are_told_apart(tushare_server: TushareServer, clients: Clients) -> None:
    tushare_server.suspended = {*JUNE}
    empty = clients.with_tushare(tushare_server, june)
    assert (empty.outcome, empty.rows.schema, empty.rows.height) == ("empty", BARS, 0)
    with pytest.raises(UnknownSymbol, match=r"AAPL\.US"):
        clients.with_tushare(tushare_server, lambda one: one.bars("AAPL.US", JUNE))
    assert tushare_server.requests == 1


def test_bad_rows_are_refused_one_by_one(tushare_server: TushareServer, clients: Clients) -> None:
    rows = {row[1]: row for row in minute_rows(SYMBOL, MONDAY)}
    changes: dict[str, tuple[int, Any]] = {
        "2025-06-02 09:31:00": (1, "yesterday"),
        "2025-06-02 09:32:00": (6, -100.0),
        "2025-06-02 09:33:00": (6, 1.5),
        "2025-06-02 09:34:00": (2, "10.0x"),
        "2025-06-02 09:35:00": (1, "2025-06-02 09:36:00"),
    }
    for time, (column, value) in changes.items():
        tushare_server.odd[time] = [value if number == column else old for number, old in enumerate(rows[time])]
    tushare_server.odd["2025-06-02 09:40:00"] = [*rows["2025-06-02 09:40:00"][:2], *[None] * 6]
    delivery = clients.with_tushare(tushare_server, lambda one: one.bars(SYMBOL, one_day()))
    assert sorted(reject.reason for reject in delivery.rejected) == [
        "close is not a number",
        "contradicts an earlier row of the same minute",
        "the time cannot be parsed",
        "volume is below 0",
        "volume is not a whole number of shares",
    ]
    assert all(reject.raw.startswith(f"{SYMBOL},") for reject in delivery.rejected)
    assert any("10.0x" in reject.raw for reject in delivery.rejected)
    assert [reject.line for reject in delivery.rejected] == sorted(reject.line for reject in delivery.rejected)
    assert delivery.rows.height == 241 - 5
    null = delivery.rows.filter(delivery.rows["close"].is_null()).row(0, named=True)
    assert null["volume"] is None
    assert flag_names(null["flags"]) == ["incomplete"]


def test_a_missing_column_is_named(tushare_server: TushareServer, clients: Clients) -> None:
    tushare_server.without = {"vol"}
    with pytest.raises(BadResponse, match=r"columns vol are missing; it has ts_code, trade_time, close"):
        clients.with_tushare(tushare_server, june)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b'{"code":0,"msg":"","data":null}', "has no data"),
        (b'{"code":0,"data":{"fields":["ts_code"],"items":[["a","b"]]}}', "columns trade_time"),
    ],
)
def test_an_answer_that_promises_what_it_has_not_is_refused(
    tushare_server: TushareServer, clients: Clients, data: bytes, cause: str
) -> None:
    tushare_server.say(data)
    with pytest.raises(BadResponse, match=cause):
        clients.with_tushare(tushare_server, june)


def test_rows_of_another_symbol_or_day_are_no_answer(tushare_server: TushareServer, clients: Clients) -> None:
    row = minute_rows(SYMBOL, MONDAY)[0]
    tushare_server.odd = {row[1]: ["600001.SH", *row[1:]]}
    with pytest.raises(BadResponse, match=r"rows of 600001\.SH"):
        clients.with_tushare(tushare_server, june)
    tushare_server.odd = {row[1]: [SYMBOL, "2025-07-01 09:30:00", *row[2:]]}
    with pytest.raises(BadResponse, match="rows of 2025-07-01"):
        clients.with_tushare(tushare_server, june)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("error/token_40101.json", TokenRejected),
        ("error/rt_min_daily_denied_40203.json", NoPermission),
        ("error/rate_limit_40203_hourly.json", QuotaSpent),
    ],
)
def test_recorded_refusals_are_told_apart(
    tushare_server: TushareServer, clients: Clients, fixtures: Path, name: str, error: type[MarketDataError]
) -> None:
    tushare_server.say(fixture(fixtures, name))
    with pytest.raises(error):
        clients.with_tushare(tushare_server, june)
    assert tushare_server.requests == 1


def test_passing_faults_are_asked_again(tushare_server: TushareServer, clients: Clients) -> None:
    tushare_server.fail(503)
    tushare_server.drop()
    tushare_server.say(b'{"code": 0, "data": {"fields": [')
    assert clients.with_tushare(tushare_server, june).rows.height == 21 * 241
    assert tushare_server.requests == 4


def test_retries_are_bounded_and_slow_answers_time_out(tushare_server: TushareServer, clients: Clients) -> None:
    tushare_server.fail(429, 2, text="slow down")
    tushare_server.stall(60.0, 2)
    hasty = tushare_config(network=type(HASTY)(timeout=1.5, max_retries=3, backoff=0.01))
    with pytest.raises(ProviderUnavailable, match="no successful response in 4 attempts, last: ReadTimeout"):
        clients.with_tushare(tushare_server, june, config=hasty)
    assert tushare_server.requests == 4


def test_pauses_double_with_jitter(tushare_server: TushareServer, clients: Clients) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    tushare_server.fail(500, 9)
    network = type(HASTY)(timeout=2.0, max_retries=7, backoff=2.0)
    with pytest.raises(ProviderUnavailable):
        clients.with_tushare(
            tushare_server, june, config=tushare_config(network=network), sleep=sleep, jitter=lambda: 0.5
        )
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.usefixtures("all_log_lines")
def test_the_token_is_never_shown(
    tushare_server: TushareServer, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tushare_server.say(json.dumps({"code": 40001, "msg": f"token {TOKEN} 参数", "data": None}).encode())
    with pytest.raises(RequestRejected) as refused:
        clients.with_tushare(tushare_server, june)
    client = clients.tushare(tushare_server)
    kept = rate_limiter("tushare", tushare_config(), clients.home, TOKEN)
    limiter = client._calls[0]._limiter
    shown = [
        str(refused.value),
        repr(refused.value),
        repr(client),
        repr(client._clients),
        repr(vars(limiter)),
        repr(kept),
    ]
    assert [text for text in [*shown, caplog.text] if TOKEN in text] == []
    assert "***" in str(refused.value)


def test_without_a_token_nothing_is_sent(tushare_server: TushareServer, clients: Clients) -> None:
    with pytest.raises(NoToken, match="Set TUSHARE_TOKEN, or disable tushare"):
        clients.with_tushare(tushare_server, june, token=None)
    assert tushare_server.requests == 0


def test_the_token_goes_over_https_only(clients: Clients) -> None:
    limits = RateLimiter(clients.home, "x", RateLimits(requests_per_minute=1, requests_per_hour=1))
    with pytest.raises(TicksError, match="must begin with https://"):
        Tushare([Account(TOKEN, limits)], tushare_config(), url="http://api.example.com")


def test_several_accounts_share_the_requests(tushare_server: TushareServer, clients: Clients) -> None:
    tushare_server.tokens = ["one", "two", "three"]

    async def days(client: Tushare) -> list[Delivery]:
        return await asyncio.gather(*(client.bars(SYMBOL, day) for day in JUNE.slices(1)))

    assert len(clients.with_tushare(tushare_server, days, token=["one", "two", "three"])) == 30
    assert tushare_server.by_token == {"one": 10, "two": 10, "three": 10}


def test_daily_and_adjustment_factors_come_by_symbol_or_by_day(tushare_server: TushareServer, clients: Clients) -> None:
    fields = ["ts_code", "trade_date", *DAILY]
    values = [float(number) for number in range(len(DAILY))]
    rows: list[list[Any]] = [[code, "20250603", *values[:-1], None] for code in (SYMBOL, "000001.SZ", "AAPL.US")]
    tushare_server.tables["daily_basic"] = (fields, rows)
    tushare_server.tables["adj_factor"] = (
        ["trade_date", "ts_code", "adj_factor"],
        [["20250603", SYMBOL, 15.5], ["20250602", SYMBOL, 15.25]],
    )
    daily = clients.with_tushare(tushare_server, lambda one: one.daily(week()))
    assert daily.schema == records.DAILY
    assert daily["symbol"].to_list() == ["000001.SZ", SYMBOL]
    assert (daily["turnover_rate"][0], daily["circ_mv"][0]) == (1.0, None)
    assert tushare_server.requests == 7
    factors = clients.with_tushare(tushare_server, lambda one: one.adjustments(JUNE, SYMBOL))
    assert factors.schema == records.ADJUSTMENTS
    assert factors.rows() == [
        ("tushare", SYMBOL, dt.date(2025, 6, 2), 15.25),
        ("tushare", SYMBOL, dt.date(2025, 6, 3), 15.5),
    ]
    rows[0][3] = "many"
    with pytest.raises(BadResponse, match="column 'turnover_rate' must be numbers, was 'many'"):
        clients.with_tushare(tushare_server, lambda one: one.daily(JUNE, SYMBOL))


def test_factors_that_are_cut_or_contradict_are_no_answer(tushare_server: TushareServer, clients: Clients) -> None:
    table = [["20250603", SYMBOL, 15.5], ["20250603", SYMBOL, 15.25]]
    tushare_server.tables["adj_factor"] = (["trade_date", "ts_code", "adj_factor"], table)
    with pytest.raises(BadResponse, match="two different rows"):
        clients.with_tushare(tushare_server, lambda one: one.adjustments(JUNE, SYMBOL))
    tushare_server.cap = 1
    with pytest.raises(BadResponse, match="cut after 1 rows"):
        clients.with_tushare(tushare_server, lambda one: one.adjustments(JUNE, SYMBOL))


def test_a_recorded_answer_is_read(tushare_server: TushareServer, clients: Clients, fixtures: Path) -> None:
    tushare_server.say(fixture(fixtures, "stk_mins/stk_mins_600000_20260930_excerpt.json"))
    delivery = clients.with_tushare(tushare_server, lambda one: one.bars(SYMBOL, one_day(dt.date(2026, 9, 30))))
    assert (delivery.rows.height, delivery.rejected) == (20, ())
    last = delivery.rows.row(-1, named=True)
    assert last["ts"] == dt.datetime(2026, 9, 30, 7, tzinfo=dt.UTC)
    assert (last["open"], last["close"], last["volume"], last["turnover"]) == (9.48, 9.48, 1491300, 14137524.0)
    quiet = delivery.rows.row(-2, named=True)
    assert (quiet["volume"], flag_names(quiet["flags"])) == (0, ["zero_volume"])

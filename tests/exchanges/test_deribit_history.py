"""Deribit's history against a server with its page sizes, limits and faults."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from history_pages import HASTY, MS, all_of, numbers, windows_after
from recorded_budgets import RecordedBudgets, most_within

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.deribit.history import LISTS, DeribitHistory, limits
from marketdata_assets.exchanges.deribit.rest import error_of
from marketdata_assets.exchanges.errors import BadCursor, BadPage, RequestRejected, VenueRateLimited, VenueUnavailable
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Gap, Kline, Liquidation, Trade
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_assets.exchanges.rest_history import Cursor, Page, Window
from marketdata_demo.venues.deribit_messages import PERPETUAL, instruments
from marketdata_demo.venues.deribit_venue import HOUR, MINUTE, DeribitServer
from marketdata_demo.venues.live_market import Happened

START = 1_700_000_040_000  # ms, on a minute
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[DeribitServer]:
    with DeribitServer() as one:
        yield one


def free(folder: Path) -> Limits:
    return Limits(Budget(folder, "deribit", 1.0, 100_000))


def run(
    server: DeribitServer,
    folder: Path,
    body: Callable[[DeribitHistory], Coroutine[Any, Any, Any]],
    allowed: Limits | None = None,
    known: Instruments | None = None,
) -> Any:
    async def main() -> Any:
        async with Rest("deribit", server.url, allowed or free(folder), error_of, patience=HASTY) as client:
            return await body(DeribitHistory(client, instruments() if known is None else known))

    return asyncio.run(main())


def many(count: int, every: int = 3) -> list[Happened]:
    """Several trades share a moment, more than a page has of them at the fifth."""
    return [Happened(START + number // every, number + 100) for number in range(count)]


def test_trades_of_a_window_come_once_over_many_pages(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = many(100)
    server.largest_page = 7
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(2, 30))))
    assert numbers(found) == [one.number for one in server.trades if START + 2 <= one.ts < START + 30]
    assert server.requests == len(found) // 7 + 1
    assert not any(isinstance(one, Gap) for one in found)
    assert "by_instrument_and_time" in server.lines[0]
    assert all("start_seq" in line for line in server.lines[1:])


def test_more_trades_of_one_moment_than_a_page_has(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = many(60, every=20)
    server.largest_page = 6
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 2))))
    assert numbers(found) == list(range(100, 140))


def test_a_number_that_is_missing_between_pages_or_in_one_becomes_a_gap(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = [one for one in many(30) if one.number not in (104, 110, 111)]
    server.largest_page = 4  # the first page ends at 103
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 10))))
    assert [(one.last_id, one.next_id) for one in found if isinstance(one, Gap)] == [(103, 105), (109, 112)]
    assert numbers(found) == [one.number for one in server.trades]
    gap = next(one for one in found if isinstance(one, Gap))
    assert (gap.ts_from, gap.ts_to, gap.cause) == ((START + 1) * MS, (START + 1) * MS, "sequence")


def test_numbers_that_go_back_are_refused(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = [Happened(START, 105), Happened(START + 1, 104)]
    with pytest.raises(BadPage, match="number 104 where 106 comes next"):
        run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 5))))


def test_a_stored_cursor_goes_on_with_the_next_trade(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = many(40)
    server.largest_page = 9

    async def one_page(history: DeribitHistory, where: Window | Cursor) -> Page:
        pages = history.trades(PERPETUAL, where)
        return await anext(pages)

    where: Window | Cursor = window(0, 100)
    found: list[AnyRecord | Gap] = []
    while not (isinstance(where, Cursor) and where.done):
        page = run(server, tmp_path, lambda history, where=where: one_page(history, where))
        found += page.records
        where = Cursor.read(page.cursor.text())
    assert numbers(found) == [one.number for one in server.trades]
    for name in ("deribit trades OTHER", "deribit klines 1m ABC-PERPETUAL"):
        other = Cursor(name, 0, 1, 0)
        with pytest.raises(BadCursor):
            run(server, tmp_path, lambda history, other=other: all_of(history.trades(PERPETUAL, other)))
    bad = Cursor(f"deribit trades {PERPETUAL}", 0, MS, 0, token="x")
    with pytest.raises(BadCursor, match="not a trade number"):
        run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, bad)))


def test_a_window_without_trades_is_one_request_and_one_without_a_moment_none(
    server: DeribitServer, tmp_path: Path
) -> None:
    server.trades = many(3)
    assert run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(50, 60)))) == []
    assert server.requests == 1
    between = Window(START * MS + 1, START * MS + MS)
    for kind in ("trades", "funding"):
        assert (
            run(server, tmp_path, lambda history, kind=kind: all_of(getattr(history, kind)(PERPETUAL, between))) == []
        )
    assert run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", between))) == []
    assert server.requests == 1


def opened(records: list[AnyRecord | Gap]) -> list[int]:
    return [one.open_time // MS - START for one in records if isinstance(one, Kline)]


@pytest.mark.parametrize(("interval", "length"), [("1m", MINUTE), ("5m", 5 * MINUTE), ("1h", HOUR)])
def test_candles_that_begin_in_the_window_come_once(
    server: DeribitServer, tmp_path: Path, interval: str, length: int
) -> None:
    first = -START % length
    span = window(first, first + 2500 * length)
    found = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, interval, span)))
    assert opened(found) == [first + number * length for number in range(2500)]
    assert server.requests == 3
    assert {one.interval for one in found} == {interval}


def test_the_candle_under_way_at_the_start_belongs_to_the_window_before(server: DeribitServer, tmp_path: Path) -> None:
    before = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(0, 90_000))))
    behind = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(90_000, 240_000))))
    assert (opened(before), opened(behind)) == ([0, 60_000], [120_000, 180_000])


def test_candles_before_the_first_are_no_data(server: DeribitServer, tmp_path: Path) -> None:
    server.first_candle = START + 1500 * MINUTE
    found = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(0, 1600 * MINUTE))))
    assert opened(found) == [number * MINUTE for number in range(1500, 1600)]


def test_candles_of_another_resolution_are_refused(server: DeribitServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"interval .7m.*1m, 3m"):
        run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "7m", window(0, 9))))


def test_funding_is_every_hour_that_ends_in_the_window(server: DeribitServer, tmp_path: Path) -> None:
    server.hours = [START + number * HOUR for number in range(1300)]
    found = run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, 1200 * HOUR))))
    paid = [one.funding_time for one in found if isinstance(one, FundingRate)]
    assert paid == [hour * MS for hour in server.hours[:1200]]
    assert server.requests == 3


def test_all_instruments_are_listed(server: DeribitServer, tmp_path: Path) -> None:
    known = Instruments("deribit")
    found = run(server, tmp_path, lambda history: history.listed(), known=known)
    assert {one.name for one in found} == set(known.known) != set()


def test_forced_orders_come_with_their_trades(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = many(1)
    body = (
        b'{"result":{"has_more":false,"trades":[{"trade_id":"a","trade_seq":100,"timestamp":%d,"price":1.5,"amount":10,'
    )
    server.say(body % START + b'"direction":"buy","instrument_name":"ABC-PERPETUAL","liquidation":"M"}]}}')
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 5))))
    assert [type(one) for one in found] == [Trade, Liquidation]


def test_faults_that_pass_cost_repeats_and_no_row(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = many(50)
    server.largest_page = 20
    server.fail(500)
    server.fail(429, where="start_seq", retry="0.05")
    server.drop(where="start_seq")
    server.say(b"", status=502)
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 100))))
    assert numbers(found) == list(range(100, 150))
    assert server.requests == 3 + 4


@pytest.mark.usefixtures("all_log_lines")
def test_a_pause_demanded_by_the_venue_stops_all_processes_and_is_logged(
    server: DeribitServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.trades = many(1)
    server.fail(429, retry="600")
    short = Limits(Budget(tmp_path, "deribit", 1.0, 100_000), longest_wait=1.0)
    with pytest.raises(VenueRateLimited, match="Resume from the last cursor"):
        run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 5))), short)
    again = Limits(Budget(tmp_path, "deribit", 1.0, 100_000), longest_wait=1.0)  # another process
    with pytest.raises(VenueRateLimited, match=r"a pause of (600|59\d) s"):
        run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))), again)
    assert server.requests == 1
    events = [message.partition(" ")[0] for message in caplog.messages]
    assert events.count("rate_limited") == 2
    assert "request_failed" in events


def test_a_ban_is_obeyed_like_too_many_requests(server: DeribitServer, tmp_path: Path) -> None:
    server.fail(418, retry="0.05")
    run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    assert server.requests == 2


def test_its_own_word_for_too_many_requests_is_obeyed_too(server: DeribitServer, tmp_path: Path) -> None:
    server.say(b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"}}', status=400)
    server.say(b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"}}')
    run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    assert server.requests == 3


def test_a_refusal_is_not_repeated(server: DeribitServer, tmp_path: Path) -> None:
    known = instruments()
    with pytest.raises(RequestRejected, match="13020 instrument_not_found") as caught:
        run(server, tmp_path, lambda history: all_of(history.funding("NOBODY", window(0, HOUR))), known=known)
    assert caught.value.code == 13020
    server.fail(404)
    with pytest.raises(RequestRejected, match="404"):
        run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    server.fail(302)
    with pytest.raises(RequestRejected, match="redirect"):
        run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    assert server.requests == 3


def test_a_venue_that_stays_away_is_named(server: DeribitServer, tmp_path: Path) -> None:
    server.fail(503, times=10)
    with pytest.raises(VenueUnavailable, match="failed 4 times"):
        run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    assert server.requests == 4


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"result":{}}', b'{"result":[{"instrument_name":"ABC-PERPETUAL"}]}', b"[]"]
)
def test_an_answer_that_cannot_be_read_is_no_page(server: DeribitServer, tmp_path: Path, body: bytes) -> None:
    server.say(body, times=3)
    for ask in (
        lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))),
        lambda history: all_of(history.trades(PERPETUAL, window(0, 5))),
        lambda history: all_of(history.klines(PERPETUAL, "1m", window(0, 5 * MINUTE))),
    ):
        with pytest.raises(BadPage, match="The page was discarded"):
            run(server, tmp_path, ask)


def test_rows_outside_the_window_are_refused(server: DeribitServer, tmp_path: Path) -> None:
    server.now = 10**13
    chart = (
        b'{"result":{"status":"ok","ticks":[%d],"open":[1],"high":[1],"low":[1],"close":[1],"volume":[1],"cost":[1]}}'
    )
    for tick in (START - MINUTE, START + 5 * MINUTE):
        server.say(chart % tick)
        with pytest.raises(BadPage, match="outside"):
            run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(0, 5 * MINUTE))))


def test_requests_keep_to_the_budget_of_the_host(tmp_path: Path) -> None:
    with DeribitServer() as server:
        server.trades = many(60, every=1)
        server.largest_page = 1
        budgets = RecordedBudgets(tmp_path)
        allowed = Limits(Budget(budgets, "deribit", 0.5, 20))
        found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 100))), allowed)
        assert numbers(found) == list(range(100, 160))
        assert len(budgets.turns["deribit"]) >= server.requests >= 60
        assert most_within(budgets.turns["deribit"], 0.5) <= 20


def test_lists_of_instruments_have_a_slower_lane(tmp_path: Path) -> None:
    usual = limits(tmp_path)
    assert usual.lanes[LISTS].spacing > 5 * usual.host.spacing
    assert (usual.host.place, usual.host.name) == (tmp_path, "www.deribit.com")

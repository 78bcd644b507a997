"""Deribit's history against a server with its page sizes, limits and faults."""

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import history_pages
import pytest
from history_pages import MS, all_of, numbers, windows_after
from recorded_budgets import RecordedBudgets, most_within

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.deribit.history import LISTS, limits
from marketdata_assets.exchanges.errors import BadPage, RequestRejected, VenueRateLimited, VenueUnavailable
from marketdata_assets.exchanges.records import AnyRecord, Gap, Kline, Liquidation, Trade
from marketdata_assets.exchanges.rest import Limits
from marketdata_demo.venues.deribit_messages import PERPETUAL
from marketdata_demo.venues.deribit_venue import HOUR, MINUTE, DeribitServer
from marketdata_demo.venues.live_market import Happened

START = 1_700_000_040_000  # ms, on a minute
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[DeribitServer]:
    with DeribitServer() as one:
        yield one


def run(
    server: DeribitServer, folder: Path, body: Callable[[Any], Coroutine[Any, Any, Any]], allowed: Limits | None = None
) -> Any:
    return history_pages.run(server, folder, ("deribit", "inverse"), body, PERPETUAL, allowed=allowed)


def many(count: int, every: int = 3) -> list[Happened]:
    """Several trades share a moment, more than a page has of them at the fifth."""
    return [Happened(START + number // every, number + 100) for number in range(count)]


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


def opened(records: list[AnyRecord | Gap]) -> list[int]:
    return [one.open_time // MS - START for one in records if isinstance(one, Kline)]


def test_the_candle_under_way_at_the_start_belongs_to_the_window_before(server: DeribitServer, tmp_path: Path) -> None:
    before = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(0, 90_000))))
    behind = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(90_000, 240_000))))
    assert (opened(before), opened(behind)) == ([0, 60_000], [120_000, 180_000])


def test_candles_before_the_first_are_no_data(server: DeribitServer, tmp_path: Path) -> None:
    server.first_candle = START + 1500 * MINUTE
    found = run(server, tmp_path, lambda history: all_of(history.klines(PERPETUAL, "1m", window(0, 1600 * MINUTE))))
    assert opened(found) == [number * MINUTE for number in range(1500, 1600)]


def test_forced_orders_come_with_their_trades(server: DeribitServer, tmp_path: Path) -> None:
    server.trades = many(1)
    body = (
        b'{"result":{"has_more":false,"trades":[{"trade_id":"a","trade_seq":100,"timestamp":%d,"price":1.5,"amount":10,'
    )
    server.say(body % START + b'"direction":"buy","instrument_name":"ABC-PERPETUAL","liquidation":"M"}]}}')
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERPETUAL, window(0, 5))))
    assert [type(one) for one in found] == [Trade, Liquidation]


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


def test_a_redirect_is_not_followed(server: DeribitServer, tmp_path: Path) -> None:
    server.fail(302)
    with pytest.raises(RequestRejected, match="redirect") as caught:
        run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    assert (caught.value.code, server.requests) == (302, 1)


def test_a_venue_that_stays_away_is_named(server: DeribitServer, tmp_path: Path) -> None:
    server.fail(503, times=10)
    with pytest.raises(VenueUnavailable, match="failed 4 times"):
        run(server, tmp_path, lambda history: all_of(history.funding(PERPETUAL, window(0, HOUR))))
    assert server.requests == 4


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

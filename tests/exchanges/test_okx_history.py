"""OKX's history against a server with its page sizes, limits and faults."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from history_pages import HASTY, MS, all_of, numbers, windows_after
from recorded_budgets import RecordedBudgets, most_within

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.errors import BadCursor, BadPage, RequestRejected, UnknownInstrument
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.okx.history import BARS, OkxHistory, error_of, limits
from marketdata_assets.exchanges.okx.instruments import instruments, known_instruments
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Gap, Kline
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_assets.exchanges.rest_history import Cursor, Page, Window
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.okx_venue import LISTED, PAGE, OkxServer

START = 1_700_006_400_000  # ms, on an hour
MINUTE, HOUR = 60_000, 3_600_000
SPOT, SWAP = "ABC-USDT", "ABC-USD-SWAP"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[OkxServer]:
    with OkxServer() as one:
        yield one


def known() -> Instruments:
    listed = known_instruments()
    listed.add(instruments(msgspec.json.encode({"code": "0", "data": LISTED})).instruments)
    return listed


def run(
    server: OkxServer,
    folder: Path,
    body: Callable[[OkxHistory], Coroutine[Any, Any, Any]],
    allowed: Limits | None = None,
    listed: Instruments | None = None,
) -> Any:
    free = Limits(Budget(folder, "okx", 1.0, 100_000))

    async def main() -> Any:
        async with Rest("okx", server.url, allowed or free, error_of, patience=HASTY) as client:
            return await body(OkxHistory(client, known() if listed is None else listed))

    return asyncio.run(main())


def many(count: int, every: int = 3) -> list[Happened]:
    """Several trades share a moment; numbers may have holes."""
    return [Happened(START + number // every, 2 * number + 100) for number in range(count)]


def newest_first(trades: list[Happened], first: int, last: int) -> list[int]:
    return [one.number for one in reversed(trades) if START + first <= one.ts < START + last]


@pytest.mark.parametrize("page", [1, 7, 100])
def test_trades_of_a_window_come_once_over_many_pages(server: OkxServer, tmp_path: Path, page: int) -> None:
    server.trades, server.page = many(120), page
    found = run(server, tmp_path, lambda history: all_of(history.trades(SPOT, window(2, 30))))
    assert numbers(found) == newest_first(server.trades, 2, 30)
    assert "type=2" in server.lines[0]
    assert all("type=1" in line for line in server.lines[1:])


def test_more_trades_of_one_moment_than_a_page_has(server: OkxServer, tmp_path: Path) -> None:
    server.trades, server.page = many(60, every=20), 6
    found = run(server, tmp_path, lambda history: all_of(history.trades(SWAP, window(1, 2))))
    assert numbers(found) == newest_first(server.trades, 1, 2)
    assert len(found) == 20


def test_windows_side_by_side_share_no_trade_and_leave_none_out(server: OkxServer, tmp_path: Path) -> None:
    server.trades = many(90)
    odd = START * MS + 7 * MS + 5  # between two milliseconds
    parts = [Window(odd, (START + 40) * MS), Window(START * MS, odd)]
    found = [
        number
        for part in parts
        for number in numbers(run(server, tmp_path, lambda history, part=part: all_of(history.trades(SPOT, part))))
    ]
    assert found == newest_first(server.trades, 0, 40)


def test_a_stored_cursor_goes_on_with_the_trade_before(server: OkxServer, tmp_path: Path) -> None:
    server.trades, server.page = many(40), 9

    async def one_page(history: OkxHistory, where: Window | Cursor) -> Page:
        return await anext(history.trades(SPOT, where))

    where: Window | Cursor = window(0, 100)
    found: list[AnyRecord | Gap] = []
    while not (isinstance(where, Cursor) and where.done):
        page = run(server, tmp_path, lambda history, where=where: one_page(history, where))
        found += page.records
        where = Cursor.read(page.cursor.text())
    assert numbers(found) == newest_first(server.trades, 0, 100)
    with pytest.raises(BadCursor):
        run(server, tmp_path, lambda history: all_of(history.trades(SWAP, where)))
    bad = Cursor(f"okx trades {SPOT}", 0, MS, 0, token="x")
    with pytest.raises(BadCursor, match="not a trade number"):
        run(server, tmp_path, lambda history: all_of(history.trades(SPOT, bad)))


@pytest.mark.parametrize(("interval", "length"), [("1m", MINUTE), ("1h", HOUR), ("1d", 24 * HOUR)])
def test_candles_that_begin_in_the_window_come_once(
    server: OkxServer, tmp_path: Path, interval: str, length: int
) -> None:
    first = -START % length
    span = window(first, first + 250 * length)
    found = run(server, tmp_path, lambda history: all_of(history.klines(SPOT, interval, span)))
    assert [one.open_time // MS - START for one in found] == [
        first + number * length for number in reversed(range(250))
    ]
    assert {(one.interval, one.close_time - one.open_time) for one in found} == {(interval, length * MS)}
    assert isinstance(found[0], Kline)


def test_candles_before_the_first_are_none(server: OkxServer, tmp_path: Path) -> None:
    server.first_candle = START + 50 * MINUTE
    found = run(server, tmp_path, lambda history: all_of(history.klines(SPOT, "1m", window(0, 60 * MINUTE))))
    assert [one.open_time // MS - START for one in found] == [number * MINUTE for number in reversed(range(50, 60))]
    early = window(0, 10 * MINUTE)
    assert run(server, tmp_path, lambda history: all_of(history.klines(SPOT, "1m", early))) == []


def test_funding_is_what_was_paid_in_the_window(server: OkxServer, tmp_path: Path) -> None:
    server.hours = [START + number * 8 * HOUR for number in range(2 * PAGE + 20)]
    found = run(server, tmp_path, lambda history: all_of(history.funding(SWAP, window(0, 2 * PAGE * 8 * HOUR))))
    assert [one.funding_time for one in found] == [hour * MS for hour in reversed(server.hours[: 2 * PAGE])]
    assert {one.rate for one in found if isinstance(one, FundingRate)} == {"0.0001"}


def test_open_interest_of_the_past(server: OkxServer, tmp_path: Path) -> None:
    server.hours = [START + number * HOUR for number in range(PAGE + 20)]
    found = run(server, tmp_path, lambda history: all_of(history.past_open_interest(SWAP, "1h", window(0, 110 * HOUR))))
    assert [one.ts_event for one in found] == [hour * MS for hour in reversed(server.hours[:110])]
    assert {(one.contracts, one.size, one.value) for one in found} == {("200", "500", "2000")}


def test_all_lists_of_instruments_are_read(server: OkxServer, tmp_path: Path) -> None:
    listed = known_instruments()
    found = run(server, tmp_path, lambda history: history.listed(), listed=listed)
    assert {one.name for one in found} == set(listed.known) == {one["instId"] for one in LISTED}
    assert len(server.lines) == 1 + 3 + 1


@pytest.mark.parametrize("interval", ["7m", "1H", ""])
def test_interval_that_okx_does_not_have(server: OkxServer, tmp_path: Path, interval: str) -> None:
    with pytest.raises(ValueError, match="1s, 1m, 3m"):
        run(server, tmp_path, lambda history: all_of(history.klines(SPOT, interval, window(0, 9))))


def test_every_interval_has_the_candle_it_says(server: OkxServer, tmp_path: Path) -> None:
    async def begun(history: OkxHistory) -> None:
        for interval in BARS:
            history.klines(SPOT, interval, window(0, 0))

    run(server, tmp_path, begun)
    assert server.lines == []


def test_instrument_that_no_list_has_is_not_asked_for(server: OkxServer, tmp_path: Path) -> None:
    with pytest.raises(UnknownInstrument):
        run(server, tmp_path, lambda history: all_of(history.trades("NO-ONE", window(0, 9))))
    assert server.requests == 0


def test_faults_that_pass_cost_repeats_and_no_row(server: OkxServer, tmp_path: Path) -> None:
    server.trades, server.page = many(50), 20
    server.fail(500)
    server.say(b'{"code":"50011","msg":"Too Many Requests","data":[]}', status=429)
    server.say(b'{"code":"50011","msg":"Too Many Requests","data":[]}', where="type=1")
    server.drop(where="type=1")
    found = run(server, tmp_path, lambda history: all_of(history.trades(SPOT, window(0, 100))))
    assert numbers(found) == newest_first(server.trades, 0, 100)


def test_a_refusal_is_not_repeated(server: OkxServer, tmp_path: Path) -> None:
    listed = known_instruments(known(), strict=False)
    with pytest.raises(RequestRejected, match="51001") as caught:
        run(server, tmp_path, lambda history: all_of(history.trades("XYZ-USDT", window(0, 9))), listed=listed)
    assert caught.value.code == 51001
    assert server.requests == 1


@pytest.mark.parametrize("data", [b'[["x", 1]]', b'[{"tradeId":"1"}]', b"{}", b"[7]"])
def test_an_answer_that_cannot_be_read_is_no_page(server: OkxServer, tmp_path: Path, data: bytes) -> None:
    server.say(b'{"code":"0","msg":"","data":%s}' % data, times=4)
    server.hours = [START]
    for ask in (
        lambda history: all_of(history.trades(SPOT, window(0, 9))),
        lambda history: all_of(history.klines(SPOT, "1m", window(0, MINUTE))),
        lambda history: all_of(history.past_open_interest(SWAP, "1h", window(0, HOUR))),
        lambda history: history.listed(),
    ):
        with pytest.raises(BadPage, match="The page was discarded"):
            run(server, tmp_path, ask)


def test_rows_that_were_not_asked_for_are_refused(server: OkxServer, tmp_path: Path) -> None:
    server.say(b'{"code":"0","msg":"","data":[["%d","4","5","3","4","1","1","1","1"]]}' % (START + 9 * MINUTE))
    with pytest.raises(BadPage, match="outside"):
        run(server, tmp_path, lambda history: all_of(history.klines(SPOT, "1m", window(0, 5 * MINUTE))))


def test_paths_keep_to_their_own_budgets(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.trades, server.page = many(30, every=1), 1
        budgets = RecordedBudgets(tmp_path)
        allowed = Limits(
            Budget(budgets, "okx", 1.0, 100_000), {"market/history-trades": Budget(budgets, "trades", 0.5, 20)}
        )
        found = run(server, tmp_path, lambda history: all_of(history.trades(SPOT, window(0, 100))), allowed)
        assert len(found) == 30
        assert len(budgets.turns["trades"]) >= server.requests >= 30
        assert most_within(budgets.turns["trades"], 0.5) <= 20


def test_every_list_has_a_lane_of_its_own(tmp_path: Path) -> None:
    usual = limits(tmp_path)
    assert len({lane.name for lane in usual.lanes.values()} | {usual.host.name}) == len(usual.lanes) + 1
    assert usual.lanes["public/funding-rate-history"].spacing > usual.lanes["market/history-candles"].spacing


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"[" * 9999, b'{"code":0}', b'{"code":"0","data":[]}'])
def test_bytes_that_say_no_error_are_none(raw: bytes) -> None:
    assert error_of(raw) is None

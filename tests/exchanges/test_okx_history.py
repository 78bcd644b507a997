"""OKX's history against a server with its page sizes, limits and faults."""

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import history_pages
import pytest
from history_pages import HOUR, MINUTE, MS, all_of, windows_after
from recorded_budgets import RecordedBudgets, most_within

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.errors import BadPage, UnknownInstrument
from marketdata_assets.exchanges.okx.history import BARS, error_of, limits
from marketdata_assets.exchanges.rest import Limits
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.okx_venue import OkxServer

START = 1_700_006_400_000  # ms, on an hour
SPOT, SWAP = "ABC-USDT", "ABC-USD-SWAP"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[OkxServer]:
    with OkxServer() as one:
        yield one


def run(
    server: OkxServer,
    folder: Path,
    body: Callable[[Any], Coroutine[Any, Any, Any]],
    allowed: Limits | None = None,
    *,
    listed: bool = False,
) -> Any:
    return history_pages.run(server, folder, ("okx", "spot"), body, SPOT, SWAP, allowed=allowed, listed=listed)


def test_candles_before_the_first_are_none(server: OkxServer, tmp_path: Path) -> None:
    server.first_candle = START + 50 * MINUTE
    found = run(server, tmp_path, lambda history: all_of(history.klines(SPOT, "1m", window(0, 60 * MINUTE))))
    assert [one.open_time // MS - START for one in found] == [number * MINUTE for number in reversed(range(50, 60))]
    early = window(0, 10 * MINUTE)
    assert run(server, tmp_path, lambda history: all_of(history.klines(SPOT, "1m", early))) == []


def test_open_interest_of_the_past_has_contracts_coins_and_dollars(server: OkxServer, tmp_path: Path) -> None:
    server.hours, span = [START], window(0, HOUR)
    (one,) = run(server, tmp_path, lambda history: all_of(history.past_open_interest(SWAP, "1h", span)), listed=True)
    assert (one.contracts, one.size, one.value) == ("200", "500", "2000")


def test_every_interval_has_the_candle_it_says(server: OkxServer, tmp_path: Path) -> None:
    async def begun(history: Any) -> None:
        for interval in BARS:
            history.klines(SPOT, interval, window(0, 0))

    run(server, tmp_path, begun)
    assert server.lines == []


def test_instrument_that_no_list_has_is_not_asked_for(server: OkxServer, tmp_path: Path) -> None:
    with pytest.raises(UnknownInstrument):
        run(server, tmp_path, lambda history: all_of(history.trades("NO-ONE", window(0, 9))))
    assert server.requests == 0


def test_rows_that_were_not_asked_for_are_refused(server: OkxServer, tmp_path: Path) -> None:
    server.say(b'{"code":"0","msg":"","data":[["%d","4","5","3","4","1","1","1","1"]]}' % (START + 9 * MINUTE))
    with pytest.raises(BadPage, match="outside"):
        run(server, tmp_path, lambda history: all_of(history.klines(SPOT, "1m", window(0, 5 * MINUTE))))


def test_paths_keep_to_their_own_budgets(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.trades, server.page = [Happened(START + at, 100 + at) for at in range(30)], 1
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

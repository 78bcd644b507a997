"""The law of histories, for every venue against its server: each row of a window once, in order, whatever happens.

What one venue has alone is in the tests of its own history.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from history_pages import HOUR, MINUTE, MS, all_of, numbers, run, windows_after

from marketdata_assets.exchanges.binance import history as binance_history
from marketdata_assets.exchanges.errors import BadCursor, BadPage, RequestRejected
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Gap, Kline, MarketType, OpenInterest
from marketdata_assets.exchanges.rest_history import Cursor, Page, Window
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.bybit_venue import BybitServer
from marketdata_demo.venues.deribit_messages import PERPETUAL
from marketdata_demo.venues.deribit_venue import DeribitServer
from marketdata_demo.venues.hyperliquid_venue import HyperliquidServer
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.okx_venue import OkxServer

START = 1_700_006_400_000  # ms, on an hour
window = windows_after(START)


@dataclass(frozen=True)
class Place:
    """A market, its server, and what its history has."""

    market: tuple[str, MarketType]
    name: str
    server: Callable[[], Any]
    page: str = ""  # the server's attribute for the most rows of a page; of Binance the client says it
    paid: str = "hours"  # its moments of funding
    kept: str = ""  # and of open interest
    unknown: str = "XYZUSDT"  # an instrument that the venue does not list
    says: str = ""  # and what it says of it
    busy: bytes = b'{"code":-1003,"msg":"Too many requests"}'  # its own word for too many requests
    newest_first: bool = False
    trades: bool = True  # of any time, not the last ones alone

    def ordered(self, rows: Any) -> list[Any]:
        return [*reversed(rows)] if self.newest_first else [*rows]


PLACES = {
    "binance": Place(("binance", "linear"), "ABCUSDT", BinanceServer, "", "paid", "kept", says="Invalid symbol"),
    "okx": Place(
        ("okx", "linear"),
        "ABC-USD-SWAP",
        OkxServer,
        *("page", "hours", "hours", "XYZ-USDT", "51001"),
        busy=b'{"code":"50011","msg":"Too Many Requests","data":[]}',
        newest_first=True,
    ),
    "deribit": Place(
        ("deribit", "inverse"),
        PERPETUAL,
        DeribitServer,
        "largest_page",
        unknown="XYZ-PERPETUAL",
        says="13020",
        busy=b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"}}',
    ),
    "bybit": Place(
        ("bybit", "linear"),
        "ABCUSDT",
        lambda: BybitServer("linear", ["ABCUSDT"]),
        *("page", "paid", "kept"),
        says="Not supported symbols",
        busy=b'{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":1}',
        newest_first=True,
        trades=False,
    ),
    "hyperliquid": Place(
        ("hyperliquid", "linear"), "ABC", HyperliquidServer, unknown="XYZ", says="no such coin", trades=False
    ),
}
WITH_TRADES = [name for name, place in PLACES.items() if place.trades]


class Session:
    """A server that has begun, and what a history has from it."""

    def __init__(self, place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.server, self._folder, self._monkeypatch = place, place.server(), folder, monkeypatch
        self.server.now = START + 5000 * HOUR

    def pages_of(self, rows: int) -> None:
        if self.place.page:
            setattr(self.server, self.place.page, rows)
        elif self.place.market[0] == "binance":
            self._monkeypatch.setattr(binance_history, "ROWS", rows)

    def get(self, kind: str, *more: Any, name: str = "") -> Any:
        """All records of a kind, or the first page of it where that is asked for."""
        one = name or self.place.name
        return self.run(lambda history: all_of(getattr(history, kind)(one, *more)), one)

    def run(self, body: Any, *names: str) -> Any:
        return run(self.server, self._folder, self.place.market, body, *names, now_ms=START + 5000 * MINUTE)


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    one = Session(PLACES[request.param], tmp_path, monkeypatch)
    with one.server:
        yield one


every_venue = pytest.mark.parametrize("session", PLACES, indirect=True)
those_with_trades = pytest.mark.parametrize("session", WITH_TRADES, indirect=True)


def many(count: int, every: int = 3) -> list[Happened]:
    """Several trades share a moment."""
    return [Happened(START + number // every, number + 100) for number in range(count)]


@those_with_trades
@pytest.mark.parametrize("rows", [7, 1000])
def test_trades_of_a_window_come_once_over_many_pages(session: Session, rows: int) -> None:
    session.server.trades = many(120)
    session.pages_of(rows)
    found = session.get("trades", window(2, 30))
    assert numbers(found) == session.place.ordered(range(106, 190))
    assert len(found) == 84
    assert session.get("trades", window(60, 70)) == []
    between = Window(START * MS + 1, START * MS + MS)
    assert session.get("trades", between) == session.get("funding", between) == []


@pytest.mark.parametrize("session", ["okx", "deribit"], indirect=True)
def test_more_trades_of_one_moment_than_a_page_has(session: Session) -> None:
    session.server.trades = many(60, every=20)
    session.pages_of(6)
    assert numbers(session.get("trades", window(1, 2))) == session.place.ordered(range(120, 140))


@those_with_trades
def test_a_stored_cursor_resumes(session: Session) -> None:
    session.server.trades = many(40)
    session.pages_of(9)
    where: Window | Cursor = window(0, 100)
    found: list[AnyRecord | Gap] = []
    while not (isinstance(where, Cursor) and where.done):

        async def one_page(history: Any, where: Window | Cursor = where) -> Page:
            page: Page = await anext(history.trades(session.place.name, where))
            return page

        page = session.run(one_page, session.place.name)
        found += page.records
        where = Cursor.read(page.cursor.text())
    assert numbers(found) == session.place.ordered(range(100, 140))
    venue = session.place.market[0]
    for about, token in ((f"{venue} trades OTHER", None), (f"{venue} trades {session.place.name}", "x")):
        with pytest.raises(BadCursor, match="not a trade number" if token else "it is of"):
            session.get("trades", Cursor(about, 0, MS, 0, token=token))


LENGTHS = {"1m": MINUTE, "1h": HOUR, "1d": 24 * HOUR}
CANDLES = [(name, interval) for name in PLACES for interval in LENGTHS if (name, interval) != ("binance", "1h")]


@pytest.mark.parametrize(("session", "interval"), CANDLES, indirect=["session"])
def test_candles_that_begin_in_the_window_come_once(session: Session, interval: str) -> None:
    length = LENGTHS[interval]
    first, count = -START % length, 1100 if length < 24 * HOUR else 150
    found = session.get("klines", interval, window(first + 1, first + count * length + 1))
    begun = session.place.ordered(range(1, count + 1))
    assert [one.open_time // MS - START for one in found] == [first + number * length for number in begun]
    lengths = {one.close_time - one.open_time for one in found}
    assert ({*map(type, found)}, {one.interval for one in found}, lengths) == ({Kline}, {interval}, {length * MS})
    assert session.get("klines", interval, window(first + 1, first + 2)) == []


@every_venue
def test_funding_of_a_window_comes_once(session: Session) -> None:
    paid = [START + number * HOUR for number in range(-2, 620)]
    setattr(session.server, session.place.paid, paid)
    session.pages_of(100)
    found = session.get("funding", window(0, 600 * HOUR))
    assert [one.funding_time // MS for one in found] == session.place.ordered(paid[2:602])
    assert {type(one) for one in found} == {FundingRate}
    odd = START * MS + 7 * HOUR * MS + 5  # windows side by side share nothing and leave nothing out
    parts = Window(START * MS, odd), Window(odd, (START + 9 * HOUR) * MS), Window(odd, odd + 3)
    assert [len(session.get("funding", part)) for part in parts] == [8, 1, 0]
    setattr(session.server, session.place.paid, [START + ms for ms in range(20)])
    session.pages_of(2)
    assert [one.funding_time // MS - START for one in session.get("funding", window(3, 17))] == session.place.ordered(
        range(3, 17)
    )


@pytest.mark.parametrize("session", [name for name, place in PLACES.items() if place.kept], indirect=True)
def test_past_open_interest_of_a_window_comes_once(session: Session) -> None:
    kept = [START + number * HOUR for number in range(620)]
    setattr(session.server, session.place.kept, kept)
    session.pages_of(100)
    found = session.get("past_open_interest", "1h", window(0, 510 * HOUR))
    assert [one.ts_event // MS for one in found] == session.place.ordered(kept[:510])
    assert {type(one) for one in found} == {OpenInterest}


@every_venue
def test_all_instruments_are_listed(session: Session) -> None:
    async def listed(history: Any) -> None:
        assert {one.name for one in await history.listed()} == set(history.instruments.known)

    session.run(listed)
    assert session.server.lines


@every_venue
def test_faults_that_pass_cost_repeats_and_no_row(session: Session) -> None:
    session.server.fail(500)
    session.server.fail(429, retry="0.05")
    session.server.drop()
    assert len(session.get("klines", "1m", window(0, HOUR))) == 60
    assert session.server.requests == 4


@pytest.mark.parametrize("session", ["binance", "okx", "deribit", "bybit"], indirect=True)
def test_its_own_word_for_too_many_requests_is_obeyed(session: Session) -> None:
    session.server.say(session.place.busy, status=400)
    session.server.say(session.place.busy)
    assert len(session.get("klines", "1m", window(0, HOUR))) == 60
    assert session.server.requests == 3


@every_venue
def test_a_refusal_is_not_repeated(session: Session) -> None:
    with pytest.raises(RequestRejected, match=session.place.says):
        session.get("klines", "1m", window(0, HOUR), name=session.place.unknown)
    session.server.fail(404)
    with pytest.raises(RequestRejected, match=r"404|planned"):  # words instead of an answer, of Hyperliquid
        session.get("klines", "1m", window(0, HOUR))
    assert session.server.requests == 2


@every_venue
@pytest.mark.parametrize("body", [b"[[1]]", b"{}", b'{"code":"0","retCode":0,"data":[7],"result":{}}'])
def test_an_answer_that_cannot_be_read_is_no_page(session: Session, body: bytes) -> None:
    session.server.say(body, times=3)
    for kind, more in (("klines", ["1m"]), ("funding", []), *([("trades", [])] if session.place.trades else [])):
        with pytest.raises(BadPage, match="The page was discarded"):
            session.get(kind, *more, window(0, HOUR))


@pytest.mark.parametrize("session", ["okx", "deribit", "bybit", "hyperliquid"], indirect=True)
@pytest.mark.parametrize("interval", ["7m", "1H", ""])
def test_an_interval_that_the_venue_does_not_have_is_refused(session: Session, interval: str) -> None:
    with pytest.raises(ValueError, match=f"interval '{interval}': .* has .*1m, 3m"):
        session.get("klines", interval, window(0, 9))
    assert session.server.requests == 0

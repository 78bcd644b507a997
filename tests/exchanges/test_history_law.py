"""The law of histories, for every venue against its server: each row of a window once, in order, whatever happens.

Behind it is what one venue has alone. Binance's weights and budgets are in `test_binance_budgets`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.binance import history as binance_history
from marketdata_assets.exchanges.bybit.history import BANNED_MS
from marketdata_assets.exchanges.deribit.history import LISTS
from marketdata_assets.exchanges.errors import (
    BadCursor,
    BadPage,
    RequestRejected,
    UnknownInstrument,
    VenueRateLimited,
    VenueUnavailable,
)
from marketdata_assets.exchanges.hyperliquid.parse import INTERVALS
from marketdata_assets.exchanges.kraken.history import KEPT_CANDLES
from marketdata_assets.exchanges.okx.history import BARS
from marketdata_assets.exchanges.okx.parse import bar_of
from marketdata_assets.exchanges.records import (
    AnyRecord,
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    MarketType,
    OpenInterest,
    Trade,
)
from marketdata_assets.exchanges.rest import Limits
from marketdata_assets.exchanges.rest_history import Cursor, Page, Window
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.bybit_venue import BybitServer
from marketdata_demo.venues.coinbase_venue import CoinbaseServer
from marketdata_demo.venues.deribit_messages import PERPETUAL
from marketdata_demo.venues.deribit_venue import DeribitServer
from marketdata_demo.venues.hyperliquid_venue import HyperliquidServer
from marketdata_demo.venues.kraken_venue import KrakenServer
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.okx_venue import OkxServer
from tests.exchanges.history_pages import HOUR, MINUTE, MS, all_of, numbers, run, windows_after
from tests.recorded_budgets import RecordedBudgets, most_within

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
    candles: int = 0  # so many of an interval are kept; 0 for all

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
    "kraken": Place(
        ("kraken", "spot"),
        "BTC/USD",
        KrakenServer,
        *("page", "", "", "NO/USD", "Unknown asset pair"),
        busy=b'{"error":["EAPI:Rate limit exceeded"]}',
        candles=KEPT_CANDLES,
    ),
    "coinbase": Place(
        ("coinbase", "spot"),
        "ABC-USD",
        CoinbaseServer,
        *("page", "", "", "NO-USD", "NotFound"),
        busy=b'{"message":"Public rate limit exceeded"}',
        newest_first=True,
    ),
}
OTHERS = {
    "COIN-M": Place(("binance", "inverse"), "ABCUSD_PERP", BinanceServer),
    "bybit pages": Place(
        ("bybit", "linear"), "ABCUSDT", lambda: BybitServer("linear", ["ABCUSDT", "XYZUSDT", "ABC-27DEC30"]), "page"
    ),
}
WITH_TRADES = [name for name, place in PLACES.items() if place.trades]
WITH_FUNDING = [name for name, place in PLACES.items() if place.paid]


class Session:
    """A server that has begun, and what a history has from it."""

    def __init__(self, place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.server, self._folder, self._monkeypatch = place, place.server(), folder, monkeypatch
        self.server.now = START + (self.place.candles * MINUTE or 5000 * HOUR) - MINUTE

    def pages_of(self, rows: int) -> None:
        if self.place.page:
            setattr(self.server, self.place.page, rows)
        elif self.place.market[0] == "binance":
            self._monkeypatch.setattr(binance_history, "ROWS", rows)
            self._monkeypatch.setattr(binance_history, "PAST_INTEREST", rows)

    def get(self, kind: str, *more: Any, name: str = "", **options: Any) -> Any:
        """All records of a kind."""
        one = name or self.place.name
        return self.run(lambda history: all_of(getattr(history, kind)(one, *more)), one, **options)

    def run(self, body: Any, *names: str, now_ms: int = START + 5000 * MINUTE, **options: Any) -> Any:
        return run(self.server, self._folder, self.place.market, body, *names, now_ms=now_ms, **options)


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    one = Session({**PLACES, **OTHERS}[request.param], tmp_path, monkeypatch)
    with one.server:
        yield one


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("session", names, indirect=True)


every_venue, those_with_trades, those_with_funding = of(*PLACES), of(*WITH_TRADES), of(*WITH_FUNDING)


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
    assert session.get("trades", between) == []


@of("okx", "deribit", "coinbase")
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
    if kept := session.place.candles:
        count = min(count, kept - 1)
        session.server.now = START + first + kept * length
    found = session.get("klines", interval, window(first + 1, first + count * length + 1))
    begun = session.place.ordered(range(1, count + 1))
    assert [one.open_time // MS - START for one in found] == [first + number * length for number in begun]
    lengths = {one.close_time - one.open_time for one in found}
    assert ({*map(type, found)}, {one.interval for one in found}, lengths) == ({Kline}, {interval}, {length * MS})
    assert session.get("klines", interval, window(first + 1, first + 2)) == []


@those_with_funding
def test_funding_of_a_window_comes_once(session: Session) -> None:
    paid = [START + number * HOUR for number in range(-2, 620)]
    setattr(session.server, session.place.paid, paid)
    session.pages_of(100)
    assert session.get("funding", Window(START * MS + 1, START * MS + MS)) == []
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


@of(*(name for name, place in PLACES.items() if place.kept))
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


@of("binance", "okx", "deribit", "bybit", "kraken", "coinbase")
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
    funding = [("funding", [])] if session.place.paid else []
    for kind, more in (("klines", ["1m"]), *funding, *([("trades", [])] if session.place.trades else [])):
        with pytest.raises(BadPage, match="The page was discarded"):
            session.get(kind, *more, window(0, HOUR))


@every_venue
@pytest.mark.parametrize("interval", ["7m", "1H", ""])
def test_an_interval_that_the_venue_does_not_have_is_refused(session: Session, interval: str) -> None:
    with pytest.raises(ValueError, match=f"interval '{interval}': .* has .*1m, "):
        session.get("klines", interval, window(0, 9))
    assert session.server.requests == 0


@every_venue
def test_an_instrument_that_no_list_has_is_not_asked_for(session: Session) -> None:
    for kind, more in (("klines", ["1m"]), ("trades", []), ("funding", [])):
        with pytest.raises(UnknownInstrument):
            session.run(lambda history, kind=kind, more=more: all_of(getattr(history, kind)("NO-ONE", *more, None)))
    assert session.server.requests == 0


@of("binance", "okx", "deribit", "bybit", "coinbase")
def test_candles_before_the_first_are_none(session: Session) -> None:
    session.server.first_candle = START + 1500 * MINUTE
    found = session.get("klines", "1m", window(0, 1600 * MINUTE))
    begun = session.place.ordered(range(1500, 1600))
    assert [one.open_time // MS - START for one in found] == [number * MINUTE for number in begun]
    assert session.get("klines", "1m", window(0, 10 * MINUTE)) == []


OKX_ROW = b'{"code":"0","msg":"","data":[["%d","4","5","3","4","1","1","1","1"]]}'
CHART = b'{"result":{"status":"ok","ticks":[%d],"open":[1],"high":[1],"low":[1],"close":[1],"volume":[1],"cost":[1]}}'


@pytest.mark.parametrize(
    ("session", "body", "minute"),
    [("okx", OKX_ROW, 9), ("deribit", CHART, -1), ("deribit", CHART, 5)],
    indirect=["session"],
)
def test_rows_that_were_not_asked_for_are_refused(session: Session, body: bytes, minute: int) -> None:
    session.server.now = 10**13
    session.server.say(body % (START + minute * MINUTE))
    with pytest.raises(BadPage, match="outside"):
        session.get("klines", "1m", window(0, 5 * MINUTE))


@of("binance", "deribit", "kraken")
def test_a_number_that_is_missing_becomes_a_gap_and_one_that_goes_back_is_refused(session: Session) -> None:
    session.server.trades = [Happened(START + at, at + 100) for at in range(20) if at not in (4, 8, 9)]
    session.pages_of(4)  # the first page ends at 103
    found = session.get("trades", window(0, 50))
    gaps = [one for one in found if isinstance(one, Gap)]
    assert [(one.last_id, one.next_id, one.cause) for one in gaps] == [(103, 105, "sequence"), (107, 110, "sequence")]
    assert (gaps[1].ts_from, gaps[1].ts_to) == ((START + 7) * MS, (START + 10) * MS)
    assert numbers(found) == [one.number for one in session.server.trades]
    session.server.trades = [Happened(START, 105), Happened(START + 1, 104)]
    with pytest.raises(BadPage, match="number 104 where 106 comes next"):
        session.get("trades", window(0, 50))


@pytest.mark.parametrize(("session", "lane"), [("okx", "market/history-trades"), ("deribit", "")], indirect=["session"])
def test_requests_keep_to_the_budget_of_their_path_or_host(session: Session, lane: str, tmp_path: Path) -> None:
    session.server.trades, budgets = many(30, every=1), RecordedBudgets(tmp_path)
    session.pages_of(1)
    counted, free = Budget(budgets, "counted", 0.5, 20), Budget(budgets, "free", 1.0, 100_000)
    allowed = Limits(free, {lane: counted}) if lane else Limits(counted)
    assert len(session.get("trades", window(0, 100), allowed=allowed)) == 30
    assert len(budgets.turns["counted"]) >= session.server.requests >= 30
    assert most_within(budgets.turns["counted"], 0.5) <= 20


def test_the_limits_of_venues_have_lanes_for_what_they_count_apart(tmp_path: Path) -> None:
    okx, deribit, bybit = (venues.find(name).limits(tmp_path, "linear") for name in ("okx", "deribit", "bybit"))
    assert len({lane.name for lane in okx.lanes.values()} | {okx.host.name}) == len(okx.lanes) + 1
    assert okx.lanes["public/funding-rate-history"].spacing > okx.lanes["market/history-candles"].spacing
    assert deribit.lanes[LISTS].spacing > 5 * deribit.host.spacing
    assert (deribit.host.place, deribit.host.name) == (tmp_path, "www.deribit.com")
    assert bybit.lanes == {}


@pytest.mark.parametrize("name", ["binance", "okx", "deribit", "bybit", "kraken", "coinbase"])
def test_bytes_that_say_no_error_are_none(name: str) -> None:
    raws = [b"", b"[]", b"\xff", b"<html>", b"[" * 9999, b'{"code":0}', b'{"code":"0","data":[]}', b'{"retCode":0}']
    assert [venues.find(name).error_of(raw) for raw in raws] == [None] * len(raws)


# What one venue has alone.


@of("binance")
def test_hours_without_trades_are_passed_over(session: Session) -> None:
    session.server.trades = [
        Happened(START + at, number) for at, number in ((3 * HOUR + 5, 8), (5 * HOUR, 9), (9 * HOUR, 10))
    ]
    assert numbers(session.get("trades", window(0, 6 * HOUR))) == [8, 9]
    assert session.server.requests == 4 + 1


@of("COIN-M")
def test_candles_of_coin_m_are_asked_for_200_days_at_a_time(session: Session) -> None:
    session.server.now = 9 * 10**12
    found = session.get("klines", "1d", Window(0, 401 * 24 * HOUR * MS), listed=True)
    assert len(found) == 401
    assert (found[0].contracts, found[0].volume, found[0].quote_volume) == ("5", "10", "50")
    assert session.server.requests == 1 + 3


@of("binance", "COIN-M")
def test_past_open_interest_of_binance_is_in_coins_or_contracts(session: Session) -> None:
    session.server.kept = [START + number * 5 * MINUTE for number in range(40)]
    session.pages_of(7)
    found = session.get("past_open_interest", "5m", window(0, 39 * 5 * MINUTE), listed=True)
    assert [one.ts_event for one in found] == [at * MS for at in session.server.kept[:39]]
    assert (found[0].contracts, found[0].size) == ((None, "7") if session.place.name == "ABCUSDT" else ("7", "9.5"))


@pytest.mark.parametrize(
    ("session", "period", "words"), [("binance", "3m", "5m, 15m"), ("bybit", "1m", "5m, 15m")], indirect=["session"]
)
def test_a_period_of_open_interest_that_the_venue_does_not_have_is_refused(
    session: Session, period: str, words: str
) -> None:
    with pytest.raises(ValueError, match=f"period '{period}': .* has {words}"):
        session.get("past_open_interest", period, window(0, 1))


@of("COIN-M")
def test_open_interest_of_dated_futures_of_coin_m_cannot_be_asked_for(session: Session) -> None:
    with pytest.raises(ValueError, match="perpetuals"):
        session.get("past_open_interest", "5m", window(0, 1), name="ABCUSD_300101")


@of("okx")
def test_open_interest_of_the_past_has_contracts_coins_and_dollars(session: Session) -> None:
    session.server.hours = [START]
    (one,) = session.get("past_open_interest", "1h", window(0, HOUR), listed=True)
    assert (one.contracts, one.size, one.value) == ("200", "500", "2000")


@of("deribit")
def test_the_candle_under_way_at_the_start_belongs_to_the_window_before(session: Session) -> None:
    parts = [session.get("klines", "1m", window(*part)) for part in ((0, 90_000), (90_000, 240_000))]
    assert [[one.open_time // MS - START for one in part] for part in parts] == [[0, 60_000], [120_000, 180_000]]


@of("deribit")
def test_forced_orders_come_with_their_trades(session: Session) -> None:
    session.server.say(
        b'{"result":{"has_more":false,"trades":[{"trade_id":"a","trade_seq":100,"timestamp":%d,"price":1.5,"amount":10,'
        b'"direction":"buy","instrument_name":"ABC-PERPETUAL","liquidation":"M"}]}}' % START
    )
    assert [type(one) for one in session.get("trades", window(0, 5))] == [Trade, Liquidation]


@of("deribit")
@pytest.mark.usefixtures("all_log_lines")
def test_a_pause_demanded_by_the_venue_stops_all_processes_and_is_logged(
    session: Session, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session.server.fail(429, retry="600")
    for kind, words in (("trades", "Resume from the last cursor"), ("funding", r"a pause of (600|59\d) s")):
        one_process = Limits(Budget(tmp_path, "deribit", 1.0, 100_000), longest_wait=1.0)
        with pytest.raises(VenueRateLimited, match=words):
            session.get(kind, window(0, HOUR), allowed=one_process)
    assert session.server.requests == 1
    events = [message.partition(" ")[0] for message in caplog.messages]
    assert events.count("rate_limited") == 2
    assert "request_failed" in events


@of("deribit")
def test_a_ban_is_obeyed_like_too_many_requests(session: Session) -> None:
    session.server.fail(418, retry="0.05")
    session.get("funding", window(0, HOUR))
    assert session.server.requests == 2


@of("deribit")
def test_a_redirect_is_not_followed(session: Session) -> None:
    session.server.fail(302)
    with pytest.raises(RequestRejected, match="redirect") as caught:
        session.get("funding", window(0, HOUR))
    assert (caught.value.code, session.server.requests) == (302, 1)


@of("deribit")
def test_a_venue_that_stays_away_is_named(session: Session) -> None:
    session.server.fail(503, times=10)
    with pytest.raises(VenueUnavailable, match="failed 4 times"):
        session.get("funding", window(0, HOUR))
    assert session.server.requests == 4


@of("bybit pages")
@pytest.mark.parametrize("page", [1, 2, 1000])
def test_instruments_of_bybit_come_over_many_pages(session: Session, page: int) -> None:
    session.pages_of(page)
    found = session.run(lambda history: history.listed())
    assert [one.symbol for one in found] == ["ABC-USDT", "XYZ-USDT", "ABC-USDC-301227"]
    assert len(session.server.lines) == -(-3 // page)
    assert all("category=linear" in line for line in session.server.lines)


@of("bybit")
def test_the_candle_in_progress_is_not_closed(session: Session) -> None:
    session.server.now = START + HOUR + 1
    assert [one.closed for one in session.get("klines", "1h", window(0, 2 * HOUR))] == [False, True]


@of("bybit")
def test_trades_that_bybit_still_has_are_found_and_older_ones_are_an_error(session: Session) -> None:
    """Otherwise a gap would be called healed that nobody looked at."""
    session.server.trades = many(90)
    found = numbers(session.get("trades", window(2, 20)))
    assert found == [one.number for one in reversed(session.server.trades) if 2 <= one.ts - START < 20]
    session.server.trades = many(1500, every=1)
    with pytest.raises(BadPage, match="last 1000 trades only"):
        session.get("trades", window(100, 900))
    assert len(session.get("trades", window(501, 900))) == 399


def test_a_ban_of_the_address_by_bybit_is_a_pause() -> None:
    error = venues.find("bybit").error_of(b"403, access too frequent")
    assert error is not None
    assert error.rate_limited
    assert error.until_ms is not None
    assert BANNED_MS == 600_000


@of("hyperliquid")
def test_candles_that_the_venue_no_longer_has_are_refused_and_not_taken_for_none(session: Session) -> None:
    assert len(session.get("klines", "1m", window(0, HOUR))) == 60
    with pytest.raises(BadPage, match="the venue has only the last 5000 candles of 1m, since 1700006460000 ms"):
        session.get("klines", "1m", window(0, HOUR), now_ms=START + 5001 * MINUTE)


@of("hyperliquid")
def test_every_interval_of_hyperliquid_is_asked_for_by_its_name(session: Session) -> None:
    for interval in INTERVALS:
        span = window(0, 40 * 24 * HOUR) if interval[-1] in "dwM" else window(0, 12 * HOUR)
        assert {one.interval for one in session.get("klines", interval, span)} == {interval}


def test_every_interval_of_okx_is_the_one_that_its_word_says() -> None:
    assert {name: (bar.interval if (bar := bar_of(word)) else "") for name, word in BARS.items()} == {
        name: name for name in BARS
    }


@of("hyperliquid")
def test_the_last_ten_trades_of_hyperliquid_are_all_there_are(session: Session) -> None:
    with pytest.raises(BadPage, match="sent none"):
        session.get("trades", window(0, 14))
    session.server.trades = many(30, every=2)
    assert numbers(session.get("trades", window(11, 14))) == [122, 123, 124, 125, 126, 127]
    for begin in (0, 10):  # the oldest of the ten may be the rest of a block
        with pytest.raises(BadPage, match="last 10 trades, since 1700006400010 ms"):
            session.get("trades", window(begin, 14))


@of("hyperliquid")
def test_an_answer_about_a_coin_that_is_not_in_the_list_is_no_page(session: Session) -> None:
    session.server.say(b'[{"t":1,"T":2,"s":"?","i":"1m","o":"1","c":"1","h":"1","l":"1","v":"1","n":1}]')
    with pytest.raises(BadPage, match="not in the instrument list") as caught:
        session.get("klines", "1m", window(0, HOUR))
    assert isinstance(caught.value.__cause__, UnknownInstrument)

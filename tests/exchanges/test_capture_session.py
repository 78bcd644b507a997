"""Gaps and instrument states of captures: those that the live collector records of the same sockets."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.capture_session import CaptureSession
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.records import Gap, InstrumentState, MarketType
from marketdata_assets.exchanges.replay import feed_of
from marketdata_assets.exchanges.tables.captures import load_captures
from marketdata_demo.venues.bybit_venue import BybitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from tests.collector.collecting import QUICK, Run, collecting
from tests.collector.in_loop import in_loop

NS = 10**9
BOOKS = ("orderbook", "l2Book", "book", "depth")
TYPES = ("trade", "orderbook", "kline", "liquidation", "instrument_state")


def derived(venue: str, market: MarketType | None, wire: Iterable[Entry]) -> list[Gap | InstrumentState]:
    session = CaptureSession(feed_of(venue, market, "test"), (venue, market))
    session._tracker.wait = QUICK.hole
    made = [outcome for entry in wire for outcome in session.take(entry)]
    return [one for one in (*made, *session.ended()) if isinstance(one, Gap | InstrumentState)]


def of_events(made: Iterable[object]) -> list[Gap]:
    """The gaps of all but books."""
    return sorted((one for one in made if isinstance(one, Gap) and not one.stream.startswith(BOOKS)), key=repr)


def gaps(run: Run, streams: set[str]) -> int:
    return sum(one.stream in streams for one in of_events(run.records))


@pytest.mark.parametrize(
    ("name", "streams"), [("bybit", {"publicTrade", "allLiquidation"}), ("hyperliquid", {"trades"})]
)
@in_loop
async def test_a_lost_socket_gives_the_gaps_and_states_of_the_live_collector(
    name: str, streams: set[str], tmp_path: Path
) -> None:
    names = ["ABCUSDT", "XYZUSDT"] if name == "bybit" else ["ABC", "XYZ"]
    with BybitVenue("linear", names) if name == "bybit" else HyperliquidVenue(names, book_ms=0) as venue:
        types = [one for one in TYPES if name == "bybit" or one != "liquidation"]
        async with collecting(venue, name, "linear", names, types, tmp_path, wire=True) as run:
            await run.live()
            for _ in range(2):
                await run.emit(60)
                before = gaps(run, streams)
                await lost(run)
                expected = before + len(streams) * len(names)
                await run.until(lambda expected=expected: gaps(run, streams) >= expected, emit=5)  # type: ignore[misc]
        live = of_events(run.records)
        states = run.of(InstrumentState)
    again = derived(name, "linear", run.wire)
    assert {one.stream for one in live} >= streams  # candles have one where a minute ended meanwhile
    assert of_events(again) == live
    assert [one for one in again if isinstance(one, InstrumentState)] == states
    assert states


@in_loop
async def test_a_socket_that_is_replaced_before_it_ends_leaves_no_gap(tmp_path: Path) -> None:
    with BybitVenue("linear", ["ABCUSDT"]) as venue:
        async with collecting(venue, "bybit", "linear", ["ABCUSDT"], TYPES, tmp_path, wire=True) as run:
            await run.live()
            await run.emit(60)
            for planned in (1, 2):
                next(iter(run.market.connections)).replace("test")
                await run.until(lambda planned=planned: run.connections[0].planned == planned)  # type: ignore[misc]
                await run.emit(60)
            await run.caught_up()
            assert not of_events(run.records)
    assert not of_events(derived("bybit", "linear", run.wire))


def test_a_whole_market_is_that_of_the_instruments_that_were_seen() -> None:
    """OKX has forced orders of all swaps in one subscription; no spot pair has any."""
    order = {"side": "sell", "bkPx": "1", "sz": "1", "bkLoss": "0", "ccy": "", "posSide": "long", "ts": "1700000001000"}
    swaps = {"instType": "SWAP", "instId": "ABC-USDT-SWAP", "instFamily": "ABC-USDT", "uly": "ABC-USDT"}
    forced = {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [{**swaps, "details": [order]}]}
    traded = {"instId": "ABC-USDT", "tradeId": "1", "px": "2", "sz": "3", "side": "buy", "ts": "1700000001000"}
    spot = {"arg": {"channel": "trades", "instId": "ABC-USDT"}, "data": [traded]}
    at, url = 1_700_000_000 * NS, "wss://ws.okx.com:8443/ws/v5/public"
    wire = [
        Entry(at, "open", b"", 1, url),
        Entry(at + NS, "in", json.dumps(forced).encode(), 1, url),
        Entry(at + NS, "in", json.dumps(spot).encode(), 1, url),
        Entry(at + 2 * NS, "closed", b"", 1, url),
        Entry(at + 3 * NS, "open", b"", 2, url),
        Entry(at + 4 * NS, "in", json.dumps(forced).encode(), 2, url),
    ]
    assert [(one.instrument, one.stream) for one in of_events(derived("okx", None, wire))] == [
        ("ABC-USDT-SWAP", "liquidation-orders")
    ]


async def lost(run: Run) -> None:
    """Lose all sockets; so much happens meanwhile that a new one cannot repeat it."""
    reconnects = run.connections[0].reconnects
    run.venue.close_all()
    await run.emit(200)
    await run.until(lambda: run.connections[0].reconnects > reconnects)
    await run.ready()


TRADES = {  # a message of trade number n at a second
    "bybit": lambda at, n: {
        "topic": "publicTrade.ABCUSDT",
        "type": "snapshot",
        "ts": at * 1000,
        "data": [{"T": at * 1000, "s": "ABCUSDT", "S": "Buy", "v": "0.5", "p": "100", "i": f"id-{n}", "BT": False}],
    },
    "hyperliquid": lambda at, n: {
        "channel": "trades",
        "data": [{"coin": "ABC", "side": "B", "px": "1", "sz": "1", "time": at * 1000, "hash": "0x0", "tid": n}],
    },
}
URLS = {"bybit": "wss://stream.bybit.com/v5/public/linear", "hyperliquid": "wss://api.hyperliquid.xyz/ws"}
LISTED = {"symbol": "ABCUSDT", "baseCoin": "ABC", "quoteCoin": "USDT", "status": "Trading"}
LISTED["contractType"] = "LinearPerpetual"
LIST = {
    "retCode": 0,
    "retMsg": "OK",
    "time": 1,
    "result": {"category": "linear", "list": [{**LISTED, "contractType": "LinearPerpetual"}]},
}


def trade(venue: str, at: int, number: int) -> bytes:
    return json.dumps(TRADES[venue](at, number)).encode()


@pytest.mark.parametrize("venue", ["bybit", "hyperliquid"])
def test_a_socket_that_is_opened_again_leaves_a_gap_of_its_trades(client: Client, tmp_path: Path, venue: str) -> None:
    at, path = 1_762_000_000, tmp_path / "recording.ndjson"
    moments = [*((at + 1 + number, number) for number in range(5)), *((at + 300 + n, 100 + n) for n in range(5))]
    lines = [{"recv": str(second), "dir": "in", "data": TRADES[venue](second, number)} for second, number in moments]
    opened = [{"recv": str(second), "dir": "open", "url": URLS[venue]} for second in (at, at + 299)]
    told = [opened[0], *lines[:5], opened[1], *lines[5:]]
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    for _ in range(2):
        [report] = load_captures(client, [path], force=True).units
        assert report.by_type == {"trade": 10, "gap": 1}
    gaps = client.query("SELECT instrument, ts_from, ts_to, cause, healed_at FROM exchange_gaps FINAL").result_rows
    assert gaps == [("ABC" if venue == "hyperliquid" else "ABCUSDT", (at + 5) * NS, (at + 300) * NS, "reopened", None)]


def test_another_run_of_the_collector_leaves_a_gap_and_the_states_of_its_list(client: Client, tmp_path: Path) -> None:
    at, query = 1_762_000_000, "category=linear&limit=1000"
    url = f"https://api.bybit.com/v5/market/instruments-info?{query}"
    for run in range(2):
        with CaptureWriter(tmp_path, "bybit", "linear", begins_run=True) as writer:
            begin = (at + 60 * run) * NS
            writer.write(begin, "http", json.dumps(LIST).encode(), url=url)
            writer.write(begin + 1, "open", b"", connection=1, url=URLS["bybit"])
            for second in range(1, 4):
                raw = trade("bybit", at + 60 * run + second, 10 * run + second)
                writer.write(begin + second * NS, "in", raw, connection=1, url=URLS["bybit"])
    for path in sorted(tmp_path.iterdir()):
        load_captures(client, [path])
    gaps = client.query("SELECT stream, ts_from, ts_to, cause FROM exchange_gaps FINAL").result_rows
    assert gaps == [("publicTrade", (at + 3) * NS, (at + 61) * NS, "restarted")]
    states = client.query("SELECT instrument, ts_recv, state FROM exchange_instrument_states FINAL").result_rows
    assert states == [("ABCUSDT", at * NS, "trading")]

"""Gaps and instrument states of captures: those that the live collector records of the same sockets."""

import asyncio
import datetime as dt
import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges import checkpoints, venues
from marketdata_assets.exchanges.capture_session import CaptureSession
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.records import Gap, InstrumentState, MarketType, Outcome
from marketdata_assets.exchanges.replay import feed_of
from marketdata_assets.exchanges.tables.captures import load_captures
from marketdata_assets.exchanges.tables.gap_backfill import backfill_gaps
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_demo.venues.bybit_venue import BybitVenue
from tests.collector.collecting import QUICK, Run, collecting
from tests.collector.in_loop import in_loop
from tests.collector.market_cases import BINANCE, BY_CHANNEL, EVERY_MARKET, HYPERLIQUID, MAIN, Case, each

NS = 10**9
BOOKS = ("orderbook", "l2Book", "book", "depth", "level2")
TYPES = ("trade", "orderbook", "kline", "liquidation", "instrument_state")


def taken(venue: str, market: MarketType | None, wire: Iterable[Entry], *, recorded: bool) -> list[Outcome]:
    session = CaptureSession(feed_of(venue, market, "test"), (venue, market))
    session.wait = QUICK.hole
    made = [outcome for entry in wire for outcome in session.take(entry, recorded=recorded)]
    return [*made, *([] if recorded else session.ended())]


def derived(venue: str, market: MarketType | None, wire: Iterable[Entry]) -> list[Outcome]:
    """What captures give in which nobody wrote gaps and states."""
    return taken(venue, market, [entry for entry in wire if entry.kind != "record"], recorded=False)


def of_events(made: Iterable[object]) -> list[Gap]:
    """The gaps of all but books."""
    return sorted((one for one in made if isinstance(one, Gap) and not one.stream.startswith(BOOKS)), key=repr)


def gaps(run: Run, streams: set[str]) -> int:
    return sum(one.stream in streams for one in of_events(run.records))


BYBIT = Case("bybit", "linear", ["ABCUSDT", "XYZUSDT"], lambda names: BybitVenue("linear", names), "publicTrade", "")
EVERY = (*EVERY_MARKET, BYBIT, HYPERLIQUID, *BY_CHANNEL)


@each(*EVERY)
@in_loop
async def test_a_lost_socket_gives_the_gaps_and_states_of_the_live_collector(case: Case, tmp_path: Path) -> None:
    name, names, streams = case.exchange, case.names, {case.trades}
    known = venues.find(name).markets[case.market_type].data_types
    streams |= {"allLiquidation"} if case is BYBIT else set()
    with case.open(names) as venue:
        types = [one for one in TYPES if one in known]
        async with collecting(venue, name, case.market_type, names, types, tmp_path, wire=True) as run:
            await run.live()
            for _ in range(2):
                await run.emit(60)
                before = gaps(run, streams)
                await lost(run)
                expected = before + len(streams) * len(names)
                await run.until(lambda expected=expected: gaps(run, streams) >= expected, emit=5)  # type: ignore[misc]
            await run.until(lambda: run.market.watermark() is None, emit=5)
        live = run.records
    again = derived(name, case.market_type, run.wire)
    assert {one.stream for one in of_events(live)} >= streams  # candles have one where a minute ended meanwhile
    assert {(one.instrument, one.stream) for one in of_events(again)} == {
        (one.instrument, one.stream) for one in of_events(live)
    }
    assert all(any(overlap(one, other) for other in of_events(again)) for one in of_events(live))
    assert of_states(again) == of_states(live)
    assert of_states(live) or "instrument_state" not in known
    recorded = taken(name, case.market_type, run.wire, recorded=True)
    assert of((Gap, InstrumentState), recorded) == of((Gap, InstrumentState), live)


def overlap(one: Gap, other: Gap) -> bool:
    same = (one.instrument, one.stream, one.cause, one.last_id) == (
        *(other.instrument, other.stream),
        other.cause,
        other.last_id,
    )
    return same and one.ts_from <= other.ts_to and other.ts_from <= one.ts_to


def of_states(made: Iterable[object]) -> list[tuple[str, str, str]]:
    return [(one.instrument, one.state, one.venue_state) for one in made if isinstance(one, InstrumentState)]


def of(kind: type | tuple[type, ...], made: Iterable[object]) -> list[str]:
    return sorted(repr(one) for one in made if isinstance(one, kind))


@each(*EVERY)
@in_loop
async def test_a_capture_has_the_gaps_since_the_run_before(case: Case, tmp_path: Path) -> None:
    since = 1_700_000_000_000_000_000
    with case.open(case.names) as venue:
        options = {"wire": True, "since": since}
        async with collecting(venue, case.exchange, case.market_type, case.names, MAIN, tmp_path, **options) as run:
            await run.live()
            await run.until(lambda: len(run.gaps(case.trades, "restarted")) == len(case.names), emit=5)
            await run.until(lambda: run.market.watermark() is None, emit=5)
    assert of(Gap, taken(case.exchange, case.market_type, run.wire, recorded=True)) == of(Gap, run.records)
    assert len(run.gaps(cause="restarted")) == 2 * len(case.names)


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
        with CaptureWriter(tmp_path, "bybit", "linear", begins="run") as writer:
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


@each(BINANCE, BYBIT)
def test_captures_of_two_runs_and_what_these_recorded_have_one_row_for_each_gap(
    client: Client, tmp_path: Path, case: Case
) -> None:
    async def run(since: int | None) -> Run:
        options = {"wire": True, "since": since}
        async with collecting(venue, case.exchange, case.market_type, case.names, MAIN, tmp_path, **options) as run:
            await run.live()
            await run.emit(60)
            await run.until(lambda: run.market.watermark() is None, emit=5)
        return run

    with case.open(case.names) as venue:
        first = asyncio.run(run(None))
        venue.emit(200)
        runs = first, asyncio.run(run(first.wire[-1].ts_recv))
    for each_run in runs:
        with CaptureWriter(
            tmp_path / "captures", case.exchange, case.market_type, begins="resumed", records=True
        ) as writer:
            for one in each_run.wire:
                writer.write(one.ts_recv, one.kind, one.raw, connection=one.connection, url=one.url)
    for _ in range(2):
        load_captures(client, sorted((tmp_path / "captures").iterdir()), force=True)
        recorded = [gap for each_run in runs for gap in each_run.of(Gap)]
        insert_records(client, recorded)
        columns = "instrument, stream, last_id, next_id, ts_from, ts_to, cause, healed_at"
        rows = client.query(f"SELECT {columns} FROM exchange_gaps FINAL").result_rows
        healed = {one: one for one in sorted(recorded, key=lambda gap: gap.healed_at or 0)}
        assert sorted(map(repr, rows)) == sorted(
            repr(tuple(getattr(gap, name) for name in columns.split(", "))) for gap in healed
        )
    assert {gap.cause for gap in recorded} >= {"restarted"}


def test_a_socket_of_numbered_trades_that_is_opened_again_leaves_a_gap_whenever_its_next_trade_comes(
    client: Client, tmp_path: Path
) -> None:
    """Numbers alone would not show it: nothing is compared over more than an hour before a day."""
    at, path, url = 1_762_041_600 - 7200, tmp_path / "recording.ndjson", "wss://stream.binance.com/stream"

    def trade(second: int, number: int) -> dict[str, object]:
        fields = {"e": "trade", "E": second * 1000, "s": "ABCUSDT", "t": number, "p": "1", "q": "1", "T": second * 1000}
        data = {**fields, "m": False, "M": True}
        message = {"stream": "abcusdt@trade", "data": data}
        return {"recv": str(second), "dir": "in", "url": url, "data": message}

    told = [
        {"recv": str(at), "dir": "open", "url": url},
        trade(at + 1, 1),
        {"recv": str(at + 3600), "dir": "open", "url": url},
        trade(at + 10800, 5),
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    load_captures(client, [path])
    gaps = client.query("SELECT stream, last_id, next_id, ts_from, ts_to, cause FROM exchange_gaps FINAL").result_rows
    assert gaps == [("trade", 1, 5, (at + 1) * NS, (at + 10800) * NS, "reopened")]


def test_a_time_of_a_capture_in_another_unit_fails_the_file(client: Client, tmp_path: Path) -> None:
    with CaptureWriter(tmp_path, "bybit", "linear", begins="run") as writer:
        writer.write(1_762_000_000 * 1000, "in", trade("bybit", 1_762_000_000, 1), connection=1, url=URLS["bybit"])
    [report] = load_captures(client, [*tmp_path.iterdir()]).units
    assert report.outcome == "failed"
    assert "1762000000000 is before 2010" in (report.error or "")


def okx_list(kind: str, name: str) -> bytes:
    about = {"instType": kind, "instId": name, "instFamily": "BTC-USDT", "uly": "BTC-USDT", "settleCcy": "USDT"}
    value = {"ctVal": "0.01", "ctMult": "1", "ctValCcy": "BTC", "ctType": "linear", "state": "live", "listTime": "1"}
    expiry = {"expTime": "1956441600000" if kind == "FUTURES" else ""}
    return json.dumps({"code": "0", "msg": "", "data": [{**about, **value, **expiry}]}).encode()


def test_what_one_of_several_lists_has_is_not_delisted_by_the_others() -> None:
    url, at = "https://www.okx.com/api/v5/public/instruments?instType=", 1_762_000_000 * NS
    lists = {"SWAP": "BTC-USDT-SWAP", "FUTURES": "BTC-USDT-311231"}
    wire = [
        Entry(at + 100 * number, "http", okx_list(kind, name), 0, f"{url}{kind}")
        for number in range(3)
        for kind, name in lists.items()
    ]
    feed = feed_of("okx", "linear", "test")
    first = CaptureSession(feed, ("okx", "linear"))
    made = [outcome for entry in wire for outcome in first.take(entry)]
    assert of_states(made) == [(name, "trading", "live") for name in lists.values()]
    points = [Entry(at + 1000, "checkpoint", checkpoints.encode(point)) for point in feed.checkpoint()]
    assert not of_states(derived("okx", "linear", [*points, *wire]))
    without = [entry for entry in wire if "FUTURES" not in entry.url]
    gone = Entry(at + 2000, "http", okx_list("FUTURES", "BTC-USDT-321231"), 0, f"{url}FUTURES")
    assert of_states(derived("okx", "linear", [*points, *without, gone, gone])) == [
        ("BTC-USDT-321231", "trading", "live"),
        ("BTC-USDT-311231", "delisted", ""),
    ]


def test_a_gap_whose_numbers_another_recorder_has_is_healed_without_a_history(client: Client, tmp_path: Path) -> None:
    at = 1_762_000_000

    def recorded(name: str, lost: set[int]) -> Path:
        path = tmp_path / name / "abcusdt_20251101.txt.gz"
        path.parent.mkdir()
        with gzip.open(path, "wt") as file:
            for number in sorted({*range(1, 30)} - lost):
                second, fields = at + number, {"e": "trade", "s": "ABCUSDT", "t": number, "p": "1", "q": "1"}
                data = {**fields, "E": second * 1000, "T": second * 1000, "m": False, "M": True}
                file.write(f"{second * NS} {json.dumps({'stream': 'abcusdt@trade', 'data': data})}\n")
        return path

    paths = recorded("a", {7, 8, 20}), recorded("b", {17, 20})
    load_captures(client, paths, exchange="binance", market_type="spot")
    day = dt.datetime.fromtimestamp(at, dt.UTC).date()
    found = backfill_gaps(client, day, None)
    assert {(one.gap.last_id, one.gap.next_id, one.outcome) for one in found.gaps} == {
        (6, 9, "healed"),
        (16, 18, "healed"),
        (19, 21, "open"),
    }

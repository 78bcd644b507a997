"""The feed of OKX: bytes in, outcomes out, whatever the bytes; connections, instruments, answers of REST."""

import json
from typing import Any

import pytest

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    Kline,
    OrderBook,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)

RECV = 1_700_000_000_000_000_000
MS = 1_000_000
API = "https://www.okx.com/api/v5/"
SWAP = Instrument("okx", "linear", "ABC-USDT-SWAP", "ABC-USDT", "ABC", "USDT", "contracts", "0.1")

TRADE = {"instId": "ABC-USDT", "tradeId": "71", "px": "4.2", "sz": "0.15", "side": "buy", "ts": "1700000000123"}
ROW = ["1700000040000", "4.2", "4.3", "4.1", "4.2", "210", "2.1", "8.8", "0"]
BOOK = {"asks": [["4.3", "1", "0", "1"]], "bids": [["4.2", "1", "0", "1"]], "ts": "1700000000123", "checksum": 0}
TICKER = {
    **dict.fromkeys(["last", "lastSz", "askPx", "askSz", "bidPx", "bidSz", "vol24h", "volCcy24h"], "4.2"),
    **dict.fromkeys(["open24h", "high24h", "low24h"], "4.2"),
    "instId": "ABC-USDT",
    "ts": "1700000000123",
}
SUMMARY = {"instId": "ABC-USD-250328-60-C", "markVol": "0.5", "bidVol": "", "askVol": "0.6", "ts": "1"}
LISTED = {
    "instType": "SWAP",
    "instId": "ABC-USDT-SWAP",
    "uly": "ABC-USDT",
    "ctType": "linear",
    "ctVal": "0.1",
    "ctMult": "1",
    "ctValCcy": "ABC",
}


def message(channel: str, *data: Any, inst_id: str = "ABC-USDT", **more: Any) -> bytes:
    if channel in ("books", "books-l2-tbt"):
        more = {"action": "snapshot", **more}
    return encoded({"arg": {"channel": channel, "instId": inst_id}, **more, "data": data})


def encoded(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


@pytest.fixture
def feed() -> OkxFeed:
    return OkxFeed(strict=False)


def one(outcomes: list[Outcome]) -> Any:
    (outcome,) = outcomes
    return outcome


@pytest.mark.parametrize(
    "bad", [ROW[:6], ROW[:8], ["x", *ROW[1:]], [*ROW[:8], "2"], [*ROW[:4], "", *ROW[5:]], "row", {}]
)
def test_malformed_candle_is_a_dead_letter(feed: OkxFeed, bad: Any) -> None:
    assert isinstance(one(feed.push(message("candle1m", bad), RECV)), DeadLetter)


def test_one_bad_element_keeps_the_whole_message_aside(feed: OkxFeed) -> None:
    raw = message("trades", TRADE, {**TRADE, "px": "dear"})
    letter = one(feed.push(raw, RECV))
    assert (letter.raw, letter.ts_recv) == (raw, RECV)
    assert "dear" in letter.cause


@pytest.mark.parametrize(
    "raw",
    [
        b"}",
        b"[]",
        b"Pong",
        b'{"arg":{}}',
        b'{"arg":{"channel":7},"data":[]}',
        b'{"arg":{"channel":"trades","instId":"ABC-USDT"}}',
        b'{"arg":{"channel":"trades","instId":"ABC-USDT"},"data":{}}',
        b'{"arg":{"channel":"trades","instId":"abc"},"data":[]}',
        b'{"arg":{"channel":"weather","instId":"ABC-USDT"},"data":[]}',
        b'{"arg":{"channel":"candle0m","instId":"ABC-USDT"},"data":[]}',
        b'{"event":"dance"}',
        b'{"event":"subscribe"}',
        b'{"arg":{"channel":"trades","instId":"ABC-USDT"},"data":' + b"[" * 20_000,
    ],
)
def test_bytes_that_are_no_message_are_dead_letters(feed: OkxFeed, raw: bytes) -> None:
    for _ in range(2):
        letter = one(feed.push(raw, RECV))
        assert (letter.raw, letter.ts_recv) == (raw, RECV)
        assert letter.cause
        feed.push(message("trades", TRADE), RECV)  # from here on its parser is remembered
    assert feed.stream_of(raw) in ("unknown", "trades", "weather", "candle0m", "event:dance", "event:subscribe")


def test_numbers_beyond_reason_are_kept_aside(feed: OkxFeed) -> None:
    inverse = Instrument("okx", "inverse", "ABC-USD-SWAP", "ABC-USD", "ABC", "USD", "contracts", "100")
    feed.instruments.add([inverse])
    raw = message("trades", {**TRADE, "sz": "1e999", "px": "1e-999"}, inst_id="ABC-USD-SWAP")
    assert isinstance(one(feed.push(raw, RECV)), DeadLetter)
    late = message("trades", {**TRADE, "ts": "99999999999999999999"})
    assert isinstance(one(feed.push(late, RECV)), DeadLetter)


def test_remembered_parser_is_not_taken_for_another_instrument(feed: OkxFeed) -> None:
    names = ["ABC-USDT", "ABD-USDT", "ABC-USDC", "ABC-USDT"]
    told = [one(feed.push(message("trades", TRADE, inst_id=name), RECV)).instrument for name in names]
    assert told == names
    nested = b'{"arg":{"x":{"a":1},"channel":"trades","instId":"%s"},"data":[]}'
    assert feed.push(nested % b"ABC-USDT", RECV) == []
    assert isinstance(one(feed.push(nested % b"what", RECV)), DeadLetter)


def test_a_list_of_instruments_comes_over_the_socket_too() -> None:
    feed = OkxFeed()
    raw = message("trades", {**TRADE, "sz": "15"}, inst_id="ABC-USDT-SWAP")
    for value, size in (("0.1", "1.5"), ("0.2", "3")):
        listed = {"arg": {"channel": "instruments", "instType": "SWAP"}, "data": [{**LISTED, "ctVal": value}]}
        assert feed.push(encoded(listed), RECV) == [Control("notice", "1 instruments")]
        assert one(feed.push(raw, RECV)).size == size


def answer(*data: Any, code: str = "0") -> bytes:
    return encoded({"code": code, "msg": "", "data": data})


def test_answers_are_told_apart_by_their_url(feed: OkxFeed) -> None:
    candle = one(feed.answer(f"{API}market/history-candles?instId=ABC-USDT&bar=4H&limit=1", answer(ROW), RECV))
    assert isinstance(candle, Kline)
    assert (candle.interval, candle.close_time - candle.open_time) == ("4h", 4 * 3600 * 1000 * MS)
    trade = one(feed.answer(f"{API}market/history-trades?instId=ABC-USDT", answer(TRADE), RECV))
    assert trade == one(feed.push(message("trades", TRADE), RECV))
    ticker = one(feed.answer(f"{API}market/tickers?instType=SPOT", answer(TICKER), RECV))
    assert isinstance(ticker, Ticker)
    assert feed.answer(f"{API}system/status", answer({"title": "x"}), RECV) == [Control("ignored", "system/status")]
    assert isinstance(one(feed.answer("", answer(TRADE), RECV)), Control)


@pytest.mark.parametrize(
    ("url", "raw"),
    [
        ("market/trades", answer(TRADE)),
        ("market/candles?instId=ABC-USDT&bar=7x", answer(ROW)),
        ("market/books?instId=ABC-USDT", answer({**BOOK, "bids": [["5", "1", "0", "1"]]})),  # crossed
        ("public/instruments?instType=SWAP", answer({**LISTED, "ctType": "curved"})),
        ("public/instruments?instType=SWAP", answer({**LISTED, "ctVal": "much"})),
        ("public/instruments?instType=SWAP", answer({**LISTED, "uly": ""})),
        ("public/instruments?instType=SPOT", answer({"instType": "SPOT", "instId": "ABC-USDT"})),
        ("market/trades?instId=ABC-USDT", b"<html>"),
        ("market/trades?instId=ABC-USDT", b'{"data":[]}'),
        ("//[", answer(TRADE)),
    ],
)
def test_answer_that_cannot_be_used_is_a_dead_letter(feed: OkxFeed, url: str, raw: bytes) -> None:
    letter = one(feed.answer(url if url == "//[" else API + url, raw, RECV))
    assert isinstance(letter, DeadLetter)
    assert letter.raw == raw


def test_refused_answer_is_an_error_of_the_venue(feed: OkxFeed) -> None:
    refused = feed.answer(f"{API}market/trades?instId=NO-ONE", answer(code="51001"), RECV)
    assert refused == [VenueError(51001, "")]


def test_second_connection_takes_the_book_over_with_a_snapshot(feed: OkxFeed) -> None:
    update = {**BOOK, "bids": [["4.1", "5", "0", "1"]], "ts": "1700000000200"}
    feed.push(message("books", BOOK), RECV, connection=1)
    feed.push(message("books", BOOK), RECV, connection=2)
    late = one(feed.push(message("books", update, action="update"), RECV, connection=1))
    assert late == Control("ignored", "books:ABC-USDT another connection has it")
    assert isinstance(one(feed.push(message("books", update, action="update"), RECV, connection=2)), OrderBook)
    assert feed.reopened(RECV, connection=1) == []
    assert feed.books["books:ABC-USDT"].status == "live"


def test_instrument_on_two_channels_has_two_books(feed: OkxFeed) -> None:
    for channel in ("books", "books-l2-tbt", "books5"):
        feed.push(message(channel, BOOK), RECV)
    assert feed.books.keys() == {"books:ABC-USDT", "books-l2-tbt:ABC-USDT", "books5:ABC-USDT"}


def test_ended_subscription_leaves_no_live_book(feed: OkxFeed) -> None:
    feed.push(message("books", BOOK), RECV)
    arg = {"channel": "books", "instId": "ABC-USDT"}
    assert feed.push(encoded({"event": "unsubscribe", "arg": arg, "connId": "a"}), RECV) == [
        Control("ack", "unsubscribe books:ABC-USDT")
    ]
    assert feed.books["books:ABC-USDT"].status == "waiting"
    assert isinstance(one(feed.push(message("books", BOOK), RECV)), OrderBook)
    assert feed.books["books:ABC-USDT"].gaps == 0


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ({"event": "login", "code": "0", "msg": ""}, Control("login", "0")),
        (
            {"event": "channel-conn-count", "channel": "orders", "connCount": "2", "connId": "a"},
            Control("notice", "2 connections to orders"),
        ),
        ({"event": "error", "code": "60014", "msg": "slow"}, VenueError(60014, "slow", rate_limited=True)),
        ({"event": "error", "code": "what", "msg": "x"}, VenueError("what", "x")),
    ],
)
def test_events(feed: OkxFeed, told: Any, outcome: Outcome) -> None:
    assert feed.push(encoded(told), RECV) == [outcome]
    assert feed.stream_of(encoded(told)) == f"event:{told['event']}"


def test_an_index_is_a_record_of_its_perpetual_and_ignored_without_one(feed: OkxFeed) -> None:
    raw = message("index-tickers", {"instId": "ABC-USDT", "idxPx": "4.2", "ts": "1700000000123"})
    assert one(feed.push(raw, RECV)) == Control("ignored", "index-tickers:ABC-USDT"), "no instrument is invented"
    assert one(OkxFeed().push(raw, RECV)).kind == "ignored"
    feed.learn([SWAP])
    assert one(feed.push(raw, RECV)) == Ticker(*SWAP.key, 1_700_000_000_123 * MS, RECV, index_price="4.2")
    odd = message("index-tickers", {"instId": "ABC-USDT", "idxPx": "nan", "ts": "1700000000123"})
    assert isinstance(one(feed.push(odd, RECV)), DeadLetter)


def test_an_option_that_was_listed_after_the_list_costs_no_others_of_its_family() -> None:
    known, new = SUMMARY["instId"], "ABC-USD-250329-60-C"
    feed = OkxFeed()
    feed.learn([Instrument("okx", "option", known, known, "ABC", "USD", "contracts", "1")])
    rows = [{**SUMMARY, "instId": name} for name in (new, known)]
    raw = encoded({"arg": {"channel": "opt-summary", "instFamily": "ABC-USD"}, "data": rows})
    ignored, ticker = feed.push(raw, RECV)
    assert ignored == Control("ignored", f"opt-summary:{new}")
    assert isinstance(ticker, Ticker)
    rows[1]["markVol"] = "none"
    raw = encoded({"arg": {"channel": "opt-summary", "instFamily": "ABC-USD"}, "data": rows})
    assert isinstance(one(feed.push(raw, RECV)), DeadLetter)


def test_a_side_that_nobody_quotes_has_the_size_zero(feed: OkxFeed) -> None:
    empty = dict.fromkeys(["askPx", "askSz"], "")
    ticker = one(feed.push(message("tickers", TICKER | empty), RECV))
    assert (ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size) == ("4.2", "4.2", None, "0")


@pytest.mark.parametrize("channel", ["price-limit", "status", "sprd-trades", "mark-price-candle1m"])
def test_documented_channels_without_a_record_are_ignored(feed: OkxFeed, channel: str) -> None:
    assert one(feed.push(message(channel, {}), RECV)).kind == "ignored"


@pytest.mark.parametrize(
    ("channel", "start", "end", "interval"),
    [
        ("candle1s", 1_700_000_000_000, 1_700_000_001_000, "1s"),
        ("candle2H", 1_699_999_200_000, 1_700_006_400_000, "2h"),
        ("candle1W", 1_699_804_800_000, 1_700_409_600_000, "1w"),
        ("candle1Mutc", 1_706_745_600_000, 1_709_251_200_000, "1M"),  # February 2024
        ("candle1M", 1_706_716_800_000, 1_709_222_400_000, "1M"),  # the same, begun in Hong Kong
        ("candle3Mutc", 1_696_118_400_000, 1_704_067_200_000, "3M"),  # the last quarter of 2023
    ],
)
def test_candles_end_where_the_next_one_begins(
    feed: OkxFeed, channel: str, start: int, end: int, interval: str
) -> None:
    candle = one(feed.push(message(channel, [str(start), *ROW[1:]]), RECV))
    assert (candle.open_time, candle.close_time, candle.interval) == (start * MS, end * MS, interval)


def test_trades_that_come_as_one_say_which_they_are(feed: OkxFeed) -> None:
    several, single = feed.push(
        message("trades", {**TRADE, "count": "3"}, {**TRADE, "tradeId": "72", "count": "1"}), RECV
    )
    assert isinstance(several, Trade)
    assert isinstance(single, Trade)
    assert (several.trade_id, several.first_id, several.last_id, several.sequence) == ("71", "69", "71", 71)
    assert (single.trade_id, single.first_id, single.last_id, single.sequence) == ("72", None, None, 72)

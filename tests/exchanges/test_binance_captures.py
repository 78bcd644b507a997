"""Recorded traffic of Binance: chains, bridges and final books as expected, and best prices that agree with them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    Gap,
    Kline,
    MarketType,
    OrderBook,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)

MARKETS: dict[str, MarketType] = {"binance-spot": "spot", "binance-usdm": "linear", "binance-coinm": "inverse"}
FIRST_DAY = "binance-spot/capture/hft_btcusdt_20240808.txt.gz"
SECOND_DAY = "binance-spot/capture/hft_btcusdt_20240809.txt.gz"
SYNCED = [
    "binance-coinm/capture/2021-07-22_10sym_31s.ndjson",
    "binance-coinm/capture/hft_ethusd_perp_20240808.txt.gz",
    "binance-spot/capture/2021-04-05_10sym_120s.ndjson",
    "binance-spot/capture/2021-10-11_4sym_31s.ndjson",
    FIRST_DAY,
    "binance-usdm/capture/2021-04-05_5sym_120s.ndjson",
    "binance-usdm/capture/2021-07-22_4sym_31s.ndjson",
    "binance-usdm/capture/hft_btcusdt_20240808.txt.gz",
]
RECORDS = {"Ticker": ("bookTicker",), "Trade": ("trade", "aggTrade"), "Kline": ("kline_1m",)}


@pytest.fixture(scope="module")
def expected(fixtures: Path) -> dict[str, Any]:
    return dict(json.loads((fixtures / "EXPECTED_captures.json").read_bytes()))


def replayed(fixtures: Path, name: str, feed: BinanceFeed | None = None) -> tuple[BinanceFeed, list[Outcome]]:
    feed = feed or BinanceFeed(MARKETS[name.split("/")[0]], strict=False)
    made: list[Outcome] = []
    for one in open_capture(fixtures / name).entries():
        if one.kind == "in":
            made += feed.push(one.raw, one.ts_recv)
        elif one.kind == "http":
            made += feed.answer(one.url, one.raw, one.ts_recv)
        elif one.kind == "open":
            made += feed.reopened(one.ts_recv)
    return feed, made


@pytest.mark.parametrize("name", SYNCED)
def test_chains_and_books_are_as_expected(fixtures: Path, expected: dict[str, Any], name: str) -> None:
    feed, made = replayed(fixtures, name)
    assert not [one for one in made if isinstance(one, Gap | DeadLetter | VenueError)]
    assert (feed.books.keys(), feed.resync_requests) == (expected[name]["books"].keys(), {})
    deltas = [one for one in made if isinstance(one, OrderBook) and one.kind == "delta"]
    for instrument, book in expected[name]["books"].items():
        state, final = feed.books[instrument], book["final"]
        mine = [one for one in deltas if one.instrument == instrument]
        assert (state.status, state.gaps) == ("live", book["gaps"])
        assert (state.dropped, state.applied) == (book["dropped_before_snapshot"], book["applied"])
        assert (len(mine), state.last_id) == (book["applied"], book["last_u"])
        first = {"U": mine[0].first_id, "u": mine[0].last_id, "pu": mine[0].prev_id}
        assert first == {"pu": None} | book["first_applied"]
        assert (len(state.book.bids), len(state.book.asks)) == (final["n_bids"], final["n_asks"])
        assert state.book.sha256_all_levels() == final["sha256_all_levels"]
        agreed = feed.chains[instrument].agreed - told_of_the_snapshot(made, instrument, mine)
        assert (agreed, book["bookTicker_same_u_disagree"]) == (book["bookTicker_same_u_agree"], 0)


def told_of_the_snapshot(made: list[Outcome], instrument: str, deltas: list[OrderBook]) -> int:
    """Best prices of the very update that the snapshot ends with: we compare these too, the expectation does not."""
    books = [one for one in made if isinstance(one, OrderBook) and one.instrument == instrument]
    ends = {one.last_id for one in books if one.kind == "snapshot"} - {one.last_id for one in deltas}
    tickers = [one for one in made if isinstance(one, Ticker) and one.instrument == instrument]
    begin = books[0].ts_recv
    return sum(one.update_id in ends and one.ts_recv >= begin for one in tickers)


@pytest.mark.parametrize("name", [*(name for name in SYNCED if name.endswith("ndjson")), SECOND_DAY])
def test_every_message_becomes_a_record(fixtures: Path, expected: dict[str, Any], name: str) -> None:
    _, made = replayed(fixtures, name)
    counts = expected[name]["message_counts"]
    kinds = Counter(type(one).__name__ for one in made)
    for record, streams in RECORDS.items():
        assert kinds[record] == sum(counts.get(f"stream {stream}", 0) for stream in streams)
    waiting = sum(isinstance(one, Control) for one in made)
    diffs = sum(count for stream, count in counts.items() if stream.startswith("stream depth"))
    snapshots = sum(isinstance(one, OrderBook) and one.kind == "snapshot" for one in made)
    assert kinds["OrderBook"] - snapshots + sum(one["dropped_before_snapshot"] for one in books_of(expected, name)) == (
        diffs if snapshots else 0
    )
    assert waiting >= (0 if snapshots else diffs)
    assert {type(one) for one in made} <= {Ticker, Trade, Kline, OrderBook, Control}


def books_of(expected: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [{"dropped_before_snapshot": 0} | one for one in expected[name]["books"].values()]


def test_a_second_file_goes_on_where_the_first_one_ended(fixtures: Path, expected: dict[str, Any]) -> None:
    feed, _ = replayed(fixtures, FIRST_DAY)
    ended = feed.books["BTCUSDT"].last_id
    feed, made = replayed(fixtures, SECOND_DAY, feed)
    book = expected[SECOND_DAY]["books"]["BTCUSDT"]
    assert (ended or 0) + 1 == book["first_U"]
    deltas = [one for one in made if isinstance(one, OrderBook)]
    assert {one.kind for one in deltas} == {"delta"}
    assert (len(deltas), feed.books["BTCUSDT"].last_id) == (book["diff_messages"], book["last_u"])
    assert not [one for one in made if isinstance(one, Gap | DeadLetter)]


def test_a_second_file_alone_waits_without_a_gap(fixtures: Path, expected: dict[str, Any]) -> None:
    feed, made = replayed(fixtures, SECOND_DAY)
    assert (feed.books["BTCUSDT"].status, feed.books["BTCUSDT"].gaps) == ("waiting", 0)
    assert [*feed.resync_requests] == ["BTCUSDT"]
    assert not [one for one in made if isinstance(one, OrderBook | Gap)]

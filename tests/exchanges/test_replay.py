"""Recorded captures through the feeds: the expected counts and books, and every fault put into them is reported."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from functools import cache
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata_assets.exchanges import replay as replays
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue
from marketdata_assets.exchanges.records import DeadLetter, Gap, OrderBook, Ticker, Trade
from marketdata_assets.exchanges.replay import feed_of, replay
from tests.examples import others_slow
from tests.exchanges.capture_faults import Levels, Recording, changed, gaps_of, outcomes, replayed

SPOT = "binance-spot/capture/2021-10-11_4sym_31s.ndjson"
LINEAR = "binance-usdm/capture/2021-07-22_4sym_31s.ndjson"
INVERSE = "binance-coinm/capture/2021-07-22_10sym_31s.ndjson"
OKX = "okx/capture/2022-05-13_books_3inst_12s.ndjson"
OKX_A, OKX_B = (f"okx/capture/2021-07-22_l2tbt_10inst_31s_conn{letter}.ndjson" for letter in "AB")
SECOND_DAY = "binance-spot/capture/hft_btcusdt_20240809.txt.gz"
DERIBIT = "deribit/capture/2021-04-05_10options_119s.ndjson"
CHAINED = [SPOT, LINEAR, INVERSE, DERIBIT]
CAPTURES = [
    *CHAINED,
    OKX,
    "binance-coinm/capture/hft_ethusd_perp_20240808.txt.gz",
    "binance-spot/capture/2021-04-05_10sym_120s.ndjson",
    "binance-spot/capture/hft_btcusdt_20240808.txt.gz",
    SECOND_DAY,
    "binance-usdm/capture/2021-04-05_5sym_120s.ndjson",
    "binance-usdm/capture/hft_btcusdt_20240808.txt.gz",
    OKX_A,
    OKX_B,
]
few = settings(max_examples=settings().max_examples // 7)


@cache
def expectations(fixtures: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((fixtures / "EXPECTED_captures.json").read_text())
    return found


@cache
def recording(path: Path) -> Recording:
    return Recording.of(path)


def pick(data: st.DataObject, path: Path, least: int) -> tuple[Recording, str, list[int]]:
    recorded = recording(path)
    name = data.draw(st.sampled_from(recorded.busy(least)))
    return recorded, name, recorded.updates[name]


def numbers(levels: Levels) -> list[list[Decimal]]:
    return [[Decimal(price), Decimal(size)] for price, size in levels]


def kinds(name: str, count: int) -> dict[str, int]:
    """Which records so many messages of a stream make, as the list of expectations names the stream."""
    tags = {
        "bookTicker": "ticker",
        "aggTrade": "trade",
        "trade": "trade",
        "trades": "trade",
        "tickers": "ticker",
        "ticker": "ticker",
        "kline_1m": "kline",
    }
    word = name.split()[1] if " " in name else name
    if word not in tags or name.endswith("subscribe"):
        return {}
    found = {tags[word]: count}
    return found | {"open_interest": count} if name.startswith("deribit ticker") else found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "hft_" in name else name for name in CAPTURES]
)
def test_capture_gives_the_expected_messages_records_gaps_checksums_and_books(fixtures: Path, name: str) -> None:
    expected = expectations(fixtures)[name]
    counts = expected["message_counts"]
    run = replay([fixtures / name])
    found, states = run.as_dict(), run.books()
    assert found["messages"] == sum(counts.values())
    assert sum(found["streams"].values()) == found["messages"]
    assert found["errors"] == 0
    records: dict[str, int] = {}
    for stream, count in counts.items():
        records |= {tag: records.get(tag, 0) + number for tag, number in kinds(stream, count).items()}
    assert {tag: count for tag, count in found["records"].items() if tag != "orderbook"} == records
    books = {instrument(key): book for key, book in expected["books"].items()}
    assert found["books"].keys() == books.keys()
    for key, book in books.items():
        hold_against(found["books"][key], book)
        state, last = states[key], book.get("last_u", book.get("last_change_id"))
        if "final" in book:
            assert (state.status, state.dropped) == ("live", book.get("dropped_before_snapshot", 0))
            assert last in (None, state.last_id)
    if not name.startswith("binance"):
        sent = sum(count for kind, count in counts.items() if kind.endswith((" snapshot", " update", " change")))
        assert found["records"]["orderbook"] == sent
    assert bool(run.feed.resync_requests) == any("final" not in book for book in books.values())


def instrument(key: str) -> str:
    return key.split(".")[1] if key.startswith("book.") else key.rpartition(":")[2]


def hold_against(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["gaps"] == expected.get("gaps", 0)
    assert found["checksum_bad"] == 0
    assert found["checksum_ok"] == expected.get("checksum_ok", 0)
    if "messages" in expected:
        assert found["applied"] == expected["messages"] - expected["snapshots"]
    elif "snapshots" in expected:
        assert found["applied"] == expected.get("chain_ok", 0)
    else:
        assert found["applied"] == expected.get("applied", 0)
    if "final" in expected:
        final = expected["final"]
        for key in ("n_bids", "n_asks", "sha256_all_levels"):
            assert found[key] == final[key]
        for key in ("top5_bids", "top5_asks"):
            assert numbers(found[key]) == numbers(final[key])
    else:
        assert (found["n_bids"], found["n_asks"]) == (0, 0)


def test_every_capture_of_the_fixtures_is_among_those_that_are_replayed(fixtures: Path) -> None:
    assert set(expectations(fixtures)) == set(CAPTURES)


@pytest.mark.parametrize(
    "name", others_slow(name for name in CAPTURES if name.startswith("binance") and name != SECOND_DAY)
)
def test_first_diffs_and_best_prices_of_binance_are_as_expected(fixtures: Path, name: str) -> None:
    capture = open_capture(fixtures / name)
    feed = feed_of(*capture.venue(), name)
    made = [one for entry in capture.entries() for one in replays.outcomes(feed, entry)]
    for book_of, book in expectations(fixtures)[name]["books"].items():
        records = [one for one in made if isinstance(one, OrderBook) and one.instrument == book_of]
        deltas = [one for one in records if one.kind == "delta"]
        first = {"U": deltas[0].first_id, "u": deltas[0].last_id, "pu": deltas[0].prev_id}
        assert (first, len(deltas)) == ({"pu": None} | book["first_applied"], book["applied"])
        # best prices of the very update that the snapshot ends with: we compare these too, the expectation does not
        ends = {one.last_id for one in records if one.kind == "snapshot"} - {one.last_id for one in deltas}
        tickers = [one for one in made if isinstance(one, Ticker) and one.instrument == book_of]
        of_snapshot = sum(one.update_id in ends and one.ts_recv >= records[0].ts_recv for one in tickers)
        agreed = feed.books[book_of].agreed - of_snapshot
        assert (agreed, book["bookTicker_same_u_disagree"]) == (book["bookTicker_same_u_agree"], 0)


def test_a_second_connection_of_okx_has_nothing_that_the_first_has_not(fixtures: Path) -> None:
    first, second = (
        [
            {
                msgspec.structs.replace(one, ts_recv=0)
                for made in outcomes(run.venue, run.entries)
                for one in made
                if wanted(one)
            }
            for wanted in (lambda one: isinstance(one, Trade), lambda one: getattr(one, "kind", "") == "delta")
        ]
        for run in (recording(fixtures / OKX_A), recording(fixtures / OKX_B))
    )
    for mine, other in zip(first, second, strict=True):
        assert len(mine) >= len(other) > 0
        assert mine | other == mine


def test_two_connections_of_okx_into_one_feed_leave_one_whole_book_each(fixtures: Path) -> None:
    feed = feed_of("okx", None, "here")
    both = [
        [(one.ts_recv, at, one.raw) for one in recording(fixtures / name).entries if one.kind == "in"]
        for at, name in enumerate((OKX_A, OKX_B))
    ]
    assert not [
        outcome
        for ts_recv, connection, raw in merge(*both)
        for outcome in feed.push(raw, ts_recv, connection=connection)
        if isinstance(outcome, Gap)
    ]
    ends = [expectations(fixtures)[name]["books"] for name in (OKX_A, OKX_B)]
    for key, state in feed.books.items():
        assert state.book.sha256_all_levels() in {end[key]["final"]["sha256_all_levels"] for end in ends}
        assert state.checksum_bad == 0


def test_a_rotated_capture_goes_on_without_a_snapshot(fixtures: Path) -> None:
    days = [fixtures / f"binance-spot/capture/hft_btcusdt_{day}.txt.gz" for day in ("20240808", "20240809")]
    book = replay(days).as_dict()["books"]["BTCUSDT"]
    assert (book["gaps"], book["applied"]) == (0, 3449 + 3044)
    alone = replay(days[1:])
    missing = alone.as_dict()["books"]["BTCUSDT"]
    assert (missing["gaps"], missing["applied"], missing["n_bids"]) == (0, 0, 0)
    assert (alone.books()["BTCUSDT"].status, [*alone.feed.resync_requests]) == ("waiting", ["BTCUSDT"])


@pytest.mark.parametrize("name", others_slow([OKX, SPOT, LINEAR, DERIBIT]))
def test_a_capture_rewritten_in_our_format_gives_the_same(fixtures: Path, tmp_path: Path, name: str) -> None:
    capture = open_capture(fixtures / name)
    second = 1_000_000_000
    with CaptureWriter(tmp_path, *capture.venue(), max_span_ns=5 * second, frame_bytes=20_000) as writer:
        for entry in capture.entries():
            writer.write(entry.ts_recv, entry.kind, entry.raw, connection=entry.connection, url=entry.url)
    assert len(writer.paths) > 1
    assert replay(writer.paths).as_dict() == replay([fixtures / name]).as_dict()


@pytest.mark.parametrize("flags", others_slow([["--json"], []]))
def test_the_same_capture_gives_the_same_bytes(fixtures: Path, flags: list[str]) -> None:
    program = Path(sys.executable).with_name("marketdata")
    outputs = {
        subprocess.run(
            [program, "replay", fixtures / SPOT, *flags],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert b"RUNEEUR" in outputs.pop()


def test_summary_for_machines_has_the_keys_that_outsiders_rely_on(fixtures: Path) -> None:
    summary = json.loads(json.dumps(replay([fixtures / OKX]).as_dict()))
    assert summary.keys() == {"messages", "records", "errors", "streams", "books", "gaps"}
    book = summary["books"]["BTC-USDT"]
    assert book.keys() == {
        *("gaps", "applied", "checksum_ok", "checksum_bad", "n_bids", "n_asks"),
        *("top5_bids", "top5_asks", "sha256_all_levels"),
    }
    assert all(isinstance(text, str) for level in book["top5_bids"] for text in level)


def test_captures_of_two_markets_are_not_one_replay(fixtures: Path) -> None:
    with pytest.raises(BadCapture, match="binance-linear, binance-spot"):
        replay([fixtures / SPOT, fixtures / LINEAR])


def test_a_capture_that_does_not_say_its_venue_asks_for_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_text('{"recv":"1700000001.5","dir":"in","data":{"id":1,"result":null}}\n')
    with pytest.raises(UnknownVenue, match="--exchange and --market-type"):
        replay([path])
    with pytest.raises(UnknownVenue, match="--exchange and --market-type"):
        replay([path], "binance")
    assert replay([path], "binance", "spot").as_dict()["messages"] == 1


@pytest.mark.parametrize("name", others_slow([DERIBIT, SPOT, LINEAR, INVERSE]))
@pytest.mark.parametrize("fault", ["dropped", "again", "swapped"])
@few
@given(data=st.data())
def test_a_fault_in_a_recording_is_one_gap_of_its_book_alone(
    fixtures: Path, name: str, fault: str, data: st.DataObject
) -> None:
    recorded, book, places = pick(data, fixtures / name, 4)
    k = data.draw(st.integers(2, len(places) - 2))
    place, entries = places[k], [*recorded.entries]
    if fault == "again":
        entries.insert(data.draw(st.integers(place + 1, len(entries))), entries[place])
    elif fault == "dropped":
        del entries[place]
    else:
        entries[place], entries[places[k + 1]] = entries[places[k + 1]], entries[place]
    (gap,) = gaps_of(recorded.venue, entries)
    assert (gap.instrument, gap.cause) == (book, "repeat" if fault == "again" else "sequence")
    run = replayed(recorded.venue, entries)
    books = run.as_dict()["books"]
    shows = recorded.records[place if fault == "again" else places[k + 1]]  # that something is wrong
    assert gap.next_id in (shows.first_id, shows.last_id)
    if fault == "again":
        assert gap.healed_at is not None
        assert books == {**recorded.books, book: recorded.books[book] | {"gaps": 1}}
        assert run.feed.resync_requests == {}
        return
    before = recorded.records[places[k - 1]]
    assert (gap.last_id, gap.ts_from, gap.healed_at) == (before.last_id, before.ts_recv, None)
    deltas = [
        one.last_id
        for made in outcomes(recorded.venue, entries)
        for one in made
        if isinstance(one, OrderBook) and one.instrument == book and one.kind == "delta"
    ]
    assert deltas[-1] == before.last_id, "nothing is built on a broken book"
    assert {**books, book: None} == {**recorded.books, book: None}
    assert [want.instrument for want in run.feed.resync_requests.values()] == [book]


@pytest.mark.parametrize("name", others_slow([OKX, *CHAINED]))
@few
@given(data=st.data(), text=st.sampled_from(["", "x", "nan", "-1", "1.2.3", None, [], {}]))
def test_an_update_with_a_level_that_is_none_is_kept_aside_whole(
    fixtures: Path, name: str, data: st.DataObject, text: Any
) -> None:
    recorded, book, places = pick(data, fixtures / name, 4)
    k = data.draw(st.integers(2, len(places) - 2))

    def spoil(bids: Levels, asks: Levels) -> None:
        (bids or asks)[0][-1 if name == DERIBIT else 1] = text

    entries = [*recorded.entries]
    entries[places[k]] = changed(entries[places[k]], spoil)
    made = outcomes(recorded.venue, entries)
    (dead,) = [one for some in made for one in some if isinstance(one, DeadLetter)]
    assert dead.raw == entries[places[k]].raw
    gaps = [one for some in made for one in some if isinstance(one, Gap)]
    assert {gap.instrument for gap in gaps} <= {book}
    if name != OKX:  # which had no sequence numbers then
        assert [gap.cause for gap in gaps] == ["sequence"]


@pytest.mark.parametrize("name", [OKX, OKX_A])
def test_a_size_that_is_spelled_in_another_way_fails_the_checksum_of_its_book_alone(fixtures: Path, name: str) -> None:
    recorded = recording(fixtures / name)
    place = min(place for place, one in recorded.records.items() if one.asks and one.asks[0][1] != "0")

    def respell(bids: Levels, asks: Levels) -> None:
        asks[0][1] += "0" if "." in asks[0][1] else ".0"

    entries = [*recorded.entries]
    entries[place] = changed(entries[place], respell)
    run = replayed(recorded.venue, entries)
    (broken,) = [state for state in run.feed.books.values() if state.status == "broken"]
    assert (broken.checksum_bad, broken.open_gap.cause) == (1, "checksum")
    book, moment = recorded.records[place].instrument, entries[place].ts_recv
    assert (broken.instrument.name, broken.open_gap.ts_to) == (book, moment)
    assert [want.instrument for want in run.feed.resync_requests.values()] == [book]
    books = [
        (one, entry)
        for entry, made in zip(entries, outcomes(recorded.venue, entries), strict=True)
        for one in made
        if isinstance(one, OrderBook)
    ]
    assert max(entry.ts_recv for one, entry in books if one.instrument == book) < moment
    assert len({one.instrument for one, entry in books if entry.ts_recv > moment}) == len(run.feed.books) - 1


@pytest.mark.parametrize("name", [OKX, DERIBIT])
def test_a_snapshot_that_was_cut_is_never_taken_for_a_book(fixtures: Path, name: str) -> None:
    """In half by bytes: no message. In half by levels: the checksum, or the actions that follow, do not fit."""
    recorded = recording(fixtures / name)
    places = [
        place
        for place, made in enumerate(outcomes(recorded.venue, recorded.entries))
        if any(isinstance(one, OrderBook) and one.kind == "snapshot" for one in made)
    ]
    for place in places[:3]:
        (whole,) = [one for one in outcomes(recorded.venue, recorded.entries)[place] if isinstance(one, OrderBook)]
        torn = [*recorded.entries]
        torn[place] = msgspec.structs.replace(torn[place], raw=torn[place].raw[: len(torn[place].raw) // 2])
        run = replayed(recorded.venue, torn)
        assert sum(stream.errors for stream in run.streams.values()) >= 1
        states = [one for one in run.feed.books.values() if one.instrument.name == whole.instrument]
        assert all(one.status != "live" for one in states)
        if not whole.bids or not whole.asks or len(recorded.updates.get(whole.instrument, [])) < 30:
            continue
        halved = [*recorded.entries]
        halved[place] = changed(halved[place], halve)
        causes = {gap.cause for gap in gaps_of(recorded.venue, halved) if gap.instrument == whole.instrument}
        assert causes == {"checksum" if name == OKX else "actions"}


def halve(bids: Levels, asks: Levels) -> None:
    """Without the better half."""
    for side in (bids, asks):
        del side[: (len(side) + 1) // 2]


@pytest.mark.parametrize("name", [SPOT, LINEAR, INVERSE])
def test_a_torn_answer_leaves_its_book_waiting_and_the_others_alone(fixtures: Path, name: str) -> None:
    recorded = recording(fixtures / name)
    place = next(place for place, one in enumerate(recorded.entries) if one.kind == "http")
    entry = recorded.entries[place]
    torn = [*recorded.entries]
    torn[place] = msgspec.structs.replace(entry, raw=entry.raw[: len(entry.raw) // 2])
    run = replayed(recorded.venue, torn)
    assert sum(stream.errors for stream in run.streams.values()) == 1
    (waiting,) = [one for one in run.feed.books.values() if one.status != "live"]
    assert f"symbol={waiting.instrument.name}&" in entry.url
    assert (waiting.applied, len(waiting.book.bids)) == (0, 0)


@pytest.mark.parametrize("name", others_slow([SPOT, LINEAR, INVERSE]))
def test_a_snapshot_without_its_best_levels_is_found_out_by_the_best_prices(fixtures: Path, name: str) -> None:
    """Binance sends no checksum; where best prices of the same update come over another stream, they tell."""
    recorded = recording(fixtures / name)
    found = set()
    for place, entry in enumerate(recorded.entries):
        if entry.kind == "http":
            cut = [*recorded.entries]
            cut[place] = changed(entry, halve)
            found |= {gap.cause for gap in gaps_of(recorded.venue, cut)}
    assert "best prices" in found

"""Capture files of many hours that are loaded one by one: each has its books, or a recorded gap."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from marketdata_assets import read
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.exchanges.captures.native_format import Entry, header_of
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.replay import feed_of, outcomes
from marketdata_assets.exchanges.tables import captures
from marketdata_assets.exchanges.tables.captures import load_captures

SECOND = 10**9
HOUR = 3600 * SECOND
START = 1_762_000_200 * SECOND
HOURS = 27
URL = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"


def said(stream: str, **event: object) -> bytes:
    return json.dumps({"stream": f"btcusdt@{stream}", "data": event}).encode()


def binance(hours: int) -> Iterator[Entry]:
    """One book with one snapshot at the beginning; each day another socket goes on with it."""
    yield Entry(START, "open", connection=1)
    for number in range(60 * hours):
        ts, connection = START + number * 60 * SECOND, 1 + number // 1440
        if number and number % 1440 == 0:
            yield Entry(ts - SECOND, "open", connection=connection)
        levels = [["100.0", f"{number + 1}"]], [["101.5", "2"]]
        event = {"e": "depthUpdate", "E": ts // 10**6, "s": "BTCUSDT", "U": number + 1, "u": number + 1}
        yield Entry(ts + 1, "in", said("depth", **event, b=levels[0], a=levels[1]), connection)
        if number == 0:
            book = {"lastUpdateId": 0, "bids": [["99", "1"]], "asks": [["102", "1"]]}
            yield Entry(ts + 2, "http", json.dumps(book).encode(), 0, URL)


def okx(hours: int) -> Iterator[Entry]:
    """One book with one snapshot at the beginning, over a socket that never ends."""
    yield Entry(START, "open")
    for number in range(60 * hours):
        ts = START + number * 60 * SECOND
        book = {"asks": [["102", "1", "0", "1"]], "bids": [["99", f"{number + 1}", "0", "1"]], "checksum": 0}
        book |= {"ts": str(ts // 10**6), "seqId": number, "prevSeqId": number - 1}
        action = "update" if number else "snapshot"
        told = {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [book]}
        yield Entry(ts + 1, "in", json.dumps(told).encode())


TRAFFIC = {"binance": binance, "okx": okx}
"""A venue whose books begin with an answer of REST, and one whose subscriptions do; `test_checkpoints` has all."""


def collected(folder: Path, venue: str, hours: int, *, later: int = 0) -> list[Path]:
    """The files of a collector, an hour each; `later` (ns) than the beginning."""
    feed = feed_of(venue, "spot", "test")
    sink = CaptureSink(folder)
    tap = sink.tap(venue, "spot", feed.checkpoint)

    async def run() -> None:
        for number, early in enumerate(TRAFFIC[venue](hours)):
            entry = replace(early, ts_recv=early.ts_recv + later)
            tap(entry)
            outcomes(feed, entry)
            if number % 7 == 0:
                await sink.drain(60)
        await sink.drain(60)

    asyncio.run(run())
    sink.close()
    return sorted(folder.iterdir())


def rows(client: Client, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


@pytest.mark.parametrize("venue", ["okx", pytest.param("binance", marks=pytest.mark.slow)])
def test_each_file_has_its_books_and_is_read_alone(
    client: Client, tmp_path: Path, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = collected(tmp_path, venue, HOURS)
    assert len(files) == HOURS
    assert [header_of(path).begins for path in files] == ["run", *["checkpoint"] * (HOURS - 1)]
    read: list[str] = []
    entries = captures.open_capture
    monkeypatch.setattr(captures, "open_capture", lambda path: (read.append(path.name), entries(path))[1])
    for hour in (26, 0, 25, 1):
        read.clear()
        [report] = load_captures(client, [files[hour]]).units
        assert set(read) == {files[hour].name}
        assert (report.outcome, report.by_type, report.notes) == (
            "ok",
            {"orderbook": 60 + (venue == "binance" or hour > 0) * 1},
            (),
        )
    assert rows(client, "SELECT count() FROM exchange_gaps") == [(0,)]
    levels = rows(client, "SELECT bids[1].2 FROM exchange_orderbooks WHERE kind = 'checkpoint' ORDER BY ts_recv")
    assert [int(str(size).split(".")[0]) for (size,) in levels] == [60, 25 * 60, 26 * 60]


@pytest.mark.parametrize("venue", ["binance", pytest.param("okx", marks=pytest.mark.slow)])
def test_all_files_at_once_give_the_same_records_and_no_gaps(client: Client, tmp_path: Path, venue: str) -> None:
    files = collected(tmp_path, venue, 5)
    for path in files:
        load_captures(client, [path])
    one_by_one = rows(client, "SELECT * FROM exchange_orderbooks FINAL ORDER BY ALL")
    assert len(one_by_one) == 5 * 60 + 4 + (venue == "binance")
    client.command("TRUNCATE TABLE exchange_orderbooks")
    load_captures(client, files, force=True)
    assert rows(client, "SELECT * FROM exchange_orderbooks FINAL ORDER BY ALL") == one_by_one
    assert rows(client, "SELECT count() FROM exchange_gaps") == [(0,)]


@pytest.mark.slow
def test_hours_loaded_one_by_one_have_their_books_and_none_is_given_after_the_end(
    client: Client, tmp_path: Path
) -> None:
    hours = (0, 1, 24, 27)
    files = collected(tmp_path, "binance", 28)
    for hour in hours:
        load_captures(client, [files[hour]])
    instants = [START + hour * HOUR + 1801 * SECOND for hour in hours]
    books = read.books("binance", "spot", "BTCUSDT", instants, connection=client)
    assert books["why"].to_list() == [None] * len(hours)
    assert [int(bids[0]["size"]) for bids in books["bids"]] == [hour * 60 + 31 for hour in hours]
    end = START + 28 * HOUR
    after = read.books("binance", "spot", "BTCUSDT", [end, end + 3 * HOUR], connection=client)
    assert after["known"].to_list() == [False, False]


def test_the_first_file_of_a_run_continues_the_one_before_it_with_a_gap(client: Client, tmp_path: Path) -> None:
    collected(tmp_path, "okx", 3)
    files = collected(tmp_path, "okx", 2, later=5 * HOUR)
    assert [header_of(path).begins for path in files] == ["run", "checkpoint", "checkpoint", "run", "checkpoint"]
    for path in files:
        [report] = load_captures(client, [path]).units
        assert report.outcome == "ok"
    last, begin = START + 179 * 60 * SECOND + 1, START + 5 * HOUR
    gaps = rows(client, "SELECT cause, ts_from, ts_to, healed_at FROM exchange_gaps FINAL")
    assert gaps == [("reopened", last, begin, begin + 1)]


def test_a_file_with_all_books_begins_soon_after_entries_were_dropped(client: Client, tmp_path: Path) -> None:
    feed = feed_of("okx", "spot", "test")
    sink = CaptureSink(tmp_path, buffer_bytes=2000)
    tap = sink.tap("okx", "spot", feed.checkpoint)
    for number, entry in enumerate(okx(1)):
        tap(entry)
        outcomes(feed, entry)
        if not 10 < number <= 30:  # meanwhile the disk is slow
            asyncio.run(sink.drain(60))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [header_of(path).begins for path in files] == ["run", "checkpoint"]
    dropped = sink.state().dropped
    assert dropped > 0
    load_captures(client, files)
    changes = "SELECT last_id FROM exchange_orderbooks WHERE kind != 'checkpoint' ORDER BY last_id"
    ids = [number for (number,) in rows(client, changes)]
    missing = sorted(set(range(60)) - set(ids))
    assert len(missing) == dropped
    [gap] = rows(client, "SELECT last_id, healed_at > 0 FROM exchange_gaps FINAL")
    assert gap == (missing[0] - 1, True)
    whole = rows(client, "SELECT last_id FROM exchange_orderbooks WHERE kind = 'checkpoint'")
    assert missing[-1] <= whole[0][0] <= missing[-1] + 2


@pytest.mark.parametrize("venue", ["binance", pytest.param("okx", marks=pytest.mark.slow)])
def test_a_busy_book_is_recorded_whole_more_often(
    client: Client, tmp_path: Path, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "CHECKPOINT_UPDATES", 25)
    for path in collected(tmp_path, venue, 2):
        load_captures(client, [path])
    sizes = (
        "SELECT toInt64(bids[1].2), last_id FROM exchange_orderbooks FINAL WHERE kind = '{}' ORDER BY last_id, ts_recv"
    )
    whole, changes = rows(client, sizes.format("checkpoint")), rows(client, sizes.format("delta"))
    assert len(whole) == 2 + 1 + 2
    assert set(whole) <= set(changes)


@pytest.mark.parametrize("venue", ["okx", pytest.param("binance", marks=pytest.mark.slow)])
def test_changes_of_old_files_without_any_snapshot_are_a_gap(client: Client, tmp_path: Path, venue: str) -> None:
    with CaptureWriter(tmp_path, venue, "spot") as writer:
        for one in TRAFFIC[venue](30):
            writer.write(one.ts_recv, one.kind, one.raw, connection=one.connection, url=one.url)
    assert len(writer.paths) == 30
    [early], [late] = (load_captures(client, [writer.paths[hour]]).units for hour in (2, 28))
    assert (early.by_type, early.notes) == ({"orderbook": 60}, ())
    assert late.by_type == {"gap": 1}
    assert late.notes == ("1 books without a snapshot: their changes are recorded as gaps",)
    [gap] = rows(client, "SELECT cause, ts_from, ts_to, healed_at FROM exchange_gaps")
    begin = START + 28 * HOUR
    assert gap == ("no snapshot", begin + 1, begin + 59 * 60 * SECOND + 1, None)

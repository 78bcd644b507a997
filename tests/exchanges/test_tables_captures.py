"""Captures in the tables: what replay gives, once, whatever is loaded how often and in which order."""

import datetime as dt
import gzip
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import zstandard
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.captures.capture import Capture
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.tables import captures, schema
from marketdata_assets.exchanges.tables.captures import LEDGER, load_captures
from marketdata_assets.exchanges.tables.loaded_files import FilesReport, KnownFiles
from marketdata_assets.loading.files import Delivered

SECOND = 10**9
START = 1_762_000_000 * SECOND
URL = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"
MINUTES = 12


def said(**event: object) -> bytes:
    return json.dumps({"stream": "btcusdt@x", "data": event}).encode()


def traffic() -> Iterator[Entry]:
    """One connection: a snapshot at the beginning, then a diff and a trade each minute."""
    yield Entry(START, "open")
    for number in range(MINUTES):
        ts = START + number * 60 * SECOND
        ms = ts // 10**6
        levels = [["100.0", f"{number + 1}"]], [["101.5", "2"]]
        yield Entry(
            ts + 1, "in", said(e="depthUpdate", E=ms, s="BTCUSDT", U=number, u=number, b=levels[0], a=levels[1])
        )
        if number == 0:
            book = {"lastUpdateId": -1 + 1, "bids": [["99", "1"]], "asks": [["102", "1"]]}
            yield Entry(ts + 2, "http", json.dumps(book).encode(), 0, URL)
        yield Entry(ts + 3, "in", said(e="trade", E=ms, T=ms, s="BTCUSDT", t=number, p="100.5", q="0.1", m=True))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The traffic in files of four minutes."""
    with CaptureWriter(tmp_path / "captures", "binance", "spot", max_span_ns=240 * SECOND) as writer:
        for one in traffic():
            writer.write(one.ts_recv, one.kind, one.raw, connection=one.connection, url=one.url)
    assert len(writer.paths) == 3
    return writer.paths


def contents(client: Client) -> dict[str, list[tuple[object, ...]]]:
    return {
        table.type: [
            tuple(row)
            for row in client.query(
                f"SELECT {', '.join(table.columns)} FROM {table.name} FINAL ORDER BY ALL",
                settings=schema.FINAL_SETTINGS,
            ).result_rows
        ]
        for table in schema.TABLES.values()
    }


def endings(report: FilesReport) -> list[str]:
    return [unit.outcome for unit in report.units]


def test_a_capture_is_loaded_once_and_again_gives_the_same_rows(clickhouse_client: Client, files: list[Path]) -> None:
    first = load_captures(clickhouse_client, files)
    assert endings(first) == ["ok"] * 3
    assert first.by_type == {"orderbook": MINUTES, "trade": MINUTES}
    there = contents(clickhouse_client)
    assert {name: len(rows) for name, rows in there.items() if rows} == first.by_type
    assert endings(load_captures(clickhouse_client, files)) == ["unchanged"] * 3
    again = load_captures(clickhouse_client, files[::-1], force=True)
    assert again.by_type == first.by_type
    assert contents(clickhouse_client) == there


def test_a_file_alone_goes_on_where_the_one_before_it_ended(client: Client, files: list[Path]) -> None:
    for number in (2, 0, 1):
        report = load_captures(client, [files[number]])
        assert report.units[0].outcome == "ok"
        assert report.units[0].by_type == {"orderbook": 4, "trade": 4}
    assert len(contents(client)["orderbook"]) == MINUTES
    assert contents(client)["gap"] == []


def test_a_file_that_cannot_be_read_fails_alone_and_is_tried_again(client: Client, files: list[Path]) -> None:
    whole = files[1].read_bytes()
    files[1].write_bytes(b"no capture" + whole[10:])
    missing = files[0].with_name("binance-spot-20200101T000000.capture.zst")
    report = load_captures(client, [*files, missing])
    assert endings(report) == ["ok", "failed", "ok", "failed"]
    assert [str(one.path) in str(one.error) for one in report.failed] == [True, True]
    files[1].write_bytes(whole)
    assert endings(load_captures(client, files)) == ["unchanged", "ok", "unchanged"]


def test_an_unforeseen_error_fails_one_file_only(
    client: Client, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = captures.open_capture

    def open_or_fail(path: Path) -> Capture:
        if path == files[1]:
            raise ZeroDivisionError("a defect in a reader")
        return opened(path)

    monkeypatch.setattr(captures, "open_capture", open_or_fail)
    report = load_captures(client, files)
    assert (endings(report), report.units[1].error) == (["ok", "failed", "ok"], "a defect in a reader")
    monkeypatch.setattr(captures, "open_capture", opened)
    assert endings(load_captures(client, files)) == ["unchanged", "ok", "unchanged"]


def test_a_message_that_cannot_be_read_is_kept_whole(client: Client, tmp_path: Path) -> None:
    bad = said(e="trade", E=1, T=1, s="BTCUSDT", t=1, p="1.0.0", q="0.1", m=True)
    with CaptureWriter(tmp_path, "binance", "spot") as writer:
        writer.write(START, "in", bad)
    loaded = load_captures(client, writer.paths).units[0]
    assert (loaded.outcome, loaded.skipped, loaded.by_type) == ("failed", 1, {})
    assert "none of its 1 messages gave a row, the first one: NotDecimal: p is no decimal" in str(loaded.error)
    [entry] = captures.entries(client, tmp_path)
    assert (str(entry.state), entry.reason) == ("failed", loaded.error)
    kept = client.query("SELECT type, raw, source FROM exchange_rejects FINAL").result_rows
    assert kept == [("message", bad.decode(), writer.paths[0].name)]


@pytest.mark.slow
def test_a_recording_by_day_goes_on_from_the_day_before(client: Client, fixtures: Path) -> None:
    second = fixtures / "binance-spot/capture/hft_btcusdt_20240809.txt.gz"
    loaded = load_captures(client, [second]).units[0]
    assert loaded.by_type["orderbook"] == 3044


def test_every_file_of_the_folder_has_the_state_that_the_ledger_proves(client: Client, tmp_path: Path) -> None:
    good, late, never, bad, gone = (tmp_path / f"{name}.ndjson" for name in ("good", "late", "never", "bad", "gone"))
    for path in (good, late, never):
        path.write_text(path.name)
    good.write_text("\n")
    late.write_text("\n")
    bad.write_text("no capture\n")
    captures.load_captures(client, [good, late, bad, gone])
    for path, age in ((good, 3600), (late, -3600)):  # by the clock of whoever touched it
        os.utime(path, (time.time() - age,) * 2)
    late.write_text("\n\n")
    (tmp_path / "notes.pdf").write_text("")
    (tmp_path / "BINANCE.NDJSON").write_text("\n")
    (tmp_path / "link.ndjson").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.ndjson")
    found = {one.file: one for one in captures.entries(client, tmp_path)}
    assert {name: str(one.state) for name, one in found.items()} == {
        "good.ndjson": "empty",
        "late.ndjson": "due",
        "never.ndjson": "due",
        "bad.ndjson": "failed",
        "notes.pdf": "not taken",
        "BINANCE.NDJSON": "empty",
        "link.ndjson": "failed",
        "pipe.ndjson": "failed",
    }
    assert all(one.balanced for one in found.values())
    assert (found["late.ndjson"].reason, found["never.ndjson"].reason) == (
        "changed since it was loaded",
        "never loaded",
    )
    assert captures.due(client, tmp_path) == [bad, late, never]
    failed = {row["place"]: row["reason"] for row in LEDGER.failures(client, 5)}
    assert failed.keys() == {"bad.ndjson", "gone.ndjson"}
    assert "No such file or directory (load failed at" in failed["gone.ndjson"]
    bad.write_text("\n")
    captures.load_captures(client, [bad])
    assert captures.due(client, tmp_path) == [late, never]


def test_other_content_with_an_older_or_the_same_time_is_due(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text("\n")
    captures.load_captures(client, [file])
    for content, time_of in (("\n\n", 0), (" ", file.stat().st_mtime)):
        file.write_text(content)
        os.utime(file, (time_of, time_of))
        assert captures.due(client, tmp_path) == [file]


def is_compared(known: KnownFiles, file: Delivered) -> bool:
    before = len(known.compared)
    known.state(file)
    return len(known.compared) > before


def test_a_file_that_was_moved_or_touched_is_read_once_to_compare_it(client: Client, tmp_path: Path) -> None:
    for name in ("moved", "touched", "copied"):
        (tmp_path / f"{name}.ndjson").write_text("\n" * len(name))
    captures.load_captures(client, captures.captures_in(tmp_path))
    (tmp_path / "moved.ndjson").rename(tmp_path / "b.ndjson")
    (tmp_path / "touched.ndjson").chmod(0o600)
    (tmp_path / "copy.ndjson").write_text("\n" * len("copied"))
    listings = []
    for _ in range(2):
        known = LEDGER.known(client)
        listings.append([file.name for file in LEDGER.files(tmp_path) if is_compared(known, file)])
        assert captures.due(client, tmp_path) == []
    assert listings == [["b.ndjson", "copy.ndjson", "touched.ndjson"], ["copy.ndjson"]]


def test_two_files_of_one_name_are_loaded_once_each(client: Client, files: list[Path], tmp_path: Path) -> None:
    one, other = tmp_path / "x" / "a.capture.zst", tmp_path / "x" / "deep" / "a.capture.zst"
    other.parent.mkdir(parents=True)
    one.write_bytes(files[0].read_bytes())
    load_captures(client, [one])
    other.write_bytes(files[1].read_bytes())
    assert captures.due(client, tmp_path / "x") == [other]
    load_captures(client, [other])
    assert captures.due(client, tmp_path / "x") == []
    other.rename(tmp_path / "x" / "b.capture.zst")
    assert captures.due(client, tmp_path / "x") == [], "its content is loaded"


def test_two_files_of_one_name_size_and_time_are_two(client: Client, tmp_path: Path) -> None:
    files = [tmp_path / folder / "a.ndjson" for folder in ("first", "second")]
    for path, content in zip(files, ("open", "lost"), strict=True):
        path.parent.mkdir()
        path.write_text(f'{{"recv":"1700000001.5","dir":"{content}","url":"wss://ws.okx.com:8443/ws/v5/public"}}\n')
        os.utime(path, (1_700_000_000,) * 2)
    load_captures(client, files[:1])
    assert captures.due(client, tmp_path) == files[1:]
    load_captures(client, files)
    assert [str(one.state) for one in captures.entries(client, tmp_path)] == ["empty", "failed"]
    files[0].write_text("\n")
    load_captures(client, files[:1])
    assert [row["place"] for row in LEDGER.failures(client, 5)] == ["a.ndjson"]


def test_a_file_that_grows_while_it_is_loaded_is_due(client: Client, files: list[Path]) -> None:
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-1])

    def recorded_at() -> dt.datetime:
        """The load asks for the time before it reads a file and after it."""
        with files[0].open("ab") as file:
            file.write(whole[-1:])
        return dt.datetime.now(dt.UTC)

    [report] = load_captures(client, files[:1], now=recorded_at).units
    assert (report.outcome, "overwritten while it was being read" in str(report.error)) == ("failed", True)
    assert files[0] in captures.due(client, files[0].parent)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.capture.zst", b"<html><body>502 Bad Gateway</body></html>\n"),
        ("x.capture.zst", zstandard.compress(b'{"capture":1,"exchange":"okx"}\n')[:20]),
        ("x.ndjson", b'{"recv":"1700000001.5","dir":"in","da'),
        ("x.txt.gz", b"<html><body>502 Bad Gateway</body></html>\n"),
        ("x.capture.zst", b""),
        ("x.ndjson", b""),
        ("x.txt.gz", b""),
    ],
)
def test_a_file_that_breaks_off_before_any_record_is_no_empty_one(
    client: Client, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    [unit] = load_captures(client, [path]).units
    assert unit.outcome == "failed"
    assert str(path) in str(unit.error)
    [entry] = captures.entries(client, tmp_path)
    assert (str(entry.state), entry.reason) == ("failed", unit.error)


def recording(path: Path, messages: Sequence[bytes]) -> Path:
    path.write_bytes(gzip.compress(b"".join(b"%d %b\n" % (START + at, raw) for at, raw in enumerate(messages))))
    return path


def test_each_file_of_a_series_has_its_own_market(client: Client, tmp_path: Path) -> None:
    trade = {
        "e": "aggTrade",
        "E": 1,
        "T": START // 10**6,
        "s": "BTCUSDT",
        "p": "1",
        "q": "2",
        "f": 1,
        "l": 1,
        "m": True,
    }
    spot = recording(tmp_path / "btcusdt_20251101.txt.gz", [said(**trade, a=1, M=True)])
    linear = recording(tmp_path / "btcusdt_20251102.txt.gz", [said(**trade, a=2, st=1)])
    assert endings(load_captures(client, [spot, linear])) == ["ok", "ok"]
    assert [(row[1], row[6]) for row in contents(client)["trade"]] == [("linear", "2"), ("spot", "1")]


def test_a_file_of_which_more_than_a_few_messages_are_unreadable_fails(client: Client, tmp_path: Path) -> None:
    good, bad = (said(e="trade", E=1, T=1, s="BTCUSDT", t=1, p=price, q="2", m=True, M=True) for price in ("1", None))
    paths = [recording(tmp_path / f"{number}.txt.gz", [good] * 40 + [bad] * number) for number in (3, 4)]
    few, many = load_captures(client, paths).units
    assert (few.outcome, few.rows, few.skipped) == ("ok", 40, 3)
    assert (many.outcome, many.rows, many.skipped) == ("failed", 40, 4)
    assert "4 of its 44 messages gave no row, the first one: ValidationError" in str(many.error)
    assert captures.due(client, tmp_path) == paths[1:]


REFUSED = {  # what a venue answers to a subscription that it refuses
    "wss://stream.binance.com/stream": {"error": {"code": 2, "msg": "Invalid request: nope"}, "id": 1},
    "wss://ws.okx.com:8443/ws/v5/public": {"event": "error", "code": "60018", "msg": "nope", "connId": "a4d3ae55"},
    "wss://stream.bybit.com/v5/public/spot": {"success": False, "ret_msg": "nope", "conn_id": "2", "op": "subscribe"},
    "wss://www.deribit.com/ws/api/v2": {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "nope"}},
    "wss://api.hyperliquid.xyz/ws": {"channel": "error", "data": "nope"},
    "wss://ws.kraken.com/v2": {"error": "nope", "method": "subscribe", "success": False, "time_in": "", "time_out": ""},
    "wss://advanced-trade-ws.coinbase.com": {"type": "error", "message": "nope"},
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_refused_subscription_is_a_note_and_in_quarantine(client: Client, tmp_path: Path, url: str) -> None:
    path, raw = tmp_path / "refused.ndjson", json.dumps(REFUSED[url])
    lines = [f'{{"recv":"1700000000","dir":"open","url":"{url}"}}', f'{{"recv":"1700000001","dir":"in","data":{raw}}}']
    path.write_text("\n".join([*lines, lines[1], ""]))
    [report] = load_captures(client, [path]).units
    assert (report.outcome, report.skipped) == ("empty", 0)
    [note] = report.notes
    assert f"{path}: 2 errors of the venue, the first one: " in note
    assert "nope" in note
    [(reason, kept)] = client.query("SELECT reason, raw FROM exchange_rejects FINAL").result_rows
    assert ("error of the venue, " in reason, kept) == (True, raw)


def test_a_book_with_a_snapshot_lacks_none_when_its_socket_is_opened_again(client: Client, tmp_path: Path) -> None:
    """The first change comes before the snapshot, and the file ends with a socket that delivers nothing."""
    path, told = tmp_path / "some.ndjson", list(traffic())[:5]
    lines: list[dict[str, object]] = [
        {"recv": f"{one.ts_recv / 1e9:.6f}", "dir": one.kind, "url": one.url, "data": json.loads(one.raw or "{}")}
        for one in told
    ]
    again = {"recv": f"{told[-1].ts_recv // SECOND + 60}", "dir": "open", "url": "wss://stream.binance.com/stream"}
    path.write_text("".join(json.dumps(line) + "\n" for line in (again | lines[0], *lines[1:], again)))
    [report] = load_captures(client, [path], exchange="binance", market_type="spot").units
    assert (report.outcome, report.notes) == ("ok", ())
    assert [row[9] for row in contents(client)["gap"]] == ["reopened"]


def test_instruments_whose_contracts_no_list_has_are_a_note(client: Client, tmp_path: Path) -> None:
    path, lists = tmp_path / "swap.ndjson", [tmp_path / "other.json", tmp_path / "own.json"]
    trade = {"instId": "ABC-USDT-SWAP", "tradeId": "1", "px": "2", "sz": "3", "side": "buy", "ts": "1700000000000"}
    told = {"arg": {"channel": "trades", "instId": "ABC-USDT-SWAP"}, "data": [trade]}
    path.write_text(f'{{"recv":"1700000000","dir":"in","data":{json.dumps(told)}}}\n')
    listed = {"instType": "SWAP", "ctType": "linear", "ctVal": "0.1", "ctMult": "1", "ctValCcy": "ABC"}
    for file, base in zip(lists, ("XYZ", "ABC"), strict=True):
        entry = {"instId": f"{base}-USDT-SWAP", "uly": f"{base}-USDT"} | listed
        file.write_text(json.dumps({"code": "0", "data": [entry]}))
    [report] = load_captures(client, [path], lists=lists[:1]).units
    assert report.outcome == "ok"
    [note] = report.notes
    assert f"{path}: sizes of ABC-USDT-SWAP in base units are not known: no list" in note
    [report] = load_captures(client, [path], lists=lists, force=True).units
    assert (report.outcome, report.notes) == ("ok", ())

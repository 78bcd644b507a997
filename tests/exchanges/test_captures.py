"""Captures: what was flushed is read back whatever happens to the writer; what was cut is said."""

import gzip
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets import input_limits
from marketdata_assets.exchanges.captures.capture import Capture, open_capture
from marketdata_assets.exchanges.captures.foreign_formats import nanoseconds
from marketdata_assets.exchanges.captures.native_format import SUFFIX, Entry, Kind
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
URL = "wss://venue.example/ws"

WRITE_FOREVER = """
import sys
from pathlib import Path
from random import Random
from marketdata_assets.exchanges.captures.writer import CaptureWriter

writer = CaptureWriter(Path(sys.argv[1]), "okx", None, frame_bytes=3000, max_bytes=20_000)
number = 0
while True:
    for _ in range(17):
        at = 1_700_000_000_000_000_000 + number
        writer.write(at, "in", b"%d " % number + Random(number).randbytes(number % 300), connection=number % 3)
        number += 1
    writer.flush()
    print(number, flush=True)
"""

WRITE_TO_A_FULL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from marketdata_assets.exchanges.captures.writer import CaptureWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = CaptureWriter(Path(sys.argv[1]), "okx", None)
writer.write(1_700_000_000_000_000_001, "in", b"first")
writer.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
writer.write(1_700_000_000_000_000_002, "in", os.urandom(1000))
try:
    writer.flush()
except OSError:
    print("full")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.close()
"""

kinds: st.SearchStrategy[Kind] = st.sampled_from(["in", "out", "open", "http"])
entries = st.builds(
    Entry,
    ts_recv=st.integers(0, 3 * SECOND).map(lambda ns: START + ns),
    kind=kinds,
    raw=st.binary(max_size=60),
    connection=st.integers(0, 2**32 - 1),
    url=st.sampled_from(["", URL, "https://venue.example/depth?symbol=Ä"]),
)


def written(folder: Path, told: list[Entry], **how: int) -> list[Path]:
    with CaptureWriter(folder, "deribit", None, **how) as writer:
        for one in told:
            writer.write(one.ts_recv, one.kind, one.raw, connection=one.connection, url=one.url)
    return writer.paths


def read(path: Path) -> tuple[list[Entry], list[str]]:
    capture = open_capture(path)
    return list(capture.entries()), capture.notes


@given(st.lists(entries, max_size=30), st.sampled_from([1, 200, 1 << 20]), st.sampled_from([1, 300, 1 << 20]))
def test_what_was_written_is_read_back_from_all_files_in_order(
    tmp_path_factory: pytest.TempPathFactory, told: list[Entry], frame_bytes: int, max_bytes: int
) -> None:
    paths = written(tmp_path_factory.mktemp("captures"), told, frame_bytes=frame_bytes, max_bytes=max_bytes)
    assert [one for path in paths for one in read(path)[0]] == told
    assert not [note for path in paths for note in read(path)[1]]
    assert all(open_capture(path).exchange == "deribit" for path in paths)


def test_files_are_rotated_by_the_time_of_entries_and_named_by_it(tmp_path: Path) -> None:
    told = [Entry(START + second * SECOND, "in", b"x", url=URL) for second in range(25)]
    paths = written(tmp_path, told, max_span_ns=10 * SECOND)
    assert [path.name for path in paths] == [f"deribit-20231114T2213{second}{SUFFIX}" for second in ("20", "30", "40")]
    assert [len(read(path)[0]) for path in paths] == [10, 10, 5]


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    first = written(tmp_path, [Entry(START, "in", b"first")])
    second = written(tmp_path, [Entry(START, "in", b"second")])
    assert first != second
    assert read(first[0])[0][0].raw == b"first"


def test_a_capture_is_plain_zstd(tmp_path: Path) -> None:
    (path,) = written(tmp_path, [Entry(START, "in", b"a message")])
    with path.open("rb") as file:
        content = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert content.startswith(b'{"capture":1,"exchange":"deribit"')
    assert b"a message" in content


def test_a_file_cut_at_any_byte_gives_all_whole_frames_and_says_what_is_missing(tmp_path: Path) -> None:
    told = [Entry(START + number, "in", bytes([number]) * 9) for number in range(12)]
    (path,) = written(tmp_path, told, frame_bytes=50)
    whole = path.read_bytes()
    seen = set()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found, notes = read(path)
        assert found == told[: len(found)]
        seen.add(len(found))
        frames = whole[:length].count(b"\x28\xb5\x2f\xfd")
        assert len(found) >= (frames - 2) * 2
        if length and not notes:
            path.write_bytes(whole[: length + 1])
            assert read(path)[0] == found, "without a note the file ended between two frames"
    assert seen == {0, 2, 4, 6, 8, 10}
    path.write_bytes(whole + bytes(100))
    found, notes = read(path)
    assert found == told
    assert len(notes) == 1


def test_damage_between_frames_is_an_error_and_not_a_shorter_capture(tmp_path: Path) -> None:
    told = [Entry(START + number, "in", os.urandom(50)) for number in range(12)]
    (path,) = written(tmp_path, told, frame_bytes=100)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadCapture, match="damaged at byte"):
        read(path)


def test_everything_flushed_before_a_kill_is_read_back(tmp_path: Path) -> None:
    flushed = 0
    with subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, tmp_path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        while flushed < 2000:
            flushed = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
    flushed = int(rest[-1]) if rest else flushed
    paths = list(tmp_path.iterdir())
    assert len(paths) > 3
    # The kill may come just after a rotation: then one file holds no entry yet.
    files = sorted((read(path)[0] for path in paths), key=lambda found: found[0].ts_recv if found else math.inf)
    assert all(files[:-1])
    found = [one for file in files for one in file]
    assert len(found) >= flushed
    assert [one.ts_recv for one in found] == list(range(START, START + len(found)))
    assert all(one.raw == b"%d " % number + Random(number).randbytes(number % 300) for number, one in enumerate(found))


def test_a_frame_that_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", WRITE_TO_A_FULL_DISK, tmp_path], capture_output=True, text=True)
    assert child.stdout == "full\n", child.stderr
    (path,) = tmp_path.iterdir()
    found, notes = read(path)
    assert [(one.ts_recv, len(one.raw)) for one in found] == [(START + 1, 5), (START + 2, 1000)]
    assert notes == []


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"no frame at all", None),
        (zstandard.compress(b"no header"), "does not begin as a capture does"),
        (zstandard.compress(b'{"capture":2}\n'), "of version 2"),
        (zstandard.compress(b'{"capture":1,"colour":"red"}\n'), "does not begin as a capture does"),
        (zstandard.compress(b'{"capture":1}\n') + zstandard.compress(b"half an entry"), "whole entries"),
    ],
)
def test_what_is_no_capture_is_said(tmp_path: Path, content: bytes, cause: str | None) -> None:
    path = tmp_path / f"x{SUFFIX}"
    path.write_bytes(content)
    if cause is None:
        found, notes = read(path)
        assert (found, len(notes)) == ([], 1)
    else:
        with pytest.raises(BadCapture, match=cause):
            read(path)


def test_a_file_of_another_kind_or_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadCapture, match="no such file"):
        open_capture(tmp_path / f"x{SUFFIX}")
    (tmp_path / "x.csv").write_text("a,b\n")
    with pytest.raises(BadCapture, match="names end with"):
        open_capture(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1617647603.4249449", 1617647603_424944900),
        ("1617647603", 1617647603_000000000),
        ("1617647603.1234567899", 1617647603_123456789),
    ],
)
def test_seconds_as_text_become_nanoseconds_without_a_float(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "1e9", "now", "1.5.5", "١"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        nanoseconds(text)


@pytest.mark.parametrize(
    ("value", "unit"),
    [("1700000000", "s"), ("1700000000000", "ms"), ("1700000000000000", "us"), ("5000000000000000000", "ns of 2128")],
)
def test_a_time_of_another_unit_is_named_with_its_line(tmp_path: Path, value: str, unit: str) -> None:
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"1700000000000000000 {}\n" + f"{value} {{}}\n".encode()))
    with pytest.raises(BadCapture, match=rf"x\.txt\.gz:2: .* the time {value} is before 2010 or .* in nanoseconds"):
        read(path)
    if len(value) == 13:
        lines = tmp_path / "x.ndjson"
        lines.write_text(f'{{"recv":"{value[:-6]}","dir":"open"}}\n')
        with pytest.raises(BadCapture, match=r"x\.ndjson:1: .* before 2010 or after tomorrow; write times in seconds"):
            read(lines)


def test_lines_of_json_give_messages_as_they_stand_in_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(
        b'{"recv":"1700000001.5","dir":"open","url":"wss://ws.okx.com:8443/ws/v5/public"}\n'
        b'{"recv":"1700000002.5","dir":"in","data":{"px": 2.0e3,  "a":"\\u00e4"}}\n'
        b'{"recv":"1700000003.5","dir":"in","data":"pong"}\n'
        b'{"recv":"1700000004.5","dir":"in","da'
    )
    found, notes = read(path)
    assert [(one.kind, one.raw) for one in found] == [
        ("open", b""),
        ("in", b'{"px": 2.0e3,  "a":"\\u00e4"}'),
        ("in", b"pong"),
    ]
    assert "line 4" in notes[0]
    assert open_capture(path).venue() == ("okx", None)


def opened(path: Path, *addresses: str) -> Path:
    trade = '{"stream":"abcusdt@trade","data":{"e":"trade","s":"ABCUSDT","M":true}}'
    lines = [f'{{"recv":"1700000001.5","dir":"open","url":"wss://{address}/ws"}}' for address in addresses]
    path.write_text("\n".join([*lines, f'{{"recv":"1700000001.5","dir":"in","data":{trade}}}', ""]))
    return path


def test_an_unknown_address_is_of_no_venue_whatever_the_messages(tmp_path: Path) -> None:
    capture = open_capture(opened(tmp_path / "x.ndjson", "stream.binance.us:9443"))
    with pytest.raises(
        UnknownVenue, match=r"\.us:9443/ws, which is no address of a known venue\. Set it with --exchange"
    ):
        capture.venue()
    assert capture.venue("binance") == ("binance", "spot")
    assert capture.venue("binance-testnet") == ("binance-testnet", "spot")
    with pytest.raises(UnknownVenue, match="no entry shows the market of kraken"):
        capture.venue("kraken")


def test_an_unknown_address_after_the_first_messages_ends_a_recording_of_a_detected_venue(tmp_path: Path) -> None:
    path = opened(tmp_path / "x.ndjson", "stream.binance.com:9443", "stream.binance.us:9443")
    capture = open_capture(path)
    capture.venue()
    with pytest.raises(UnknownVenue, match=r"a socket of wss://stream\.binance\.us:9443/ws, which is no address"):
        list(capture.entries())
    capture.venue("binance")
    assert len(list(capture.entries())) == 3


def test_a_market_that_contradicts_the_address_of_a_socket_is_refused(tmp_path: Path) -> None:
    capture = open_capture(opened(tmp_path / "x.ndjson", "fstream.binance.com"))
    with pytest.raises(BadCapture, match="it is of binance-linear, and not of binance-spot"):
        capture.venue("binance", "spot")
    assert capture.venue("binance", "linear") == ("binance", "linear")


def test_sockets_of_two_markets_are_no_recording_of_one(tmp_path: Path) -> None:
    path = opened(tmp_path / "x.ndjson", "stream.binance.com:9443", "fstream.binance.com")
    with pytest.raises(
        BadCapture,
        match=r"x\.ndjson:2: wss://fstream.* is of binance-linear, and the file is of binance-spot: record each",
    ):
        read(path)


def test_a_line_in_the_middle_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(b'{"recv":"1700000001.5","dir":"sideways"}\n{"recv":"1700000001.5","dir":"open"}\n')
    with pytest.raises(BadCapture, match=r"x\.ndjson:1"):
        read(path)


def test_sockets_are_told_apart_by_the_addresses_of_their_messages(tmp_path: Path) -> None:
    path, urls = tmp_path / "x.ndjson", [f"wss://ws.okx.com:8443/ws/v5/{name}" for name in ("public", "business")]
    lines = [f'{{"recv":"1700000001","dir":"{kind}","url":"{url}"}}\n' for kind in ("open", "in") for url in urls]
    path.write_text("".join(lines))
    assert [one.connection for one in read(path)[0]] == [0, 1, 0, 1]
    path.write_text("".join([*lines[:2], '{"recv":"1700000001","dir":"in"}\n', lines[1]]))
    assert [one.connection for one in read(path)[0]] == [0, 1, 0, 0], "a message without an address may be of any"


def test_a_byte_order_mark_and_empty_lines_at_the_end_are_no_damage(tmp_path: Path) -> None:
    path, line = tmp_path / "x.ndjson", b'{"recv":"1700000001","dir":"open"}\n'
    path.write_bytes(b"\xef\xbb\xbf" + line + line + b"\n \r\n\n")
    found, notes = read(path)
    assert (len(found), notes) == (2, [])
    path.write_bytes(line + b"\n" + line)
    with pytest.raises(BadCapture, match=r"x\.ndjson:3: .* line 2 before it is empty"):
        read(path)


def test_timed_lines_cut_in_the_middle_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "x.txt.gz"
    lines = b"".join(b'%d {"stream":"a@trade","data":{"n":%d}}\n' % (START + n, n * n) for n in range(5000))
    path.write_bytes(gzip.compress(lines))
    assert len(read(path)[0]) == 5000
    path.write_bytes(gzip.compress(lines)[:-2000])
    found, notes = read(path)
    assert 100 < len(found) < 5000
    assert found[99] == Entry(START + 99, "in", b'{"stream":"a@trade","data":{"n":9801}}')
    assert "breaks off" in notes[-1]
    for content in (b"not compressed\n", b""):
        path.write_bytes(content)
        with pytest.raises(BadCapture, match="cannot be inflated"):
            read(path)


def test_timed_lines_that_unpack_to_more_than_any_data_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_limits, "ALWAYS_BYTES", input_limits.ALWAYS_BYTES // 16)
    path = tmp_path / "x.txt.gz"
    kilobytes = gzip.compress(b"1700000000000000000 " + b"x" * (1 << 16) + b"\n")
    path.write_bytes(kilobytes * 250)
    capture = open_capture(path)
    assert sum(1 for _ in capture.entries()) == 250
    path.write_bytes(kilobytes * 300)
    with pytest.raises(BadCapture, match=r"x\.txt\.gz: it unpacks to .* deliver it unpacked"):
        sum(1 for _ in capture.entries())


@pytest.mark.parametrize(
    ("message", "venue"),
    [
        (b'{"stream":"abcusd_perp@bookTicker","data":{"e":"bookTicker","u":7,"ps":"ABCUSD"}}', ("binance", "inverse")),
        (b'{"stream":"abcusdt@bookTicker","data":{"u":7,"s":"ABCUSDT"}}', ("binance", "spot")),
        (b'{"stream":"abcusdt@bookTicker","data":{"e":"bookTicker","u":7}}', ("binance", "linear")),
        (b'{"stream":"abcusdt@depth","data":{"e":"depthUpdate","U":6,"u":7}}', ("binance", "spot")),
        (b'{"stream":"abcusdt@depth","data":{"e":"depthUpdate","U":6,"u":7,"pu":5}}', ("binance", "linear")),
        *(
            (
                b'{"stream":"%s","data":{"e":"%s","s":"%s","U":6,"u":7,"pu":5,"ps":"%s","st":%d}}'
                % (stream, event, name, name, kind),
                ("binance", market),
            )
            for stream, event in ((b"x@depth@0ms", b"depthUpdate"), (b"x@bookTicker", b"bookTicker"))
            for name, kind, market in (
                (b"ABCUSDT", 1, "linear"),
                (b"ABCUSDT_261225", 1, "linear"),
                (b"ABCXYZ", 1, "linear"),
                (b"ABCUSD_PERP", 2, "inverse"),
                (b"ABCUSD_261225", 2, "inverse"),
            )
        ),
        (
            b'{"stream":"abcusdt@depth","data":{"e":"depthUpdate","s":"ABCUSDT","u":7,"pu":5,"ps":"ABCUSDT"}}',
            ("binance", "linear"),
        ),
        (
            b'{"stream":"abcusdt@trade","data":{"e":"trade","s":"ABCUSDT","t":7,"X":"MARKET","st":1}}',
            ("binance", "linear"),
        ),
        (b'{"stream":"abcusdt@trade","data":{"e":"trade","s":"ABCUSDT","t":7,"m":true,"M":true}}', ("binance", "spot")),
        (b'{"stream":"!ticker@arr","data":[{"e":"24hrTicker","s":"ABCUSDT","st":1}]}', ("binance", "linear")),
        (
            '{"stream":"x@bookTicker","data":{"e":"bookTicker","s":"币安人生USDT","u":7}}'.encode(),
            ("binance", "linear"),
        ),
        (b'{"stream":"x@depth","data":{"e":"depthUpdate","s":"ABC-261225-100-C","u":7,"pu":5}}', ("binance", "option")),
        (b'{"arg":{"channel":"books","instId":"ABC-USDT"},"data":[]}', ("okx", None)),
        (b'{"jsonrpc":"2.0","method":"heartbeat"}', ("deribit", None)),
    ],
)
def test_messages_without_an_address_tell_their_venue(
    tmp_path: Path, message: bytes, venue: tuple[str, str | None]
) -> None:
    path = tmp_path / "x.txt.gz"
    said = [b'{"stream":"x@trade","data":{"e":"trade"}}', b"not json", message]
    path.write_bytes(gzip.compress(b"".join(b"%d %s\n" % (START, one) for one in said)))
    assert Capture(path).venue() == venue


@pytest.mark.parametrize(
    "event",
    [
        b'{"e":"aggTrade","s":"ABCUSDT","a":7,"m":true}',  # the same on spot and USD-M
        b'{"e":"depthUpdate","s":"ABCUSDT","U":6,"u":7,"new":1}',  # a field that no market was known to have
        b'{"u":7,"s":"ABCUSDT","new":1}',
        b'{"e":"bookTicker","s":"ABCXYZ","u":7}',  # of futures, and its name does not say which
        b'{"e":"trade","s":"ABCUSDT","t":7,"st":3}',
        b'{"s":7}',
        b'{"e":[],"s":"ABCUSDT"}',
        b'{"e":{},"s":"ABCUSDT","st":[]}',
        b"[]",
        b"7",
    ],
)
def test_a_market_is_never_told_by_what_a_message_lacks(tmp_path: Path, event: bytes) -> None:
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b'%d {"stream":"x@y","data":%s}\n' % (START, event)))
    with pytest.raises(UnknownVenue, match="--exchange and --market-type"):
        Capture(path).venue()


def test_a_gzip_member_that_was_cut_before_another_one_is_an_error_and_not_a_shorter_recording(tmp_path: Path) -> None:
    """As where a recorder was killed, and its next start appended to the file of the day."""
    random, path = Random(5), tmp_path / "abcusdt_20251101.txt.gz"
    line = lambda number: b"%d %s\n" % (START + number, random.randbytes(40).hex().encode())  # noqa: E731
    members = [gzip.compress(b"".join(map(line, range(first, first + 2000)))) for first in (0, 5000)]
    path.write_bytes(members[0][: len(members[0]) // 2] + members[1])
    found = []
    with pytest.raises(BadCapture, match=r"damaged after line|cannot be read"):
        for entry in open_capture(path).entries():
            found.append(entry)
    assert len(found) > 500
    path.write_bytes(members[0] + members[1][: len(members[1]) // 2])
    found, notes = read(path)
    assert len(found) > 2500
    assert len(notes) == 1

"""Damaged deliveries: each is a failure that names file and remedy, the rest lands, and a mended file mends all."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import schema, status
from marketdata_assets.bars.layout import first_header, scan, units
from marketdata_assets.bars.unit import parse
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.file_ledger import FileEntry, FileState
from marketdata_assets.loading.files import Opener
from tests.bars.bar_files import (
    HEADER,
    assert_exact,
    csv_text,
    deliver,
    deliver_members,
    entries,
    line,
    minutes,
    run,
    table,
)

A = csv_text(line(label) for label in minutes("2000-06-09 09:30:00", 40))
B = csv_text(line(label, "sz000001") for label in minutes("2000-06-09 09:30:00", 40))
MEMBERS = {"a_2000.csv": A, "b_2000.csv": B}
PLACE = "2000_1min.zip!a_2000.csv"
FOREIGN = b"date,open,high,low,close,volume,money\n2000-06-09 09:31:00,10,10,10,10,5,5000\n"
UNKNOWN = b"day,o,h,l,c,v\n2000-06-09 09:31:00,10,10,10,10,5\n"


def with_a(data: bytes) -> Callable[[Path], object]:
    return lambda path: deliver(path, MEMBERS | {"a_2000.csv": data})


def truncated(path: Path) -> None:
    deliver(path, deliver(path, MEMBERS).read_bytes()[:-30])


def flipped(path: Path) -> None:
    data = bytearray(deliver(path, MEMBERS).read_bytes())
    data[30 + len("a_2000.csv") + 40] ^= 0xFF
    deliver(path, bytes(data))


def wrong_crc(path: Path) -> None:
    data = bytearray(deliver(path, MEMBERS).read_bytes())
    directory = data.index(b"PK\1\2")
    for at in (14, directory + 16):
        data[at : at + 4] = struct.pack("<I", 0xDEADBEEF)
    deliver(path, bytes(data))


def encrypted(path: Path) -> None:
    data = bytearray(deliver(path, MEMBERS).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    deliver(path, bytes(data))


@pytest.mark.parametrize(
    ("damage", "place", "said"),
    [
        (truncated, "2000_1min.zip: ", "looks truncated"),
        (lambda path: deliver(path, b""), "2000_1min.zip: ", "not a whole zip"),
        (lambda path: deliver(path, {}), "2000_1min.zip: ", "the zip holds no CSV file"),
        (lambda path: deliver(path, {"readme.txt": b"x"}), "2000_1min.zip: ", "the zip holds no CSV file"),
        (flipped, PLACE + ": ", "damaged"),
        (wrong_crc, PLACE + ": ", "CRC-32"),
        (encrypted, PLACE + ": ", "encrypted"),
        (lambda path: deliver_members(path, [*MEMBERS.items(), ("a_2000.csv", A)]), PLACE + ": ", "2 members of"),
        (with_a(b""), PLACE + ":1: ", "the file is empty"),
        (with_a(A.replace("收盘价".encode(), "收价".encode())), PLACE + ":1: ", "nearest is classic, without 收盘价"),
        (with_a(HEADER.encode() + b"\n" + A.partition(b"\n")[2].replace(b"\xe6", b"\xff")), PLACE + ": ", "not UTF-8"),
        (with_a(A.replace(b"2000-06", b"2001-06")), PLACE + ": ", "outside 2000, the year in the file's name"),
        (with_a(A.replace(b",5,", b",1.5,", 1)), PLACE + ": ", "1 of 40 rows rejected"),
        (lambda path: path.write_bytes(deliver(path, A).read_bytes()[:-4]), "a_2000.csv.gz: ", "damaged: "),
        # Names that announce no year: any run tries them.
        (lambda path: deliver(path, FOREIGN), "600000.XSHG.csv: ", "its prices are not adjusted"),
        (lambda path: deliver(path, FOREIGN), "20000609.csv: ", "its prices are not adjusted"),
        (lambda path: deliver(path, csv_text([line("09:31:00")])), "a.csv: ", "time '09:31:00' is not a time"),
        (lambda path: deliver(path, csv_text([line("3000-01-03 09:31:00")])), "a.csv: ", "is outside 1900 to 2099"),
        (lambda path: deliver(path, b"no gzip"), "a.CSV.GZ: ", "damaged"),
        (lambda path: deliver(path, UNKNOWN), "sh600000.csv:1: ", "no profile fits its columns day,o,"),
        (lambda path: deliver(path, {"b.csv": UNKNOWN}), "a.zip!b.csv:1: ", "no profile fits"),
        (lambda path: deliver(path, b"x"), "a.parquet: ", "not a Parquet file"),
        (lambda path: deliver(path, b"x\n"), "SH600000.txt:1: ", "no profile fits its first line 'x'"),
        (lambda path: deliver(path, b"PK"), "history.zip: ", "not a whole zip file"),
    ],
)  # fmt: skip
def test_damage_is_named_and_repaired_by_a_new_delivery(
    dsn: str, tmp_path: Path, damage: Callable[[Path], object], place: str, said: str
) -> None:
    path = tmp_path / place.partition(":")[0].partition("!")[0]
    dated = "2000_" in place or "_2000" in place
    damage(path)
    deliver(tmp_path / "c_2000.csv", csv_text(line(label, "bj920001") for label in minutes("2000-06-09 09:30:00", 3)))

    def state() -> FileEntry:
        with psycopg.connect(dsn) as connection:
            schema.ensure(connection)
            found = {one.file: one for one in status.file_entries(connection, tmp_path, ["2000-06"])}
        return found[path.name]

    assert state().state is FileState.DUE
    report = run(dsn, tmp_path, ["2000-06"])
    (failed,) = report.failed
    assert failed.error is not None
    assert failed.error.startswith(place)
    assert said in failed.error
    assert "eliver" in failed.error or "iconv" in failed.error or "Expected" in failed.error
    assert report.failed_months == (("2000-06",) if dated else ())
    assert (state().state, said in state().reason) == (FileState.FAILED, True)
    unit = place.partition(":")[0].rpartition("!")[2]
    assert (entries(dsn)[unit].outcome, entries(dsn)[unit].error) == ("failed", failed.error)
    landed = {row[1] for row in table(dsn)}
    assert landed == ({"920001.BJ", "000001.SZ"} if "!a_2000" in place else {"920001.BJ"})
    assert run(dsn, tmp_path, ["2000-06"]).failed[0].error == failed.error
    if dated:
        deliver(path, A if path.suffix == ".gz" else MEMBERS, day=2)
    else:
        path.unlink()
    assert run(dsn, tmp_path, ["2000-06"]).failed == ()
    assert_exact(dsn, tmp_path)
    assert not dated or all(entry.outcome in ("ok", "removed") for entry in entries(dsn).values())
    assert run(dsn, tmp_path, ["2000-06"]).units == ()


def test_damage_to_a_loaded_file_leaves_its_rows_loaded(dsn: str, tmp_path: Path) -> None:
    path = deliver(tmp_path / "2000_1min.zip", MEMBERS)
    run(dsn, tmp_path)
    before = table(dsn)
    for damage in (truncated, wrong_crc, encrypted):
        damage(path)
        assert len(run(dsn, tmp_path).failed) == 1
        assert table(dsn) == before


def test_file_that_goes_away_during_the_run_fails_alone(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = deliver(tmp_path / "a_2000.csv", A)
    deliver(tmp_path / "b_2000.csv", B)
    found = scan(tmp_path)
    path.unlink()
    monkeypatch.setattr("marketdata_assets.bars.ingest.scan", lambda folder: found)
    (failed,) = run(dsn, tmp_path).failed
    assert failed.unit == "a_2000.csv"
    assert (failed.error or "").startswith("a_2000.csv: ")
    assert {row[1] for row in table(dsn)} == {"000001.SZ"}


@pytest.mark.parametrize("kind", [MemoryError, SystemExit, psycopg.DataError, type("Odd", (BaseException,), {})])
def test_any_exception_in_one_unit_fails_that_unit_only(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    deliver(tmp_path / "a_2000.csv", A)
    deliver(tmp_path / "b_2000.csv", B)

    def raising(place: str, line: bytes) -> tuple[str, ...] | None:
        if place == "a_2000.csv":
            raise kind("unforeseen \0")
        return first_header(place, line)

    monkeypatch.setattr("marketdata_assets.bars.layout.first_header", raising)
    (failed,) = run(dsn, tmp_path).failed
    assert failed.error == f"a_2000.csv: {kind.__name__}: unforeseen \\0"
    assert entries(dsn)["a_2000.csv"].outcome == "failed"
    assert {row[1] for row in table(dsn)} == {"000001.SZ"}
    monkeypatch.undo()
    assert run(dsn, tmp_path).failed == ()
    assert_exact(dsn, tmp_path)


def test_any_flipped_byte_is_harmless_or_named(tmp_path: Path) -> None:
    """No damage of a zip ends in other rows, or in an error without a place."""
    path = deliver(tmp_path / "2000_1min.zip", {"a_2000.csv": csv_text([line("2000-06-09 09:30:00")])})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert len(archive.read("a_2000.csv")) > 100

    def payloads() -> list[bytes]:
        with Opener() as opener:
            found = []
            for unit in (unit for file in scan(tmp_path) for unit in units(file)):
                parsed = parse(opener, unit, None)
                found.append(b"".join(parsed.payload))
                parsed.payload.close()
            return found

    right = payloads()
    assert len(right[0]) > 0
    named = 0
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= (0xFF, 0x01, 0x08)[position % 3]
        path.write_bytes(data)
        try:
            assert payloads() in (right, [])
        except LoadError as error:
            assert str(error).startswith("2000_1min.zip")
            named += 1
    assert named > len(whole) // 6

"""What `marketdata replay` says: gaps with their times and ids, unreadable captures, connections side by side."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from typer.main import get_command

from marketdata_assets.cli import app
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter

NS = 10**9
START = 1_762_000_000 * NS
URL = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(get_command(app), ["replay", *map(str, arguments)], catch_exceptions=False)


def diff(number: int, ts: int) -> Entry:
    event = {"e": "depthUpdate", "E": ts // 10**6, "s": "BTCUSDT", "U": number, "u": number, "b": [["100.0", "1"]]}
    return Entry(ts, "in", json.dumps({"stream": "btcusdt@depth@100ms", "data": event | {"a": []}}).encode())


def snapshot(number: int, ts: int) -> Entry:
    book = {"lastUpdateId": number, "bids": [["99", "1"]], "asks": [["102", "1"]]}
    return Entry(ts, "http", json.dumps(book).encode(), 0, URL)


def capture(folder: Path, entries: list[Entry]) -> Path:
    with CaptureWriter(folder, "binance", "spot") as writer:
        for entry in entries:
            writer.write(entry.ts_recv, entry.kind, entry.raw, connection=entry.connection, url=entry.url)
    [path] = folder.iterdir()
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Diffs 2 and 3, then 7: 4 to 6 are missing."""
    at = [START + second * NS for second in range(6)]
    entries = [Entry(at[0], "open"), diff(2, at[1]), snapshot(1, at[1] + 1), diff(3, at[2]), diff(7, at[3])]
    return capture(tmp_path / "captures", entries)


def test_gaps_have_their_times_and_ids(broken: Path) -> None:
    document: dict[str, Any] = json.loads(run(broken, "--json").stdout)
    [gap] = document["gaps"]
    assert (gap["instrument"], gap["cause"], gap["last_id"], gap["next_id"]) == ("BTCUSDT", "sequence", 3, 7)
    assert (gap["ts_from"], gap["ts_to"], gap["healed_at"]) == (START + 2 * NS, START + 3 * NS, None)
    shown = run(broken).stdout
    assert "3 to 7" in shown
    assert "2025-11-01 12:26:42.000000" in shown


def test_capture_of_another_venue_fails_and_says_why(broken: Path) -> None:
    found = run(broken, "--exchange", "deribit", "--json")
    assert found.exit_code == 1
    assert "Are --exchange and --market-type right?" in found.stderr
    assert run(broken, "--json").exit_code == 0


def test_captures_of_connections_side_by_side_have_no_gap(broken: Path, tmp_path: Path) -> None:
    """As of two connections with the same instruments: the second does not continue the first."""
    at = [START + second * NS for second in range(3)]
    other = capture(tmp_path / "b", [Entry(at[0], "open"), diff(2, at[1]), snapshot(1, at[1] + 1), diff(3, at[2])])
    first = capture(tmp_path / "a", [Entry(at[0], "open"), diff(2, at[1]), snapshot(1, at[1] + 1), diff(3, at[2])])
    found = run(first, other, "--json")
    assert json.loads(found.stdout)["gaps"] == []
    assert "replayed as a connection beside it" in found.stderr
    assert len(json.loads(found.stdout)["books"]) == 2


def test_recorded_redundant_connections_have_the_gaps_of_the_table_none(fixtures: Path) -> None:
    folder = fixtures / "okx" / "capture"
    paths = [folder / f"2021-07-22_l2tbt_10inst_31s_conn{one}.ndjson" for one in "AB"]
    found = json.loads(run(*paths, "--json").stdout)
    assert found["gaps"] == []
    assert sum(book["gaps"] for book in found["books"].values()) == 0
    assert sum(book["checksum_ok"] for book in found["books"].values()) == 1504 + 1446

"""What `marketdata replay` says: gaps with their times and ids, unreadable captures, connections side by side."""

import gzip
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
    assert "it is of binance, and not of deribit" in found.stderr
    assert run(broken, "--json").exit_code == 0


def futures_recording(path: Path, fields: dict[str, Any]) -> Path:
    """As recorders of futures write it: updates of the book, a snapshot, best prices and trades."""
    book = {
        "lastUpdateId": 101,
        "E": START // 10**6,
        "T": START // 10**6,
        "bids": [["100.0", "1"]],
        "asks": [["101.0", "1"]],
    }
    messages: list[dict[str, Any]] = []
    for number in range(101, 151):
        said = {"E": START // 10**6, "T": START // 10**6, "s": "BTCUSDT"} | fields
        levels = {"U": number, "u": number, "pu": number - 1, "b": [["100.0", "1"]], "a": []}
        best = {"u": number, "b": "100.0", "B": "1", "a": "101.0", "A": "1"}
        trade = {"t": number, "p": "101.0", "q": "0.010", "X": "MARKET", "m": False}
        messages += [
            {"stream": f"btcusdt@{stream}", "data": {"e": event} | said | values}
            for stream, event, values in (
                ("depth@0ms", "depthUpdate", levels),
                ("bookTicker", "bookTicker", best),
                ("trade", "trade", trade),
            )
        ]
    messages.insert(1, book)
    lines = [f"{START + number} {json.dumps(one, separators=(',', ':'))}\n" for number, one in enumerate(messages)]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def test_recordings_of_futures_are_read_alike_before_and_after_a_venue_adds_fields(tmp_path: Path) -> None:
    before = run(futures_recording(tmp_path / "a.txt.gz", {}), "--json")
    after = run(futures_recording(tmp_path / "b.txt.gz", {"ps": "BTCUSDT", "st": 1}), "--json")
    assert (before.exit_code, after.exit_code) == (0, 0)
    assert (before.stdout, before.stderr) == (after.stdout, after.stderr)
    assert json.loads(after.stdout)["books"]["BTCUSDT"]["applied"] >= 49


def test_a_recording_of_another_market_names_the_one_it_was_read_as(tmp_path: Path) -> None:
    path = futures_recording(tmp_path / "a.txt.gz", {"st": 2})
    found = run(path, "--json")
    assert found.exit_code == 1
    assert "binance inverse BTCUSDT: not in the instrument list" in found.stderr
    assert "They were read as binance inverse. Are --exchange and --market-type right?" in found.stderr
    assert run(path, "--market-type", "linear", "--json").exit_code == 0


OKX_LIST = {
    "code": "0",
    "msg": "",
    "data": [
        {"instType": "SWAP", "instId": "ABC-USD_UM-SWAP", "uly": "ABC-USD", "instFamily": "ABC-USD_UM",
         "ctType": "linear", "ctVal": "0.01", "ctMult": "1", "ctValCcy": "ABC", "baseCcy": "", "quoteCcy": ""},
    ],
}  # fmt: skip
OKX_TRADE = {
    "arg": {"channel": "trades", "instId": "ABC-USD_UM-SWAP"},
    "data": [
        {"instId": "ABC-USD_UM-SWAP", "tradeId": "1", "px": "2.5", "sz": "3", "side": "buy", "ts": "1762000000000"}
    ],
}
PERPETUALS = {"universe": [{"name": "dex:ABC", "szDecimals": 2}]}
HYPERLIQUID_TRADE = {
    "channel": "trades",
    "data": [{"coin": "dex:ABC", "side": "B", "px": "2.5", "sz": "3", "hash": "0x1", "time": 1762000000000, "tid": 1,
              "users": ["0x1", "0x2"]}],
}  # fmt: skip
BYBIT_LIST = {
    "retCode": 0,
    "time": 1762000000000,
    "retMsg": "OK",
    "result": {"list": [{"symbol": "ABCXYZ", "baseCoin": "ABC", "quoteCoin": "XYZ", "status": "Trading"}]},
}
BYBIT_TRADE = {
    "topic": "publicTrade.ABCXYZ", "type": "snapshot", "ts": 1762000000001,
    "data": [{"T": 1762000000000, "s": "ABCXYZ", "S": "Buy", "v": "3", "p": "2.5", "i": "1", "BT": False}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("message", "listed", "flags", "size", "symbol"),
    [
        (OKX_TRADE, OKX_LIST, (), "0.03", "ABC-USD_UM"),
        (HYPERLIQUID_TRADE, PERPETUALS, (), "3", "dex:ABC-USDC"),
        (BYBIT_TRADE, BYBIT_LIST, ("--exchange", "bybit", "--market-type", "spot"), "3", "ABC-XYZ"),
    ],
    ids=["okx", "hyperliquid", "bybit"],
)
def test_a_list_of_the_venue_says_what_a_name_does_not(
    tmp_path: Path, message: dict[str, Any], listed: dict[str, Any], flags: tuple[str, ...], size: str, symbol: str
) -> None:
    recorded, file = tmp_path / "a.txt.gz", tmp_path / "instruments.json"
    recorded.write_bytes(gzip.compress(f"{START} {json.dumps(message, separators=(',', ':'))}\n".encode()))
    file.write_text(json.dumps(listed))
    without = run(recorded, *flags)
    assert without.exit_code == 1
    assert "--instruments FILE" in without.stderr
    found = run(recorded, *flags, "--instruments", file, "--records")
    assert found.exit_code == 0, found.stderr
    trade = json.loads(found.stdout)
    assert (trade["symbol"], trade["price"], trade["size"]) == (symbol, "2.5", size)
    file.write_text("{}")
    unusable = run(recorded, *flags, "--instruments", file)
    assert unusable.exit_code == 1
    assert f"the instrument list cannot be used: {file}: " in unusable.stderr


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

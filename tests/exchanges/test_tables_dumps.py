"""Downloaded files into the tables: once, rejected rows in the quarantine, one source of a book, or a named cause."""

import gzip
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import input_limits, read
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import OrderBook
from marketdata_assets.exchanges.tables.dumps import dumps_in, load_dumps, others_in
from marketdata_assets.exchanges.tables.loaded_files import FileReport, FilesReport
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.okx_venue import OkxServer
from tests.exchanges.archive_server import zipped
from tests.exchanges.dump_files import BEGIN, BINANCE, DERIBIT, row, write
from tests.exchanges.history_pages import HASTY

CHANGES = "incremental_book_L2"
OKX = ("okex-swap", "ABC-USD-SWAP")


def load(client: Client, folder: Path, hosts: HistoryHosts | None = None, **options: Any) -> FilesReport:
    return load_dumps(client, dumps_in(folder), hosts, **options)


def ends(report: FilesReport) -> dict[str, int]:
    return dict(Counter(unit.outcome for unit in report.units))


def count(client: Client, table: str, what: str = "count()") -> Any:
    return clickhouse.read(client, f"SELECT {what} AS n FROM {table} FINAL")["n"].to_list()[0]


def trades(*ids: int, about: tuple[str, str] = BINANCE) -> list[str]:
    return [row(about, number, number, "buy", "100.5", "2") for number in ids]


def book(*changes: tuple[int, int]) -> list[str]:
    """A snapshot at 1 ms, and the size of the best bid at later times."""
    levels = [("bid", 100 - number) for number in range(30)] + [("ask", 101 + number) for number in range(30)]
    begun = [row(DERIBIT, 1, "true", side, price, 10) for side, price in levels]
    return begun + [row(DERIBIT, ms, "false", "bid", 100, size) for ms, size in changes]


def test_files_of_all_types_are_loaded_once(clickhouse_client: Client, tmp_path: Path) -> None:
    write(tmp_path, "trades", [*trades(1, 2, 3), "binance-futures,BTCUSDT,odd"], BINANCE)
    write(tmp_path, CHANGES, book((5, 7)))
    write(tmp_path, "book_snapshot_5", [row(BINANCE, 1, "101", "1", "100", "2", *[""] * 16)], BINANCE)
    write(tmp_path, "quotes", [row(BINANCE, 1, "3", "101", "100", "4")], BINANCE)
    ticker = [row(BINANCE, 1, BEGIN, "0.0001", "", "5000", "100", "101", "102")]
    write(tmp_path, "derivative_ticker", ticker, BINANCE)
    write(tmp_path, "liquidations", [row(BINANCE, 1, "", "buy", "99", "0.2")], BINANCE)
    write(tmp_path, "trades", [], DERIBIT)
    report = load(clickhouse_client, tmp_path)
    assert (ends(report), [unit.error for unit in report.failed]) == ({"ok": 6, "empty": 1}, [])
    assert report.by_type == {
        "funding_rate": 1, "liquidation": 1, "open_interest": 1, "orderbook": 3, "ticker": 2, "trade": 3,
    }  # fmt: skip
    [reject] = clickhouse.read(clickhouse_client, "SELECT reason, source FROM exchange_rejects FINAL").to_dicts()
    assert reject["reason"].startswith("line 5: ")
    assert reject["source"].endswith("binance-futures_trades_2024-01-01_BTCUSDT.csv.gz")
    assert ends(load(clickhouse_client, tmp_path)) == {"unchanged": 7}
    assert ends(load(clickhouse_client, tmp_path, force=True)) == {"ok": 6, "empty": 1}
    assert [count(clickhouse_client, f"exchange_{name}") for name in ("trades", "orderbooks", "tickers")] == [3, 3, 2]


def test_books_of_a_file_are_known_between_its_snapshots_and_gaps(client: Client, tmp_path: Path) -> None:
    lost = "deribit,BTC-PERPETUAL,?"
    later = [
        line.replace(str(BEGIN + 1000), str(BEGIN + 90_000)).replace(",true,bid,100,10", ",true,bid,100,3")
        for line in book()
    ]
    write(
        tmp_path,
        CHANGES,
        [
            *book((5, 7), (20, 8)),
            lost,
            row(DERIBIT, 40, "false", "bid", 100, 1),
            *later,
            row(DERIBIT, 95, "false", "bid", 100, 4),
        ],
    )
    assert ends(load(client, tmp_path)) == {"ok": 1}
    instants = [(BEGIN + ms * 1000) * 1000 for ms in (2, 10, 30, 50, 92)]
    found = read.books("deribit", "inverse", "BTC-PERPETUAL", instants, depth=1, connection=client).to_dicts()  # type: ignore[arg-type]
    assert [book["known"] for book in found] == [True, True, False, False, True]
    assert [float(book["bids"][0]["size"]) for book in found if book["known"]] == [10, 7, 3]
    assert found[2]["why"] == "a gap is on record: unreadable row"


def test_contracts_are_coins_by_the_list_of_the_venue(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path, "trades", trades(1, about=OKX), OKX)
    [without] = load(client, tmp_path).units
    assert without.notes == (f"{path.name}: sizes of ABC-USD-SWAP in base units are not known",)
    assert count(client, "exchange_trades", "size") is None
    with OkxServer() as venue:
        hosts = HistoryHosts(tmp_path / "budgets", {"okx": venue.url}, HASTY)
        [known] = load(client, tmp_path, hosts, force=True).units
        assert known.notes == ()
        assert str(count(client, "exchange_trades", "toString(size)")).startswith("0.199004975124")
        write(tmp_path, "trades", trades(2, about=OKX), OKX)
        venue.fail(503, times=1000)
        [away] = load(client, tmp_path, hosts).units
        assert away.outcome == "failed"
        assert "503" in str(away.error)
        lists = [tmp_path / "tokens.json", tmp_path / "swaps.json"]
        lists[0].write_text('{"tokens": [], "universe": []}')
        about = {"instId": "ABC-USD-SWAP", "instType": "SWAP", "instFamily": "ABC-USD", "settleCcy": "ABC"}
        contract = {"ctVal": "100", "ctMult": "1", "ctValCcy": "USD", "ctType": "inverse", "state": "live"}
        lists[1].write_bytes(msgspec.json.encode({"code": "0", "data": [about | contract]}))
        for asked in (hosts, None):
            [given] = load(client, tmp_path, asked, lists=lists[1:], force=True).units
            assert (given.outcome, given.notes) == ("ok", ()), "a list that is given is not requested"
            assert str(count(client, "exchange_trades", "max(toString(size))")).startswith("1.99004975124")
        [other] = load(client, tmp_path, None, lists=lists[:1], force=True).units
        assert (other.outcome, other.notes) == ("ok", without.notes), "a list of another venue"


def test_instruments_that_names_alone_do_not_say_are_of_a_list(client: Client, tmp_path: Path) -> None:
    about = ("okex-swap", "BTC-USD_UM-SWAP")
    write(tmp_path, "trades", trades(1, about=about), about)
    write(tmp_path, "trades", trades(1, 2), BINANCE)
    [failed] = load(client, tmp_path).failed
    assert "add a list with --instruments FILE" in str(failed.error)
    listed = {
        "instType": "SWAP",
        "instId": "BTC-USD_UM-SWAP",
        "instFamily": "BTC-USD_UM",
        "uly": "BTC-USD",
        "settleCcy": "USD",
        "ctVal": "0.01",
        "ctMult": "1",
        "ctValCcy": "BTC",
        "ctType": "linear",
        "state": "live",
    }
    lists = tmp_path / "swaps.json"
    lists.write_bytes(msgspec.json.encode({"code": "0", "data": [listed]}))
    assert ends(load(client, tmp_path, lists=[lists])) == {"ok": 1, "unchanged": 1}
    found = read.trades("okx", "linear", "BTC-USD_UM-SWAP", connection=client)
    assert [float(size) for size in found["size"]] == [0.02]


def test_remedies_are_of_the_file_that_is_wrong(client: Client, tmp_path: Path) -> None:
    unknown = write(tmp_path, "trades", trades(1, about=(about := ("bitmex", "XBTUSD"))), about)
    assert "bitmex: its files of tardis.dev are not read. Those of binance," in failure(client, unknown)
    path = archived(tmp_path)
    [unit] = load_dumps(client, [path], None, exchange="binance-testnet").units
    assert "of the public archive of binance, not of binance-testnet. Leave --exchange out" in str(unit.error)


def archived(
    folder: Path,
    market: str = "futures/um",
    name: str = "ABCUSDT",
    kind: str = "aggTrades",
    rows: Sequence[str] = tuple(f"{number},1.5,2,{number},{number},{BEGIN // 1000},true" for number in (1, 2)),
) -> Path:
    path = folder / "data" / market / "daily" / kind / name / f"{name}-{kind}-2024-01-01.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(zipped(path.name, rows))
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return path


def test_files_of_a_public_archive_are_loaded_by_their_folders(client: Client, tmp_path: Path) -> None:
    archived(tmp_path), archived(tmp_path, "spot")
    assert ends(load(client, tmp_path)) == {"ok": 2}
    assert count(client, "exchange_trades", "groupUniqArray(toString(market_type))") in (
        ["linear", "spot"],
        ["spot", "linear"],
    )
    assert ends(load(client, tmp_path)) == {"unchanged": 2}, "of the same name, in different folders"


def test_candles_of_mark_prices_do_not_replace_those_of_trades(client: Client, tmp_path: Path) -> None:
    moment = BEGIN // 1000
    candles = archived(tmp_path, kind="klines", rows=[f"{moment},1,2,1,2,50,{moment + 59999},75,7,20,30,0"])
    other = f"{moment},3,3,3,3,0,{moment + 59999},0,60,0,0,0"
    for path, line in (("klines", None), ("markPriceKlines", other), ("flat", other)):
        file = tmp_path / "data/futures/um/daily" / path / "ABCUSDT-1m-2024-01-01.zip"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(candles.read_bytes() if line is None else zipped(file.name, [line]))
    candles.unlink()
    report = load(client, tmp_path)
    assert (ends(report), count(client, "exchange_klines", "toString(close)")) == ({"ok": 1, "failed": 2}, "2")
    errors = " ".join(str(unit.error) for unit in report.failed)
    assert "candles of markPriceKlines have no table" in errors
    assert "volume 0 of 60 trades" in errors


@pytest.mark.slow
def test_files_of_a_symbol_that_is_not_ascii_are_loaded(client: Client, tmp_path: Path) -> None:
    archived(tmp_path, "spot", "币安人生USDT")
    archived(tmp_path, "futures/um", "币安人生USDT", "metrics", ["2024-01-01 00:05:00,币安人生USDT,1,2"])
    write(tmp_path, "trades", trades(5, about=("binance-futures", "币安人生USDT")), ("binance-futures", "币安人生USDT"))
    report = load(client, tmp_path)
    assert (ends(report), [unit.error for unit in report.failed]) == ({"ok": 3}, [])
    assert report.by_type == {"open_interest": 1, "trade": 3}
    assert count(client, "exchange_trades", "groupUniqArray(symbol)") == ["币安人生-USDT"]


def test_a_file_that_unpacks_to_more_than_any_data_is_refused(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_limits, "ALWAYS_BYTES", input_limits.ALWAYS_BYTES // 16)
    path = write(tmp_path, "trades", trades(1, 2), BINANCE)
    kilobytes = gzip.compress(b" " * (1 << 16) + b"\n")
    path.write_bytes(path.read_bytes() + kilobytes * 300)
    assert "it unpacks to" in failure(client, path)
    path.write_bytes(path.read_bytes()[: -len(kilobytes) * 50])
    assert ends(load(client, tmp_path)) == {"ok": 1}, "as large as data may be, however well packed"


def lines_of_trades(count: int, first: int = 1704153600000) -> bytes:
    return b"".join(b"%d,100.5,2,201,%d,True,True\n" % (number, first + number) for number in range(1, count + 1))


@pytest.mark.parametrize(
    ("name", "data", "rows", "cause"),
    [
        ("BTCUSDT-trades-2024-01-02.csv", lines_of_trades(100), 100, ""),
        ("BTCUSDT-trades-2024-01-02.CSV", lines_of_trades(100), 100, ""),
        ("BTCUSDT-trades-2024-01-02.ZIP", zipped("x.zip", lines_of_trades(100).decode().splitlines()), 100, ""),
        ("BTCUSDT-trades-2024-01-02.csv", b"\xef\xbb\xbf" + lines_of_trades(100), 100, ""),
        (
            "BTCUSDT-trades-2024-01-02.csv",
            b"\xef\xbb\xbfid,price\n" + lines_of_trades(100).replace(b"\n", b"\r\n"),
            100,
            "",
        ),
        ("BTCUSDT-trades-2024-01-02.csv", lines_of_trades(100).replace(b"\n", b"\r"), 0, "not with CR alone"),
        ("BTCUSDT-trades-2024-01-02.csv", lines_of_trades(100, 1704153600), 0, "is no time in milliseconds"),
    ],
)
def test_every_line_of_a_file_is_a_row_or_has_a_reason(
    client: Client, tmp_path: Path, name: str, data: bytes, rows: int, cause: str
) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / f"{name}.CHECKSUM.old").write_text("")
    [unit] = load(client, tmp_path, exchange="binance", market_type="spot").units
    assert (unit.rows, count(client, "exchange_trades")) == (rows, rows)
    assert cause in (unit.error or "") and bool(unit.error) == bool(cause)
    assert [(one.file, one.state) for one in others_in(tmp_path)] == [
        (f"{name}.CHECKSUM.old", "not taken"),
        ("README.txt", "not taken"),
    ]


def test_a_file_without_a_market_needs_it(client: Client, tmp_path: Path) -> None:
    path = archived(tmp_path)
    flat = path.rename(tmp_path / path.name)
    [failed] = load_dumps(client, [flat], None).units
    assert "--market-type" in str(failed.error)
    [loaded] = load_dumps(client, [flat], None, market_type="linear").units
    assert (loaded.outcome, loaded.rows) == ("ok", 2)


def failure(client: Client, path: Path) -> str:
    unit: FileReport
    [unit] = load_dumps(client, [path], None).units
    assert unit.outcome == "failed"
    assert path.name in str(unit.error)
    return str(unit.error)


def test_what_is_wrong_with_a_file_is_said(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path, "trades", trades(*range(2000)), BINANCE)
    path.write_bytes(path.read_bytes()[:-200])
    assert "ended before" in failure(client, path)
    path = archived(tmp_path)
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{'0' * 64}  {path.name}\n")
    assert "not that of its checksum file" in failure(client, path)
    other = tmp_path / "prices.csv.gz"
    other.write_bytes(gzip.compress(b"a,b\n"))
    assert "Keep the names" in failure(client, other)
    assert "bitmex" in failure(client, write(tmp_path, "trades", trades(1, about=("bitmex", "XBT")), ("bitmex", "XBT")))


@pytest.mark.parametrize(
    "order", [(CHANGES, "book_snapshot_5"), pytest.param(("book_snapshot_5", CHANGES), marks=pytest.mark.slow)]
)
def test_a_book_has_one_source(client: Client, tmp_path: Path, order: tuple[str, str]) -> None:
    rows = {
        CHANGES: book((5, 7)),
        "book_snapshot_5": [row(DERIBIT, ms, "101", "1", "100", "2", *[""] * 16) for ms in (1, 2)],
    }
    first, second = (write(tmp_path, kind, rows[kind]) for kind in order)
    assert ends(load_dumps(client, [first], None)) == {"ok": 1}
    assert "a second source would corrupt it" in failure(client, second)
    assert ends(load_dumps(client, [first], None, force=True)) == {"ok": 1}


def test_a_book_of_the_collector_is_left_alone(client: Client, tmp_path: Path) -> None:
    about = ("deribit", "inverse", "BTC-USD", "BTC-PERPETUAL", BEGIN * 1000, BEGIN * 1000)
    path = write(tmp_path, CHANGES, book((5, 7)))
    load_dumps(client, [], None)
    insert_records(client, [OrderBook(*about, "snapshot", (), (), "quote", None, 17)])  # type: ignore[arg-type]
    assert "as the collector records it" in failure(client, path)
    assert count(client, "exchange_orderbooks") == 1

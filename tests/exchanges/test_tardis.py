"""Files of tardis.dev as records: each type, sizes by the venue's unit, books with a base, and what is unreadable."""

from collections.abc import Sequence
from typing import Any

import pytest

from marketdata_assets.exchanges.errors import ExchangesError, UnknownVenue
from marketdata_assets.exchanges.records import DeadLetter, Gap, OrderBook
from marketdata_assets.exchanges.tables.dumps import Catalogue
from marketdata_assets.exchanges.tardis import ABOUT, COLUMNS, day_of, records, type_of
from tests.exchanges.dump_files import BEGIN, BINANCE, DERIBIT, row

NS = 1000
CHANGES = "incremental_book_L2"


def read(kind: str, rows: Sequence[str], columns: Sequence[str] = ()) -> list[Any]:
    lines = [",".join((*ABOUT, *(columns or COLUMNS[kind]))), *rows]
    return list(records(kind, [line.encode() + b"\n" for line in lines], Catalogue(None).of_tardis))


def fields(record: Any, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in names)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/x/deribit_trades_2024-01-01_BTC-PERPETUAL.csv.gz", "trades"),
        ("binance-futures_incremental_book_L2_2024-01-01_BTCUSDT.csv.gz", CHANGES),
        ("/x/okex-swap/book_snapshot_25/2024/01/01/BTC-USDT-SWAP.csv.gz", "book_snapshot_25"),
        ("/x/deribit/liquidations/2024/01/01/PERPETUALS.csv", "liquidations"),
        ("/x/trades/deribit_quotes_2024-01-01_BTC.csv.gz", "quotes"),
        ("/x/BTCUSDT-trades-2024-01-01.zip", None),
        ("/x/data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-01.csv", None),
        ("/x/trades.parquet", None),
    ],
)
def test_the_type_is_told_by_name_or_folders(path: str, kind: str | None) -> None:
    assert type_of(path) == kind


def test_a_trade_has_the_sizes_of_its_instrument_and_nanoseconds() -> None:
    [inverse] = read("trades", [row(DERIBIT, 1, "281", "sell", "42330.5", "1000")])
    assert fields(inverse, "exchange", "market_type", "symbol", "trade_id", "side") == (
        "deribit", "inverse", "BTC-USD", "281", "sell",
    )  # fmt: skip
    assert (inverse.ts_event, inverse.ts_recv) == ((BEGIN + 1000) * NS, (BEGIN + 1000 + 7411) * NS)
    assert (inverse.price, inverse.size[:10]) == ("42330.5", "0.02362362")
    [linear] = read("trades", [row(BINANCE, 1, "9", "buy", "1e-7", "0.2")])
    assert fields(linear, "market_type", "price", "size", "contracts") == ("linear", "0.0000001", "0.2", None)
    [spot] = read("trades", [row(("coinbase", "BTC-USD"), 1, "8", "buy", "42330.5", "0.2")])
    assert fields(spot, "exchange", "market_type", "symbol", "trade_id") == ("coinbase", "spot", "BTC-USD", "8")
    for pair in ("XBT/USD", "BTC/USD"):  # until and from July 2026
        [spot] = read("trades", [row(("kraken", pair), 1, "8", "buy", "42330.5", "0.2")])
        assert fields(spot, "exchange", "market_type", "symbol", "instrument") == (
            "kraken",
            "spot",
            "BTC-USD",
            "BTC/USD",
        )


def test_a_time_that_equals_that_of_arrival_is_not_the_venues() -> None:
    line = f"deribit,BTC-PERPETUAL,{BEGIN},{BEGIN},1,buy,2,30"
    assert fields(read("trades", [line])[0], "ts_event", "ts_recv") == (None, BEGIN * NS)


def test_quotes_liquidations_and_snapshots() -> None:
    [quote] = read("quotes", [row(BINANCE, 1, "3", "101", "100", "")])
    assert fields(quote, "bid", "bid_size", "ask", "ask_size", "unit") == ("100", None, "101", "3", "base")
    [forced] = read("liquidations", [row(BINANCE, 1, "", "buy", "99", "0.2")])
    assert fields(forced, "side", "price", "size", "liquidation_id") == ("buy", "99", "0.2", None)
    cells = ["101", "1", "100", "2", "102", "3", "", "", *[""] * 12]
    [book] = read("book_snapshot_5", [row(BINANCE, 1, *cells)])
    assert fields(book, "kind", "asks", "bids") == ("snapshot", (("101", "1"), ("102", "3")), (("100", "2"),))


def test_funding_and_open_interest_are_recorded_when_they_change() -> None:
    paid = BEGIN + 28_800_000_000
    rows = [
        row(BINANCE, 1, paid, "0.0001", "", "5000", "100", "101", "102"),
        row(BINANCE, 2, paid, "0.0001", "", "5001", "100.5", "101", "102"),
        row(BINANCE, 3, paid, "0.0002", "", "5001", "", "", ""),
    ]
    found = read("derivative_ticker", rows)
    names = [type(one).__name__ for one in found]
    assert names == ["Ticker", "FundingRate", "OpenInterest", "Ticker", "OpenInterest", "FundingRate"]
    assert fields(found[0], "last", "index_price", "mark_price") == ("100", "101", "102")
    assert fields(found[1], "rate", "funding_time", "predicted_rate") == ("0.0001", paid * NS, None)
    assert fields(found[2], "size", "contracts", "value") == ("5000", None, None)
    [*_, inverse] = read("derivative_ticker", [row(DERIBIT, 1, "", "0.1", "", "70", "", "", "")])
    assert fields(inverse, "size", "value") == (None, "70")


def change(ms: int, side: str, price: object, amount: object, whole: str = "false") -> str:
    return row(DERIBIT, ms, whole, side, price, amount)


def whole(ms: int, price: int = 100) -> list[str]:
    return [
        change(ms, side, at, 5, "true")
        for side, at in (("bid", price - 1), ("bid", price), ("ask", price + 2), ("ask", price + 1))
    ]


def received(ms: int) -> int:
    return (BEGIN + ms * 1000 + 7411) * NS


def kinds(found: Sequence[Any]) -> list[str]:
    return [one.kind if isinstance(one, OrderBook) else type(one).__name__ for one in found]


def test_rows_of_one_arrival_are_one_message_and_a_snapshot_is_best_first() -> None:
    book, two, one = read(
        CHANGES, [*whole(1), change(2, "bid", 100, 0), change(2, "ask", 101, 7), change(3, "ask", 103, 1)]
    )
    assert kinds([book, two, one]) == ["snapshot", "delta", "delta"]
    assert (book.bids, book.asks) == ((("100", "5"), ("99", "5")), (("101", "5"), ("102", "5")))
    assert (two.bids, two.asks, two.last_id) == ((("100", "0"),), (("101", "7"),), None)


def test_changes_before_the_first_snapshot_are_a_gap_that_it_closes() -> None:
    gap, *rest = read(CHANGES, [change(1, "bid", 99, 1), change(2, "bid", 98, 1), *whole(3), change(4, "bid", 97, 1)])
    assert isinstance(gap, Gap)
    assert fields(gap, "cause", "ts_from", "ts_to", "healed_at") == (
        "no snapshot",
        received(1),
        received(3),
        received(3),
    )
    assert kinds(rest) == ["snapshot", "delta"]
    [never] = read(CHANGES, [change(1, "bid", 99, 1), change(2, "bid", 98, 1)])
    assert fields(never, "ts_from", "ts_to", "healed_at") == (received(1), received(2), None)


def test_a_later_snapshot_follows_a_lost_connection() -> None:
    found = read(CHANGES, [*whole(1), change(2, "bid", 99, 1), *whole(9), *whole(10)])
    assert kinds(found) == ["snapshot", "delta", "Gap", "snapshot", "snapshot"]
    assert fields(found[2], "cause", "ts_from", "ts_to", "healed_at") == (
        "reopened",
        received(2),
        received(9),
        received(9),
    )


@pytest.mark.parametrize("bad", ["deribit,BTC-PERPETUAL,x", change(3, "bid", "?", 1), change(3, "middle", 1, 1)])
def test_after_an_unreadable_change_a_book_has_no_base_until_a_snapshot(bad: str) -> None:
    rows = [*whole(1), change(2, "bid", 99, 1), bad, change(4, "bid", 98, 1), change(5, "bid", 97, 1)]
    found = read(CHANGES, [*rows, *whole(8), *whole(9), change(10, "bid", 99, 1)])
    assert kinds(found) == ["snapshot", "delta", "DeadLetter", "Gap", "snapshot", "snapshot", "delta"]
    assert fields(found[3], "cause", "ts_from", "ts_to") == ("unreadable row", received(2), received(8))
    assert found[2].cause.startswith("line 7: ")
    open_gap = read(CHANGES, rows)[-1]
    assert fields(open_gap, "cause", "ts_from", "healed_at") == ("unreadable row", received(2), None)


def test_a_snapshot_with_an_unreadable_row_is_no_base() -> None:
    first, second, *rest = whole(1)
    for rows in ([first, "?", second, *rest], ["?", *rest]):
        found = read(CHANGES, [*rows, change(2, "bid", 98, 1), *whole(3)])
        assert kinds(found)[-2:] == ["Gap", "snapshot"]
        assert fields(found[-2], "ts_from", "ts_to") == (received(1), received(3))
        assert "delta" not in kinds(found)


def test_rows_that_cannot_be_read_are_kept_with_their_line_and_the_others_are_records() -> None:
    good = row(BINANCE, 1, "1", "buy", "2", "3")
    rows = [
        good,
        row(BINANCE, 2, "", "buy", "2", "3"),
        row(BINANCE, 2, "2", "unknown", "2", "3"),
        row(BINANCE, 2, "2", "buy", "nan", "3"),
        row(("binance-futures", "?"), 2, "2", "buy", "2", "3"),
        "short,row",
        good.replace(",1,buy", ",5,buy"),
    ]
    found = read("trades", rows)
    assert kinds(found) == ["Trade", *["DeadLetter"] * 5, "Trade"]
    letters = [one for one in found if isinstance(one, DeadLetter)]
    assert [one.cause.partition(":")[0] for one in letters] == [f"line {number}" for number in range(3, 8)]
    assert "without an id" in letters[0].cause
    assert letters[1].cause == "line 4: side is 'unknown', and none of buy, sell"


def test_times_of_another_unit_and_rows_of_another_day_are_rejected() -> None:
    path = "/x/binance-futures_trades_2024-01-02_BTCUSDT.csv.gz"
    lines = [",".join((*ABOUT, *COLUMNS["trades"])), row(BINANCE, 86_400_000, "1", "buy", "2", "3")]
    lines += [row(BINANCE, 1, "2", "buy", "2", "3")]
    lines += [f"binance-futures,BTCUSDT,{BEGIN // 1000},{BEGIN // 1000},3,buy,2,3"]
    found = list(records("trades", [f"{one}\n".encode() for one in lines], Catalogue(None).of_tardis, day_of(path)))
    assert kinds(found) == ["Trade", "DeadLetter", "DeadLetter"]
    assert found[1].cause.startswith("line 3: a row of another day in a file of 2024-01-02: local_timestamp 170406720")
    assert found[2].cause.startswith(
        f"line 4: the time {BEGIN // 1000} is before 2010 or after tomorrow; write times in"
    )


def test_a_file_of_another_kind_fails_and_an_empty_one_is_a_day_without_data() -> None:
    with pytest.raises(ExchangesError, match="have a column 'price'; this one has exchange, symbol"):
        read("trades", [], ["id", "side", "amount"])
    with pytest.raises(UnknownVenue, match="bitmex"):
        read("trades", [row(("bitmex", "XBTUSD"), 1, "1", "buy", "2", "3")])
    assert list(records("trades", [], Catalogue(None).of_tardis)) == []

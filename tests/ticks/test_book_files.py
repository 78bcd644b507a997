"""Order books from dropped files: columns by name, books as published, bad rows one by one."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tick_clients import JUNE, SYMBOL, files_config

from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.order_book import BOOKS, books
from marketdata_assets.ticks.records import Days, Delivery

HEADER = "symbol,ts,bid_price_1,bid_size_1,bid_price_2,bid_size_2,ask_price_1,ask_size_1,ask_price_2,ask_size_2\n"
ROW = f"{SYMBOL},2025-06-02 09:30:03.500,9.40,1200,9.39,300,9.41,500,9.42,800\n"
INSTANT = dt.datetime(2025, 6, 2, 1, 30, 3, 500_000, tzinfo=dt.UTC)


def delivered(folder: Path, symbol: str = SYMBOL, days: Days = JUNE) -> Delivery:
    return asyncio.run(Files(folder, files_config()).books(symbol, days))


def put(folder: Path, text: str, name: str = "a.csv") -> Path:
    file = folder / "order_book" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def reasons(folder: Path, *rows: str) -> dict[int, str]:
    put(folder, HEADER + "".join(rows))
    return {reject.line: reject.reason.removeprefix("a.csv: ") for reject in delivered(folder).rejected}


def test_a_csv_file_is_read_to_the_millisecond(tmp_path: Path) -> None:
    put(tmp_path, HEADER + ROW)
    found = delivered(tmp_path)
    assert (found.outcome, found.provider, found.rows.schema) == ("ok", "files", BOOKS)
    assert found.rows.row(0) == ("files", SYMBOL, INSTANT, [9.40, 9.39], [1200, 300], [9.41, 9.42], [500, 800])


def test_other_spellings_and_parquet_are_read(tmp_path: Path) -> None:
    columns = {"TS_CODE": [SYMBOL], "Time": [INSTANT], "askPrice1": [9.41], "askVol1": [500], "bidPrice1": [9.4],
               "bid_volume1": [1200], "pre_close": [9.3]}  # fmt: skip
    file = put(tmp_path, "", "a.parquet")
    pl.DataFrame(columns).write_parquet(file)
    assert delivered(tmp_path).rows.row(0)[2:] == (INSTANT, [9.4], [1200.0], [9.41], [500.0])


def test_bars_and_books_do_not_meet(tmp_path: Path) -> None:
    put(tmp_path, HEADER + ROW)
    files = Files(tmp_path, files_config())
    assert asyncio.run(files.bars(SYMBOL, JUNE)).outcome == "empty"
    (tmp_path / "bars.csv").write_text(f"symbol,ts,open,high,low,close,volume\n{SYMBOL},2025-06-02 09:31,1,1,1,1,1\n")
    assert asyncio.run(files.bars(SYMBOL, JUNE)).rows.height == 1
    assert asyncio.run(files.books(SYMBOL, JUNE)).rows.height == 1


def test_a_book_is_kept_as_it_was_published(tmp_path: Path) -> None:
    crossed = ROW.replace("9.41", "9.35")
    unordered = ROW.replace("03.5", "04.5").replace("9.39", "9.45")
    auction = f"{SYMBOL},2025-06-02 09:24:57,9.4,1200,0,300,9.4,1200,0,0\n"  # 0 beside a size: what finds no match
    limit_up = f"{SYMBOL},2025-06-02 10:00:00,10.34,99000,10.33,100,0,0,,\n"
    assert reasons(tmp_path, crossed, unordered, auction, limit_up) == {}
    assert delivered(tmp_path).rows.select("bid_price", "bid_size", "ask_price", "ask_size").rows() == [
        ([9.4, 0], [1200, 300], [9.4], [1200]),
        ([9.4, 9.39], [1200, 300], [9.35, 9.42], [500, 800]),
        ([9.4, 9.45], [1200, 300], [9.41, 9.42], [500, 800]),
        ([10.34, 10.33], [99000, 100], [], []),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW.replace("2025-06-02 09:30:03.500", "soon"), "the time cannot be parsed"),
        (ROW.replace("03.500", "03.5001"), "a time finer than a millisecond"),
        (ROW.replace("9.40", "nine"), "bid_price_1 is not a number"),
        (ROW.replace("9.40", "nan"), "bid level 1: a number is not finite"),
        (ROW.replace("800", "inf"), "ask level 2: a number is not finite"),
        (ROW.replace("9.40", "-9.40"), "bid level 1: the price is below 0"),
        (ROW.replace("800", "-800"), "ask level 2: the size is below 0"),
        (ROW.replace("9.41", ""), "ask level 1: no price"),
        (ROW.replace(",500,", ",,"), "ask level 1: no size"),
        (ROW.replace("9.40,1200", ","), "bid level 2 is present and level 1 is not"),
        (f"{SYMBOL},2025-06-02 09:30:03,0,0,,,,,0,\n", "no level at all"),
    ],
)
def test_a_row_that_is_no_book_is_refused(tmp_path: Path, row: str, reason: str) -> None:
    assert reasons(tmp_path, ROW.replace("09:30", "09:31"), row) == {3: reason}
    assert delivered(tmp_path).rows.height == 1


def test_an_instant_said_twice_counts_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    other = ROW.replace("1200", "1300")
    assert reasons(tmp_path, ROW, ROW, other) == {4: "contradicts an earlier row of the same instant"}
    assert delivered(tmp_path).rows["bid_size"].to_list() == [[1200, 300]]


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        (HEADER.replace("ask_size_2", "x"), "no column ask_size_2"),
        (HEADER.replace("bid_price_1", "x"), "no column bid_price_1"),
        (HEADER.replace("bid_price_1,bid_size_1", "x,y"), "no column bid_price_1"),
        (HEADER.replace("symbol", "name"), "no column symbol or ts_code or code"),
        (HEADER.replace("ask_price_2", "bidprice1"), "columns bid_price_1 and bidprice1 both mean bid_price_1"),
        ("symbol,ts,price,size,a,b,c,d,e,f\n", "no column bid_price_1 or ask_price_1"),
    ],
)
def test_a_file_without_its_columns_is_named(tmp_path: Path, header: str, cause: str) -> None:
    file = put(tmp_path, header + ROW)
    with pytest.raises(BadFile, match=cause) as error:
        delivered(tmp_path)
    assert str(error.value).startswith(str(file))


def test_nothing_is_empty_and_an_unknown_exchange_unsupported(tmp_path: Path) -> None:
    put(tmp_path, HEADER + ROW)
    assert delivered(tmp_path, days=Days.month("2025-05")).outcome == "empty"
    assert delivered(tmp_path, "600001.SH").outcome == "empty"
    assert delivered(tmp_path, "AAPL.US").outcome == "unsupported"


SIDE = st.lists(st.tuples(st.floats(0.01, 1e4), st.integers(0, 10**9)), max_size=3)


@given(st.lists(st.tuples(st.integers(0, 10**6), SIDE, SIDE), max_size=20, unique_by=lambda book: book[0]))
def test_every_row_is_a_book_or_refused_and_no_level_is_lost(published: list[tuple[int, Any, Any]]) -> None:
    rows = []
    for number, (ms, *sides) in enumerate(published):
        row: dict[str, Any] = {"line": number, "raw": "", "ts": INSTANT + dt.timedelta(milliseconds=ms)}
        for side, levels in zip(("bid", "ask"), sides, strict=True):
            for level in range(3):
                price, size = levels[level] if level < len(levels) else (None, None)
                row |= {f"{side}_price_{level + 1}": price, f"{side}_size_{level + 1}": size}
        rows.append(row)
    numbers = {f"{s}_{w}_{n}": pl.Float64() for s in ("bid", "ask") for w in ("price", "size") for n in (1, 2, 3)}
    raw = pl.DataFrame(rows, {"line": pl.Int64(), "raw": pl.String(), "ts": pl.Datetime("us", "UTC"), **numbers})
    frame, rejected = books(raw, "files", SYMBOL)
    expected = [
        (
            INSTANT + dt.timedelta(milliseconds=ms),
            *([float(level[n]) for level in side] for side in (bid, ask) for n in (0, 1)),
        )
        for ms, bid, ask in sorted(published)
        if bid or ask
    ]
    assert frame.drop("provider", "symbol").rows() == expected
    assert [reject.line for reject in rejected] == [
        n for n, (_, bid, ask) in enumerate(published) if not bid and not ask
    ]

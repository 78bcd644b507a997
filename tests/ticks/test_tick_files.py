"""Dropped files of bars and order books: by the names of their columns, newest file first, bad rows one by one."""

import asyncio
import datetime as dt
import gzip
import os
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.file_drop import Content
from marketdata_assets.ticks.files import BOOKS, Files, as_books, judged_books
from marketdata_assets.ticks.records import BARS, Delivery
from tests.ticks.tick_clients import JUNE, SYMBOL, files_config

HEADER = "symbol,ts,open,high,low,close,volume,turnover\n"
ROW = f"{SYMBOL},2025-06-02 09:31:00,9.4,9.5,9.3,9.45,1200,11340.5\n"
INSTANT = dt.datetime(2025, 6, 2, 1, 31, tzinfo=dt.UTC)


def bars(folder: Path, symbol: str = SYMBOL, days: Days = JUNE) -> Delivery:
    return asyncio.run(Files(folder, files_config()).bars(symbol, days))


def written(folder: Path, text: str, name: str = "a.csv", age: int = 0) -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    os.utime(file, (1_700_000_000 - age, 1_700_000_000 - age))
    return file


def test_a_csv_file_is_read_in_exchange_time(tmp_path: Path) -> None:
    written(tmp_path, "\ufeff" + HEADER + ROW)
    delivery = bars(tmp_path)
    assert (delivery.outcome, delivery.provider, delivery.rows.schema) == ("ok", "files", BARS)
    assert delivery.rows.row(0) == (SYMBOL, INSTANT, "1m", 9.4, 9.5, 9.3, 9.45, 1200, 11340.5, 0, "files", "a.csv")


def test_a_year_that_no_store_has_rejects_its_row_alone(tmp_path: Path) -> None:
    written(tmp_path, HEADER + ROW * 200 + ROW.replace("2025-06-02", "0-06-02"))
    source = Files(tmp_path, files_config())
    [content] = source.of_bars.contents()
    assert (content.rejected, source.of_bars.broken()) == (1, {})
    assert "time '0-06-02 09:31:00' cannot be read" in content.undated[0].reason


def test_columns_go_by_name_in_any_order_and_case(tmp_path: Path) -> None:
    text = (
        f"Close,extra,trade_time,TS_CODE,low,high,open,vol\n9.45,x,2025/06/02 09:31,{SYMBOL.lower()},9.3,9.5,9.4,1200\n"
    )
    written(tmp_path, text)
    assert bars(tmp_path).rows.row(0)[1:9] == (INSTANT, "1m", 9.4, 9.5, 9.3, 9.45, 1200, None)


@pytest.mark.parametrize("time", ["2025-06-02T01:31:00Z", "2025-06-02T09:31:00+08:00", "2025-06-02T09:31:00"])
def test_a_time_with_an_offset_is_an_instant(tmp_path: Path, time: str) -> None:
    written(tmp_path, HEADER + ROW.replace("2025-06-02 09:31:00", time))
    assert bars(tmp_path).rows["ts"].to_list() == [INSTANT]


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_parquet_keeps_its_types(tmp_path: Path, zone: str | None) -> None:
    moment = INSTANT if zone else dt.datetime(2025, 6, 2, 9, 31)
    frame = pl.DataFrame({"symbol": [SYMBOL], "ts": [moment], "volume": [1200], "open": 9.4, "high": 9.5, "low": 9.3,
                          "close": 9.45})  # fmt: skip
    if zone:
        frame = frame.with_columns(pl.col("ts").dt.convert_time_zone(zone))
    frame.write_parquet(tmp_path / "a.parquet")
    assert bars(tmp_path).rows.row(0)[1:9] == (INSTANT, "1m", 9.4, 9.5, 9.3, 9.45, 1200, None)


def test_the_newer_file_wins_a_minute(tmp_path: Path) -> None:
    second = ROW.replace("09:31", "09:32")
    written(tmp_path, HEADER + ROW.replace("9.45", "9.40") + second, "z.csv", age=100)
    written(tmp_path, HEADER + ROW, "sub.csv")
    assert bars(tmp_path).rows["close"].to_list() == [9.45, 9.45]
    assert bars(tmp_path).rows.height == 2


def test_bad_rows_are_refused_with_their_line(tmp_path: Path) -> None:
    lines = [
        ROW,
        ROW.replace("9.45", "9,45").replace(",1200,11340.5", ",1200"),
        ROW.replace("09:31:00", "25:00:00"),
        ROW.replace("09:31", "09:33").replace("1200", "12.5"),
        ROW.replace("09:31", "09:34").replace("1200", ""),
        ROW.replace("09:31", "09:35").replace("9.4,", "n/a,"),
    ]
    written(tmp_path, HEADER + "".join(lines))
    [content] = Files(tmp_path, files_config()).of_bars.contents()
    assert {reject.line: reject.reason for reject in content.rejects()} == {
        3: "a.csv: contradicts an earlier row of the same minute",
        5: "a.csv: volume is not a whole number of shares",
        7: "a.csv: open is not a number: 'n/a'",
        4: "a.csv: time '2025-06-02 25:00:00' cannot be read, unlike 2026-03-02 09:31:00",
    }
    assert content.rows[SYMBOL]["volume"].to_list() == [1200, None]
    assert {reject.line: reject.slice for reject in content.rejects()} == {
        4: None,
        **dict.fromkeys((3, 5, 7), "2025-06-02"),
    }


def day_of_bars(first: str, last: str, day: str = "2025-06-02") -> str:
    """The bars of a day, from the first label of the morning to the last of the afternoon."""
    shift = int(first[-2:]) - 30
    minutes = [n + shift for n in (*range(570, 690), *range(780, 900))]
    assert (f"{minutes[0] // 60:02}:{minutes[0] % 60:02}", f"{minutes[-1] // 60:02}:{minutes[-1] % 60:02}") == (
        first,
        last,
    )
    return "".join(ROW.replace("2025-06-02 09:31", f"{day} {n // 60:02}:{n % 60:02}") for n in minutes)


@pytest.mark.parametrize(
    ("label", "first", "last", "found"),
    [
        ("end", "09:31", "15:00", ""),
        ("start", "09:30", "14:59", ""),
        ("end", "09:30", "14:59", "start"),
        ("start", "09:31", "15:00", "end"),
    ],
)
def test_bars_are_labelled_as_declared_or_the_file_fails(
    tmp_path: Path, label: str, first: str, last: str, found: str
) -> None:
    text = HEADER + "".join(day_of_bars(first, last, f"2025-06-0{day}") for day in (2, 3, 4))
    written(tmp_path, text)
    folder = Files(tmp_path, files_config(label=label))
    if not found:
        delivery = asyncio.run(folder.bars(SYMBOL, JUNE))
        assert (delivery.rows.height, delivery.label, folder.of_bars.broken()) == (720, label, {})
    else:
        assert folder.of_bars.contents() == []
        [cause] = folder.of_bars.broken().values()
        assert f"labelled by the {found} of their minute on 3 days; write label: {found}" in cause


def test_other_days_and_symbols_stay_out(tmp_path: Path) -> None:
    other = ROW.replace(SYMBOL, "000001.SZ")
    written(tmp_path, HEADER + ROW + ROW.replace("2025-06-02", "2025-07-01") + other)
    [file] = (folder := Files(tmp_path, files_config()).of_bars).files()
    assert {symbol for symbol, _ in folder.spans(file)} == {"000001.SZ", SYMBOL}
    assert bars(tmp_path).rows.height == 1
    assert bars(tmp_path, "600001.SH").outcome == "empty"
    assert bars(tmp_path, days=Days.month("2025-05")).outcome == "empty"
    assert bars(tmp_path / "none").outcome == "empty"


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    files = Files(tmp_path, files_config())
    written(tmp_path, HEADER)
    written(tmp_path, "", "empty.csv")
    assert asyncio.run(files.bars(SYMBOL, JUNE)).outcome == "empty"
    written(tmp_path, HEADER + ROW)
    assert asyncio.run(files.bars(SYMBOL, JUNE)).outcome == "ok"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (HEADER.replace("volume", "成交量") + ROW, "no column volume or vol; it has symbol, ts"),
        (HEADER.replace("turnover", "vol") + ROW, "columns volume and vol both mean volume"),
        (HEADER + ROW.strip() + ",1,2,3\n", "line 2: bad.csv: 11 columns, expected 8"),
        (HEADER.replace("turnover", "Volume") + ROW, "columns volume and Volume both mean volume"),
        (HEADER.replace("turnover", "volume") + ROW, "columns volume and volume both mean volume"),
        ((HEADER + ROW).replace("\n", "\r"), "end with CR alone"),  # was proven to be empty
        ("", "the file is empty, without even a header"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_costs_the_others_nothing(
    tmp_path: Path, text: str, cause: str
) -> None:
    file = written(tmp_path, text, "bad.csv")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    written(tmp_path, HEADER + ROW)
    files = Files(tmp_path, files_config())
    assert asyncio.run(files.bars(SYMBOL, JUNE)).rows.height == 1
    broken = files.of_bars.broken()
    broken |= {one.file.name: str(one.flaw) for one in files.of_bars.read() if one.flaw}
    assert broken.keys() == {"bad.csv", "b.parquet"}
    assert broken["bad.csv"].startswith(str(file))
    assert re.search(cause, broken["bad.csv"])


def test_quotes_that_do_not_close_on_their_line_hide_no_row(tmp_path: Path) -> None:
    """They are rejected; the rows between them are none of one long cell."""
    names = ["x"] * 200 + ['"x'] + ["x"] * 40 + ['x"', '"y, z"', "x"]
    rows = (
        ROW.replace("09:31", f"{9 + n // 60:02}:{n % 60:02}").replace("\n", f",{name}\n")
        for n, name in enumerate(names)
    )
    written(tmp_path, HEADER.replace("\n", ",name\n") + "".join(rows))
    [content] = Files(tmp_path, files_config()).of_bars.contents()
    assert content.read == len(names) == content.rejected + content.rows[SYMBOL].height
    assert [(one.line, one.reason) for one in content.rejects()] == [
        (202, "a.csv: a quote without end"),
        (243, "a.csv: a quote without end"),
    ]
    assert '"x' in content.rejects()[0].raw


@pytest.mark.parametrize(
    ("written_as", "known"),
    [
        ("sh600000", True),
        ("sh.600000", True),
        ("600000.xshg", True),
        ("600000.SS", True),
        ("600000", False),
        ("600000.0", False),
        ("AAPL.DE", False),
        ("600612.XSHE", False),
        ("1.SZ", False),
        ("60000.sh", False),
        ("６０００００.SH", False),
        ("#600000.SH", False),
        ("", False),
        ("nan", False),
        ("None", False),
        ("NULL", False),
        ("N/A", False),
    ],
)
def test_spellings_of_a_symbol_are_understood_or_rejected_with_advice(
    tmp_path: Path, written_as: str, known: bool
) -> None:
    written(tmp_path, HEADER + ROW.replace(SYMBOL, written_as))
    [content] = Files(tmp_path, files_config()).of_bars.contents()
    assert content.read == 1 == content.rejected + sum(rows.height for rows in content.rows.values())
    assert (content.rejected, content.rows.keys() == {SYMBOL}) == (not known, known)
    if not known:
        [reject] = content.undated
        words = {
            "600000": "write 600000.SH",
            "AAPL.DE": "no exchange 'DE' is known; there are symbols as 600000.SH, 0700.HK, AAPL.US, VOD.L, 7203.T",
            "600612.XSHE": "600612 is a number of stocks of SH, not of SZ",
            "1.SZ": "write 000001.SZ: its leading zeros are lost",
            "60000.sh": "has no six digits; write it as 600000.SH",
            "６０００００.SH": "has no six digits; write it as 600000.SH",
            "#600000.SH": "has no six digits; write it as 600000.SH",
            "": "a row without a symbol",
            **{text: f"{text!r} may be a missing value" for text in ("nan", "None", "NULL", "N/A")},
        }
        assert words.get(written_as, "names no exchange") in reject.reason


@pytest.mark.parametrize(
    ("time", "instant"),
    [
        ("20250602093100", INSTANT),
        ("202506020931", INSTANT),
        ("20250602093100000", INSTANT),
        ("2025/06/02T09:31+08:00", INSTANT),
        ("2025-6-2 9:31", INSTANT),
        ("2025-06-02 01:31 Z", INSTANT),
        ("2025-06-01T20:31:00.000-05:00", INSTANT),
        ("2025-06-02 09:31+25:00", None),
        ("1748827860", INSTANT),
        ("1748827860000", INSTANT),
        ("1748827860000000", INSTANT),
        ("2025060209", None),  # ten digits, and no plausible second
        ("45810.39653", None),
        ("20250602 9:31", None),
        ("2025-06-02 09:31 PM", None),
        ("2025-06-02 09:30:60", None),
        ("2025-06-02T09:30:60.5", None),
        ("2025-06-02T01:30:60Z", None),
        ("2025-06-02T09:30:60+08:00", None),
        ("20250602093060", None),
        ("", None),
    ],
)
def test_times_are_read_to_their_end_or_rejected(tmp_path: Path, time: str, instant: dt.datetime | None) -> None:
    written(tmp_path, HEADER + ROW.replace("2025-06-02 09:31:00", time))
    [content] = Files(tmp_path, files_config()).of_bars.contents()
    assert content.read == 1
    if instant:
        assert content.rows[SYMBOL]["ts"].to_list() == [instant]
    else:
        assert (content.rejected, len(content.undated)) == (1, 1)


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.CSV.GZ").write_bytes(gzip.compress((HEADER + ROW).encode()))
    assert bars(tmp_path).rows["ts"].to_list() == [INSTANT]


BOOK_HEADER = "symbol,ts,bid_price_1,bid_size_1,bid_price_2,bid_size_2,ask_price_1,ask_size_1,ask_price_2,ask_size_2\n"
BOOK = f"{SYMBOL},2025-06-02 09:30:03.500,9.40,1200,9.39,300,9.41,500,9.42,800\n"
BOOK_INSTANT = dt.datetime(2025, 6, 2, 1, 30, 3, 500_000, tzinfo=dt.UTC)


def delivered(folder: Path, symbol: str = SYMBOL, days: Days = JUNE) -> Delivery:
    return asyncio.run(Files(folder, files_config()).books(symbol, days))


def put(folder: Path, text: str, name: str = "a.csv") -> Path:
    file = folder / "order_book" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def content_of(folder: Path, *rows: str) -> Content:
    put(folder, BOOK_HEADER + "".join(rows))
    [content] = Files(folder, files_config()).of_books.contents()
    return content


def reasons(folder: Path, *rows: str) -> dict[int, str]:
    rejected = content_of(folder, *rows).rejects()
    return {reject.line: reject.reason.removeprefix("a.csv: ") for reject in rejected}


def test_a_csv_file_of_books_is_read_to_the_millisecond(tmp_path: Path) -> None:
    put(tmp_path, BOOK_HEADER + BOOK)
    found = delivered(tmp_path)
    assert (found.outcome, found.provider, found.rows.schema) == ("ok", "files", BOOKS)
    sides = [9.40, 9.39], [1200, 300], [9.41, 9.42], [500, 800]
    assert found.rows.row(0) == (SYMBOL, BOOK_INSTANT, "files", *sides, "a.csv")


def test_other_spellings_and_parquet_are_read(tmp_path: Path) -> None:
    columns = {"TS_CODE": [SYMBOL], "Time": [BOOK_INSTANT], "askPrice1": [9.41], "askVol1": [500], "bidPrice1": [9.4],
               "bid_volume1": [1200], "pre_close": [9.3]}  # fmt: skip
    file = put(tmp_path, "", "a.parquet")
    pl.DataFrame(columns).write_parquet(file)
    assert delivered(tmp_path).rows.row(0)[1:] == (BOOK_INSTANT, "files", [9.4], [1200.0], [9.41], [500.0], "a.parquet")


def test_bars_and_books_do_not_meet(tmp_path: Path) -> None:
    put(tmp_path, BOOK_HEADER + BOOK)
    files = Files(tmp_path, files_config())
    assert asyncio.run(files.bars(SYMBOL, JUNE)).outcome == "empty"
    (tmp_path / "bars.csv").write_text(f"symbol,ts,open,high,low,close,volume\n{SYMBOL},2025-06-02 09:31,1,1,1,1,1\n")
    assert asyncio.run(files.bars(SYMBOL, JUNE)).rows.height == 1
    assert asyncio.run(files.books(SYMBOL, JUNE)).rows.height == 1


def test_a_book_is_kept_as_it_was_published(tmp_path: Path) -> None:
    crossed = BOOK.replace("9.41", "9.35")
    unordered = BOOK.replace("03.5", "04.5").replace("9.39", "9.45")
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
        (BOOK.replace("2025-06-02 09:30:03.500", "soon"), "time 'soon' cannot be read, unlike 2026-03-02 09:31:00"),
        (BOOK.replace("03.500", "03.5001"), "a time finer than a millisecond"),
        (BOOK.replace("9.40", "nine"), "bid_price_1 is not a number: 'nine'"),
        (BOOK.replace("9.40", "nan"), "bid level 1: a number is not finite"),
        (BOOK.replace("800", "inf"), "ask level 2: a number is not finite"),
        (BOOK.replace("9.40", "-9.40"), "bid level 1: the price is below 0"),
        (BOOK.replace("800", "-800"), "ask level 2: the size is below 0"),
        (BOOK.replace("9.41", ""), "ask level 1: no price"),
        (BOOK.replace(",500,", ",,"), "ask level 1: no size"),
        (BOOK.replace("9.40,1200", ","), "bid level 2 is present and level 1 is not"),
        (f"{SYMBOL},2025-06-02 09:30:03,0,0,,,,,0,\n", "no level at all"),
    ],
)
def test_a_row_that_is_no_book_is_refused(tmp_path: Path, row: str, reason: str) -> None:
    assert reasons(tmp_path, BOOK.replace("09:30", "09:31"), row) == {3: reason}
    assert content_of(tmp_path, BOOK.replace("09:30", "09:31"), row).rows[SYMBOL].height == 1


def test_an_instant_said_twice_counts_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    other = BOOK.replace("1200", "1300")
    assert reasons(tmp_path, BOOK, BOOK, other) == {4: "contradicts an earlier row of the same instant"}
    content = content_of(tmp_path, BOOK, BOOK, other)
    assert (content.rows[SYMBOL]["bid_size"].to_list(), content.skipped) == ([[1200, 300]], 1)


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        (BOOK_HEADER.replace("ask_size_2", "x"), "no column ask_size_2"),
        (BOOK_HEADER.replace("bid_price_1", "x"), "no column bid_price_1"),
        (BOOK_HEADER.replace("bid_price_1,bid_size_1", "x,y"), "no column bid_price_1"),
        (BOOK_HEADER.replace("symbol", "name"), "no column symbol or ts_code or code"),
        (BOOK_HEADER.replace("ask_price_2", "bidprice1"), "columns bid_price_1 and bidprice1 both mean bid_price_1"),
        ("symbol,ts,price,size,a,b,c,d,e,f\n", "no column bid_price_1 or ask_price_1"),
    ],
)
def test_a_file_without_its_columns_is_named(tmp_path: Path, header: str, cause: str) -> None:
    file = put(tmp_path, header + BOOK)
    files = Files(tmp_path, files_config())
    assert files.of_books.contents() == []
    [error] = files.of_books.broken().values()
    assert error.startswith(str(file))
    assert cause in error


SIDE = st.lists(st.tuples(st.floats(0.01, 1e4), st.integers(0, 10**9)), max_size=3)


@given(st.lists(st.tuples(st.integers(0, 10**6), SIDE, SIDE), max_size=20, unique_by=lambda book: book[0]))
def test_every_row_is_a_book_or_refused_and_no_level_is_lost(published: list[tuple[int, Any, Any]]) -> None:
    rows = []
    for number, (ms, *sides) in enumerate(published):
        row: dict[str, Any] = {"line": number, "raw": "", "ts": BOOK_INSTANT + dt.timedelta(milliseconds=ms)}
        for side, levels in zip(("bid", "ask"), sides, strict=True):
            for level in range(3):
                price, size = levels[level] if level < len(levels) else (None, None)
                row |= {f"{side}_price_{level + 1}": price, f"{side}_size_{level + 1}": size}
        rows.append(row)
    numbers = {f"{s}_{w}_{n}": pl.Float64() for s in ("bid", "ask") for w in ("price", "size") for n in (1, 2, 3)}
    raw = pl.DataFrame(rows, {"line": pl.Int64(), "raw": pl.String(), "ts": pl.Datetime("us", "UTC"), **numbers})
    rows_of_books, others = judged_books(raw.with_columns(symbol=pl.lit(SYMBOL)))
    frame = as_books(rows_of_books, "files")
    expected = [
        (
            BOOK_INSTANT + dt.timedelta(milliseconds=ms),
            *([float(level[n]) for level in side] for side in (bid, ask) for n in (0, 1)),
        )
        for ms, bid, ask in sorted(published)
        if bid or ask
    ]
    assert frame.drop("provider", "symbol", "file").rows() == expected
    assert others.drop_nulls("reason")["line"].to_list() == [
        n for n, (_, bid, ask) in enumerate(published) if not bid and not ask
    ]


def test_rows_below_another_header_are_not_read_by_the_first(tmp_path: Path) -> None:
    """Files that are joined to one may have their columns in different orders."""
    other = "symbol,ts,close,high,low,open,volume,turnover\n"
    written(tmp_path, HEADER + ROW * 200 + other + ROW.replace("09:31", "09:32"))
    source = Files(tmp_path, files_config())
    assert source.of_bars.contents() == []
    assert "line 202 is a header of other columns" in source.of_bars.broken()["a.csv"]

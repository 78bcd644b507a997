"""Bytes to bars: both lanes give the same, block sizes do not matter, and every line is accounted for."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketdata_assets.bars import reading
from marketdata_assets.bars.layout import COLUMNS, DECIMALS, scan, units
from marketdata_assets.bars.reading import Rows, typed
from marketdata_assets.bars.rules import Bars, judge
from marketdata_assets.bars.unit import parse
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.text import Block
from marketdata_assets.loading.text_table import read_rows
from tests.bars.bar_files import HEADER, csv_text, deliver, line, minutes, read_plainly

NAMES = tuple(COLUMNS.values())
EPOCH = dt.datetime(1970, 1, 1)
BOUGHT = "2000-06-09 09:31:00,10,11,9,10,100,1000"
GOOD = line("2000-06-09 09:30:00").encode()

times = st.sampled_from(
    [
        *minutes("2000-06-09 09:30:00", 5), "2000/06/09 09:30:00", "2000-06-09 09:30", "2000-06-09 09:30:00.250",
        "2000-06-09 09:30:00\0", "2000-6-9 9:30:00", " 2000-06-09 09:30:00 ", "", "  ", "2000-06-31 09:30:00", "junk",
        "2000-06-09", "0000-00-00 00:00:00", "2000-06-09T09:30:00", "1999-12-31 15:00:00", "+12000-01-01 00:00:00",
        "+02000-06-09 09:30:00",
        "2000-06-09 24:00:00", "２000-06-09 09:30:00",
    ]
)  # fmt: skip
codes = st.sampled_from(["sh600000", "SH600000", " sz000001", "bj920000", "600000", "", " ", "xx600000", "sh60\0"])
names = st.sampled_from(["浦发银行", "", "  ", " 名 ", "a\0b", "null", "NaN", "#x", "x\ty", "\u3000", "\x1f"])
numbers = st.sampled_from(
    [
        "10", "10.00", "9", "11", "-2.01", "0", "-0.0", "1E6", "123.0", "1.5", "", " ", "inf", "-inf", "nan", "NaN",
        "infinity", "1e400", "1e-400", "1.23445", "-1.23445", "1.00005", "+7", " 7 ", ".5", "5.", "1_000", "0x1F",
        "1,5", "--1", "1e", "9" * 30, "1000000000000", "999999999999.99995", "1e12", "100000000000", "100000000001",
        "10000", "10000.00001", "true", "null", "1.5\0", "\x0b7", "７", "1e3 ", "٣", "0.00005", "2.5e-5", "1d3", "1f",
    ]
)  # fmt: skip
cells = st.tuples(times, codes, names, *[numbers] * 8).map(",".join)
nearly_good = st.tuples(st.sampled_from(minutes("2000-06-09 09:30:00", 9)), st.sampled_from(["10", "9", "10.5"])).map(
    lambda pair: line(*pair[:1], price=pair[1])
)
one_wrong = st.tuples(st.integers(0, 10), st.one_of(times, codes, names, numbers)).map(
    lambda change: ",".join(change[1] if n == change[0] else cell for n, cell in enumerate(GOOD.decode().split(",")))
)
texts = st.one_of(
    nearly_good, one_wrong, one_wrong, cells, st.sampled_from(["", " ", ",", ",,,,,,,,,,", ",,,,,,,,,,,", "a", "\r"])
).map(str.encode)
odd = st.sampled_from(
    [GOOD + b"\r", b'"' + GOOD.replace(b",", b'","') + b'"', GOOD.replace(b"\xe6", b"\xff"), GOOD + b",", b"\xff\0",
     GOOD.replace(b"10.00", b'1.0"0005', 1), GOOD.rsplit(b",", 1)[0]]
)  # fmt: skip
files = st.tuples(st.lists(st.one_of(texts, texts, odd), min_size=1, max_size=8), st.booleans()).map(
    lambda part: b"\n".join(part[0]) + b"\n" * part[1]
).filter(bool)  # fmt: skip

Seen = tuple[list[tuple], list[tuple[int, str]]]


def bars_of(bars: Bars, block: Rows) -> list[tuple]:
    def cell(column: str, n: int) -> int | None:
        values = bars.volume if column == "volume" else bars.scaled[column]
        return None if column in bars.null and bars.null[column][n] else int(values[n])

    def text(index: object, values: tuple[str, ...], n: int) -> str | None:
        number = index if isinstance(index, int) else index[n]  # type: ignore[index]
        return None if number < 0 else values[number]

    return [
        (
            block.line(int(bars.row[n])),
            int(bars.time[n]),
            text(bars.code, bars.codes, n),
            text(bars.name, bars.names, n),
            *(cell(column, n) for column in (*DECIMALS, "volume")),
        )
        for n in range(len(bars))
    ]


def seen(lane: Callable[[Rejects], Rows | None], year: int | None = 2000) -> Seen | None:
    """The bars and rejects of one lane; None when it does not take the block."""
    rejects = Rejects()
    rows = lane(rejects)
    if rows is None:
        return None
    bars = judge(rows, rejects, year)
    return bars_of(bars, rows), sorted(rejects.reasons.items())


@given(text=files, year=st.sampled_from([2000, None]))
@example(text=b"," * 10 + b"\n\n" + GOOD, year=2000)
@example(text=b"\n" + GOOD + b"," * 10, year=2000)
@example(text=GOOD + b"\n" + b"," * 9 + b"\n" + b"," * 11, year=2000)
@example(text=b"+0" + GOOD, year=2000)
@example(text=b"+1" + GOOD, year=None)
@example(text=GOOD[:-5] + b"\n" + GOOD + b",1", year=2000)
def test_both_lanes_give_the_same_bars_and_rejects(text: bytes, year: int | None) -> None:
    block = Block(text, 2)
    fast = seen(lambda rejects: reading._fast(block, NAMES), year)
    rows = partial(read_rows, block.decoded(), NAMES, multiline=False)
    careful = seen(lambda rejects: reading.cast(rows(rejects=rejects), rejects), year)
    assert fast in (None, careful)
    counted = Rejects()
    bars = seen(lambda rejects: typed(block, NAMES, counted, "a.csv"), year)
    assert careful is not None
    lines = [n for n, row in enumerate(text.split(b"\n"), 2) if row.strip()]
    assert sorted([row[0] for row in careful[0]] + [line for line, _ in careful[1]]) == lines
    assert bars is not None
    assert bars[0] == careful[0]
    assert counted.rows == len(lines)


def test_plain_file_takes_the_fast_lane() -> None:
    text = csv_text(map(line, minutes("2000-06-09 09:30:00", 50))).partition(b"\n")[2]
    assert reading._fast(Block(text, 2), NAMES) is not None


def parse_one(folder: Path, data: bytes, name: str = "sh600000_2000.csv") -> tuple[list[tuple[str, str]], list[int]]:
    deliver(folder / name, data)
    (file,) = scan(folder)
    (unit,) = units(file)
    with Opener() as opener:
        parsed = parse(opener, unit, None)
    loaded = sum(span.rows for span in parsed.spans.values())
    assert loaded + len(parsed.rejects) == parsed.rows
    size = sum(map(len, parsed.payload))
    parsed.payload.close()
    assert (size > 0) == (loaded > 0)
    return sorted(parsed.spans), sorted(reject.line for reject in parsed.rejects)


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
def test_second_row_of_one_minute_is_rejected_in_any_order(tmp_path: Path, order: str) -> None:
    labels = minutes("2000-06-09 09:30:00", 150)
    if order == "falling":
        labels.reverse()
    if order == "shuffled":
        labels = labels[1::2] + labels[::2]
    rows = [line(label) for label in labels]
    rows.insert(100, line(labels[0], price="99"))
    keys, refused = parse_one(tmp_path, csv_text(rows))
    assert keys == [("600000.SH", "2000-06")]
    assert refused == [102]


def test_a_rejected_row_does_not_take_the_minute_of_a_good_one(tmp_path: Path) -> None:
    rows = [line(label) for label in minutes("2000-06-09 09:30:00", 150)]
    rows.insert(1, rows[1].replace("10.00", "nan"))
    assert parse_one(tmp_path, csv_text(rows))[1] == [3]


def test_same_minute_of_two_codes_is_no_repeat(tmp_path: Path) -> None:
    labels = minutes("2000-06-09 09:30:00", 20)
    rows = [line(label, code) for label in labels for code in ("sh600000", "sz000001", "SH600001")]
    keys, refused = parse_one(tmp_path, csv_text(rows))
    assert [code for code, _ in keys] == ["000001.SZ", "600000.SH", "600001.SH"]
    assert refused == []


def test_recorded_minute_file_is_read_to_the_digit(fixtures: Path) -> None:
    path = fixtures / "ashare_csv" / "minute" / "sh600000_2000_one_row.csv"
    data = path.read_bytes()
    (row,) = read_plainly(data).values()
    assert row[3:9] == (*[Decimal("-2.01")] * 4, Decimal(129), Decimal(309600))
    body = data.partition(b"\n")[2]
    rejects = Rejects()
    block = typed(Block(body, 2), NAMES, rejects, "a.csv")
    bars = judge(block, rejects, 2000)
    assert not rejects
    ((_, time, code, name, *_rest, volume),) = bars_of(bars, block)
    assert (EPOCH + dt.timedelta(microseconds=time), code, name, volume) == (row[0], "600000.SH", "浦发银行", 129)
    assert bars.scaled["open"].tolist() == [-20_100]
    assert bars.scaled["amplitude"].tolist() == [0]


def test_columns_in_another_order_are_the_same_bars(tmp_path: Path) -> None:
    order = [4, 0, 10, 2, 1, 3, 9, 8, 7, 6, 5]
    heads, row = HEADER.split(","), line("2000-06-09 09:30:00").split(",")
    data = csv_text([",".join(row[n] for n in order)], ",".join(heads[n] for n in order))
    assert parse_one(tmp_path, data) == ([("600000.SH", "2000-06")], [])


@pytest.mark.parametrize(
    ("first", "row", "other"),
    [
        (HEADER, line("2000-06-09 09:31:00"), HEADER.replace("开盘价,收盘价", "收盘价,开盘价")),
        ("time,open,high,low,close,volume,money", BOUGHT, "time,close,high,low,open,volume,money"),
        ("time,open,high,low,close,volume,money", BOUGHT, "Symbol,TIME,Close,High,Low,Open,Volume"),
    ],
)
def test_rows_below_another_header_are_not_read_by_the_first(tmp_path: Path, first: str, row: str, other: str) -> None:
    assert parse_one(tmp_path, csv_text([row], first)) == ([("600000.SH", "2000-06")], [])
    with pytest.raises(BadFile, match="line 3 is a header of other columns"):
        parse_one(tmp_path, csv_text([row, other, row], first))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2024-01-02 01:31:00+00:00", "2024-01-02 09:31:00"),
        ("2024-01-02T01:31:00Z", "2024-01-02 09:31:00"),
        ("2024-01-02 01:31 Z", "2024-01-02 09:31:00"),
        ("2024-01-02 09:31:00+0800", "2024-01-02 09:31:00"),
        ("2024-01-01 20:31:00-05:00", "2024-01-02 09:31:00"),
        ("2024-01-02 09:31:00.000000", "2024-01-02 09:31:00"),
        ("2024/1/2 9:31", "2024-01-02 09:31:00"),
        ("1991-05-03 01:31:00Z", "1991-05-03 10:31:00"),  # summer time
        ("2024-01-02 01:31:00 PM", None),
        ("2024-01-02 09:31:00 junk", None),
        ("2024-01-02 09:31:00.250", None),
        ("2024-01-02 09:31:00+25:00", None),
        ("2024-01-02 09:31:60", None),
        ("2024-1/2 09:31:00", None),
        ("20240102093100", None),
        ("1704159060", None),
        ("2024-01-02 24:00:00", None),
    ],
)
@pytest.mark.parametrize("beside", [0, 300])
def test_a_time_is_read_to_its_end(text: str, read: str | None, beside: int) -> None:
    usual = minutes("2024-01-03 09:30:00", beside)
    rejects = Rejects()
    block = Block("\n".join(line(label) for label in (*usual, text)).encode(), 2)
    bars = judge(typed(block, NAMES, rejects, "a.csv"), rejects)
    times_read = [str(EPOCH + dt.timedelta(microseconds=time)) for time in bars.time.tolist()]
    assert times_read == [*usual, *([read] if read else [])]
    assert list(rejects.reasons.values()) == ([] if read else [f"time {text!r} is not a time"])


def test_a_quote_within_a_cell_is_no_number(tmp_path: Path) -> None:
    rows = [line(label) for label in minutes("2000-06-09 09:30:00", 150)]
    rows[3] = rows[3].replace(",10.00,", ',"10".00,', 1)
    assert parse_one(tmp_path, csv_text(rows))[1] == [5]


def test_quotes_that_do_not_close_on_their_line_hide_no_row(tmp_path: Path) -> None:
    """One of them opens in a name, and another closes some rows later."""
    rows = [line(label) for label in minutes("2000-06-09 09:30:00", 300)]
    rows[3], rows[40] = rows[3].replace("浦发银行", '"浦发银行'), rows[40].replace("浦发银行", '浦发银行"')
    assert parse_one(tmp_path, csv_text(rows))[1] == [5, 42]
    rejects = Rejects()
    kept = typed(Block("\n".join(rows).encode(), 2), NAMES, rejects, "a.csv")
    assert (kept.frame.height, rejects.rows, rejects.reasons) == (
        298,
        300,
        dict.fromkeys((5, 42), "a quote without end"),
    )

"""Bytes to frames: both lanes give the same rows, whatever the file is like."""

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from marketdata_assets.flows import delimited
from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.delimited import Reader
from marketdata_assets.flows.types import column_type
from marketdata_assets.loading import text as loading_text
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import HashedStream, Opener, Unit, walk
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.text import Block, ahead, raw_lines
from marketdata_assets.loading.text_table import read_rows
from tests.flows.flow_files import deliver

NAMES = ["a", "b", "c"]
LOADER = Loader(columns={"a": "a", "c": "c"}, types={"c": column_type("numeric(10,2)")})
CELLS = st.text(st.sampled_from('xy é名"\n,;0'), max_size=5)
NUMBERS = st.sampled_from(["", "1", "-2.5", "3.25", " 4 ", "1e2", "nan", "5.001", "99999999", "999999999"])


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def unit(folder: Path, data: bytes, name: str = "f.csv") -> Unit:
    deliver(folder, name, data)
    (file,) = walk(folder, [name])
    return Unit(file, size=file.size)


def rows_of(found: Unit, loader: Loader, rejects: Rejects | None = None) -> list[tuple[object, ...]]:
    """All rows of a unit, with the line of each."""
    with Opener().open(found) as raw:
        frames = delimited.read(HashedStream(raw), found, loader, rejects or Rejects())
        return [row for frame in frames for row in frame.rows()]


def read(text: bytes, loader: Loader, lane: str) -> tuple[list[tuple[object, ...]], dict[int, str], int]:
    rejects = Rejects()
    reader = Reader(loader, NAMES, rejects)
    block = Block(text, 2)
    frame = reader.frame(block) if lane == "either" else reader._careful(block)
    return frame.rows(), rejects.reasons, rejects.rows


@given(
    st.lists(st.tuples(CELLS, CELLS, NUMBERS), min_size=1, max_size=12), st.booleans(), st.sampled_from(["\n", "\r\n"])
)
def test_both_lanes_agree_on_any_file(rows: list[tuple[str, str, str]], quote_all: bool, end: str) -> None:
    assume(not any("\n" in cell and "," in cell for row in rows for cell in row))  # such a cell may hide rows
    out = io.StringIO()
    style = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator=end, quoting=style).writerows(rows)
    text = out.getvalue().encode()
    got, reasons, count = read(text, LOADER, "either")
    assert (got, reasons, count) == read(text, LOADER, "careful")
    assert count == len(rows) == len(got) + len(reasons)


DIGITS = st.from_regex(r"[+-]?[0-9]{1,18}(\.[0-9]{0,7})?(e-?[0-9])?", fullmatch=True)
INTEGERS = ["9007199254740991", "9007199254740992", "9007199254740993.0", "12.0", "2147483648", "1e999", "7.", "x"]
FRACTIONS = ["999999999999.9999", "123456789012.3456", "98765432101.23455", "401337284.70000017", "0.30000000000000004"]
EDGES = st.sampled_from([*INTEGERS, *FRACTIONS])
KINDS = st.sampled_from(["numeric(16,4)", "numeric(20,4)", "numeric(38,2)", "bigint", "integer", "double"])


@given(st.lists(DIGITS | EDGES, min_size=1, max_size=6), KINDS)
def test_numbers_of_any_size_are_the_same_in_both_lanes(texts: list[str], kind: str) -> None:
    loader = Loader(columns={"a": "a"}, types={"a": column_type(kind)})
    text = "".join(f"{number},,\n" for number in texts).encode()
    assert read(text, loader, "either") == read(text, loader, "careful")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("123456789012.3456", "numeric(20,4)", Decimal("123456789012.3456")),
        ("98765432101.2345", "numeric(20,4)", Decimal("98765432101.2345")),
        ("1234567890123456.7891", "numeric(20,4)", Decimal("1234567890123456.7891")),
        ("98765432.23455", "numeric(20,4)", None),
        ("9007199254740993", "bigint", 9007199254740993),
        ("9007199254740993.0", "bigint", 9007199254740993),
        ("9007199254740993.5", "bigint", None),
        ("2147483647.0", "integer", 2147483647),
        ("2147483648.0", "integer", None),
    ],
)
def test_a_big_number_arrives_to_its_last_digit_or_not_at_all(text: str, kind: str, value: object) -> None:
    loader = Loader(columns={"a": "a"}, types={"a": column_type(kind)})
    got, reasons, _ = read(f"1,,\n{text},,\n".encode(), loader, "either")
    assert [row[0] for row in got[1:]] == ([] if value is None else [value])
    assert list(reasons) == ([3] if value is None else [])


@given(st.lists(st.text(st.sampled_from('x,"\n1'), max_size=12), max_size=8))
@example(["", ',""'])
def test_any_text_ends_in_rows_and_rejects(parts: list[str]) -> None:
    text = "\n".join(parts).encode()
    got, reasons, count = read(text, LOADER, "either")
    assert (got, reasons, count) == read(text, LOADER, "careful")
    assert count == len(got) + len(reasons)
    lines = [row[-1] for row in got]
    assert lines == sorted(set(lines))
    assert not set(lines) & set(reasons)


def test_a_row_knows_the_line_it_begins_on() -> None:
    got, _, _ = read(b'1,"x\ny",1\n2,z,2\n"3\n","",3\n4,q,4\n', LOADER, "either")
    assert [row[-1] for row in got] == [2, 4, 5, 7]


@pytest.mark.parametrize(("size", "small"), [(7, 0), (16, 0), (64, 0), (64, 1 << 20), (4096, 0)])
def test_blocks_end_between_rows_at_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, small: int
) -> None:
    monkeypatch.setattr(loading_text, "BLOCK_BYTES", size)
    monkeypatch.setattr(delimited, "SMALL_BYTES", small)
    rows = [[f"{n}", 'with "quotes",\nand lines' if n % 3 else "名字", str(n)] for n in range(50)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([NAMES, *rows])
    loader = Loader(columns={name: name for name in NAMES}, encoding="gb18030")
    rejects = Rejects()
    got = [row[:-1] for row in rows_of(unit(tmp_path, out.getvalue().encode("gb18030")), loader, rejects)]
    assert got == [tuple(row) for row in rows]
    assert not rejects.reasons


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16", "utf-16-le", "shift_jis"])
def test_any_encoding_reads_the_same(tmp_path: Path, encoding: str) -> None:
    loader = Loader(columns={"日期": "a", "c": "c"}, encoding=encoding, skip_lines=1)
    text = "注意, \n日期,c\r\n名,1\r\n天,2\r\n"
    found = unit(tmp_path, text.encode(encoding))
    assert rows_of(found, loader) == [("名", "1", 3), ("天", "2", 4)]
    assert raw_lines(Opener(), found, encoding, {4}) == {4: "天,2"}


@pytest.mark.parametrize(
    ("written", "declared", "guess"),
    [("gb18030", "utf-8", "gb18030"), ("utf-8", "gb18030", "utf-8"), ("utf-16", "utf-8", "utf-16")],
)
def test_a_wrong_encoding_of_the_header_is_named_with_the_right_one(
    tmp_path: Path, written: str, declared: str, guess: str
) -> None:
    found = unit(tmp_path, "代码,名称\nx,y\n".encode(written))
    with pytest.raises(LoadError, match=f"f.csv:1: not {declared} .* Set loader.encoding to {guess} and"):
        rows_of(found, Loader(columns={"代码": "a"}, encoding=declared))


def test_utf8_behind_a_plain_header_is_not_taken_for_gbk(tmp_path: Path) -> None:
    found = unit(tmp_path, ("a,b\n" + "浦发银行,股票\n" * 10).encode())
    with pytest.raises(LoadError, match="valid UTF-8"):
        rows_of(found, Loader(columns={"a": "a"}, encoding="gb18030"))


VALID_UTF8 = [
    character
    for row in range(0xB0, 0xD8)
    for cell in range(0xA1, 0xFF)
    if (character := bytes((row, cell)).decode("gb2312", "ignore")) and _is_utf8(character.encode("gb2312"))
]
"""Of the common hanzi (level 1 of GB 2312), those whose GBK is valid UTF-8."""


@pytest.mark.parametrize("header", ["代码,名称", "code,name"])
@given(names=st.lists(st.text(st.sampled_from(VALID_UTF8), min_size=1, max_size=12), min_size=1, max_size=40))
@example(names=["茅台"] * 40)
@example(names=["*ST茅台"])
def test_a_gbk_file_is_gbk_though_its_rows_are_valid_utf8(
    tmp_path_factory: pytest.TempPathFactory, header: str, names: list[str]
) -> None:
    """The encoding is decided by the whole file: rows, or all of it, may be valid UTF-8 by chance."""
    code, name = header.split(",")
    loader = Loader(columns={code: "a", name: "b"}, encoding="gb18030")
    text = f"{header}\n" + "".join(f"600519,{name}\n" for name in names)
    found = unit(tmp_path_factory.mktemp("gbk"), text.encode("gb18030"))
    rejects = Rejects()
    rows = rows_of(found, loader, rejects)
    assert [row[1] for row in rows] == names
    assert not rejects


GB2312 = "名字股票茅台：Ａ"
BEYOND = "昇镕\U00020000é"
"""Characters whose GB 18030 has other bytes than pairs from 0xA1 on: of GBK, and of four bytes."""
CHINESE_CELLS = st.text(st.sampled_from(GB2312 + 'x 0"'), max_size=4)


@given(
    st.lists(st.tuples(CHINESE_CELLS, NUMBERS), min_size=1, max_size=20),
    st.sampled_from(["", *BEYOND]),
    st.binary(max_size=2),
)
@example([("茅台", "1"), ("无", "无"), ("名", "无")], "", b"")
@example([("茅台", "1")], "", b"\xb0")
@example([("茅台", "1")], "", b"\x80")
@example([("茅台", "1")], "", b"\xff\xff")
@example([("茅台", "1")], "镕", b"\x81\xb0")
def test_cells_decoded_after_the_block_is_parsed_are_those_of_a_decoded_block(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], beyond: str, foreign: bytes
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["a", "b"], *cells, [beyond, "1"]])
    found = unit(tmp_path_factory.mktemp("late"), out.getvalue().encode("gb18030") + b"y" + foreign + b",7\nz,8\n")
    loader = Loader(
        columns={"a": "a", "b": "b"}, types={"b": column_type("numeric(10,2)")}, encoding="gb18030", missing=["", "无"]
    )
    read = []
    for smallest in (0, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loading_text, "DEFERRED_BYTES", smallest)
            rejects = Rejects()
            read.append((rows_of(found, loader, rejects), rejects.reasons, rejects.rows))
    assert read[0] == read[1]


@pytest.mark.parametrize(
    ("text", "deferred"),
    [
        (GB2312.encode("gb18030") + b",1\n", True),
        (b"x,1\n", True),
        (b"1,x" + GB2312.encode("gb18030"), True),
        (b"1,x\xb0", False),
        ("1,镕\n".encode("gb18030"), False),
        ("1,昇\n".encode("gb18030"), False),
        (b"1,\x80\n", False),
        (b"1,\xb0\n", False),
        (b"1,\xff\xff\n", False),
    ],
)
def test_only_a_block_of_double_bytes_is_parsed_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, deferred: bool
) -> None:
    monkeypatch.setattr(loading_text, "DEFERRED_BYTES", 0)
    found = unit(tmp_path, text)
    with Opener().open(found) as raw:
        (block,) = loading_text.Text(found.place, raw, "gb18030", defer=True).blocks()
    assert block.deferred == deferred


def test_each_pair_of_a_deferred_block_is_one_character_of_gb18030() -> None:
    pairs = [bytes((first, second)) for first in range(0xA1, 0xFF) for second in range(0xA1, 0xFF)]
    assert {len(pair.decode("gb18030")) for pair in pairs} == {1}
    assert loading_text.from_latin1(b"".join(pairs).decode("latin-1"), "gb18030") == b"".join(pairs).decode("gb18030")


def test_a_line_that_is_no_text_is_rejected_and_the_others_stay() -> None:
    rejects = Rejects()
    reader = Reader(Loader(columns={"a": "a"}, encoding="gb18030"), ["a", "b"], rejects)
    frame = reader.frame(Block(b"x,1\n\ny,2\n", 2, undecodable=(3,)))
    assert frame.rows() == [("x", 2), ("y", 4)]
    assert (rejects.reasons, rejects.rows) == ({3: "not gb18030"}, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "f.csv:1: there is no header"),
        (b"b,c\n", "f.csv:1: the header has no a; it has b, c"),
        (b"a,a\n", "f.csv:1: column a appears twice"),
    ],
)
def test_a_header_that_is_not_the_flows_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    with pytest.raises(LoadError, match=said):
        rows_of(unit(tmp_path, text), Loader(columns={"a": "a"}))


def test_reading_ahead_is_bounded_and_passes_errors_on() -> None:
    taken: list[int] = []

    def numbers() -> object:
        for number in range(1000):
            taken.append(number)
            yield number
        raise ValueError("at the end")

    with ahead(numbers(), 2) as items:  # type: ignore[arg-type]
        assert next(items) == 0
    assert len(taken) <= 5
    with pytest.raises(ValueError, match="at the end"), ahead(numbers(), 2) as items:  # type: ignore[arg-type]
        list(items)


@pytest.mark.parametrize("size", [10, 500])
@pytest.mark.parametrize("apart", [1, 3, 30])
def test_two_stray_quotes_hide_no_row_and_a_text_of_several_lines_is_one(size: int, apart: int) -> None:
    """A line between the quotes that is a row on its own shows that they are no cell's."""
    rows = [f"{n},n{n},1" for n in range(size + apart)]
    rows[3], rows[3 + apart] = '3,"n3,1', f'{3 + apart},n{3 + apart}",1'
    rejects = Rejects()
    block = Block("\n".join(rows).encode(), 2)
    kept = read_rows(block, ["a", "b", "c"], rejects)
    assert (sorted(rejects.reasons), kept.height, rejects.rows) == ([5, 5 + apart], size + apart - 2, size + apart)
    rejects = Rejects()
    long = read_rows(Block(b'1,"a\nb, c\n\nd",2\n3,e,4\n', 2), ["a", "b", "c"], rejects)
    assert long.select("a", "b", "c").rows() == [("1", "a\nb, c\n\nd", "2"), ("3", "e", "4")]
    assert not rejects.reasons

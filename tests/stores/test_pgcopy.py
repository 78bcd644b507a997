"""Binary COPY: what is encoded is what PostgreSQL reads back."""

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores.pgcopy import Bytes, Column, Fixed, Numeric, Text, encode, numeric_bytes
from marketdata_assets.stores.postgres import copy_binary

COLUMNS = ("number", "at", "whole", "amount", "label", "kind")
LARGEST = 10**16  # 10^12 yuan in units of 0.0001

Cells = tuple[int | None, int | None, int | None, str | None]


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE TABLE landing"
            " (number bigint, at timestamp, whole bigint, amount numeric(20,4), label text, kind text)"
        )
        connection.commit()
        yield connection


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


microseconds = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).map(
    lambda time: (time - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
)
amounts = st.sampled_from([0, 1, -1, 9999, 10_000, -10_000, 2**32 - 1, 2**32, 99_999_999, 10**8, LARGEST, -LARGEST])
rows = st.lists(
    st.tuples(
        optional(microseconds),
        optional(st.sampled_from([0, -1, 2**63 - 1, -(2**63)]) | st.integers(-(10**11), 10**11)),
        optional(amounts | st.integers(-LARGEST, LARGEST) | st.integers(-100, 100)),
        optional(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)),
    ),
    max_size=30,
)


def masked(values: list[int | None], always_mask: bool) -> tuple[np.ndarray, np.ndarray | None]:
    null = np.array([value is None for value in values], bool)
    numbers = np.array([7 if value is None else value for value in values], np.int64)
    return numbers, null if always_mask or null.any() else None


def land(connection: psycopg.Connection, cells: list[Cells], kind: str | None, always_mask: bool) -> list[tuple]:
    times, wholes, scaled, labels = ([row[i] for row in cells] for i in range(4))
    texts = sorted({text for text in labels if text is not None})
    index = np.array([-1 if text is None else texts.index(text) for text in labels], np.int64)
    columns = [
        Fixed("bigint", np.arange(len(cells))),
        Fixed("timestamp", *masked(times, always_mask)),
        Fixed("bigint", *masked(wholes, always_mask)),
        Numeric(*masked(scaled, always_mask)),
        Text(index, tuple(text.encode() for text in texts)),
        Text(-1 if kind is None else 0, () if kind is None else (kind.encode(),)),
    ]
    connection.execute("TRUNCATE landing")
    copy_binary(connection, "landing", COLUMNS, (bytes(block) for block in encode(columns, len(cells))))
    return connection.execute("SELECT at, whole, amount, label, kind FROM landing ORDER BY number").fetchall()


def meant(cells: list[Cells], kind: str | None) -> list[tuple]:
    epoch = dt.datetime(1970, 1, 1)
    return [
        (
            None if at is None else epoch + dt.timedelta(microseconds=at),
            whole,
            None if scaled is None else Decimal(scaled).scaleb(-4),
            label,
            kind,
        )
        for at, whole, scaled, label in cells
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=rows, kind=st.sampled_from([None, "", "sh", "浦发银行"]), always_mask=st.booleans())
def test_rows_read_back_are_the_rows_encoded(
    connection: psycopg.Connection, cells: list[Cells], kind: str | None, always_mask: bool
) -> None:
    assert land(connection, cells, kind, always_mask) == meant(cells, kind)


def test_decimals_keep_four_places(connection: psycopg.Connection) -> None:
    cells: list[Cells] = [(0, 0, value, "x") for value in (0, 5, -5, 12_345, LARGEST)]
    land(connection, cells, "k", always_mask=False)
    texts = [text for (text,) in connection.execute("SELECT amount::text FROM landing ORDER BY number")]
    assert texts == ["0.0000", "0.0005", "-0.0005", "1.2345", "1000000000000.0000"]


def test_rows_keep_their_order_whatever_is_null(connection: psycopg.Connection) -> None:
    numbers = np.arange(40_000)
    blocks = encode([Fixed("bigint", numbers), Fixed("bigint", numbers, numbers % 3 == 0)], len(numbers))
    connection.execute("TRUNCATE landing")
    copy_binary(connection, "landing", ("number", "whole"), (block.data for block in blocks))
    assert connection.execute("SELECT number FROM landing ORDER BY ctid").fetchall() == [(n,) for n in range(40_000)]


def test_nothing_to_encode_gives_no_block() -> None:
    none = np.array([], np.int64)
    assert list(encode([Fixed("bigint", none), Text(none, ())], 0)) == []


def test_a_number_too_large_for_its_format_is_named() -> None:
    with pytest.raises(TerminalError, match=str(2**62)):
        list(encode([Numeric(np.array([1, 2**62]))], 2))


def test_more_than_the_socket_takes_at_once_arrives_whole(connection: psycopg.Connection) -> None:
    count = 200_000
    label = Text(0, (("名" * 20).encode(),))
    copy_binary(
        connection,
        "landing",
        ("number", "label"),
        (bytes(block) for block in encode([Fixed("bigint", np.arange(count)), label], count)),
    )
    summed = connection.execute("SELECT count(*), sum(number), min(label) FROM landing").fetchone()
    assert summed == (count, count * (count - 1) // 2, "名" * 20)


@pytest.fixture
def landed(dsn: str) -> Iterator[Callable[[str, Column, int], list[Any]]]:
    """Encode a column, next to one of its row numbers, and read its values back."""
    with psycopg.connect(dsn) as connection:

        def land(kind: str, column: Column, rows: int) -> list[Any]:
            connection.execute("DROP TABLE IF EXISTS one")
            connection.execute(f"CREATE TABLE one (number bigint, value {kind}, padding numeric(9,3))")
            columns = [Fixed("bigint", np.arange(rows)), column, Numeric(np.arange(rows) * -7, None, 3)]
            copy_binary(connection, "one", ("number", "value", "padding"), (b.data for b in encode(columns, rows)))
            found = connection.execute("SELECT value, padding = number * -0.007 FROM one ORDER BY number").fetchall()
            assert [right for _, right in found] == [True] * rows
            return [value for value, _ in found]

        yield land


def ragged(values: list[bytes | None]) -> Bytes:
    null = np.array([value is None for value in values])
    lengths = np.array([len(value or b"") for value in values], np.int64)
    return Bytes(
        np.frombuffer(b"".join(value or b"" for value in values), np.uint8), lengths, null if null.any() else None
    )


texts = st.lists(optional(st.text(st.sampled_from("aé名 "), max_size=9)), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=texts)
def test_texts_of_any_length_are_read_back_in_order(landed: Callable[..., list[Any]], values: list[str | None]) -> None:
    column = ragged([None if value is None else value.encode() for value in values])
    assert landed("text", column, len(values)) == values


def test_a_long_text_among_many_short_ones_arrives(landed: Callable[..., list[Any]]) -> None:
    values = ["x" * (number % 5) for number in range(40_000)]
    values[20_000] = "long" * 500_000
    assert landed("text", ragged([value.encode() for value in values]), len(values)) == values


def test_many_layouts_are_as_right_as_one(landed: Callable[..., list[Any]]) -> None:
    values = [None if number % 3 else "abcdefghijklmnopqrstuvwxyz"[: number % 27] for number in range(500)]
    distinct = sorted({value for value in values if value is not None})
    index = np.array([-1 if value is None else distinct.index(value) for value in values], np.int64)
    assert landed("text", Text(index, tuple(value.encode() for value in distinct)), len(values)) == values


@pytest.mark.parametrize(
    ("kind", "make", "values"),
    [
        ("integer", lambda v, n: Fixed("integer", np.array(v, np.int32), n), [0, -(2**31), 2**31 - 1]),
        ("double precision", lambda v, n: Fixed("double", np.array(v), n), [0.0, -1e300, 0.1]),
        ("boolean", lambda v, n: Fixed("boolean", np.array(v), n), [True, False, True]),
        ("date", lambda v, n: Fixed("date", np.array([(d - dt.date(1970, 1, 1)).days for d in v], np.int32), n),
         [dt.date(1970, 1, 1), dt.date(1900, 2, 28), dt.date(9999, 12, 31)]),
    ],
)  # fmt: skip
def test_fixed_types_are_read_back_with_and_without_null(
    landed: Callable[..., list[Any]], kind: str, make: Callable[..., Column], values: list[Any]
) -> None:
    assert landed(kind, make(values, None), 3) == values
    assert landed(kind, make(values, np.array([False, True, False])), 3) == [values[0], None, values[2]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-(10**14), 10**14), min_size=1, max_size=9), st.integers(0, 16))
def test_any_scale_is_exact_by_column_and_by_value(
    landed: Callable[..., list[Any]], units: list[int], scale: int
) -> None:
    meant = [Decimal(value).scaleb(-scale) for value in units]
    small = [value for value in units if abs(value) * 10 ** (-scale % 4) < 2**62]
    column = Numeric(np.array(small, np.int64), None, scale)
    if small:
        assert landed("numeric", column, len(small)) == [Decimal(value).scaleb(-scale) for value in small]
    assert landed("numeric", ragged([numeric_bytes(value, scale) for value in units]), len(units)) == meant


@pytest.mark.parametrize("scale", [0, 1, 18, 38])
def test_the_widest_numbers_keep_every_digit(landed: Callable[..., list[Any]], scale: int) -> None:
    units = [0, 1, -1, 10**38 - 1, -(10**38 - 1), 10**20]
    with localcontext(prec=50):
        found = landed("numeric", ragged([numeric_bytes(one, scale) for one in units]), len(units))
        assert found == [Decimal(one).scaleb(-scale) for one in units]

"""The row rules: what each cell may be, how decimals are rounded, when a whole file is doubted."""

from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from marketdata_assets.bars.layout import COLUMNS
from marketdata_assets.bars.reading import typed
from marketdata_assets.bars.rules import Bars, judge
from marketdata_assets.loading.rejects import DEFAULT_LIMIT, Rejects
from marketdata_assets.loading.text import Block
from tests.bars.bar_files import line

NAMES = tuple(COLUMNS.values())
TIME = "2000-06-09 09:30:00"


def row(**cells: str) -> str:
    """A good row, 10.00 at every price, with some cells changed."""
    values = dict(zip(NAMES, line(TIME).split(","), strict=True))
    return ",".join((values | cells).values())


def judged(text: str) -> tuple[Bars, Rejects]:
    rejects = Rejects()
    rows = typed(Block(text.encode(), 2), NAMES, rejects, "a.csv")
    return judge(rows, rejects, 2000), rejects


@pytest.mark.parametrize(
    ("cells", "column", "stored"),
    [
        ({"volume": "123.0"}, "volume", 123),
        ({"volume": "1E6"}, "volume", 1_000_000),
        ({"volume": "100000000000"}, "volume", 10**11),
        ({"volume": "0"}, "volume", 0),
        ({"amount": "1000000000000"}, "amount", 10**16),
        ({"amount": "309600"}, "amount", 3_096_000_000),
        ({"change_pct": "10000"}, "change_pct", 10**8),
        ({"change_pct": "-10000"}, "change_pct", -(10**8)),
        ({"amplitude": "-0.0"}, "amplitude", 0),
        ({"open": "-2.01", "close": "-2.01", "high": "-2.01", "low": "-2.01"}, "open", -20_100),
        ({"high": "10.00005"}, "high", 100_001),
    ],
)
def test_legal_cell_is_stored_exactly(cells: dict[str, str], column: str, stored: int) -> None:
    bars, rejects = judged(row(**cells))
    assert not rejects
    values = bars.volume if column == "volume" else bars.scaled[column]
    assert values.tolist() == [stored]


@pytest.mark.parametrize("column", ["volume", "amount", "change_pct", "amplitude", "name"])
def test_blank_optional_cell_is_null(column: str) -> None:
    bars, rejects = judged(row(**{column: ""}))
    assert not rejects
    if column == "name":
        assert bars.name == -1 or list(bars.name) == [-1]  # type: ignore[arg-type]
    else:
        assert bars.null[column].tolist() == [True]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"volume": "1.5"}, "volume 1.5 is not whole"),
        ({"volume": "-1"}, "volume -1 is out of range"),
        ({"volume": "100000000001"}, "volume 100000000001 is out of range"),
        ({"volume": "many"}, "volume 'many' is not a number"),
        ({"amount": "1000000000001"}, "amount 1000000000001 is out of range"),
        ({"amount": "-0.01"}, "amount -0.01 is out of range"),
        ({"amplitude": "inf"}, "amplitude inf is out of range"),
        ({"amplitude": "nan"}, "amplitude nan is out of range"),
        ({"change_pct": "-7439285.29"}, "change_pct -7439285.29 is out of range"),
        ({"open": "nan"}, "open nan is out of range"),
        ({"open": "", "close": "x"}, "close 'x' is not a number"),
        *(({column: ""}, f"{column} is missing") for column in ("open", "close", "high", "low", "time", "code")),
        *(({column: "inf"}, f"{column} inf is out of range") for column in ("open", "close", "high", "low")),
        ({"high": "9"}, "high 9 < low 10.00"),
        ({"high": "10.5", "open": "11"}, "high 10.5 < open 11"),
        ({"high": "10.5", "close": "11"}, "high 10.5 < close 11"),
        ({"open": "9.99"}, "open 9.99 < low 10.00"),
        ({"close": "9.99"}, "close 9.99 < low 10.00"),
        ({"code": "600000"}, "code '600000' is not sh, sz or bj and six digits"),
        ({"code": "sz600132"}, "code 'sz600132': 600132 is a number of stocks of SH, not of SZ"),
        ({"code": "002300.XSHG"}, "code '002300.XSHG': 002300 is a number of stocks of SZ, not of SH"),
        ({"code": "sh920001"}, "code 'sh920001': 920001 is a number of stocks of BJ, not of SH"),
        ({"time": "2001-01-01 09:30:00"}, "time 2001-01-01 09:30:00 is outside 2000, the year in the file's name"),
        ({"time": "2000-06-09 09:30:59"}, "time 2000-06-09 09:30:59 is not on a whole minute"),
        ({"time": "2000-06-09 9:30:01"}, "time 2000-06-09 9:30:01 is not on a whole minute"),
        ({"time": "2000-02-30 09:30:00"}, "time '2000-02-30 09:30:00' is not a time"),
        ({"name": "a,b"}, "12 columns, expected 11"),
        ({"name": "a\0b"}, "name holds a NUL character"),
        ({"high": "1e12", "open": "1e12", "close": "1e12", "low": "1e12"}, "open 1e12 is out of range"),
        ({"high": "999999999999.99999"}, "high 999999999999.99999 is out of range"),
    ],
)
def test_rejected_row_says_why_and_where(cells: dict[str, str], reason: str) -> None:
    bars, rejects = judged(f"{row()}\n{row(**cells)}")
    assert len(bars) == 1
    assert rejects.reasons == {3: reason}


@pytest.mark.parametrize(
    ("time", "month"), [(TIME, "2000-06"), ("2001-01-01 09:30:00", "2001-01"), ("x", None), ("", None)]
)
def test_rejected_row_names_its_month_when_it_has_one(time: str, month: str | None) -> None:
    _, rejects = judged(row(time=time, volume="1.5"))
    assert rejects.partitions.get(2) == month


def test_limit_has_no_rounding_error() -> None:
    assert not any(DEFAULT_LIMIT.exceeded(n, n * 100) for n in range(1001))
    assert all(DEFAULT_LIMIT.exceeded(n, n * 100 - 1) for n in range(1, 1001))


@pytest.fixture(scope="module")
def postgres(server_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server_dsn) as connection:
        yield connection


ties = st.builds(lambda whole, digits: f"{whole}.{digits:04}5", st.integers(-(10**8), 10**8), st.integers(0, 9999))
near_ties = st.builds(lambda tie, rest: f"{tie}{rest}", ties, st.sampled_from(["0001", "0000000000001", "", "9"]))
below_ties = st.builds(lambda tie: f"{tie[:-1]}4999999999999", ties)
huge = st.builds(lambda whole, rest: f"{whole}.{rest}", st.integers(10**10, 10**12 - 2), st.integers(0, 10**7))
plain = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False).map(lambda d: f"{d:f}")
exponents = st.builds(lambda d, e: f"{d}E{e}", st.integers(-99_999, 99_999), st.integers(-9, 3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.one_of(ties, near_ties, below_ties, huge, plain, exponents), min_size=1, max_size=40))
@example(texts=["1.23445", "-1.23445", "2.00005", "0.00005", "-0.00005", "1.00015", "1.234549999999999999999"])
@example(texts=["99999999999.12345", "999999999998.99995", "900719925474.09925", "90071992547.40995"])
def test_decimals_round_as_postgres_rounds_the_same_text(postgres: psycopg.Connection, texts: list[str]) -> None:
    bars, rejects = judged("\n".join(row(high=t, low=t, open=t, close=t) for t in texts))
    assert not rejects
    rounded = postgres.execute(
        "SELECT t::numeric(16,4) FROM unnest(%s::text[]) WITH ORDINALITY u(t, n) ORDER BY n", [texts]
    )
    assert [Decimal(v).scaleb(-4) for v in bars.scaled["high"].tolist()] == [value for (value,) in rounded]

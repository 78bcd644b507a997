"""Files with different bases of adjustment are found at their seam, by the jump or by factors, and nothing else is."""

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
import pytest

from marketdata_assets.bars import bases
from marketdata_assets.bars.bases import one_price_basis
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_demo import sample_bars
from tests.bars.bar_files import csv_text, deliver, minutes, months, run

DAYS = Reference().calendar.trading_days(Days(dt.date(2001, 12, 20), dt.date(2002, 1, 15)))
SEAM = next(number for number, day in enumerate(DAYS) if day.year == 2002)
SYMBOL = "600000.SH"
NO_FACTORS = bases.FACTORS.to_frame()

Price = tuple[float, float]
"""As adjusted, and as traded."""


def put(
    connection: psycopg.Connection,
    prices: Sequence[Price],
    symbol: str = SYMBOL,
    days: Sequence[dt.date] = DAYS,
) -> None:
    """Two bars a day, all prices the same, from a file for each year."""
    columns = "time, code, open, high, low, close, volume, amount"
    with connection.cursor().copy(f"COPY stock_1min_qfq ({columns}) FROM STDIN") as copy:
        for day, (adjusted, traded) in zip(days, prices, strict=True):
            for minute in ("09:31", "15:00"):
                copy.write_row((f"{day} {minute}", symbol, *[adjusted] * 4, 100, traded * 10_000))
    connection.execute(
        """INSERT INTO stock_1min_coverage (source, unit, code, month, first, last, rows, delivered)
           SELECT to_char(time, 'YYYY'), 'a.csv', code, date_trunc('month', time), min(time), max(time), count(*), 1
           FROM stock_1min_qfq WHERE code = %s GROUP BY 1, 3, 4""",
        [symbol],
    )


def check(
    connection: psycopg.Connection,
    factors: pl.DataFrame = NO_FACTORS,
    reference: Reference = Reference(),  # noqa: B008 - frozen
    asked: Sequence[str] = ("2002-01",),
) -> Finding:
    return one_price_basis(connection, asked, reference, factors)


def walk(base_before: float, base_after: float, steps: Sequence[float] | None = None) -> list[Price]:
    """Traded prices from 10 on that move by `steps`, adjusted by another base in each year."""
    traded, prices = 10.0, []
    for number, _ in enumerate(DAYS):
        traded *= 1 + (steps[number] if steps else 0.01 * (-1) ** number)
        prices.append((round(traded * (base_before if number < SEAM else base_after), 4), traded))
    return prices


def factors(*changes: tuple[dt.date, float]) -> pl.DataFrame:
    return pl.DataFrame([(SYMBOL, *change) for change in changes], bases.FACTORS, orient="row")


def year_file(folder: Path, year: int, dividend: float, day: int) -> None:
    days = [
        one for one in sample_bars.weekdays(year) if (one.month, one.day) < (1, 8) or (one.month, one.day) > (12, 23)
    ]
    frame = sample_bars.stock_year("sh600000", "示例", days, 7, dividend)
    deliver(folder / f"{year}_1min.zip", {f"sh600000_{year}.csv": sample_bars.csv_bytes(frame)}, day)


def test_a_year_that_is_delivered_again_rebased_is_a_second_basis(
    connection: psycopg.Connection, dsn: str, tmp_path: Path
) -> None:
    both = [*months(2000), *months(2001)]
    for year in (2000, 2001):
        year_file(tmp_path, year, 0.0, day=1)
    run(dsn, tmp_path, both)
    assert check(connection, asked=both).passed
    year_file(tmp_path, 2001, 5.0, day=2)
    run(dsn, tmp_path, both)
    found = check(connection, asked=months(2001))
    assert (found.count, found.facts["codes_with_two_bases"]) == (1, 1)
    [example] = found.examples
    assert (example["symbol"], example["note"]) == (SYMBOL, bases.JUMP)
    assert "2000_1min.zip" in example["last"]
    assert "2001_1min.zip" in example["first"]
    assert bases.known(connection) == {SYMBOL: "2000_1min.zip | 2001_1min.zip"}
    assert check(connection, asked=months(2000)).count == 1, "the seam is next to both years"
    connection.commit()
    year_file(tmp_path, 2000, 5.0, day=3)
    run(dsn, tmp_path, both)
    assert check(connection, asked=months(2000)).passed
    assert bases.known(connection) == {}


@pytest.mark.parametrize(
    ("symbol", "jump", "wrong"),
    [
        ("600000.SH", 0.10, 0),
        ("600000.SH", 0.12, 1),
        ("600000.SH", -0.10, 0),
        ("600000.SH", -0.12, 1),
        ("688001.SH", 0.20, 0),
        ("688001.SH", 0.22, 1),
        ("300001.SZ", 0.12, 1),  # in 2002 ChiNext had 10 %, as the other boards
        ("920001.BJ", 0.30, 0),
        ("920001.BJ", -0.33, 1),
    ],
)
def test_a_stock_opens_within_the_limit_of_its_board(
    connection: psycopg.Connection, symbol: str, jump: float, wrong: int
) -> None:
    steps = [jump if number == SEAM else 0.0 for number in range(len(DAYS))]
    put(connection, walk(1.0, 1.0, steps), symbol)
    found = check(connection)
    assert (found.count, found.checked) == (wrong, 1)


def test_special_treatment_narrows_the_limit(connection: psycopg.Connection) -> None:
    put(connection, walk(1.0, 1.0, [0.08 if number == SEAM else 0.0 for number in range(len(DAYS))]))
    assert check(connection).passed
    names = {"symbol": [SYMBOL], "name": ["*ST示例"], "first": [dt.date(2001, 5, 1)]}
    assert check(connection, reference=Reference(names=pl.DataFrame(names))).count == 1


def test_negative_prices_are_judged_by_the_traded_price(connection: psycopg.Connection) -> None:
    """With dividends subtracted, a price near zero may move by any share of itself, but not beyond the traded one."""
    prices = [(0.2 - 0.1 * (number % 2), 10.0 - 0.1 * (number % 2)) for number in range(len(DAYS))]
    put(connection, prices)
    assert check(connection).passed
    connection.execute("UPDATE stock_1min_qfq SET open = open - 3, close = close - 3 WHERE time >= '2002-01-01'")
    assert check(connection).count == 1


@pytest.mark.parametrize(("listed", "left_out"), [(DAYS[SEAM - 1], 1), (dt.date(1999, 11, 10), 0)])
def test_the_first_days_of_a_listing_have_no_limit(
    connection: psycopg.Connection, listed: dt.date, left_out: int
) -> None:
    put(connection, [(9.0 if number < SEAM else 18.0, 10.0) for number in range(len(DAYS))])
    connection.execute("UPDATE stock_1min_qfq SET amount = amount * 2 WHERE time >= '2002-01-01'")
    reference = Reference(listings={SYMBOL: Listing(SYMBOL, "", listed, None, "listed")})
    found = check(connection, reference=reference)
    assert (found.count, found.left_out) == (1 - left_out, left_out)


def test_after_a_long_suspension_a_stock_may_open_anywhere(connection: psycopg.Connection) -> None:
    days = [*DAYS[:SEAM], *(day + dt.timedelta(days=60) for day in DAYS[SEAM:])]
    put(connection, [(9.0, 9.0) if number < SEAM else (18.0, 18.0) for number in range(len(days))], days=days)
    found = check(connection, asked=["2002-03"])
    assert (found.count, found.left_out, found.checked) == (0, 1, 1)


def test_a_small_second_basis_is_found_by_factors(connection: psycopg.Connection) -> None:
    put(connection, walk(1.0, 0.97))
    found = check(connection, factors((dt.date(2000, 1, 4), 1.0)))
    assert (found.count, found.examples[0]["note"]) == (1, bases.BASIS)


@pytest.mark.parametrize(("base", "wrong"), [(1.0, 0), (0.97, 1)])
@pytest.mark.parametrize("seam_bars", ["volume = 0, amount = 0", "amount = amount * 1.006"])
def test_where_the_bars_at_the_seam_say_nothing_the_days_beside_it_decide(
    connection: psycopg.Connection, seam_bars: str, base: float, wrong: int
) -> None:
    """As at a limit without trades, or in a minute in which the price moved; each day has other bars here."""
    put(connection, walk(1.0, base))
    connection.execute(
        f"UPDATE stock_1min_qfq SET {seam_bars} WHERE time = %s + time '15:00'".encode(), [DAYS[SEAM - 1]]
    )
    assert check(connection, factors((dt.date(2000, 1, 4), 1.0))).count == wrong


def test_without_factors_a_small_second_basis_is_suspected(connection: psycopg.Connection) -> None:
    put(connection, walk(1.0, 0.97))
    found = check(connection)
    assert (found.count, found.facts["seams_suspected"]) == (0, 1)
    assert "only adjustment factors can decide" in found.examples[0]["note"]
    assert bases.known(connection) == {}


def test_an_ex_dividend_day_between_two_files_is_no_second_basis(connection: psycopg.Connection) -> None:
    """The traded price falls by a quarter, the factor rises by a third, and the adjusted price is continuous."""
    prices = [(7.5, 10.0 if number < SEAM else 7.5) for number in range(len(DAYS))]
    put(connection, prices)
    known = factors((dt.date(2000, 1, 4), 3.0), (DAYS[SEAM], 4.0))
    assert check(connection, known).passed
    assert check(connection).facts["seams_suspected"] == 1


def test_the_same_prices_after_an_ex_dividend_day_are_two_bases(connection: psycopg.Connection) -> None:
    """A file of the old year that was never adjusted for the dividend of the new one; both prices fall by 4 %."""
    prices = [(10.0, 10.0) if number < SEAM else (9.6, 9.6) for number in range(len(DAYS))]
    put(connection, prices)
    known = factors((dt.date(2000, 1, 4), 3.0), (DAYS[SEAM], 3.125))
    assert check(connection, known).count == 1
    assert check(connection).count == 0


def test_factors_acquit_of_a_jump(connection: psycopg.Connection) -> None:
    """As on the first day after a reform, which has no limit."""
    put(connection, walk(1.0, 1.0, [0.3 if number == SEAM else 0.0 for number in range(len(DAYS))]))
    assert check(connection).count == 1
    assert check(connection, factors((dt.date(2000, 1, 4), 1.0))).passed
    assert bases.known(connection) == {}


def test_of_a_market_exactly_the_rebased_stocks_are_found(connection: psycopg.Connection) -> None:
    """300 stocks that move within their limits; each tenth has an ex-dividend day, and each 60th a second basis."""
    rng = np.random.default_rng(7)
    rows: list[tuple[str, dt.date, float]] = []
    rebased: dict[str, float] = {}
    for number in range(300):
        symbol, base = f"600{number:03d}.SH", float(rng.uniform(0.3, 1.0))
        rows.append((symbol, dt.date(2000, 1, 4), 1.0))
        steps = rng.uniform(-0.09, 0.09, len(DAYS))
        steps[SEAM] = rng.uniform(-0.02, 0.02)
        prices = walk(base, base, steps.tolist())
        if number % 10 == 1:
            rows.append((symbol, DAYS[SEAM], 1.25))
            prices[SEAM:] = [(adjusted, traded / 1.25) for adjusted, traded in prices[SEAM:]]
        if number % 60 == 3:
            rebased[symbol] = shift = float(rng.choice([0.55, 0.95]))
            prices[SEAM:] = [(adjusted * shift, traded) for adjusted, traded in prices[SEAM:]]
        put(connection, prices, symbol)
    found = check(connection, pl.DataFrame(rows, bases.FACTORS, orient="row"))
    assert (set(bases.known(connection)), found.checked) == (set(rebased), 300)
    assert check(connection).count == len([shift for shift in rebased.values() if shift < 0.9])


def bars(prices: Sequence[tuple[str, float, float]]) -> bytes:
    """A file of bars at a time, of a price as adjusted and one as traded."""
    return csv_text(
        f"{time},sh600000,示例,{price},{price},{price},{price},100,{traded * 10_000:.2f},0,0"
        for time, price, traded in prices
    )


def session(day: dt.date) -> list[str]:
    return minutes(f"{day} 09:30:00", 121) + minutes(f"{day} 13:01:00", 120)


JANUARY = [day for day in DAYS if day.year == 2002]


def traded_at(time: str) -> float:
    """A price that moves from minute to minute by up to half a percent."""
    return 10 * (1 + 0.005 * np.sin(hash_of(time)))


def hash_of(time: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(time[-14:])) % 1000


def deliveries(folder: Path, newer: Callable[[str], bool], base: float) -> None:
    """A month of bars, and a newer file with the minutes that are chosen, adjusted by another base."""
    times = [time for day in JANUARY for time in session(day)]
    deliver(folder / "old_2002.csv", bars([(time, round(traded_at(time), 2), traded_at(time)) for time in times]), 1)
    chosen = [time for time in times if newer(time)]
    deliver(folder / "new_2002.csv", bars([(t, round(base * traded_at(t), 2), traded_at(t)) for t in chosen]), 2)


def day_of(time: str) -> int:
    return int(time[8:10])


PATTERNS: dict[str, tuple[Callable[[str], bool], int]] = {
    "days together": (lambda time: 7 <= day_of(time) <= 9, 2),
    "two days apart": (lambda time: day_of(time) in (7, 10), 4),
    "a morning": (lambda time: day_of(time) == 8 and time[11:13] < "12", 1),
    "odd minutes": (lambda time: day_of(time) == 8 and int(time[14:16]) % 2 == 1, 1),
    "two minutes": (lambda time: time[:16] in ("2002-01-08 10:03", "2002-01-08 14:20"), 1),
}


@pytest.mark.parametrize(("pattern", "base"), list(zip(PATTERNS, [0.5, 0.97, 0.97, 0.5, 0.97], strict=True)))
def test_a_newer_file_of_another_base_is_named_with_code_day_and_both_files(
    connection: psycopg.Connection, dsn: str, tmp_path: Path, pattern: str, base: float
) -> None:
    newer, seams = PATTERNS[pattern]
    deliveries(tmp_path, newer, base)
    run(dsn, tmp_path, months(2002))
    known = factors((dt.date(2001, 12, 1), 1.0))
    found = check(connection, known)
    assert found.count == seams
    assert bases.known(connection).keys() == {SYMBOL}
    for example in found.examples:
        assert {example["last"].split()[-1], example["first"].split()[-1]} == {"old_2002.csv", "new_2002.csv"}
    on = {day_of(example[side]) for example in found.examples for side in ("last", "first")}
    assert {day_of(time) for day in JANUARY for time in session(day) if newer(time)} & on


@pytest.mark.parametrize("pattern", ["two days apart", "odd minutes", "two minutes"])
def test_a_newer_file_of_the_same_base_is_no_objection(
    connection: psycopg.Connection, dsn: str, tmp_path: Path, pattern: str
) -> None:
    newer, seams = PATTERNS[pattern]
    deliveries(tmp_path, newer, 1.0)
    run(dsn, tmp_path, months(2002))
    for known in (factors((dt.date(2001, 12, 1), 1.0)), NO_FACTORS):
        found = check(connection, known)
        assert (found.count, found.checked) == (0, seams)


@pytest.mark.parametrize("pattern", ["a morning", "two minutes"])
def test_within_a_day_two_bases_are_found_without_factors(
    connection: psycopg.Connection, dsn: str, tmp_path: Path, pattern: str
) -> None:
    deliveries(tmp_path, PATTERNS[pattern][0], 0.97)
    run(dsn, tmp_path, months(2002))
    assert check(connection).count == 1

"""Files with volume or amount in other units are named by the price that these give; adjusted and thin bars are not."""

import csv
import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import checks, kline, preview
from marketdata_assets.bars.profiles import SHIPPED
from marketdata_assets.loading.files import file_at
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_demo import sample_bars
from tests.bars.bar_files import csv_text, deliver, line, run

YEAR = 2023  # deliver() dates files to November 2023
MONTHS = [f"{YEAR}-{month:02d}" for month in range(1, 13)]
DAYS = [day for day in sample_bars.weekdays(YEAR) if day.month in (9, 10) and day.day < 8]
OLD = [day for day in sample_bars.weekdays(2003) if day.month == 9][:4]
PRICES = ("开盘价", "收盘价", "最高价", "最低价")
Change = Callable[[Decimal], Decimal]


def bars(code: str = "sh600009", days: list[dt.date] = DAYS, dividend: float = 0.0, **changes: Change) -> bytes:
    """The sample's bars with some columns changed."""
    data = sample_bars.csv_bytes(sample_bars.stock_year(code, "示例", days, 7, dividend))
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    for row in rows:
        for column, change in changes.items():
            row[column] = str(change(Decimal(row[column])))
    return csv_text(",".join(row.values()) for row in rows)


def judged(connection: psycopg.Connection, dsn: str, folder: Path, year: int = YEAR) -> Finding:
    months = [f"{year}-{month:02d}" for month in range(1, 13)]
    assert run(dsn, folder, months).failed == ()
    kline.refresh(dsn, months)
    return checks.rule(connection, months, "units")


def prices_by(factor: str) -> dict[str, Change]:
    return dict.fromkeys(PRICES, lambda price: price * Decimal(factor))


@pytest.mark.parametrize(
    ("changes", "ratio", "remedy"),
    [
        ({"成交量": lambda lots: lots * 100}, 0.01, "divide it by 100"),
        ({"成交额": lambda yuan: yuan / 1000}, 0.001, "multiply it by 1000"),
        ({"成交额": lambda yuan: yuan / 10000}, 0.0001, "ten thousands of yuan"),
        ({"成交额": lambda yuan: yuan * 100}, 100, "in cents"),
        ({"成交额": lambda yuan: yuan * 1000}, 1000, "another unit"),
        ({"成交量": lambda lots: lots * 100} | prices_by("0.5"), 0.02, "divide it by 100"),
    ],
    ids=["shares", "thousands", "ten thousands", "cents", "thousandths", "shares, adjusted by half"],
)
def test_a_file_in_other_units_is_named_with_the_ratio_and_the_remedy(
    connection: psycopg.Connection, dsn: str, tmp_path: Path, changes: dict[str, Change], ratio: float, remedy: str
) -> None:
    members = {f"{code}_{YEAR}.csv": bars(code) for code in ("sh600008", "sz000009")}
    deliver(tmp_path / f"{YEAR}_1min.zip", members, day=-40)
    deliver(tmp_path / f"sh600009_{YEAR}.csv", bars(**changes), day=-39)
    found = judged(connection, dsn, tmp_path)
    assert found.count == 1
    [example] = found.examples
    assert (example["file"], example["code"], example["codes"]) == (f"sh600009_{YEAR}.csv", "600009.SH", "1")
    assert example["month"] == f"{YEAR}-09"
    assert float(example["ratio"]) == pytest.approx(ratio, rel=0.1)
    assert remedy in example["remedy"]
    assert checks.rule(connection, [f"{YEAR}-11"], "units").passed


@pytest.mark.parametrize(
    ("days", "dividend", "changes"),
    [
        (DAYS, 0.0, {}),
        (DAYS, 40.0, {}),
        (DAYS, 8.5, {}),
        (OLD, 0.0, prices_by("0.04")),
        (OLD, 0.0, prices_by("0.01")),
        (DAYS, 0.0, {"成交量": lambda lots: min(lots, Decimal(1))} | {"成交额": lambda yuan: min(yuan, Decimal(1999))}),
        (DAYS, 0.0, {"成交额": lambda yuan: yuan.quantize(Decimal(1))}),
        (DAYS, 0.0, prices_by("0.9")),
        (OLD, 0.0, prices_by("0.1") | {"成交量": lambda lots: lots * 100}),
    ],
    ids=["right", "negative", "near zero", "25 fold", "100 fold", "thin", "rounded", "dividend", "old, in shares"],
)
def test_bars_in_right_units_or_of_which_nobody_can_tell_are_not_named(
    connection: psycopg.Connection,
    dsn: str,
    tmp_path: Path,
    days: list[dt.date],
    dividend: float,
    changes: dict[str, Change],
) -> None:
    year = days[0].year
    deliver(tmp_path / f"sh600009_{year}.csv", bars(days=days, dividend=dividend, **changes), day=-39)
    found = judged(connection, dsn, tmp_path, year)
    assert (found.count, found.checked) == (0, 12)


def mixed(wrong: int, **changes: Change) -> bytes:
    """The first days of a file in other units than the rest."""
    head, *first = bars(days=DAYS[:wrong], **changes).splitlines(keepends=True)
    return b"".join([head, *first, *bars(days=DAYS[wrong:]).splitlines(keepends=True)[1:]])


OTHER_UNITS: dict[str, tuple[dict[str, Change], float, str]] = {
    "shares": ({"成交量": lambda lots: lots * 100}, 0.01, "volume seems to be in shares: divide it by 100"),
    "thousands": (
        {"成交额": lambda yuan: yuan / 1000},
        0.001,
        "amount seems to be in thousands of yuan: multiply it by 1000",
    ),
    "cents": ({"成交额": lambda yuan: yuan * 100}, 100, "amount seems to be in cents"),
}
"""What the days of a file become, the ratio of its price to that of other days, and the remedy."""


@pytest.mark.parametrize(("wrong", "said"), [(2, "2 of 5"), (1, "1 of 5"), (4, "4 of 5")])
@pytest.mark.parametrize(
    ("changes", "ratio", "remedy"),
    [OTHER_UNITS["shares"], OTHER_UNITS["thousands"]],
    ids=["shares", "thousands"],
)
def test_days_of_a_file_in_other_units_than_its_others_are_counted(
    connection: psycopg.Connection,
    dsn: str,
    tmp_path: Path,
    changes: dict[str, Change],
    ratio: float,
    remedy: str,
    wrong: int,
    said: str,
) -> None:
    file = deliver(tmp_path / f"sh600009_{YEAR}.csv", mixed(wrong, **changes), day=-39)
    [example] = judged(connection, dsn, tmp_path).examples
    assert float(example["ratio"]) == pytest.approx(ratio, rel=0.1)
    assert example["remedy"].startswith(f"of {said} days only, such as {DAYS[0]}: {remedy}")
    [kind] = preview.of_file(file_at(file, file.name), SHIPPED, 0)
    assert f"no price on {wrong} of the newest" in kind["units"]


@pytest.mark.parametrize(
    ("changes", "ratio", "remedy"),
    OTHER_UNITS.values(),
    ids=OTHER_UNITS,
)
@pytest.mark.parametrize("alone", [True, False], ids=["a file of its own", "in the file of the month"])
def test_one_day_in_other_units_is_found_although_the_average_of_its_month_is_a_price(
    connection: psycopg.Connection,
    dsn: str,
    tmp_path: Path,
    changes: dict[str, Change],
    ratio: float,
    remedy: str,
    alone: bool,
) -> None:
    """The file that provides the day is named, not a newer one of other days."""
    month = [day for day in sample_bars.weekdays(YEAR) if day.month == 9]
    wrong = month[4]
    head, *odd = bars(days=[wrong], **changes).splitlines(keepends=True)
    files = {f"{day:%Y%m%d}": bars(days=[day]) for day in month} | {f"{wrong:%Y%m%d}": head + b"".join(odd)}
    if not alone:
        of_month = b"".join(line for day in files.values() for line in day.splitlines(keepends=True)[1:])
        files = {"month": head + of_month}
    for number, (name, data) in enumerate(files.items()):
        deliver(tmp_path / f"{name}_min.csv", data, day=-40 + number)
    [example] = judged(connection, dsn, tmp_path).examples
    assert example["file"] == (f"{wrong:%Y%m%d}_min.csv" if alone else "month_min.csv")
    assert float(example["ratio"]) == pytest.approx(ratio, rel=0.1)
    assert example["remedy"].startswith(f"of 1 of {len(month)} days only, such as {wrong}: {remedy}")


def test_single_bars_are_judged_too(connection: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / f"sh600009_{YEAR}.csv", csv_text([line(f"{YEAR}-09-04 10:00:00", "sh600009", volume=500)]))
    assert judged(connection, dsn, tmp_path).count == 1


def test_each_stock_of_a_zip_in_other_units_is_counted(
    connection: psycopg.Connection, dsn: str, tmp_path: Path
) -> None:
    shares: dict[str, Change] = {"成交量": lambda lots: lots * 100}
    members = {f"sh68800{n}_{YEAR}.csv": bars(f"sh68800{n}", **shares) for n in range(3)}
    deliver(tmp_path / f"{YEAR}_1min.zip", members | {f"sh600009_{YEAR}.csv": bars()})
    [example] = judged(connection, dsn, tmp_path).examples
    assert (example["codes"], example["code"]) == ("3", "688000.SH")


def test_the_sample_of_the_demo_is_in_right_units(connection: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    sample_bars.write_year(tmp_path, YEAR, until=dt.date(YEAR, 2, 28))
    assert judged(connection, dsn, tmp_path).passed

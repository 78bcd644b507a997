"""What is stale: the files held against the ledger, as the sensor and the nightly repair ask it."""

from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import plan as planning
from marketdata_assets.bars.layout import scan
from marketdata_assets.bars.plan import Plan
from marketdata_assets.stores import ledger
from tests.bars.bar_files import csv_text, deliver, line, minutes, months, run


def looked(dsn: str, folder: Path, asked: list[str]) -> Plan:
    with psycopg.connect(dsn) as connection:
        return planning.make(scan(folder), ledger.loaded(connection, "stock_1min_qfq"), asked)


def touched(plan: Plan) -> dict[str, list[str]]:
    return {task.reason: sorted(task.touches) for task in plan.tasks}


def data(price: str = "10", year: int = 2000) -> bytes:
    return csv_text(line(label, price=price) for label in minutes(f"{year}-06-09 09:30:00", 3))


@pytest.fixture
def loaded(dsn: str, tmp_path: Path) -> str:
    """Two years of one member each, of which four months are loaded."""
    for year in (2000, 2001):
        deliver(tmp_path / f"{year}_1min.zip", {f"a_{year}.csv": data(year=year)})
        run(dsn, tmp_path, [f"{year}-06", f"{year}-07"])
    return dsn


def test_unchanged_files_are_not_stale(loaded: str, tmp_path: Path) -> None:
    plan = looked(loaded, tmp_path, ["2000-06", "2001-07"])
    assert (plan.tasks, plan.unchanged) == ((), 2)


@pytest.mark.parametrize(
    ("delivery", "asked", "due", "unchanged"),
    [
        (None, ["2000-06", "2000-08", "2002-01"], {"missing": ["2000-08"]}, 0),
        ({"a_2000.csv": data("11")}, ["2000-06", "2001-06"], {"stale": ["2000-06", "2000-07"]}, 1),
        ({"a_2000.csv": data()}, months(2000)[5:7], {}, 1),
        ({"b_2000.csv": data()}, ["2000-06"], {"vanished": ["2000-06", "2000-07"], "missing": ["2000-06"]}, 0),
        (b"PK", ["2000-06", "2001-06"], {"unusable": ["2000-06"]}, 1),
    ],
    ids=["never loaded", "changed", "same bytes again", "member gone and another new", "broken"],
)
def test_what_a_delivery_makes_due(
    loaded: str,
    tmp_path: Path,
    delivery: bytes | dict[str, bytes] | None,
    asked: list[str],
    due: dict[str, list[str]],
    unchanged: int,
) -> None:
    if delivery is not None:
        deliver(tmp_path / "2000_1min.zip", delivery, day=2)
    plan = looked(loaded, tmp_path, asked)
    assert (touched(plan), plan.unchanged) == (due, unchanged)


def test_failed_unit_is_tried_again_even_with_the_same_bytes(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "a_2000.csv", b"x")
    run(dsn, tmp_path, ["2000-06"])
    assert touched(looked(dsn, tmp_path, ["2000-06"])) == {"failed": ["2000-06"]}


def test_plan_of_a_run_is_empty_after_it(loaded: str, tmp_path: Path) -> None:
    deliver(tmp_path / "loose.csv", data("12"), day=3)
    deliver(tmp_path / "2001_1min.zip", {"a_2001.csv": data("11", 2001)}, day=2)
    asked = [*months(2000), *months(2001)]
    assert {task.reason for task in looked(loaded, tmp_path, asked).tasks} == {"missing", "stale"}
    run(loaded, tmp_path, asked)
    assert looked(loaded, tmp_path, asked).tasks == ()


@pytest.mark.parametrize("force", [False, True])
def test_force_takes_what_is_there_already(loaded: str, tmp_path: Path, force: bool) -> None:
    with psycopg.connect(loaded) as connection:
        known = ledger.loaded(connection, "stock_1min_qfq")
    plan = planning.make(scan(tmp_path), known, ["2000-06"], force=force)
    assert touched(plan) == ({"forced": ["2000-06"]} if force else {})

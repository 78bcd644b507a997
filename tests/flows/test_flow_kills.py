"""SIGKILL before any database step of a flow: each file's rows are the old or the new, and a rerun ends right."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dying import Load, server
from flow_files import PRICES, Row, deliver, flow, lines, metadata, rows, run

from marketdata_assets.flows.definition import read

REPLACE = PRICES.replace("mode: upsert", "mode: replace")


def doomed(file: str, dsn: str, folder: str) -> None:
    run(read(Path(file)), dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def first(folder: Path) -> None:
    deliver(folder, "a.csv", lines("a", range(1, 120)))
    deliver(folder, "b.csv", lines("b", [1, 2, 3]))


def second(folder: Path) -> None:
    """One file with a row less, other prices and, within the limit, a refused row; the other with one row."""
    deliver(folder, "a.csv", lines("a", [*range(2, 119), "junk"]))
    deliver(folder, "b.csv", lines("b", [7]))


def by_code(found: list[Row]) -> dict[object, list[Row]]:
    return {code: [row for row in found if row[0] == code] for code in "ab"}


@pytest.mark.parametrize(
    ("text", "steps"),
    [pytest.param(PRICES, 0, id="upsert", marks=pytest.mark.slow), pytest.param(REPLACE, 1, id="replace")],
)
def test_kill_before_any_step_leaves_each_file_old_or_new(
    dsn: str, tmp_path: Path, survived: Load, text: str, steps: int
) -> None:
    prices = flow(tmp_path, text)
    first(tmp_path)
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET synchronous_commit = off')
    expected = {}
    for delivery in (second, first):
        delivery(tmp_path)
        run(prices, dsn, tmp_path)
        expected[delivery] = by_code(rows(dsn))
    ended = 0
    while ended < 2:
        delivery, other = ((second, first), (first, second))[steps // 2 % 2]
        delivery(tmp_path)
        ended = ended + 1 if survived(prices.file, dsn, tmp_path, steps) else 0
        now, known = by_code(rows(dsn)), metadata(dsn)
        for code in "ab":
            states = expected[delivery][code], expected[other][code]
            assert now[code] in states, f"{code} is half loaded"
            if text is REPLACE:
                assert known[f"{code}.csv"]["rows"] == len(now[code])
        assert not run(prices, dsn, tmp_path).failed
        assert by_code(rows(dsn)) == expected[delivery]
        steps += 2  # the other test takes those between
    assert steps > 30

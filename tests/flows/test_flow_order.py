"""Which row of a key is kept when several files have it: the same one in any order of loading."""

from pathlib import Path

import psycopg
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import checks, status, storage
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition, parse
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import Forgotten, forget
from marketdata_assets.flows.targets import contents
from marketdata_assets.loading.errors import CannotForget
from tests.flows.flow_files import (
    HEADER,
    PRICES,
    closes,
    deliver,
    flow,
    lines,
    made,
    metadata,
    only_error,
    quarantined,
    rows,
    run,
)

BY_TIME = PRICES.replace("mode: upsert", "mode: upsert\n  order_by: file time")
BY_VOLUME = PRICES.replace("mode: upsert", "mode: upsert\n  order_by: volume")
DELETING = PRICES.replace("mode: upsert", "mode: upsert\n  removed_rows: delete")
FOLDER = {"postgres": "", "parquet": "\n  folder: out"}
ACCOUNTS = "SELECT code, day, close, volume FROM prices ORDER BY code, day"


def accounted(dsn: str, prices: FlowDefinition) -> bool:
    with psycopg.connect(dsn) as connection:
        return checks.every_row_accounted(connection, prices).passed


def day_of(code: str, close: object, volume: int = 100) -> str:
    return f"{HEADER}{code},2024-01-01,{close},{volume}\n"


def test_daily_snapshots_end_in_the_last_one_whatever_their_size(dsn: str, tmp_path: Path) -> None:
    """The first is the largest, and so is loaded first or last by size; an edit of the flow loads all of them again."""
    prices = flow(tmp_path)
    for number in range(1, 11):
        codes = "".join(f"c{code},2024-01-01,{number},{10 ** (10 - number)}\n" for code in range(100))
        deliver(tmp_path, f"snapshot_{number}.csv", HEADER + codes)
    run(prices, dsn, tmp_path, workers=2)
    assert rows(dsn, "SELECT DISTINCT close FROM prices") == [(10,)]
    assert accounted(dsn, prices)
    edited = flow(tmp_path, PRICES + "handlers: [{sort: [volume]}]\n")
    assert run(edited, dsn, tmp_path).count("ok") == 10
    assert rows(dsn, "SELECT DISTINCT close FROM prices") == [(10,)]
    assert accounted(dsn, edited)


def test_the_last_row_of_a_key_in_a_file_wins(dsn: str, tmp_path: Path) -> None:
    loose = "quality: {max_rejected_share: 0.9}\n"
    deliver(tmp_path, "a.csv", day_of("a", 1, 30) + "a,2024-01-01,2,20\na,2024-01-01,3,10\n")
    run(flow(tmp_path, PRICES + loose), dsn, tmp_path)
    assert closes(dsn) == [3]
    said = "duplicate key a 2024-01-01, which a later row of this file has too"
    assert [(line, reason) for _, line, reason, _ in quarantined(dsn)] == [(2, said), (3, said)]
    by_volume = flow(tmp_path, BY_VOLUME + loose)
    (report,) = run(by_volume, dsn, tmp_path).units
    assert (closes(dsn), report.rejected, report.skipped) == ([1], 0, 2)


def test_a_row_without_the_declared_order_is_rejected(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", f"{HEADER}a,2024-01-01,1,\n")
    assert "line 2: volume is NULL, and orders the rows" in only_error(flow(tmp_path, BY_VOLUME), dsn, tmp_path)


@pytest.mark.parametrize("text", [BY_VOLUME, DELETING])
def test_a_row_that_had_given_way_returns_when_the_other_is_corrected(dsn: str, tmp_path: Path, text: str) -> None:
    prices = flow(tmp_path, text)
    for name, close in (("a", 1), ("b", 2), ("c", 3)):
        deliver(tmp_path, f"{name}.csv", day_of("x", close, volume=close))
    run(prices, dsn, tmp_path)
    assert closes(dsn, "x") == [3]
    deliver(tmp_path, "b.csv", day_of("y", 2))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "c.csv", day_of("x", 9, volume=0) if text is BY_VOLUME else day_of("z", 3))
    run(prices, dsn, tmp_path)
    assert closes(dsn, "x") == [1]
    assert accounted(dsn, prices)


def test_rows_that_a_file_no_longer_has_are_kept_and_counted_or_deleted(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [1]) + "b,2024-01-02,2,100\n")
    (report,) = run(prices, dsn, tmp_path).units
    assert (report.rows, report.kept, closes(dsn), closes(dsn, "b")) == (2, 2, [1, 2, 3], [2])
    assert accounted(dsn, prices)
    deleting = flow(tmp_path, DELETING)
    (report,) = run(deleting, dsn, tmp_path).units
    assert (report.kept, closes(dsn), closes(dsn, "b")) == (0, [1], [2])
    assert accounted(dsn, deleting)


def test_the_check_says_which_rows_of_which_file_were_replaced(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, PRICES.replace("key: [code, day]", "key: [code]"))
    for day in ("02", "03"):
        rows_of_day = "".join(f"{code},2024-01-{day},1,100\n" for code in "ab")
        deliver(tmp_path, f"eod_202401{day}.csv", f"code,day,close,volume\n{rows_of_day}")
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        found = checks.every_row_accounted(connection, prices)
        assert (found.passed, found.facts) == (
            True,
            {"2 rows of eod_20240102.csv were replaced by eod_20240103.csv": 2},
        )
        connection.execute("UPDATE marketdata_flow_moves SET superseded = 1 WHERE superseded = 2")
        found = checks.every_row_accounted(connection, prices)
        assert (found.count, found.examples[0]["unit"]) == (1, "eod_20240102.csv")
        connection.rollback()
        connection.execute("DELETE FROM prices WHERE code = 'a'")
        assert not checks.every_row_accounted(connection, prices).passed


def test_rows_of_deleted_files_are_kept_or_deleted_as_declared(dsn: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, day_closes in {"day_1": [1, 2], "day_2": [3], "deep/b": [9]}.items():
        deliver(data, f"{name}.csv", lines(name[-1] if "b" in name else "a", day_closes))
    keeping, deleting = flow(tmp_path), flow(tmp_path, DELETING)
    run(keeping, dsn, data)
    assert closes(dsn) == [3, 2]
    (data / "day_2.csv").unlink()
    assert (run(keeping, dsn, data).forgotten, closes(dsn)) == ((), [3, 2])
    (data / "deep").rename(tmp_path / "deep")
    (data / "deep").symlink_to(tmp_path / "deep")
    assert (run(deleting, dsn, data).forgotten, closes(dsn)) == ((), [3, 2])
    (data / "deep").unlink()
    (tmp_path / "deep").rename(data / "deep")
    assert run(deleting, dsn, data, follow_deleted=False).forgotten == ()
    assert run(deleting, dsn, data, units=["day_1.csv"]).forgotten == (Forgotten("day_2.csv", 1),)
    assert (closes(dsn), closes(dsn, "b")) == ([1, 2], [9])
    assert accounted(dsn, deleting)
    for file in (data / "day_1.csv", data / "deep/b.csv"):
        file.unlink()
    with pytest.raises(FlowError):
        run(deleting, dsn, data)
    assert closes(dsn) == [1, 2]


def test_two_flows_into_one_table_are_accounted_each(dsn: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        deliver(tmp_path, f"{name}/{name}.csv", lines("a", [1, 2, 3] if name == "one" else [7, 8]))
    one, two = (
        flow(tmp_path, PRICES.replace("loader:\n", f"loader:\n  folder: {name}\n"), name) for name in ("one", "two")
    )
    run(one, dsn, tmp_path)
    run(two, dsn, tmp_path)
    assert closes(dsn) == [7, 8, 3]
    assert accounted(dsn, one)
    assert accounted(dsn, two)
    for destroy in ("DROP TABLE prices", "TRUNCATE prices"):
        with psycopg.connect(dsn) as connection:
            connection.execute(destroy.encode())
            assert (
                len(running.outdated(connection, one, tmp_path))
                == len(running.outdated(connection, two, tmp_path))
                == 1
            )
        for again in (one, two):
            assert run(again, dsn, tmp_path).count("ok") == 1
        assert closes(dsn) == [7, 8, 3]
        assert accounted(dsn, one)
        assert accounted(dsn, two)


def test_lost_rows_are_found_and_loaded_by_force(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    deliver(tmp_path, "b.csv", lines("a", [5]))
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM prices WHERE close = 2")
        found = checks.every_row_accounted(connection, prices)
    assert found.examples == ({"unit": "a.csv", "loaded": "2", "in_table": "1"},)
    assert run(prices, dsn, tmp_path).unchanged == 2
    run(prices, dsn, tmp_path, force=True)
    assert closes(dsn) == [5, 2, 3]
    assert accounted(dsn, prices)


def test_a_table_without_owners_gets_them_and_the_right_rows(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    deliver(tmp_path, "b.csv", lines("a", [5]))
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:  # as it was: the largest file loaded last, and a row of a lost file
        connection.execute("ALTER TABLE prices DROP COLUMN etl_unit")
        connection.execute("UPDATE prices SET close = 1 WHERE day = '2024-01-01'")
        connection.execute("INSERT INTO prices (code, day, close) VALUES ('gone', '2024-01-01', 1)")
        connection.execute("DROP TABLE marketdata_flow_moves, marketdata_flow_tables")
        connection.execute("UPDATE marketdata_ledger SET code_version = 'flows-1'")
        assert storage.drift(connection, prices) == []
        assert checks.every_row_accounted(connection, prices).left_out == 2
    assert run(prices, dsn, tmp_path).count("ok") == 2
    assert closes(dsn) == [5, 2, 3]
    assert accounted(dsn, prices)
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO prices (code, day, close) VALUES ('by hand', '2024-01-01', 1)")
    assert not accounted(dsn, prices)


def test_another_table_or_mode_is_accounted_from_its_start(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    for text in (
        PRICES.replace("mode: upsert", "mode: replace"),
        PRICES,
        PRICES.replace("table: prices", "table: other"),
    ):
        prices = flow(tmp_path, text)
        run(prices, dsn, tmp_path)
        assert accounted(dsn, prices)


def test_workers_that_merge_the_same_keys_never_wait_in_a_circle(dsn: str, tmp_path: Path) -> None:
    """Each file has the keys in another order."""
    prices = flow(tmp_path)
    for number in range(12):
        codes = [f"c{(code * (2 * number + 1)) % 64}" for code in range(64)]
        days = "".join(f"{code},2024-01-{day:02},{number},1\n" for code in codes for day in range(1, 21))
        deliver(tmp_path, f"{number:02}.csv", HEADER + days)
    report = run(prices, dsn, tmp_path, workers=4)
    assert report.failed == ()
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert rows(dsn, "SELECT DISTINCT close FROM prices") == [(11,)]
    assert rows(dsn, deadlocks) == [(0,)]
    assert accounted(dsn, prices)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BY_VOLUME.replace("order_by: volume", "order_by: file tim"), "did you mean 'file time'"),
        (BY_VOLUME.replace("mode: upsert", "mode: append"), "order_by: is for mode upsert"),
        (DELETING.replace("mode: upsert", "mode: replace"), "removed_rows: is for mode upsert"),
    ],
)
def test_an_order_that_is_none_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidConfigFile, match=said):
        parse(text)


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_bytes_under_another_name_are_not_loaded_again(mode: str, dsn: str, tmp_path: Path) -> None:
    without_key = PRICES.replace("mode: upsert", f"mode: {mode}").replace("key: [code, day]", "key: []")
    prices = flow(tmp_path, without_key)
    for name in ("a", "b", "c"):
        deliver(tmp_path, f"{name}.csv", lines("x", [1, 2]))
    report = run(prices, dsn, tmp_path, workers=2)
    assert (report.rows, sorted(unit.skipped for unit in report.units)) == (2, [0, 2, 2])
    assert sum("not loaded again" in (unit.error or "") for unit in report.units) == 2
    assert (closes(dsn, "x"), run(prices, dsn, tmp_path).unchanged) == ([1, 2], 3)
    assert accounted(dsn, prices)
    repeated = next(unit.unit for unit in report.units if unit.error)
    deliver(tmp_path, repeated, lines("y", [5]))
    assert run(prices, dsn, tmp_path).rows == 1
    named = "loader:\n  file_columns: {origin: name}\n"
    by_name = (
        without_key.replace("loader:\n", named)
        .replace("table: prices", "table: named")
        .replace("{code: text,", "{origin: text, code: text,")
    )
    deliver(tmp_path, repeated, lines("x", [1, 2]))
    assert run(flow(tmp_path, by_name, "named"), dsn, tmp_path).rows == 6


@pytest.mark.parametrize("kind", ["postgres", "parquet"])
@pytest.mark.parametrize("end", ["changed", "forgotten"])
def test_a_copy_is_loaded_when_the_file_with_its_bytes_has_them_no_more(
    end: str, kind: str, dsn: str, tmp_path: Path
) -> None:
    """Also one that was renamed: its rows are not in the table twice, and not lost with its old name."""
    text = PRICES.replace("mode: upsert", "mode: replace").replace("key: [code, day]", f"kind: {kind}{FOLDER[kind]}")
    prices = flow(tmp_path, text)
    before = deliver(tmp_path, "a.csv", lines("x", [1, 2]))
    run(prices, dsn, tmp_path)
    (tmp_path / "2024").mkdir()
    before.rename(tmp_path / "2024" / "a.csv")
    deliver(tmp_path, "a (1).csv", lines("x", [1, 2]))
    assert run(prices, dsn, tmp_path).rows == 0
    if end == "changed":
        deliver(tmp_path, "a.csv", lines("y", [5]))
    with psycopg.connect(dsn) as connection:
        if end == "forgotten":
            forget(connection, prices, ["a.csv"])
        run(prices, dsn, tmp_path, workers=2)
        found = status.entries(connection, prices, tmp_path)
        assert contents.of(connection, prices).count() == (3 if end == "changed" else 2)
    loaded = {one.file: (one.loaded, one.duplicates) for one in found if one.state == "loaded"}
    assert sorted(loaded.values()) == [(0, 2), *([(1, 0)] if end == "changed" else []), (2, 0)]
    assert all(one.balanced for one in found)
    prices = flow(tmp_path, text.replace("loader:\n", "loader:\n  missing: ['-']\n"))  # all is loaded again
    run(prices, dsn, tmp_path, workers=2)
    with psycopg.connect(dsn) as connection:
        assert contents.of(connection, prices).count() == (3 if end == "changed" else 2)


@pytest.mark.parametrize("text", [PRICES, PRICES.replace("mode: upsert", "mode: replace")])
def test_a_forgotten_file_leaves_no_row_and_returns_those_that_it_replaced(dsn: str, tmp_path: Path, text: str) -> None:
    prices = flow(tmp_path, text)
    deliver(tmp_path, "a.csv", lines("a", [1, 2]))
    gone = deliver(tmp_path, "b.csv", lines("a", [7]) if text is PRICES else lines("b", [7]))
    run(prices, dsn, tmp_path)
    gone.unlink()
    with psycopg.connect(dsn) as connection:
        with pytest.raises(CannotForget, match=r"nothing of 'c.csv' is loaded; did you mean"):
            forget(connection, prices, ["b.csv", "c.csv"])
        (forgotten,) = forget(connection, prices, ["b.csv"])
        assert forgotten.rows == 1
    run(prices, dsn, tmp_path)
    assert (closes(dsn), closes(dsn, "b")) == ([1, 2], [])
    assert accounted(dsn, prices)
    assert list(metadata(dsn)) == ["a.csv"]


def test_rows_of_mode_append_cannot_be_forgotten(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, PRICES.replace("mode: upsert", "mode: append"))
    with psycopg.connect(dsn) as connection, pytest.raises(CannotForget, match="mode append keeps no record"):
        forget(connection, prices, ["a.csv"])


NAMES = {
    "days of Germany": (["prices_02.01.2024.csv", "prices_01.02.2024.csv", "prices_01.01.2025.csv"], "file_day"),
    "days of America": (["prices_12-31-2023.csv", "prices_01-15-2024.csv"], "file_day"),
    "months": (["prices_Jan2024.csv", "prices_Feb2024.csv"], "file time"),
    "months in Chinese": (["行情十月.csv", "行情十一月.csv"], "file time"),
    "quarters": (["prices_Q4-2023.csv", "prices_Q1-2024.csv"], "file time"),
    "days that sort": (["prices_2024-01-02.csv", "prices_2024-02-01.csv"], "file name"),
    "words": (["Market_2023.csv", "Market_2024.csv"], "file name"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_new_flow_keeps_the_rows_of_the_latest_file(case: str, dsn: str, tmp_path: Path) -> None:
    """Also where the days in the names of files do not sort as text."""
    names, order = NAMES[case]
    for number, name in enumerate(names):
        text = "symbol,date,close\n" + "".join(f"{one},2024-01-01,{number + 1}\n" for one in "AB")
        prices, one, _ = made(tmp_path, name, text)
    assert (prices.target.order_by, any("do not sort by time" in said for said in one.unsure)) == (
        order,
        order != "file name",
    )
    run(prices, dsn, tmp_path)
    assert rows(dsn, "SELECT DISTINCT close FROM prices") == [(len(names),)]

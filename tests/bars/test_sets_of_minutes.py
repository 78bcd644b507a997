"""A newer file replaces the minutes that it has, and no others, whatever their pattern, until it is taken back."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.bars import schema, status
from marketdata_assets.bars.checks import every_row_accounted
from marketdata_assets.bars.forget import forget, undo
from marketdata_assets.loading.errors import CannotForget
from tests.bars.bar_files import assert_exact, csv_text, deliver, entries, expected, fates, line, minutes, run, table
from tests.examples import FEW

CODES = ("sh600000", "sz000001")
DAYS = [day for day in range(1, 31) if dt.date(2000, 6, day).weekday() < 5]


def month_of(
    chosen: Callable[[int, int], bool] = lambda day, minute: True, price: str = "10", codes: tuple[str, ...] = CODES
) -> bytes:
    """Bars of June, 12 a day, of which those are `chosen` by day and minute."""
    labels = [
        label
        for day in DAYS
        for number, label in enumerate(minutes(f"2000-06-{day:02d} 09:30:00", 12))
        if chosen(day, number)
    ]
    return csv_text(line(label, code, price) for code in codes for label in labels)


PATTERNS: dict[str, Callable[[int, int], bool]] = {
    "the first day and a late one": lambda day, minute: day in (2, 21),
    "two minutes": lambda day, minute: (day, minute) in ((2, 3), (21, 7)),
    "odd days": lambda day, minute: day % 2 == 1,
    "odd minutes": lambda day, minute: minute % 2 == 1,
    "the whole month": lambda day, minute: True,
    "nothing of June": lambda day, minute: False,
}


def balanced(dsn: str, folder: Path, without: tuple[str, ...] = ()) -> None:
    """Table, ledger and accounts of files say what a plain reading of the files does."""
    assert table(dsn) == expected(folder, without=without)
    with psycopg.connect(dsn) as connection:
        found = {name: one for name, one in status.loaded_files(connection).items() if name not in without}
        checked = every_row_accounted(connection, ["2000-06", "2000-07"])
    assert checked.passed, checked.examples
    assert {name: (one.read, one.loaded, dict(one.replaced)) for name, one in found.items()} == fates(folder, without)
    for one in found.values():
        assert one.balanced


@pytest.mark.parametrize(("pattern", "older_first"), list(zip(PATTERNS, [True, False] * 3, strict=True)))
def test_only_the_minutes_of_the_newer_file_are_replaced(
    either_dsn: str, tmp_path: Path, pattern: str, older_first: bool
) -> None:
    def older() -> None:
        deliver(tmp_path / "2000_1min.zip", {f"{code}_2000.csv": month_of(codes=(code,)) for code in CODES}, 1)

    def newer() -> None:
        deliver(tmp_path / "fix_2000.csv", month_of(PATTERNS[pattern], "11"), 2)

    replaced: dict[tuple[str, str], int] = {}
    for write in (older, newer) if older_first else (newer, older):
        write()
        replaced = replaced | run(either_dsn, tmp_path).replaced
    balanced(either_dsn, tmp_path)
    assert_exact(either_dsn, tmp_path)
    count = sum(PATTERNS[pattern](day, minute) for day in DAYS for minute in range(12)) * len(CODES)
    assert replaced == ({("2000_1min.zip", "fix_2000.csv"): count} if count else {})
    assert run(either_dsn, tmp_path).units == ()


def test_members_of_one_archive_that_replace_each_other_are_named(dsn: str, tmp_path: Path) -> None:
    members = {f"{folder}/{code}_2000.csv": month_of(codes=(code,)) for folder in ("new", "old") for code in CODES[:1]}
    deliver(tmp_path / "2000_1min.zip", members, 1)
    replaced = run(dsn, tmp_path).replaced
    older, newer = (f"2000_1min.zip!{folder}/{CODES[0]}_2000.csv" for folder in ("new", "old"))
    assert [*replaced] == [(older, newer)]
    balanced(dsn, tmp_path)


def test_times_between_whole_minutes_are_no_minutes_beside_the_others(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "a_2000.csv", csv_text(line(label) for label in minutes("2000-06-05 09:30:00", 9)), 1)
    deliver(
        tmp_path / "b_2000.csv", csv_text(line(label, price="11") for label in minutes("2000-06-05 09:30:30", 9)), 2
    )
    [failed] = run(dsn, tmp_path).failed
    assert "b_2000.csv: 9 of 9 rows rejected" in str(failed.error)
    assert "time 2000-06-05 09:30:30 is not on a whole minute" in str(failed.error)
    assert len(table(dsn)) == 9


def test_a_redelivery_gives_back_to_the_next_newest_and_no_further(either_dsn: str, tmp_path: Path) -> None:
    for number, name in enumerate(("a_2000.csv", "b_2000.csv", "c_2000.csv"), 1):
        deliver(tmp_path / name, month_of(price=f"1{number}"), number)
        run(either_dsn, tmp_path)
    deliver(tmp_path / "b_2000.csv", month_of(PATTERNS["odd minutes"], "12"), 2)
    run(either_dsn, tmp_path)
    balanced(either_dsn, tmp_path)
    deliver(tmp_path / "c_2000.csv", month_of(PATTERNS["odd days"], "13"), 5)
    report = run(either_dsn, tmp_path)
    assert {one.unit for one in report.units} == {"a_2000.csv", "b_2000.csv", "c_2000.csv"}
    balanced(either_dsn, tmp_path)
    assert run(either_dsn, tmp_path).units == ()


def forget_file(dsn: str, folder: Path, file: str) -> tuple[str, ...]:
    with psycopg.connect(dsn) as connection:
        schema.ensure(connection)
        return forget(connection, folder, file, "test").due


@pytest.mark.parametrize("pattern", ["two minutes", "odd minutes", "nothing of June"])
def test_a_forgotten_file_leaves_and_what_it_replaced_comes_back(either_dsn: str, tmp_path: Path, pattern: str) -> None:
    deliver(tmp_path / "2000_1min.zip", {f"{code}_2000.csv": month_of(codes=(code,)) for code in CODES}, 1)
    deliver(tmp_path / "wrong_2000.csv", month_of(PATTERNS[pattern], "99"), 2)
    run(either_dsn, tmp_path)
    due = forget_file(either_dsn, tmp_path, "wrong_2000.csv")
    assert due == (("2000-06",) if pattern != "nothing of June" else ())
    with psycopg.connect(either_dsn) as connection:  # the rows that are due again are in no count until they are loaded
        assert all(one.balanced for one in status.file_entries(connection, tmp_path, ["2000-06"]))
    assert not [row for row in table(either_dsn) if row[3] == 99]
    run(either_dsn, tmp_path, ["2000-06"])
    balanced(either_dsn, tmp_path, ("wrong_2000.csv",))
    assert run(either_dsn, tmp_path).units == ()
    entry = entries(either_dsn)["wrong_2000.csv"]
    assert (entry.outcome, entry.content_hash, entry.rows, entry.slices) == ("forgotten", None, 0, [])
    deliver(tmp_path / "wrong_2000.csv", month_of(PATTERNS[pattern], "98"), 3)
    run(either_dsn, tmp_path)
    balanced(either_dsn, tmp_path)


def test_rows_that_are_due_again_are_in_no_count_although_a_third_file_has_replaced_others(
    dsn: str, tmp_path: Path
) -> None:
    deliver(tmp_path / "a_2000.csv", month_of(), 1)
    deliver(tmp_path / "wrong_2000.csv", month_of(PATTERNS["odd days"], "99"), 2)
    deliver(tmp_path / "c_2000.csv", month_of(PATTERNS["two minutes"], "12"), 3)
    run(dsn, tmp_path)
    forget_file(dsn, tmp_path, "wrong_2000.csv")
    with psycopg.connect(dsn) as connection:
        found = {one.file: one for one in status.file_entries(connection, tmp_path, ["2000-06"])}
    assert all(one.balanced for one in found.values()), found
    assert found["a_2000.csv"].replaced == {"c_2000.csv": 2 * len(CODES)}


def test_a_forgotten_file_is_loaded_when_it_is_remembered_or_forced(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "history.csv", month_of(price="9"), 1)
    deliver(tmp_path / "2000_1min.zip", {f"{code}_2000.csv": month_of(codes=(code,)) for code in CODES}, 2)
    for file in ("history.csv", "2000_1min.zip"):
        run(dsn, tmp_path)
        forget_file(dsn, tmp_path, file)
        deliver(tmp_path / "history.csv", month_of(price="9"), 4)  # another time, the same content
        run(dsn, tmp_path)
        balanced(dsn, tmp_path, (file,))
        with psycopg.connect(dsn) as connection:
            undo(connection, file)
        run(dsn, tmp_path)
        balanced(dsn, tmp_path)
        forget_file(dsn, tmp_path, file)
        run(dsn, tmp_path, ["2000-06"], force=True)
        balanced(dsn, tmp_path)
        deliver(tmp_path / "history.csv", month_of(price="9"), 1)


def test_of_a_forgotten_zip_that_changes_every_member_is_loaded(dsn: str, tmp_path: Path) -> None:
    members = {f"{code}_2000.csv": month_of(codes=(code,)) for code in CODES}
    deliver(tmp_path / "2000_1min.zip", members, 1)
    forget_file(dsn, tmp_path, "2000_1min.zip")
    assert run(dsn, tmp_path).units == ()
    members["sz000001_2000.csv"] = month_of(price="11", codes=CODES[1:])
    deliver(tmp_path / "2000_1min.zip", members, 2)
    assert run(dsn, tmp_path).rows == 2 * len(DAYS) * 12
    balanced(dsn, tmp_path)


def test_what_is_unknown_cannot_be_forgotten_and_the_nearest_file_is_named(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "wrong_2000.csv", month_of(), 1)
    run(dsn, tmp_path)
    with pytest.raises(CannotForget, match=r"wrong_2001\.csv: no such file in .* did you mean 'wrong_2000\.csv'"):
        forget_file(dsn, tmp_path, "wrong_2001.csv")
    with psycopg.connect(dsn) as connection, pytest.raises(CannotForget, match="it is not forgotten"):
        undo(connection, "wrong_2000.csv")


def test_a_file_that_is_gone_can_be_forgotten(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "a_2000.csv", month_of(), 1)
    gone = deliver(tmp_path / "b_2000.csv", month_of(PATTERNS["odd minutes"], "11"), 2)
    run(dsn, tmp_path)
    gone.unlink()
    run(dsn, tmp_path)
    assert [row for row in table(dsn) if row[3] == 11]
    forget_file(dsn, tmp_path, "b_2000.csv")
    run(dsn, tmp_path)
    assert_exact(dsn, tmp_path)


NAMES = st.sampled_from(["a_2000.csv", "b_2000.csv.gz", "c_2000.csv", "plain.csv", "2000_1min.zip"])
SETS = st.lists(
    st.tuples(st.sampled_from(["06-05", "06-30", "07-03"]), st.integers(0, 14)), min_size=1, max_size=8, unique=True
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), NAMES, SETS, SETS, st.integers(1, 9)),
        st.tuples(st.just("touch"), NAMES, st.integers(1, 9)),
        st.tuples(st.just("forget"), NAMES),
        st.tuples(st.just("run")),
    ),
    min_size=2,
    max_size=8,
)


@FEW
@given(history=STEPS)
def test_any_history_of_sets_ends_as_the_rule_says(dsn: str, tmp_path: Path, history: list[tuple[object, ...]]) -> None:
    """A file is delivered, touched or forgotten, with any set of minutes of two stocks; every run ends exactly."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        schema.ensure(connection)
    for path in tmp_path.iterdir():
        path.unlink()
    forgotten: dict[str, bytes] = {}
    for number, step in enumerate((*history, ("run",))):
        name = str(step[1]) if len(step) > 1 else ""
        path = tmp_path / name
        if step[0] == "deliver":
            rows = [
                line(f"2000-{day} {9 + (30 + minute) // 60:02d}:{(30 + minute) % 60:02d}:00", code, f"{10 + number}")
                for code, chosen in zip(CODES, step[2:4], strict=True)
                for day, minute in sorted(chosen)  # type: ignore[call-overload]
            ]
            data = csv_text(rows)
            deliver(path, {"m_2000.csv": data} if name.endswith("zip") else data, int(step[4]))  # type: ignore[call-overload]
        elif step[0] == "touch" and path.exists():
            os.utime(path, (1_700_000_000 + int(step[2]) * 86_400,) * 2)  # type: ignore[call-overload]
        elif step[0] == "forget" and path.exists():
            forget_file(dsn, tmp_path, name)
            forgotten[name] = path.read_bytes()
        elif step[0] == "run":
            assert run(dsn, tmp_path).failed == ()
            without = tuple(one for one, data in forgotten.items() if (tmp_path / one).read_bytes() == data)
            balanced(dsn, tmp_path, without)
            forgotten = {one: forgotten[one] for one in without}
    assert run(dsn, tmp_path).units == ()

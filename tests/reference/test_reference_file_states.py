"""Dropped files of reference data: each has a state, and each of its rows one fate."""

import os
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.loading.file_ledger import FileEntry, unsettled
from marketdata_assets.reference import file_states, load
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.daily import load_days
from marketdata_assets.reference.files import ReferenceFiles
from marketdata_assets.reference.load import Run, Sources
from marketdata_assets.reference.tables import ensure
from marketdata_assets.stores import clickhouse_ledger as ledger
from tests.reference.reference_runs import NOW

MONTHS = ["2026-02", "2026-03"]
ROW = "600000.SH,2026-03-{}\n"


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("symbol,date\n" + "".join(lines))
    return path


def loaded(client: Client, folder: Path, months: list[str] = MONTHS) -> dict[str, FileEntry]:
    run = Run(client, Sources(ReferenceFiles(folder)), "run", NOW)
    load_days(run, "suspensions", months, calendar=ashares())
    return states(client, folder)


def states(client: Client, folder: Path) -> dict[str, FileEntry]:
    found = {one.file: one for one in file_states.entries(client, folder)}
    assert all(one.balanced for one in found.values())
    return found


def table_rows(client: Client) -> int:
    return int(client.command("SELECT count() FROM suspensions"))  # type: ignore[arg-type]


def test_each_row_has_one_fate(tables_client: Client, tmp_path: Path) -> None:
    monday, saturday = ROW.format("02"), ROW.format("07")
    write(tmp_path, "suspensions_a.csv", monday, monday, ROW.format("03"), saturday)
    write(tmp_path, "suspensions_b.CSV", ROW.format("03"), ROW.format("04"))
    found = loaded(tables_client, tmp_path)
    first, second = found["suspensions_a.csv"], found["suspensions_b.CSV"]
    assert (first.state, first.read, first.loaded, first.duplicates, first.rejected) == ("loaded", 4, 1, 1, 1)
    assert first.replaced == {"suspensions_b.CSV": 1}
    assert (second.state, second.read, second.loaded, second.replaced) == ("loaded", 2, 2, {})
    assert table_rows(tables_client) == first.loaded + second.loaded
    assert unsettled(found.values()) == []


def test_every_entry_of_the_folder_has_a_state(tables_client: Client, tmp_path: Path) -> None:
    write(tmp_path, "suspensions_2026-03.csv", ROW.format("02"))
    write(tmp_path, "notes.csv", "x,y\n")
    write(tmp_path, "suspensions_2026-04.csv.gz", "x")
    write(tmp_path, "old/suspensions_2026-02.csv", ROW.format("02"))
    (tmp_path / "price_limits_2026-03.csv").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "adjust_factors.csv")
    found = {name: one.state for name, one in loaded(tables_client, tmp_path).items()}
    assert found == {
        "suspensions_2026-03.csv": "loaded",
        "notes.csv": "not taken",
        "suspensions_2026-04.csv.gz": "not taken",
        "old/suspensions_2026-02.csv": "not taken",
        "price_limits_2026-03.csv": "failed",
        "adjust_factors.csv": "failed",
    }


def test_a_file_is_loaded_when_all_of_its_months_are(tables_client: Client, tmp_path: Path) -> None:
    path = write(tmp_path, "suspensions.csv", "600000.SH,2026-02-02\n", ROW.format("02"))
    known = ["2026-01", *MONTHS]
    ensure(tables_client)
    assert file_states.due(tables_client, tmp_path, known) == (False, set(MONTHS))
    assert loaded(tables_client, tmp_path, ["2026-03"])[path.name].state == "due"
    assert loaded(tables_client, tmp_path, ["2026-02"])[path.name].state == "loaded"
    assert file_states.due(tables_client, tmp_path, known) == (False, set())
    write(tmp_path, path.name, ROW.format("02"), ROW.format("03"))
    assert states(tables_client, tmp_path)[path.name].state == "due"
    assert file_states.due(tables_client, tmp_path, known) == (False, {"2026-03"})


def test_a_bad_file_has_failed_and_the_others_of_its_table_are_loaded(tables_client: Client, tmp_path: Path) -> None:
    write(tmp_path, "suspensions_2026-02.csv", "600000.SH,2026-02-02\n")
    bad = write(tmp_path, "suspensions_2026-03.csv", "600000.SH,3 March\n")
    found = loaded(tables_client, tmp_path)
    assert found["suspensions_2026-02.csv"].state == "loaded"
    assert table_rows(tables_client) == 1
    assert found[bad.name].state == "failed"
    assert "'3 March'" in found[bad.name].reason
    write(tmp_path, bad.name, ROW.format("02"))
    assert {one.state for one in loaded(tables_client, tmp_path).values()} == {"loaded"}


def test_dates_are_read_in_the_usual_forms(tables_client: Client, tmp_path: Path) -> None:
    for number, form in enumerate(["2026-03-02", "2026-3-3", "2026/03/04", "2026/3/5", "20260306"]):
        write(tmp_path, f"suspensions_{number}.csv", f"600000.SH,{form}\n")
    assert {one.state for one in loaded(tables_client, tmp_path).values()} == {"loaded"}
    days = tables_client.query("SELECT toString(date) FROM suspensions ORDER BY date").result_columns[0]
    assert [*days] == [f"2026-03-0{number}" for number in range(2, 7)]


NO_DATES = (
    *("26-03-02", "0026-03-02", "-2026-03-02", "12026-03-02", "2026032", "202632", "46083", "2026-02-30"),
    *("2026-03-02x", "2026-03-02 00:00:00", "2026-03-02T00:00:00Z", "2026-03-02+08:00", "02-03-2026", "03/02/2026"),
    "２０２６-03-02",
)


def test_what_is_no_date_is_rejected(tables_client: Client, tmp_path: Path) -> None:
    """A year of two digits was one of the first century, and one before it ended the load of all files."""
    for number, text in enumerate(NO_DATES):
        write(tmp_path, f"suspensions_{number}.csv", f"600000.SH,{text}\n")
    write(tmp_path, "suspensions_a.csv", ROW.format("03"))
    found = loaded(tables_client, tmp_path)
    assert found.pop("suspensions_a.csv").state == "loaded"
    assert {one.state for one in found.values()} == {"failed"}
    for number, text in enumerate(NO_DATES):
        assert f"must not be {text!r}" in found[f"suspensions_{number}.csv"].reason


def test_rejected_rows_are_in_quarantine_the_first_of_a_bad_file_with_their_number(
    tables_client: Client, tmp_path: Path
) -> None:
    write(tmp_path, "suspensions_a.csv", ROW.format("02"), ROW.format("07"))
    bad = write(tmp_path, "suspensions_b.csv", ROW.format("02"), *(f"600000.SH,{day} March\n" for day in range(25)))
    loaded(tables_client, tmp_path)
    first, *others = ledger.quarantined(tables_client, file_states.DATASET)
    assert (first.place, first.reason) == (
        "suspensions_a.csv!suspensions:3",
        "2026-03-07 is no trading day since 2000",
    )
    assert [row.line for row in others] == [*range(3, 23)]
    assert (others[0].reason, others[0].raw) == ("column 'date' must not be '0 March'", "600000.SH,0 March")
    assert others[-1].reason.endswith("; 5 more rejected rows of this file are not listed")
    bad.unlink()
    loaded(tables_client, tmp_path)
    assert {row.source for row in ledger.quarantined(tables_client, file_states.DATASET)} == {"suspensions_a.csv"}


@pytest.mark.parametrize("name", ["trading_calendar.csv", "instruments.csv"])
def test_tables_without_months_are_loaded_as_a_whole(tables_client: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("date,open\n2026-03-02,1\n" if "calendar" in name else "symbol\n600000.SH\n")
    run = Run(tables_client, Sources(ReferenceFiles(tmp_path)), "run", NOW)
    ensure(tables_client)
    assert file_states.due(tables_client, tmp_path, MONTHS) == (True, set())
    load.load_calendar(run)
    load.load_instruments(run)
    [entry] = file_states.entries(tables_client, tmp_path)
    assert (entry.state, entry.read, entry.loaded) == ("loaded", 1, 1)
    assert file_states.due(tables_client, tmp_path, MONTHS) == (False, set())

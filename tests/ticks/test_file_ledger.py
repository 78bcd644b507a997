"""What the ledger of dropped files records of a file before and after a load."""

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse_files
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_files import NEVER
from marketdata_assets.ticks import file_ledger
from marketdata_assets.ticks.file_ledger import FileLedger
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import TICK_DATA
from tests.ticks.tick_clients import SYMBOL, files_config

NOW_NS = 2_000_000_000 * 10**9
CLOSED = dt.date(2025, 6, 30)
OTHER = "000001.SZ"
MAY, JUNE = dt.date(2025, 5, 30), dt.date(2025, 6, 2)


def put(folder: Path, name: str, days: Mapping[str, dt.date]) -> None:
    rows = [f"{symbol},{day} 09:31,1,1,1,1,1" for symbol, day in days.items()]
    path = folder / name
    path.write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows]) + "\n")
    os.utime(path, (1_900_000_000,) * 2)


def see(client: Client, folder: Path) -> dict[str, str]:
    """The state of each file after a scan."""
    FileLedger(client, Files(folder, files_config()), TICK_DATA).see(now_ns=NOW_NS)
    return dict(clickhouse_files.table(client, TICK_DATA.name).select("file", "state").iter_rows())


def compared(client: Client, folder: Path, units: Mapping[Unit, dt.date | None], count: int) -> None:
    """Record up to which day units of the only file are loaded, or that they are not, as every version does."""
    files = Files(folder, files_config())
    [file] = files.of_bars.files()
    rows = [
        file_ledger.unit_row(TICK_DATA, file, unit, Days(day or JUNE, day or JUNE), count, day or NEVER)
        for unit, day in units.items()
    ]
    file_ledger.record_units(client, rows)


def settled(client: Client, folder: Path, errors: Mapping[Unit, str], **changes: Any) -> dict[str, Any]:
    """The row of the only file after a load has read it."""
    files = Files(folder, files_config())
    contents = [replace(content, **changes) for content in files.of_bars.contents()]
    FileLedger(client, files, TICK_DATA).settle(contents, errors, CLOSED, "run")
    [row] = clickhouse_files.table(client, TICK_DATA.name).iter_rows(named=True)
    return row


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (["600906,2025-06-02 09:31,1,1,1,1,1"], "write 600906.SH"),
        ([f"{SYMBOL},45810.4,1,1,1,1,1"], "time '45810.4' cannot be read"),
    ],
)
def test_a_file_without_a_row_of_any_symbol_month_fails_and_its_rows_are_in_quarantine(
    client: Client, tmp_path: Path, rows: list[str], error: str
) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows]) + "\n")
    os.utime(tmp_path / "a.csv", (1_900_000_000,) * 2)
    put(tmp_path, "b.csv", {SYMBOL: JUNE})
    assert see(client, tmp_path) == {"a.csv": "failed", "b.csv": "waiting"}
    row = clickhouse_files.table(client, TICK_DATA.name).row(0, named=True)
    assert error in row["error"]
    [rejected] = ledger.quarantined(client, file_ledger.DATASET)
    assert (rejected.source, rejected.line) == ("a.csv", 2)
    assert error in rejected.reason


def test_file_waits_until_all_of_its_units_are_loaded(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", {SYMBOL: JUNE, OTHER: MAY})
    see(client, tmp_path)
    compared(client, tmp_path, {Unit(SYMBOL, "2025-06"): JUNE}, 2)
    row = settled(client, tmp_path, {})
    assert (row["state"], row["attempts"], row["rows"], row["error"]) == ("waiting", 1, 2, "")
    compared(client, tmp_path, {Unit(OTHER, "2025-05"): MAY}, 2)
    row = settled(client, tmp_path, {})
    assert (row["state"], row["attempts"], row["compared"]) == ("loaded", 2, file_ledger.DONE)


def test_file_of_a_unit_that_failed_has_its_reason_and_is_due_again(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", {SYMBOL: JUNE})
    see(client, tmp_path)
    row = settled(client, tmp_path, {Unit(SYMBOL, "2025-06"): "the table is full"})
    assert (row["state"], row["error"]) == ("failed", "the table is full")
    assert file_ledger.due(client, TICK_DATA, CLOSED) == {Unit(SYMBOL, "2025-06")}


def test_file_that_was_replaced_while_it_was_loaded_is_not_settled(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", {SYMBOL: JUNE})
    see(client, tmp_path)
    [file] = Files(tmp_path, files_config()).of_bars.files()
    row = settled(client, tmp_path, {}, file=replace(file, size=file.size + 1))
    assert (row["state"], row["attempts"]) == ("waiting", 0)

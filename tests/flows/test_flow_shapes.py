"""Files as vendors deliver them, by `new` and `run` alone: each row that a person sees there is in the table, as it is.

The rows of `vendor_shapes` are what its files were made of; nothing that reads files is shared with the package.
"""

import datetime as dt
import os
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flow_files import run
from vendor_shapes import SHAPES

from marketdata_assets.flows import sample
from marketdata_assets.flows.definition import parse
from marketdata_assets.flows.draft import draft

Row = tuple[Any, ...]


def plain(value: object) -> str:
    """A value without its type in the database; numbers are equal whatever their decimals."""
    if isinstance(value, int | float | Decimal):
        return f"number {Decimal(str(value)).normalize():f}"
    if isinstance(value, dt.datetime):
        return f"time {(value.astimezone(dt.UTC) if value.tzinfo else value).isoformat()}"
    return f"{type(value).__name__} {value}"


def counted(rows: list[Row]) -> Counter[tuple[str, ...]]:
    """Rows by their values, in whatever order the columns are."""
    return Counter(tuple(sorted(map(plain, row))) for row in rows)


@pytest.mark.parametrize("name", SHAPES)
def test_files_of_a_vendor_become_the_rows_that_they_hold(name: str, tmp_path: Path, dsn: str) -> None:
    if name == "excel_report":
        pytest.importorskip("openpyxl")
        pytest.importorskip("fastexcel")
    shape, folder = SHAPES[name](), tmp_path / name
    folder.mkdir()
    for number, (file, data) in enumerate(shape.files.items()):
        (folder / file).write_bytes(data)
        os.utime(folder / file, (0, 1_700_000_000 + number))
    first = folder / next(iter(shape.files))
    made = draft(name, sample.read(first), first)
    flow = parse(made.text, name=name)
    report = run(flow, dsn, tmp_path)
    assert [one.error for one in report.failed] == []
    columns = [column for column in flow.target.columns if not (shape.named_after_file and column == "symbol")]
    with psycopg.connect(dsn) as connection:
        names = ", ".join(f'"{column}"' for column in columns)
        found = connection.execute(f"SELECT {names} FROM {flow.target.table}".encode()).fetchall()
    assert counted(found) == counted(shape.rows)

"""The monthly K-line of good yearly zips, computed with csv and Decimal, so that it shares nothing with the package."""

import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path


def file_rows(path: Path) -> list[dict[str, str]]:
    """Every row of a zip, in its order."""
    with zipfile.ZipFile(path) as archive:
        return [
            row
            for name in archive.namelist()
            for row in csv.DictReader(io.StringIO(archive.read(name).decode("utf-8-sig")))
        ]


Line = tuple[str, str, str, *tuple[Decimal, ...]]


def expected_kline(*paths: Path) -> list[Line]:
    """Month, code, name, open, high, low, close, volume, amount of every month in the zips; all rows must be good."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in (row for path in paths for row in file_rows(path)):
        code = f"{row['代码'][2:]}.{row['代码'][:2].upper()}"
        groups.setdefault((row["时间"][:7], code), []).append(row)
    lines: list[Line] = []
    for (month, code), rows in sorted(groups.items()):
        rows.sort(key=lambda row: row["时间"])
        lines.append(
            (
                month,
                code,
                rows[-1]["名称"],
                Decimal(rows[0]["开盘价"]),
                max(Decimal(row["最高价"]) for row in rows),
                min(Decimal(row["最低价"]) for row in rows),
                Decimal(rows[-1]["收盘价"]),
                sum((Decimal(row["成交量"]) for row in rows), Decimal(0)),
                sum((Decimal(row["成交额"]) for row in rows), Decimal(0)),
            )
        )
    return lines


KLINE_QUERY = """SELECT to_char(month, 'YYYY-MM'), code, name, open, high, low, close, volume, amount
    FROM stock_monthly_kline ORDER BY 1, 2"""

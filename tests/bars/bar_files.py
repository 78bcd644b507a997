"""Deliveries for tests: small files in the vendor's shape, a plain reading of them, and a look at what landed.

The reading here shares nothing with the package: csv and Decimal, one row at a time.
"""

import csv
import datetime as dt
import gzip
import io
import os
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import psycopg

from marketdata_assets.bars.ingest import BarsReport, ingest
from marketdata_assets.bars.profiles import read
from marketdata_assets.bars.rules import Label
from marketdata_assets.fanout import Fanout
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry

HEADER = "时间,代码,名称,开盘价,收盘价,最高价,最低价,成交量,成交额,涨幅,振幅"
BOM = b"\xef\xbb\xbf"
DAY = 86_400
MINUTE = dt.timedelta(minutes=1)


def line(time: str, code: str = "sh600000", price: str = "10.00", name: str = "浦发银行", volume: object = 5) -> str:
    """One good row: open = close = high = low = `price`."""
    return f"{time},{code},{name},{price},{price},{price},{price},{volume},{abs(Decimal(price)) * 500},0.5,-0.5"


def minutes(first: str, count: int) -> list[str]:
    """`count` minute labels from `first` on."""
    start = dt.datetime.fromisoformat(first)
    return [str(start + n * MINUTE) for n in range(count)]


def csv_text(lines: Iterable[str], header: str = HEADER) -> bytes:
    return BOM + "".join(f"{text}\n" for text in (header, *lines)).encode()


def deliver(path: Path, content: bytes | Mapping[str, bytes], day: int = 1) -> Path:
    """Write a loose file or, from a mapping of members, a zip; `day` orders deliveries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Mapping):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        content = buffer.getvalue()
    elif path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)
    os.utime(path, (1_700_000_000 + day * DAY,) * 2)
    return path


def deliver_members(path: Path, members: Sequence[tuple[str, bytes]], day: int = 1) -> Path:
    """Write a zip that may hold one name twice."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
    os.utime(path, (1_700_000_000 + day * DAY,) * 2)
    return path


def months(year: int) -> list[str]:
    return [f"{year}-{month:02d}" for month in range(1, 13)]


def run(
    dsn: str,
    folder: Path,
    asked: Collection[str] = tuple(months(2000)),
    workers: int = 1,
    force: bool = False,
    label: Label = "end",
    profiles: Path | None = None,
) -> BarsReport:
    shapes = read(profiles, label)
    return ingest(dsn, folder, asked, run_id="test", fanout=Fanout(workers), force=force, shapes=shapes)


Row = tuple[dt.datetime, str, str | None, *tuple[Decimal | None, ...]]


def read_plainly(data: bytes) -> dict[tuple[str, dt.datetime], Row]:
    """The bars of a CSV of good rows by code and time; the first of two wins."""
    rows: dict[tuple[str, dt.datetime], Row] = {}
    for cells in csv.DictReader(io.StringIO(data.decode("utf-8-sig"))):
        code = f"{cells['代码'][2:]}.{cells['代码'][:2].upper()}"
        time = dt.datetime.fromisoformat(cells["时间"])
        numbers = [_decimal(cells[name]) for name in ("开盘价", "最高价", "最低价", "收盘价")]
        volume = Decimal(cells["成交量"]) if cells["成交量"] else None
        rest = [_decimal(cells[name]) for name in ("成交额", "涨幅", "振幅")]
        rows.setdefault((code, time), (time, code, cells["名称"] or None, *numbers, volume, *rest))
    return rows


def _decimal(text: str) -> Decimal | None:
    return Decimal(text).quantize(Decimal("0.0001"), ROUND_HALF_UP) if text else None


Key = tuple[str, dt.datetime]


def delivered(folder: Path) -> list[tuple[str, dict[Key, Row]]]:
    """The files of `folder`, each member of a zip alone, with their bars: the oldest first, then by name."""
    found = []
    for path in folder.rglob("*.*"):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                parts = [(member, archive.read(member)) for member in archive.namelist()]
        else:
            data = path.read_bytes()
            parts = [(name, gzip.decompress(data) if path.suffix == ".gz" else data)]
        found += [((path.stat().st_mtime_ns, name, member), read_plainly(data)) for member, data in parts]
    return [(name, rows) for (_, name, _), rows in sorted(found, key=lambda one: one[0])]


def expected(folder: Path, asked: Collection[str] | None = None, without: Collection[str] = ()) -> list[Row]:
    """The rows when the files of `folder` are loaded: each delivery replaces the minutes that it has, and no others."""
    rows: dict[Key, Row] = {}
    for name, bars in delivered(folder):
        if name not in without:
            rows.update(bars)
    kept = (row for row in rows.values() if asked is None or f"{row[0]:%Y-%m}" in asked)
    return sorted(kept, key=lambda row: (row[1], row[0]))


def fates(folder: Path, without: Collection[str] = ()) -> dict[str, tuple[int, int, dict[str, int]]]:
    """By file: its rows, those that are in the table, and those replaced, by the file that has the row now."""
    files = [(name, bars) for name, bars in delivered(folder) if name not in without]
    owners = {key: place for place, (_, bars) in enumerate(files) for key in bars}
    found: dict[str, tuple[int, int, dict[str, int]]] = {}
    for place, (name, bars) in enumerate(files):
        read, loaded, replaced = found.get(name, (0, 0, {}))
        for owner in (owners[key] for key in bars):
            if owner == place:
                loaded += 1
            else:
                newer = files[owner][0]
                replaced[newer] = replaced.get(newer, 0) + 1
        found[name] = (read + len(bars), loaded, replaced)
    return found


def table(dsn: str) -> list[Row]:
    """The rows in the database, ordered by code and time."""
    query = """SELECT time, code, name, open, high, low, close, volume, amount, change_pct, amplitude
               FROM stock_1min_qfq ORDER BY code, time"""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def entries(dsn: str) -> dict[str, Entry]:
    """The ledger by unit."""
    with psycopg.connect(dsn) as connection:
        return {entry.unit: entry for entry in ledger.entries(connection, "stock_1min_qfq")}


def books_balance(dsn: str, *, interrupted: bool = False) -> None:
    """Ledger, coverage, quarantine and table tell one story; of an `interrupted` load months may be due again."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT count(*) FROM stock_1min_qfq").fetchone()
        covered = connection.execute(
            "SELECT coalesce(sum(rows - superseded), 0), coalesce(min(rows - superseded), 0) FROM stock_1min_coverage"
        ).fetchone()
        owned = connection.execute(
            """SELECT unit, sum(rows - superseded)::bigint FROM stock_1min_coverage
               GROUP BY unit HAVING sum(rows) > sum(superseded)"""
        ).fetchall()
        refused = connection.execute("SELECT unit, count(*) FROM marketdata_quarantine GROUP BY unit").fetchall()
        months_on_record = connection.execute(
            "SELECT unit, array_agg(DISTINCT to_char(month, 'YYYY-MM')) FROM stock_1min_coverage GROUP BY unit"
        ).fetchall()
        days = connection.execute(
            """SELECT code, month + number::int - 1, day.bars FROM stock_1min_days d
               CROSS JOIN unnest(d.bars) WITH ORDINALITY AS day (bars, number) WHERE day.bars > 0"""
        ).fetchall()
        counted = connection.execute(
            """SELECT code, time::date, count(*) FROM stock_1min_qfq
               WHERE time::time BETWEEN '09:30' AND '15:00' GROUP BY 1, 2"""
        ).fetchall()
    assert sorted(days) == sorted(counted), "the counts of days are not those of the table"
    assert rows and covered
    assert covered[0] == rows[0], "coverage counts other rows than the table has"
    assert covered[1] >= 0, "more rows gave way than a file had"
    known = entries(dsn)
    assert {unit: entry.rows for unit, entry in known.items() if entry.rows} == dict(owned), (
        "the ledger counts other rows"
    )
    failed = {unit for unit, entry in known.items() if entry.outcome == "failed"}  # theirs are of the last attempt
    assert {unit: rows for unit, rows in refused if unit not in failed} == {
        unit: entry.rejected for unit, entry in known.items() if entry.rejected and unit not in failed
    }
    for unit, covered_months in months_on_record:
        assert interrupted or set(covered_months) <= set(known[unit].slices), (
            f"{unit} covers months that the ledger does not name"
        )


def assert_exact(dsn: str, folder: Path, asked: Collection[str] | None = None) -> None:
    """The table holds just what a plain reading of the files in their order gives, and the books balance."""
    assert table(dsn) == expected(folder, asked)
    books_balance(dsn)

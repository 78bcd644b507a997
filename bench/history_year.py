"""One year of minute bars of many stocks in one zip: speed, memory and bytes from its first tenth to its last.

Then its K-line, checks and status, and a delivery of all of it with other prices. BENCH_STOCKS sets how many of a
market's 5000 stocks there are, 61,214 rows each.
"""

import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import psycopg

from bench.figure import Figure
from bench.history import SESSIONS, TABLE, YEAR, hypertable_bytes, timescale_or_local
from bench.server import rows_in
from bench.size import sized
from marketdata_assets.bars import kline, status
from marketdata_assets.bars.ingest import BarsReport, ingest
from marketdata_assets.defs.bars.checks import BARS, KLINE, Known, answers
from marketdata_assets.fanout import Fanout
from marketdata_demo import sample_bars

STOCKS = int(os.environ.get("BENCH_STOCKS") or sized(1000, 10))
PATTERNS = sized(20, 2)
"""Stocks whose prices are invented; the others are these under other codes."""
DATABASE = "bench_history_year"
TENTHS = 10
MARKET = 5000
YEARS = 26
MONTHS = [f"{YEAR}-{month:02d}" for month in range(1, 13)]


@dataclass
class Course:
    """What was seen as each tenth of the members ended: seconds since the start, and MB of the loading processes."""

    started: float
    seconds: list[float] = field(default_factory=list)
    worker_mb: list[float] = field(default_factory=list)

    def __call__(self, done: int, total: int, place: str) -> None:
        while done >= total * (len(self.seconds) + 1) / TENTHS:
            self.seconds.append(time.perf_counter() - self.started)
            workers = psutil.Process().children(recursive=True)
            self.worker_mb.append(max((_rss_mb(worker) for worker in workers), default=0.0))

    @property
    def tenths(self) -> list[float]:
        """Seconds that each tenth took."""
        return [after - before for before, after in zip([0.0, *self.seconds], self.seconds, strict=False)]


def figures() -> Iterator[Figure]:
    """The course of one load, and what a whole market's year and 26 of them would take at its pace."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, timescale_or_local(Path(folder)) as engine:
        archive, rebased = (Path(folder) / name / f"{YEAR}_1min.zip" for name in ("bars", "rebased"))
        _write_market(archive)
        dsn = engine.fresh(DATABASE)
        course = Course(time.perf_counter())
        report = _load(dsn, archive, course)
        rows = rows_in(dsn, TABLE)
        assert rows == report.rows
        size = hypertable_bytes(dsn, engine.compressed)
        gigabytes = archive.stat().st_size / 1e9
        share = f"{engine.name}; {rows:,} rows, {STOCKS} of {MARKET} stocks, zip of {gigabytes:.2f} GB"
        yield from _course(course, rows, size, share)
        yield from _asked(dsn, archive.parent, share)
        archive.unlink()
        _write_market(rebased, dividend=0.5)
        again = _load(dsn, rebased)
        assert again.rows == rows == rows_in(dsn, TABLE)
        seconds = f"{again.seconds:.0f} s against {report.seconds:.0f} s; all prices changed by a dividend"
        yield Figure("history.year_rebase_ratio", again.seconds / report.seconds, "x", None, f"{share}; {seconds}")
        bytes_a_row = hypertable_bytes(dsn, engine.compressed) / rows
        yield Figure("history.year_rebased_bytes_per_row", bytes_a_row, "bytes", None, f"{share}; before any vacuum")
        yield from _asked(dsn, rebased.parent, share, "_rebased")
        engine.drop(DATABASE)


def _load(dsn: str, archive: Path, progress: Course | None = None) -> BarsReport:
    fanout = Fanout(SESSIONS, preload=("marketdata_assets.bars.ingest",))
    report = ingest(dsn, archive.parent, MONTHS, run_id="bench", fanout=fanout, progress=progress)
    assert not report.failed, report.failed[0].error
    return report


def _course(course: Course, rows: int, size: int, share: str) -> Iterator[Figure]:
    speed = rows / course.seconds[-1]
    market = rows / STOCKS * MARKET
    whole = f"a market's year {market / speed / 60:.0f} minutes and {market * size / rows / 1e9:.1f} GB"
    years = f"{YEARS} years {market * YEARS / speed / 3600:.1f} hours and {market * YEARS * size / rows / 1e9:.0f} GB"
    yield Figure("history.year_rows_per_s", speed, "rows/s", None, f"{share}; at this pace {whole}, {years}")
    yield Figure("history.year_bytes_per_row", size / rows, "bytes", None, share)
    tenths = ", ".join(f"{seconds:.1f}" for seconds in course.tenths)
    slope = median(course.tenths[-3:]) / median(course.tenths[1:4])
    yield Figure("history.year_slope", slope, "x", ("<=", 1.2), f"{share}; late tenths against early: {tenths} s")
    memory = ", ".join(f"{mb:.0f}" for mb in course.worker_mb)
    growth = course.worker_mb[-2] / course.worker_mb[0]
    detail = f"{share}; the largest loading process after each tenth: {memory} MB"
    yield Figure("history.year_memory_growth", growth, "x", ("<=", 1.2), detail)


def _asked(dsn: str, folder: Path, share: str, kind: str = "") -> Iterator[Figure]:
    """Seconds of the K-line, of all checks, which have to pass, and of what `status` asks for."""
    refreshed = kline.refresh(dsn, MONTHS, run_id="bench")
    detail = f"{share}; {refreshed.rows:,} rows of {refreshed.engine}"
    yield Figure(f"history.year{kind}_kline_s", refreshed.seconds, "s", None, detail)
    started = time.perf_counter()
    found = [one for asset in (BARS, KLINE) for one in answers(dsn, asset, MONTHS, Known)]
    wrong = [one.check_name for one in found if not one.passed]
    assert not wrong, wrong
    took = time.perf_counter() - started
    yield Figure(f"history.year{kind}_checks_s", took, "s", None, f"{share}; {len(found)} checks, all passed")
    started = time.perf_counter()
    with psycopg.connect(dsn) as connection:
        status.kline_states(connection, status.survey(connection, folder, MONTHS).months)
        status.bars_summary(connection)
        status.kline_summary(connection)
    yield Figure(f"history.year{kind}_status_s", time.perf_counter() - started, "s", None, share)


def _write_market(archive: Path, dividend: float = 0.0) -> None:
    """The year of some stocks, repeated under as many codes as a market's share has, piece by piece."""
    stocks = [(f"sh{600000 + number}", "浦发银行") for number in range(PATTERNS)]
    dividends = {code: dividend for code, _ in stocks} if dividend else {}
    patterns = sample_bars.write_year(archive.parent / "patterns", YEAR, stocks, dividends=dividends)
    with zipfile.ZipFile(patterns) as source:
        texts = [source.read(name) for name in source.namelist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for number in range(STOCKS):
            code = f"sh{600000 + number}"
            like = f",sh{600000 + number % PATTERNS},".encode()
            target.writestr(f"{code}_{YEAR}.csv", texts[number % PATTERNS].replace(like, f",{code},".encode()))
    patterns.unlink()
    patterns.parent.rmdir()


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0

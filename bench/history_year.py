"""One year of minute bars of many stocks in one zip: speed, memory and bytes from its first tenth to its last.

BENCH_STOCKS sets how many of a market's 5000 stocks there are, 61,214 rows each.
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

from bench.figure import Figure
from bench.history import SESSIONS, TABLE, YEAR, Engine, hypertable_bytes, timescale_or_local
from bench.server import rows_in
from bench.size import sized
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from marketdata_demo import sample_bars

STOCKS = int(os.environ.get("BENCH_STOCKS") or sized(1000, 20))
PATTERNS = sized(20, 2)
"""Stocks whose prices are invented; the others are these under other codes."""
DATABASE = "bench_history_year"
TENTHS = 10
MARKET = 5000
YEARS = 26


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
        archive = Path(folder) / "bars" / f"{YEAR}_1min.zip"
        _write_market(archive)
        yield from _course(engine, archive)
        engine.drop(DATABASE)


def _course(engine: Engine, archive: Path) -> Iterator[Figure]:
    dsn = engine.fresh(DATABASE)
    course = Course(time.perf_counter())
    months = [f"{YEAR}-{month:02d}" for month in range(1, 13)]
    fanout = Fanout(SESSIONS, preload=("marketdata_assets.bars.ingest",))
    report = ingest(dsn, archive.parent, months, run_id="bench", fanout=fanout, progress=course)
    assert not report.failed, report.failed[0].error
    rows = rows_in(dsn, TABLE)
    assert rows == report.rows
    size = hypertable_bytes(dsn, engine.compressed)
    speed = rows / course.seconds[-1]
    market = rows / STOCKS * MARKET
    share = f"{engine.name}; {rows:,} rows, {STOCKS} of {MARKET} stocks, zip of {archive.stat().st_size / 1e9:.2f} GB"
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


def _write_market(archive: Path) -> None:
    """The year of some stocks, repeated under as many codes as a market's share has, piece by piece."""
    stocks = [(f"sh{600000 + number}", "浦发银行") for number in range(PATTERNS)]
    patterns = sample_bars.write_year(archive.parent / "patterns", YEAR, stocks)
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

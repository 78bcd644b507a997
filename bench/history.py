"""Minute bars of many years: loads with compression, rebased reloads, small members year after year, status, reads.

On the TimescaleDB server of MARKETDATA_TEST_TIMESCALE_DSN where one is named, elsewhere on a local PostgreSQL.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import psycopg
from psycopg.conninfo import make_conninfo

from bench.figure import Figure, spread
from bench.load_once import peak_mb
from bench.server import rows_in
from bench.size import sized
from marketdata_assets.bars import schema, status
from marketdata_assets.bars.ingest import BarsReport, ingest
from marketdata_assets.bars.layout import BOM, COLUMNS, HEADER
from marketdata_assets.fanout import Fanout
from marketdata_assets.local.postgres import programs
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo import sample_bars

TABLE = "stock_1min_qfq"
YEAR = 2023
STOCKS = sized(100, 2)
ROUNDS = sized(3, 1)
SESSIONS = 2
FIRST_YEAR = 2000
YEARS = sized(26, 2)
MEMBERS = int(os.environ.get("BENCH_MEMBERS") or sized(5000, 4))
READS = sized(9, 1)
QUERIES = {
    "a stock's year": f"SELECT * FROM {TABLE} WHERE code = '600001.SH'",
    "a stock's day": f"""SELECT * FROM {TABLE}
        WHERE code = '600001.SH' AND time >= '{YEAR}-06-07' AND time < '{YEAR}-06-08'""",
    "all stocks of a day": f"SELECT * FROM {TABLE} WHERE time >= '{YEAR}-06-07' AND time < '{YEAR}-06-08'",
    "averages of a month": f"""SELECT code, avg(close) FROM {TABLE}
        WHERE time >= '{YEAR}-06-01' AND time < '{YEAR}-07-01' GROUP BY code""",
    "last close of each stock": f"""SELECT DISTINCT ON (code) code, time, close FROM {TABLE}
        WHERE time >= '{YEAR}-12-25' ORDER BY code, time DESC""",
}


@dataclass(frozen=True)
class Engine:
    """The server, and what it is called in a figure."""

    dsn: str
    name: str
    compressed: bool

    def fresh(self, name: str = "bench_history", *, columnstore: bool = True) -> str:
        """An empty database with the tables; without `columnstore` as on TimescaleDB before 2.24."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name}".encode())
        dsn = make_conninfo(self.dsn, dbname=name)
        with psycopg.connect(dsn, autocommit=True) as connection:
            schema.ensure(connection)
            if self.compressed and not columnstore:
                connection.execute(f"ALTER TABLE {TABLE} ADD UNIQUE (code, time)".encode())
            connection.execute("CHECKPOINT")
        return dsn

    def drop(self, name: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def figures() -> Iterator[Figure]:
    """All figures of the domain."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, timescale_or_local(Path(folder)) as engine:
        home = Path(folder)
        stocks = [(f"sh{600000 + number}", "浦发银行") for number in range(STOCKS)]
        archive = sample_bars.write_year(home / "bars", YEAR, stocks)
        rebased = sample_bars.write_year(home / "rebased", YEAR, stocks, dividends={code: 0.5 for code, _ in stocks})
        parts = [_unpack(archive, home / f"clean{part}.csv", slice(part, None, SESSIONS)) for part in range(SESSIONS)]
        found = [_load_figures(engine, archive, rebased, parts), _member_figures(engine, home / "members")]
        if engine.compressed:
            found.append(_read_figures(engine, archive))
        for figure in chain.from_iterable(found):
            yield replace(figure, detail=f"{engine.name}; {figure.detail}")
        engine.drop("bench_history")


@contextmanager
def timescale_or_local(home: Path) -> Iterator[Engine]:
    """The server of MARKETDATA_TEST_TIMESCALE_DSN, or a local PostgreSQL."""
    named = os.environ.get("MARKETDATA_TEST_TIMESCALE_DSN")
    if named:
        probe = Engine(named, "", False)
        with psycopg.connect(probe.fresh()) as connection:
            server = schema.look(connection)
        name = f"TimescaleDB {server.timescaledb} {server.edition}, PostgreSQL {server.postgres.split()[0]}"
        yield Engine(named, name, server.columnstore)
        return
    with LocalStack(Settings(home=home / "stack", postgres_dsn=None), services=("postgres",)) as stack:
        assert stack.endpoints.postgres_dsn
        with psycopg.connect(stack.endpoints.postgres_dsn) as connection:
            server = schema.look(connection)
        yield Engine(stack.endpoints.postgres_dsn, f"PostgreSQL {server.postgres.split()[0]}", False)


def _load_figures(engine: Engine, archive: Path, rebased: Path, parts: Sequence[Path]) -> Iterator[Figure]:
    """Loads from zip to compressed rows against `psql \\copy` and `compress_chunk`, in turn, then rebased ones."""
    floors, firsts, again, sizes = [], [], [], []
    rows = 0
    for _ in range(ROUNDS):
        dsn = engine.fresh()
        floors.append(_wall(lambda dsn=dsn: _floor(dsn, parts, engine.compressed)))  # type: ignore[misc]
        dsn = engine.fresh()
        firsts.append(_load(dsn, archive.parent, [YEAR]).seconds)
        second = _load(dsn, rebased.parent, [YEAR])
        rows = rows_in(dsn, TABLE)
        assert second.rows == rows
        again.append(second.seconds)
        sizes.append(hypertable_bytes(dsn, engine.compressed) / rows)
    what = f"{rows:,} rows, {STOCKS} stocks, {SESSIONS} sessions, {ROUNDS} interleaved rounds"
    after = "\\copy and compress_chunk" if engine.compressed else "\\copy"
    ratios = [ours / floor for ours, floor in zip(firsts, floors, strict=True)]
    seconds = f"ours {spread(firsts)} s, {after} {spread(floors)} s"
    yield Figure("history.load_wall_ratio", median(ratios), f"x wall of {after}", ("<=", 1), f"{what}; {seconds}")
    speeds = [rows / ours for ours in firsts]
    yield Figure("history.rows_per_s", median(speeds), "rows/s", (">=", 600_000), f"{what}; {spread(speeds, 0)}")
    ratios = [other / first for first, other in zip(firsts, again, strict=True)]
    detail = f"{what}; all prices changed by a dividend; {spread(ratios)}"
    yield Figure("history.rebase_ratio", median(ratios), "x first load", ("<=", 1.3), detail)
    limit = ("<=", 40.0) if engine.compressed else None
    yield Figure("history.rebased_bytes_per_row", median(sizes), "bytes", limit, f"{what}; before any vacuum")  # type: ignore[arg-type]
    command = [
        sys.executable,
        "-m",
        "bench.load_once",
        engine.fresh(),
        str(archive.parent),
        str(YEAR),
        "--workers",
        "1",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = json.loads(done.stdout)["rss_mb"]
    yield Figure("history.client_rss_mb", peak, "MB", ("<=", 150), f"{rows:,} rows; peak of one loading process")


def _member_figures(engine: Engine, folder: Path) -> Iterator[Figure]:
    """A zip of small members for each year, loaded one after the other; then what is asked of all of them."""
    dsn = engine.fresh()
    per_member = []
    for year in range(FIRST_YEAR, FIRST_YEAR + YEARS):
        _write_members(folder, year)
        report = _load(dsn, folder, [year])
        assert report.count("ok") == MEMBERS
        per_member.append(report.seconds / MEMBERS * 1000)
    what = f"{MEMBERS} members of 24 rows in each of {YEARS} years"
    for name, value in {"first": per_member[0], "last": per_member[-1]}.items():
        detail = f"{what}; {spread(per_member)} over the years"
        yield Figure(f"history.member_ms_{name}_year", value, "ms", ("<", 5), detail)
    again, memory = _in_a_process(_load_all_again, dsn, folder)
    yield Figure("history.rerun_unchanged_s", again, "s", ("<", 10), f"{what}; {memory}")
    shown, memory = _in_a_process(_show_status, dsn, folder)
    yield Figure("history.status_s", shown, "s", ("<", 3), f"{what}; {memory}")
    look, memory = _in_a_process(_look_as_the_sensor, dsn, folder)
    yield Figure("history.sensor_look_s", look, "s", ("<", 5), f"{what}; {memory}")


def _in_a_process(work: Callable[[str, Path], None], dsn: str, folder: Path) -> tuple[float, str]:
    """Seconds of `work` in a process of its own, and the memory of that process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, peak = pool.submit(_measured, work, dsn, folder).result()
    return seconds, f"a process of {peak:.0f} MB"


def _measured(work: Callable[[str, Path], None], dsn: str, folder: Path) -> tuple[float, float]:
    return _wall(lambda: work(dsn, folder)), peak_mb()


def _load_all_again(dsn: str, folder: Path) -> None:
    again = _load(dsn, folder, range(FIRST_YEAR, FIRST_YEAR + YEARS))
    assert (again.unchanged, again.rows) == (MEMBERS * YEARS, 0)


def _show_status(dsn: str, folder: Path) -> None:
    with psycopg.connect(dsn) as connection:
        status.kline_states(connection, status.survey(connection, folder, _all_months()).months)
        status.bars_summary(connection)
        status.kline_summary(connection)


def _look_as_the_sensor(dsn: str, folder: Path) -> None:
    with psycopg.connect(dsn) as connection:
        status.survey(connection, folder, _all_months())


def _all_months() -> list[str]:
    return [f"{FIRST_YEAR + year}-{month:02d}" for year in range(YEARS) for month in range(1, 13)]


def _read_figures(engine: Engine, archive: Path) -> Iterator[Figure]:
    """Five queries against compressed batches and against rows with a unique index, in turn."""
    rows = engine.fresh("bench_history_rows", columnstore=False)
    batches = engine.fresh()
    for dsn in (rows, batches):
        _load(dsn, archive.parent, [YEAR])
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"VACUUM ANALYZE {TABLE}".encode())
    ratios, parts = {}, []
    for name, query in QUERIES.items():
        walls: dict[str, list[float]] = {rows: [], batches: []}
        for _ in range(READS):
            for dsn in (rows, batches):
                with psycopg.connect(dsn) as connection:
                    connection.execute(query.encode()).fetchall()
                    walls[dsn].append(_wall(lambda c=connection, q=query: c.execute(q.encode()).fetchall()))  # type: ignore[misc]
        slow, fast = median(walls[batches]), median(walls[rows])
        ratios[name] = slow / fast
        parts.append(f"{name} {slow * 1000:.1f} against {fast * 1000:.1f} ms")
    engine.drop("bench_history_rows")
    detail = f"batches against rows: {', '.join(parts)}; {READS} interleaved rounds"
    yield Figure("history.read_ratio_worst", max(ratios.values()), "x rows", ("<=", 1.2), detail)


def _load(dsn: str, folder: Path, years: Sequence[int], *, force: bool = False) -> BarsReport:
    months = [f"{year}-{month:02d}" for year in years for month in range(1, 13)]
    fanout = Fanout(SESSIONS, preload=("marketdata_assets.bars.ingest",))
    report = ingest(dsn, folder, months, run_id="bench", fanout=fanout, force=force)
    assert not report.failed, report.failed[0].error
    return report


def _floor(dsn: str, parts: Sequence[Path], compressed: bool) -> None:
    """Finished rows by several sessions, and then their chunks compressed by as many."""
    columns = ", ".join(COLUMNS.values())
    _together(dsn, [f"\\copy {TABLE} ({columns}) from '{part}' csv" for part in parts])
    if compressed:
        numbered = f"SELECT c, row_number() OVER () AS n FROM show_chunks('{TABLE}') c"
        query = f"SELECT count(compress_chunk(c)) FROM ({numbered}) x WHERE n % {len(parts)} = "
        _together(dsn, [f"{query}{part}" for part in range(len(parts))])


def _together(dsn: str, commands: Sequence[str]) -> None:
    psql = str(programs() / "psql")
    running = [subprocess.Popen([psql, dsn, "-qAtc", command], stdout=subprocess.DEVNULL) for command in commands]
    assert [process.wait() for process in running] == [0] * len(commands)


def _unpack(archive: Path, target: Path, members: slice) -> Path:
    """Rows of some of the archive's members as a CSV that the table takes as it is."""
    with zipfile.ZipFile(archive) as file, target.open("wb") as out:
        for name in file.namelist()[members]:
            digits = name[2:8].encode()
            out.write(file.read(name).split(b"\n", 1)[1].replace(b",sh%s," % digits, b",%s.SH," % digits))
    return target


def _write_members(folder: Path, year: int) -> None:
    folder.mkdir(exist_ok=True)
    days = [f"{year}-{month:02d}-{day}" for month in range(1, 13) for day in ("03", "20")]
    lines = [f"{day} 09:30:00,sh600000,浦发银行,10.00,10.00,10.00,10.00,5,5000,0.5,-0.5" for day in days]
    text = BOM + "\n".join([",".join(HEADER), *lines, ""]).encode()
    with zipfile.ZipFile(folder / f"{year}_1min.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(MEMBERS):
            code = f"sh{600000 + number}"
            archive.writestr(f"{code}_{year}.csv", text.replace(b"sh600000", code.encode()))


def hypertable_bytes(dsn: str, hypertable: bool) -> int:
    """The size of the table on disk, with its indexes and chunks."""
    size = "hypertable_size" if hypertable else "pg_total_relation_size"
    with psycopg.connect(dsn) as connection:
        row = connection.execute(f"SELECT {size}('{TABLE}')".encode()).fetchone()
    assert row is not None
    return int(row[0])


def _wall(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

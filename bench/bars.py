"""Minute bars: fresh load against `psql \\copy`, a polars peer, memory, reload of an unchanged year, K-line refresh."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import psycopg
from psycopg.conninfo import make_conninfo

from bench.figure import Figure, spread
from bench.server import Cost, Server, psql_copy, rows_in
from bench.size import sized
from marketdata_assets.bars import kline, schema
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.bars.layout import BOM, COLUMNS, PRICES, TABLE_COLUMNS
from marketdata_assets.fanout import Fanout
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo import sample_bars

TABLE = "stock_1min_qfq"
YEAR = 2023
STOCKS = sized(40, 2)
ROUNDS = sized(3, 1)
MEMBERS = sized(5000, 20)
PAIRS = sized(7, 1)
CALL = "CALL refresh_continuous_aggregate('stock_monthly_kline', %s::timestamp, %s::timestamp, force => true)"


def figures() -> Iterator[Figure]:
    """All figures of the domain."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder)
        settings = Settings(home=home / "stack", postgres_dsn=None)
        with LocalStack(settings, services=("postgres",)) as stack:
            server = Server(stack, schema.ensure)
            yield from load_figures(server, home)
            yield from kline_figures(server)
            yield reload_figure(server, home)
    yield from aggregate_figures()


def load_figures(server: Server, home: Path) -> Iterator[Figure]:
    """Fresh load of zipped CSV against the floor and a peer, in turn; then the memory of one loading process."""
    stocks = [(f"sh{600000 + number}", "浦发银行") for number in range(STOCKS)]
    archive = sample_bars.write_year(home / "bars", YEAR, stocks)
    clean = _unpack_clean(archive, home / "clean.csv")
    floor, ours, peer = [], [], []
    for _ in range(ROUNDS):
        dsn = server.fresh()
        floor.append(server.cost(lambda dsn=dsn: _psql_copy(dsn, clean)))  # type: ignore[misc]
        dsn = server.fresh()
        peer.append(server.cost(lambda dsn=dsn: _polars_copy(dsn, archive)))  # type: ignore[misc]
        dsn = server.fresh()
        ours.append(server.cost(lambda dsn=dsn: _load(dsn, archive.parent)[:2]))  # type: ignore[misc]
    assert {cost.rows for cost in (*floor, *ours, *peer)} == {floor[0].rows}
    rows = f"{floor[0].rows:,} rows, {STOCKS} members, {ROUNDS} interleaved rounds"
    ratios = [one.cpu_s / other.cpu_s for one, other in zip(ours, floor, strict=True)]
    yield Figure(
        "bars.load_cpu_ratio",
        median(ratios),
        "x CPU of psql \\copy",
        ("<=", 1.5),
        _load_detail(rows, ours, floor, ratios),
    )
    walls = [one.wall_s / other.wall_s for one, other in zip(ours, floor, strict=True)]
    speed = median(cost.rows / cost.wall_s for cost in ours)
    yield Figure(
        "bars.load_wall_ratio",
        median(walls),
        "x wall of psql \\copy",
        None,
        f"{rows}; ours {speed:,.0f} rows/s with {os.cpu_count()} processes; {spread(walls)}",
    )
    peers = [one.cpu_s / other.cpu_s for one, other in zip(peer, floor, strict=True)]
    yield Figure(
        "bars.peer_polars_cpu_ratio",
        median(peers),
        "x CPU of psql \\copy",
        None,
        f"peer: unzip, polars read, price filter, write_csv, COPY; {rows}; {spread(peers)}",
    )
    peak = [_load(server.fresh(), archive.parent, workers=1)[2] for _ in range(2)]
    loose = home / "loose"
    loose.mkdir()
    shutil.copyfile(clean, loose / f"big_{YEAR}.csv")
    _as_vendor_file(loose / f"big_{YEAR}.csv")
    big = _load(server.fresh(), loose, workers=1)[2]
    yield Figure(
        "bars.load_client_rss_mb",
        max(*peak, big),
        "MB",
        ("<=", 250),
        f"peak of one loading process, {floor[0].rows:,} rows: {max(peak):.0f} as a zip, {big:.0f} as one loose CSV",
    )


def _load_detail(rows: str, ours: list[Cost], floor: list[Cost], ratios: list[float]) -> str:
    def per_row(costs: list[Cost], what: str) -> str:
        return f"{median(getattr(cost, what) / cost.rows for cost in costs) * 1e6:.2f}"

    return (
        f"{rows}; CPU us/row ours {per_row(ours, 'client_s')} client + {per_row(ours, 'server_s')} server,"
        f" floor {per_row(floor, 'client_s')} + {per_row(floor, 'server_s')}; ratio {spread(ratios)};"
        " ours counts the start of its workers"
    )


def _unpack_clean(archive: Path, target: Path) -> Path:
    """The archive's rows as a CSV that the table takes as it is."""
    with zipfile.ZipFile(archive) as members, target.open("wb") as out:
        for name in members.namelist():
            text = members.read(name).split(b"\n", 1)[1]
            digits = name[2:8].encode()
            out.write(text.replace(b",sh%s," % digits, b",%s.SH," % digits))
    return target


def _as_vendor_file(path: Path) -> None:
    """Give a clean CSV the vendor's header and codes back, line order kept."""
    text = path.read_bytes()
    for number in range(STOCKS):
        text = text.replace(b",%d.SH," % (600000 + number), b",sh%d," % (600000 + number))
    path.write_bytes(BOM + ",".join(COLUMNS).encode() + b"\n" + text)


def _psql_copy(dsn: str, clean: Path) -> tuple[float, int]:
    return psql_copy(dsn, TABLE, list(COLUMNS.values()), clean), rows_in(dsn, TABLE)


def _load(dsn: str, folder: Path, workers: int = os.cpu_count() or 1) -> tuple[float, int, float]:
    """Client CPU, rows and peak memory of one load in a process of its own."""
    command = [sys.executable, "-m", "bench.load_once", dsn, str(folder), str(YEAR), "--workers", str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["rows"] == rows_in(dsn, TABLE)
    return result["cpu_s"], result["rows"], result["rss_mb"]


def _polars_copy(dsn: str, archive: Path) -> tuple[float, int]:
    """What a good script does without us: no ledger, no quarantine, no exact rounding."""
    before = time.process_time()
    ordered = [name for name in TABLE_COLUMNS if name not in PRICES[1:]]
    with zipfile.ZipFile(archive) as members, psycopg.connect(dsn) as connection:
        for member in members.namelist():
            frame = pl.read_csv(members.read(member)).rename(COLUMNS)
            low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
            frame = frame.filter((pl.col("high") >= high) & (pl.col("low") <= low)).unique(["code", "time"])
            code = pl.col("code")
            frame = frame.with_columns(code.str.slice(2) + "." + code.str.slice(0, 2).str.to_uppercase()).sort("time")
            columns = [*ordered[:4], "high", "low", "close", *ordered[4:]]
            with connection.cursor().copy(f"COPY stock_1min_qfq ({', '.join(columns)}) FROM STDIN CSV") as copy:
                copy.write(frame.select(columns).write_csv(include_header=False))
    return time.process_time() - before, rows_in(dsn, TABLE)


def kline_figures(server: Server) -> Iterator[Figure]:
    """Refresh of one month by the asset's function against its bare SQL, on the rows of the last load."""
    dsn = make_conninfo(server.dsn, dbname="bench")
    month = f"{YEAR}-06"
    kline.refresh(dsn, [f"{YEAR}-{number:02d}" for number in range(1, 13)])
    low, high = kline.months_range([month])
    statement = f"INSERT INTO {kline.RELATION} ({', '.join(kline.COLUMNS)}) {kline.rows_query()}"

    def bare() -> tuple[float, int]:
        before = time.process_time()
        with psycopg.connect(dsn) as connection:
            kline.plan_by_hashing(connection)
            connection.execute(f"DELETE FROM {kline.RELATION} WHERE month = %s", [low])
            rows = connection.execute(statement.encode(), {"lo": low, "hi": high}).rowcount
        return time.process_time() - before, rows

    def ours() -> tuple[float, int]:
        before = time.process_time()
        rows = kline.refresh(dsn, [month]).rows
        return time.process_time() - before, rows

    yield _refresh_figure("bars.kline_refresh_ratio", server.cost, ours, bare, "rollup")


def _refresh_figure(
    name: str,
    cost: Callable[[Callable[[], tuple[float, int]]], Cost],
    ours: Callable[[], tuple[float, int]],
    bare: Callable[[], tuple[float, int]],
    engine: str,
) -> Figure:
    pairs = [(cost(ours), cost(bare)) for _ in range(PAIRS)]
    walls = [one.wall_s / other.wall_s for one, other in pairs]
    cpus = [one.cpu_s / other.cpu_s for one, other in pairs]
    rows = f"{engine}, {pairs[0][0].rows} K-lines of one month, {PAIRS} interleaved pairs"
    detail = f"{rows}; CPU {spread(cpus)}, wall {spread(walls)}"
    return Figure(name, median(cpus), "x CPU of the bare SQL", ("<=", 1.1), detail)


def reload_figure(server: Server, home: Path) -> Figure:
    """A second run over a year of MEMBERS members, none of them changed."""
    folder = home / "many"
    text = sample_bars.csv_bytes(
        sample_bars.stock_year("sh600000", "浦发银行", sample_bars.weekdays(YEAR)[:1], 1).head(5)
    )
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{YEAR}_1min.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(MEMBERS):
            code = f"sh{600000 + number}"
            archive.writestr(f"{code}_{YEAR}.csv", text.replace(b"sh600000", code.encode()))
    dsn = server.fresh()
    months = [f"{YEAR}-{month:02d}" for month in range(1, 13)]
    fanout = Fanout(preload=("marketdata_assets.bars.ingest",))
    first = ingest(dsn, folder, months, run_id="bench", fanout=fanout)
    assert first.count("ok") == MEMBERS
    again = [ingest(dsn, folder, months, run_id="bench", fanout=fanout) for _ in range(5)]
    assert all(report.unchanged == MEMBERS and report.rows == 0 for report in again)
    seconds = [report.seconds for report in again]
    detail = f"{MEMBERS} members, {spread(seconds)}; the first load took {first.seconds:.1f} s"
    return Figure("bars.reload_unchanged_s", median(seconds), "s", ("<", 2), detail)


def aggregate_figures() -> Iterator[Figure]:
    """The same refresh as a continuous aggregate, where a TimescaleDB server is named; wall time only."""
    named = os.environ.get("MARKETDATA_TEST_TIMESCALE_DSN")
    if not named:
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, psycopg.connect(named, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS bench_bars WITH (FORCE)")
        admin.execute("CREATE DATABASE bench_bars")
        dsn = make_conninfo(named, dbname="bench_bars")
        sample_bars.write_year(Path(folder), YEAR, [(f"sh{600000 + number}", "浦发银行") for number in range(10)])
        months = [f"{YEAR}-{month:02d}" for month in range(1, 13)]
        ingest(dsn, Path(folder), months, run_id="bench", fanout=Fanout(preload=("marketdata_assets.bars.ingest",)))
        kline.refresh(dsn, months)
        low, high = kline.months_range([months[5]])
        walls = []
        for _ in range(PAIRS):
            started = time.perf_counter()
            kline.refresh(dsn, [months[5]], force=True)
            ours = time.perf_counter() - started
            started = time.perf_counter()
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(CALL, [low, high])
            walls.append(ours / (time.perf_counter() - started))
        admin.execute("DROP DATABASE bench_bars WITH (FORCE)")
    detail = f"continuous aggregate, forced, one month of 10 stocks, {PAIRS} pairs; {spread(walls)}"
    yield Figure("bars.kline_aggregate_wall_ratio", median(walls), "x wall of the bare CALL", None, detail)

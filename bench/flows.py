"""Flows: a fresh load of `stock_daily` against `psql \\copy` and two peers, many small files, an unchanged rerun."""

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench import flow_deliveries, flows_ray
from bench.figure import Figure, spread
from bench.peers import NoPeer, environment, unmeasured
from bench.server import Server, psql_copy, rows_in
from bench.size import sized
from marketdata_assets.defs import flows as shipped
from marketdata_assets.flows import storage
from marketdata_assets.flows.definition import FlowDefinition, read
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo import sample_books, sample_flows

DEFINITION = Path(shipped.__file__).parent / "stock_daily" / "defs.yaml"
LAST = dt.date(2024, 6, 28)
STOCKS, DAYS = sized((200, 5000), (3, 40))
SMALL_FILES, SMALL_DAYS = sized(1000, 5), 30
ROUNDS = sized(3, 1)
RERUNS = sized(5, 1)
PEERS = ["dlt[postgres]>=1.31,<2", "pandas>=3,<4", "pyarrow>=20", "psycopg[binary]>=3.2,<4"]
PEER = Path(__file__).with_name("flow_peer.py")
PEER_NAMES = ("pandas", "dlt")
OTHER_UNITS = sized(100_000, 100)
"""Units of other flows in each database."""
CORRECTED_CODES, CORRECTED_DAYS = sized((1000, 1000), (4, 5))
CORRECTED = """loader:
  columns: {code: code, day: day, close: close, volume: volume}
  types: {day: date, close: "numeric(16,4)", volume: bigint}
target:
  table: corrected
  mode: upsert
  key: [code, day]
  columns: {code: text, day: date, close: "numeric(16,4)", volume: bigint}
"""


@cache
def flow() -> FlowDefinition:
    """The flow that is measured."""
    return read(DEFINITION)


@dataclass(frozen=True)
class Walls:
    """Wall seconds of each round."""

    ours: list[float]
    floor: list[float]
    peers: dict[str, list[float]]


def figures() -> Iterator[Figure]:
    """All figures of the domain."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder)
        with LocalStack(Settings(home=home / "stack", postgres_dsn=None), services=("postgres",)) as stack:
            server = Server(stack, _tables)
            yield corrected_figure(server, home)
            yield from load_figures(server, home)
            yield from small_figures(server, home)
            yield flows_ray.overhead(server, DEFINITION, home / "big")
            yield flows_ray.second_machine(server, DEFINITION, home / "big")
        with LocalStack(Settings(home=home / "other", postgres_dsn=None), services=("postgres",)) as stack:
            yield from flow_deliveries.figures(Server(stack, _books), home / "other", home)


def _books(connection: psycopg.Connection) -> None:
    sample_books.fill(connection, OTHER_UNITS)
    connection.execute("ANALYZE")


def _tables(connection: psycopg.Connection) -> None:
    storage.ensure(connection, flow())
    _books(connection)


def corrected_figure(server: Server, home: Path) -> Figure:
    """A large file that is delivered again with half of its keys new and all its values changed."""
    definition, data = home / "corrected.yaml", home / "corrected"
    definition.write_text(CORRECTED)
    data.mkdir()
    walls: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        dsn = server.fresh()
        _write_prices(data / "prices.csv", "A", 10)
        first = _load(dsn, data, definition)
        _write_prices(data / "prices.csv", "B", 11)
        again = _load(dsn, data, definition)
        assert rows_in(dsn, "corrected") == 1.5 * first["rows"]
        walls.append((first["wall_s"], again["wall_s"]))
    ratios = [again / first for first, again in walls]
    detail = (
        f"{CORRECTED_CODES * CORRECTED_DAYS:,} rows of one file, delivered again with other values and half of its keys"
        f" new, beside {OTHER_UNITS:,} units of another flow; {spread(ratios)}; first load"
        f" {spread([first for first, _ in walls])} s, then {spread([again for _, again in walls])} s"
    )
    return Figure("flows.corrected_load_ratio", median(ratios), "x wall of the first load", ("<", 3.0), detail)


def _write_prices(file: Path, letter: str, close: int) -> None:
    """Rows of codes of which every second begins with `letter`."""
    days = [(LAST - dt.timedelta(CORRECTED_DAYS - number)).isoformat() for number in range(CORRECTED_DAYS)]
    with file.open("w") as out:
        out.write("code,day,close,volume\n")
        for number in range(CORRECTED_CODES):
            code = f"{letter if number % 2 else 'C'}{number:06}"
            out.writelines(f"{code},{day},{close + at / 100:.2f},{at}\n" for at, day in enumerate(days))


def load_figures(server: Server, home: Path) -> Iterator[Figure]:
    """A million rows with handlers and quality gate, the same rows by psql, and the same work by peers, in turn."""
    data = home / "big"
    sample_flows.write(data / flow().loader.folder, STOCKS, LAST, DAYS)
    dsn = server.fresh()
    first = _load(dsn, data)
    clean = _exported(dsn, home / "clean.csv")
    costs: list[dict[str, Any]] = []
    walls = Walls([], [], {})
    versions: dict[str, str] = {}
    missing: tuple[Figure, ...] = ()
    for _ in range(ROUNDS):
        dsn = server.fresh()
        started = time.perf_counter()
        psql_copy(dsn, flow().target.table, list(flow().target.columns), clean)
        walls.floor.append(time.perf_counter() - started)
        assert rows_in(dsn, flow().target.table) == first["rows"]
        costs.append(_load(server.fresh(), data))
        walls.ours.append(costs[-1]["wall_s"])
        try:
            for name, told in _peers(server, data, first["rows"]):
                walls.peers.setdefault(name, []).append(told["wall_s"])
                versions[name] = f"{name} {told['version']}"
        except (NoPeer, subprocess.CalledProcessError) as error:
            missing = tuple(unmeasured(error, *(f"flows.vs_{name}" for name in PEER_NAMES if name not in walls.peers)))
    rows = f"{first['rows']:,} rows of {STOCKS} files, 38 columns of GBK, {ROUNDS} interleaved rounds"
    yield _load_figure(walls, rows, costs)
    yield from _peer_figures(walls, rows, versions)
    yield from missing


def _load_figure(walls: Walls, rows: str, costs: list[dict[str, Any]]) -> Figure:
    ratios = [ours / floor for ours, floor in zip(walls.ours, walls.floor, strict=True)]
    count = costs[0]["rows"]
    detail = (
        f"{rows}; floor: their {len(flow().target.columns)} columns as a finished CSV, with the same primary key;"
        f" {spread(ratios)}; ours {count / median(walls.ours):,.0f} rows/s,"
        f" {median(cost['cpu_s'] for cost in costs) / count * 1e6:.1f} us client CPU a row, start of the workers"
        f" counted, {max(cost['rss_mb'] for cost in costs):.0f} MB in the parent"
    )
    return Figure("flows.load_wall_ratio", median(ratios), "x wall of psql \\copy", ("<=", 1.6), detail)


def _peer_figures(walls: Walls, rows: str, versions: dict[str, str]) -> Iterator[Figure]:
    for name, seconds in walls.peers.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds, walls.ours, strict=True)]
        detail = (
            f"{versions[name]}, the same columns, rules and derived values, one process, no ledger, no quarantine;"
            f" {rows}; {spread(ratios)}"
        )
        target = (">=", 1.0) if name == "dlt" else None
        yield Figure(f"flows.vs_{name}", median(ratios), "x speed of the peer", target, detail)  # type: ignore[arg-type]


def _peers(server: Server, data: Path, rows: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """A load by each peer. Raises NoPeer, or CalledProcessError."""
    python = environment("flow-peers", PEERS)
    for name in PEER_NAMES:
        command = [str(python), str(PEER), name, server.fresh(), str(data / flow().loader.folder)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert told["rows"] == rows, (name, told["rows"], rows)
        yield name, told


def small_figures(server: Server, home: Path) -> Iterator[Figure]:
    """Many small files, and then the same again, unchanged."""
    data = home / "small"
    sample_flows.write(data / flow().loader.folder, SMALL_FILES, LAST, SMALL_DAYS)
    first = [_load(server.fresh(), data) for _ in range(ROUNDS)]
    assert all(one["files"] == SMALL_FILES for one in first)
    dsn = server.fresh()
    _load(dsn, data)
    again = [_load(dsn, data) for _ in range(RERUNS)]
    assert all((one["unchanged"], one["rows"]) == (SMALL_FILES, 0) for one in again)
    each = [one["wall_s"] / SMALL_FILES * 1000 for one in first]
    cpu = median(one["cpu_s"] for one in first) / SMALL_FILES * 1000
    files = f"{SMALL_FILES} files of {SMALL_DAYS} rows"
    yield Figure(
        "flows.small_file_ms",
        median(each),
        "ms a file",
        ("<=", 4.5),
        f"{files}, {cpu:.1f} ms client CPU; {spread(each)}",
    )
    seconds = [one["wall_s"] for one in again]
    yield Figure("flows.rerun_unchanged_s", median(seconds), "s", ("<", 1), f"{files}; {spread(seconds)}")


def _load(dsn: str, data: Path, definition: Path = DEFINITION) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.flow_once", str(definition), dsn, str(data)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def _exported(dsn: str, file: Path) -> Path:
    """The table's own columns as a CSV in the order of its key."""
    target = flow().target
    rows = f"SELECT {', '.join(target.columns)} FROM {target.table} ORDER BY {', '.join(target.key)}"
    with (
        psycopg.connect(dsn) as connection,
        connection.cursor().copy(f"COPY ({rows}) TO STDOUT CSV".encode()) as copy,
        file.open("wb") as out,
    ):
        for block in copy:
            out.write(block)
    return file

"""What a local Ray cluster costs a load, and what a second machine of a cluster brings; the same rows every time."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from bench.figure import Figure, spread
from bench.server import Server
from bench.size import sized
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows.definition import FlowDefinition, read
from marketdata_assets.flows.run import PRELOAD, run_flow
from marketdata_assets.local.process import free_port

ROUNDS = sized(3, 1)
RAY = Path(sys.executable).with_name("ray")
STARTED = "Ray runtime started"
VARIABLES = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 3, "RAY_USAGE_STATS_ENABLED": "0"}


def overhead(server: Server, definition: Path, data: Path) -> Figure:
    """`flows.ray_overhead_ratio` of the flow over the files below `data`; the rows are held against each other."""
    databases = [server.fresh(f"bench_ray_{number}") for number in range(2 * ROUNDS + 1)]
    command = [sys.executable, "-m", "bench.flows_ray", str(definition), str(data), *databases]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    flow = read(definition)
    sums = {_checksum(dsn, flow) for dsn in databases}
    assert len(sums) == 1, f"pool and Ray differ: {sums}"
    ratios = [ray / pool for ray, pool in zip(told["ray"], told["pool"], strict=True)]
    detail = (
        f"{told['rows']:,} rows, {ROUNDS} interleaved rounds on a local cluster that runs; the pool starts its workers"
        f" each time; {spread(ratios)}; Ray {spread(told['ray'])} s, pool {spread(told['pool'])} s; the first load by"
        f" Ray, with the start of cluster and workers, {told['first']:.1f} s; the same rows in all databases"
    )
    return Figure("flows.ray_overhead_ratio", median(ratios), "x wall of the pool", None, detail)


def second_machine(server: Server, definition: Path, data: Path) -> Figure:
    """`flows.ray_second_machine_ratio`: the wall of a load by two raylets of one CPU each, over that of one."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    databases = [server.fresh(f"bench_raylets_{number}") for number in range(4 * ROUNDS)]
    left = iter(databases)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        for _ in range(ROUNDS):
            for machines in walls:
                with _cluster(Path(folder), machines) as address:
                    command = [
                        sys.executable,
                        "-m",
                        "bench.flows_ray",
                        str(definition),
                        str(data),
                        next(left),
                        next(left),
                    ]
                    run = subprocess.run(
                        [*command, "--address", address],
                        check=True,
                        stdout=subprocess.PIPE,
                        text=True,
                        env=_environment(),
                    )
                told: dict[str, Any] = json.loads(run.stdout)
                walls[machines].append(told["wall"])
    flow = read(definition)
    sums = {_checksum(dsn, flow) for dsn in databases}
    assert len(sums) == 1, f"one machine and two differ: {sums}"
    ratios = [two / one for one, two in zip(walls[1], walls[2], strict=True)]
    detail = (
        f"{told['rows']:,} rows, {ROUNDS} rounds of one raylet and of two, each with one CPU, all and the database on"
        f" one machine of {os.cpu_count()} cores, workers running; {spread(ratios)}; one {spread(walls[1])} s, two"
        f" {spread(walls[2])} s; the same rows in all databases"
    )
    return Figure("flows.ray_second_machine_ratio", median(ratios), "x wall of one machine", None, detail)


def _environment() -> dict[str, str]:
    return {**os.environ, **VARIABLES}


@contextmanager
def _cluster(folder: Path, machines: int) -> Iterator[str]:
    """A cluster of so many raylets with one CPU each, stopped on leaving."""
    address = f"127.0.0.1:{free_port()}"
    head = ("--head", f"--port={address.partition(':')[2]}", f"--temp-dir={folder}", "--include-dashboard=false")
    with ExitStack() as raylets:
        for number in range(machines):
            options = head if number == 0 else (f"--address={address}",)
            raylets.enter_context(_raylet(folder / f"{number}.log", *options, "--num-cpus=1"))
        yield address


@contextmanager
def _raylet(log: Path, *options: str) -> Iterator[None]:
    command = [str(RAY), "start", "--block", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment())
    try:
        while STARTED not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _checksum(dsn: str, flow: FlowDefinition) -> tuple[Any, ...]:
    """Count and sum of hashes of the flow's own columns, whatever the order."""
    columns = sql.SQL(", ").join(map(sql.Identifier, flow.target.columns))
    query = "SELECT count(*), sum(hashtextextended(ROW({})::text, 0)::numeric) FROM {}"
    with psycopg.connect(dsn) as connection:
        found = connection.execute(sql.SQL(query).format(columns, sql.Identifier(flow.target.table))).fetchone()
    assert found
    return found


def main() -> None:
    """Load once by Ray, then by pool and Ray in turn, each into the next database; print the walls."""
    parser = argparse.ArgumentParser()
    parser.add_argument("definition", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("databases", nargs="+")
    parser.add_argument("--address", help="load twice by this cluster and print the wall of the second load")
    options = parser.parse_args()
    flow, pool, ray = read(options.definition), Fanout(0, PRELOAD), Fanout(0, PRELOAD, ray=options.address or "local")

    def wall(dsn: str, fanout: Fanout) -> tuple[float, int]:
        started = time.perf_counter()
        report = run_flow(flow, dsn, options.folder, run_id="bench", fanout=fanout)
        assert not report.failed, report.failed[0].error
        return time.perf_counter() - started, report.rows

    first, rows = wall(options.databases[0], ray)
    if options.address:
        print(json.dumps({"rows": rows, "wall": wall(options.databases[1], ray)[0]}))
        return
    turns: Sequence[tuple[str, str]] = list(zip(options.databases[1::2], options.databases[2::2], strict=True))
    walls = [(wall(one, pool)[0], wall(other, ray)[0]) for one, other in turns]
    print(json.dumps({"rows": rows, "first": first, "pool": [w[0] for w in walls], "ray": [w[1] for w in walls]}))


if __name__ == "__main__":
    main()

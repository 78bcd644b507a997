"""What a local Ray cluster costs a load: the same files into fresh databases by the pool and by Ray, in turn."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
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

ROUNDS = sized(3, 1)


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
    options = parser.parse_args()
    flow, pool, ray = read(options.definition), Fanout(0, PRELOAD), Fanout(0, PRELOAD, ray="local")

    def wall(dsn: str, fanout: Fanout) -> tuple[float, int]:
        started = time.perf_counter()
        report = run_flow(flow, dsn, options.folder, run_id="bench", fanout=fanout)
        assert not report.failed, report.failed[0].error
        return time.perf_counter() - started, report.rows

    first, rows = wall(options.databases[0], ray)
    turns: Sequence[tuple[str, str]] = list(zip(options.databases[1::2], options.databases[2::2], strict=True))
    walls = [(wall(one, pool)[0], wall(other, ray)[0]) for one, other in turns]
    print(json.dumps({"rows": rows, "first": first, "pool": [w[0] for w in walls], "ray": [w[1] for w in walls]}))


if __name__ == "__main__":
    main()

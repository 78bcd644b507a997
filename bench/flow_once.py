"""One run of `stock_daily` over a data folder in a process of its own, which prints what it cost: by `bench.flows`."""

import argparse
import json
import time
from pathlib import Path

import psutil

from bench.figure import tree_cpu_s
from bench.load_once import peak_mb
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows.definition import read
from marketdata_assets.flows.run import PRELOAD, run_flow


def main() -> None:
    """Load what is new and print rows, files, CPU of this process tree, wall time and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("definition", type=Path)
    parser.add_argument("dsn")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    flow, fanout = read(options.definition), Fanout(options.workers, PRELOAD)
    cpu, wall = tree_cpu_s(psutil.Process()), time.perf_counter()
    report = run_flow(flow, options.dsn, options.folder, run_id="bench", fanout=fanout)
    wall = time.perf_counter() - wall
    assert not report.failed, report.failed[0].error
    print(
        json.dumps(
            {
                "rows": report.rows,
                "rejected": report.rejected,
                "files": report.count("ok"),
                "unchanged": report.unchanged,
                "wall_s": wall,
                "cpu_s": tree_cpu_s(psutil.Process()) - cpu,
                "rss_mb": peak_mb(),
            }
        )
    )


if __name__ == "__main__":
    main()

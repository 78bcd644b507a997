"""One load of a folder in a process of its own, which prints what it cost: run by `bench.bars`."""

import argparse
import json
import os
import time
from pathlib import Path

import psutil

from bench.figure import tree_cpu_s
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout


def main() -> None:
    """Load all months of a year and print rows, CPU of this process tree, wall time and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("folder", type=Path)
    parser.add_argument("year", type=int)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    months = [f"{options.year}-{month:02d}" for month in range(1, 13)]
    fanout = Fanout(options.workers, ("marketdata_assets.bars.ingest",))
    cpu, wall = tree_cpu_s(psutil.Process()), time.perf_counter()
    report = ingest(options.dsn, options.folder, months, run_id="bench", fanout=fanout)
    assert not report.failed, report.failed[0].error
    print(
        json.dumps(
            {
                "rows": report.rows,
                "wall_s": time.perf_counter() - wall,
                "cpu_s": tree_cpu_s(psutil.Process()) - cpu,
                "rss_mb": peak_mb(),
            }
        )
    )


def peak_mb() -> float:
    """This program's own peak; getrusage would count that of the process it was started from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()

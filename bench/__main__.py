"""Runs the benchmarks and writes `bench/results.json`; `--only bars` runs one domain and keeps the others' figures.

With BENCH_SMALL=1 the inputs are tiny: figures are printed, but neither written nor judged.
"""

import argparse
import json
import platform
import sys
import time
from itertools import chain
from pathlib import Path

from bench import (
    alphas,
    bars,
    collector,
    collector_drain,
    collector_rates,
    definitions,
    exchanges,
    faulty_books,
    flows,
    fuzz,
    history,
    history_year,
    hosts,
    read,
    replay,
    tick_files,
    ticks,
    ticks_fetch,
    ticks_grid,
    ticks_publish,
    ticks_repair,
    ticks_runs,
    web,
)
from bench.figure import Figure
from bench.size import SMALL

DOMAINS = {
    "bars": bars.figures,
    "history": lambda: chain(history.figures(), history_year.figures(), ticks_publish.figures(), ticks_grid.figures()),
    "defs": definitions.figures,
    "alphas": alphas.figures,
    "ticks": lambda: chain(
        ticks.figures(), ticks_fetch.figures(), ticks_runs.figures(), tick_files.figures(), ticks_repair.figures()
    ),
    "exchanges": lambda: chain(exchanges.figures(), replay.figures(), faulty_books.figures()),
    "collector": lambda: chain(collector.figures(), collector_drain.figures(), collector_rates.figures()),
    "flows": flows.figures,
    "read": read.figures,
    "web": web.figures,
    "fuzz": fuzz.figures,
    "hosts": hosts.figures,
}
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Run the selected domains; the exit code is 1 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", choices=sorted(DOMAINS))
    only = parser.parse_args().only
    figures: list[Figure] = []
    for name, run in DOMAINS.items():
        if only in (None, name):
            started = time.monotonic()
            for figure in run():
                figures.append(figure)
                print(figure.line(judged=not SMALL), flush=True)
                if not SMALL:
                    _write(figure)
            print(f"{name}: {time.monotonic() - started:.0f} s, Python {platform.python_version()}")
    sys.exit(0 if SMALL or all(figure.holds is not False for figure in figures) else 1)


def _write(figure: Figure) -> None:
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    merged = {row["name"]: row for row in kept} | {figure.name: figure.as_dict()}
    RESULTS.write_text(json.dumps([merged[name] for name in sorted(merged)], indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

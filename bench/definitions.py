"""The Dagster layer: import of the definitions, and what a backfill that finds nothing to do costs inside its run."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figure import Figure, spread
from bench.size import sized
from marketdata_assets.cli.instance import run_job
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo import sample_bars

YEARS = sized(range(2000, 2025), range(2024, 2025))
FIRST, LAST = f"{YEARS[0]}-01", f"{YEARS[-1]}-12"
ROUNDS = sized(3, 1)
IMPORTS = sized(5, 1)


def figures() -> Iterator[Figure]:
    """All figures of the layer."""
    yield import_figure()
    yield backfill_figure()


def import_figure() -> Figure:
    """A new process that loads the definitions, as every run is one."""
    taken = []
    for _ in range(IMPORTS):
        started = time.perf_counter()
        code = "from marketdata_assets.definitions import defs; defs().get_repository_def()"
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - started)
    return Figure("defs.import_s", median(taken), "s", ("<", 3), f"new process, import to repository, {spread(taken)}")


def backfill_figure() -> Figure:
    """300 months of bars and K-line, storage on Postgres, when every file is loaded already."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder)
        os.environ["MARKETDATA_BARS_DIR"] = str(home / "bars")
        settings = Settings(home=home / "stack", postgres_dsn=None)
        for year in YEARS:
            stocks = [("sh600000", "浦发银行")]
            sample_bars.write_year(home / "bars", year, stocks, until=sample_bars.weekdays(year)[20])
        with LocalStack(settings, services=("postgres",)):
            assert run_job(settings, "bars_and_kline", (FIRST, LAST)).success
            taken = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                outcome = run_job(settings, "bars_and_kline", (FIRST, LAST))
                taken.append(time.perf_counter() - started)
                assert outcome.success
                assert outcome.metadata["stock_1min_qfq"]["rows"] == 0
    detail = (
        f"{12 * len(YEARS)} months x 2 assets and 7 checks in one run, Dagster storage on Postgres, {spread(taken)}"
    )
    return Figure("defs.backfill_300_months_s", median(taken), "s", ("<", 15), detail)

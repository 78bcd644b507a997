"""Ten minutes of wrong bytes for every parser of the exchanges.

FUZZ_SEED repeats a run, FUZZ_SECONDS makes it longer or shorter. What fails is kept in bench/fuzz-failures.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.fuzzing import fuzz, targets
from bench.size import sized

SECONDS = sized(600.0, 2.0)
KEPT = Path(__file__).parent / "fuzz-failures"


def figures() -> Iterator[Figure]:
    """How many inputs made a parser fail, of all that were tried."""
    seed = int(os.environ.get("FUZZ_SEED") or time.time_ns() % 2**32)
    seconds = float(os.environ.get("FUZZ_SECONDS") or SECONDS)
    print(f"fuzz: FUZZ_SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        found = targets(_fixtures(), Path(scratch))
        started = time.monotonic()
        tried = fuzz(found, seed, lambda _: time.monotonic() - started < seconds)
        took = time.monotonic() - started
    for path in tried.keep(KEPT):
        print(f"fuzz: kept {path}")
    detail = (
        f"{tried.inputs:,} inputs to {len(found)} targets in {took:.0f} s, seed {seed},"
        f" {len({one for target in found for one in target.seeds}):,} messages to begin with"
    )
    yield Figure("exchanges.fuzz_failures", len(tried.failures), "inputs", ("<=", 0), detail)


def _fixtures() -> Path | None:
    """The folder of recorded payloads, where there is one."""
    folder = Path(os.environ.get("MARKETDATA_FIXTURES") or Path(__file__).parents[1] / "../shared/fixtures").resolve()
    return folder if folder.is_dir() else None

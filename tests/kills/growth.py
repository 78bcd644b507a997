"""`python -m tests.kills.growth`: a stack for some time under its schedules and sensors, and what of it grows.

A file is delivered again each minute, as loads keep a database busy. Memory and descriptors have to stay; bytes on disk
grow with what is delivered and with Dagster's records of runs, and are printed as bytes a run and a year.
"""

import argparse
import datetime as dt
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from random import Random

import dagster as dg
import psutil

from marketdata_assets.cli.instance import environment_of
from tests.kills import leftovers, tables, work
from tests.kills import stack as stacks

EVERY_SECONDS = 10.0
MINUTE = 60.0
YEAR_RUNS = 365 * 24
"""Runs of a year with one an hour, for what one run leaves on disk."""
FLAT = 0.05
"""Of two thirds of the time, the second may have this much more than the first."""
MEMORY_MB, DESCRIPTORS = 15.0, 5.0
"""More than this, whatever the share: garbage is collected when an interpreter likes."""

Samples = dict[str, list[tuple[float, float]]]


def sample(stack: stacks.Stack, at: float, found: Samples) -> None:
    """Add resident megabytes and open descriptors of each kind of process, workers of runs left out."""
    for kind, processes in stack.processes().items():
        if kind == "run" or kind.endswith("of a run"):
            continue
        memory = descriptors = 0.0
        with suppress(psutil.Error):
            for process in processes:
                family = [process, *process.children(recursive=True)] if kind in ("postgres", "mongo") else [process]
                memory += sum(one.memory_full_info().pss for one in family) / 2**20
                descriptors += sum(one.num_fds() for one in family)
            found[f"{kind}: MB"].append((at, memory))
            found[f"{kind}: descriptors"].append((at, descriptors))


def bytes_below(home: Path) -> dict[str, int]:
    """The bytes on disk of each folder of the data folder."""
    sizes: dict[str, int] = defaultdict(int)
    for path in home.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                sizes[path.relative_to(home).parts[0]] += path.stat().st_blocks * 512
    return dict(sizes)


def slope(values: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs, in units an hour: single peaks do not move it."""
    few = values[:: max(1, len(values) // 100)]
    slopes = [(second - first) / (later - at) * 3600 for (at, first), (later, second) in combinations(few, 2)]
    return statistics.median(slopes) if slopes else 0.0


def grows(name: str, values: Sequence[tuple[float, float]]) -> bool:
    """Whether the last third of the time holds more than the third before it."""
    third = len(values) // 3
    middle, last = (statistics.median(value for _, value in part) for part in (values[third:-third], values[-third:]))
    return last - middle > max(FLAT * middle, MEMORY_MB if name.endswith("MB") else DESCRIPTORS)


def counts(variables: Mapping[str, str]) -> tuple[int, int, int]:
    """Runs, runs that have failed, and ticks of sensors and schedules, as Dagster has them."""
    with environment_of(variables), dg.DagsterInstance.get() as instance:
        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
        known = [(one.instigator_origin_id, one.selector_id) for one in instance.all_instigator_state()]
        ticks = sum(len(instance.get_ticks(*one)) for one in known)
        return instance.get_runs_count(), instance.get_runs_count(failed), ticks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    home, found = folder / "g", defaultdict[str, list[tuple[float, float]]](list)
    home.mkdir()
    deliveries = work.Deliveries(home, dt.datetime.now(dt.UTC).date(), Random(asked.seed))
    deliveries.all()
    print(f"seed {asked.seed}, {asked.minutes:g} minutes", flush=True)
    with stacks.running(home, ui=True) as stack:
        variables = leftovers.variables(home, stacks.environment(home))
        for arguments in deliveries.commands(force=False):
            code, text = stacks.run(home, *arguments)
            assert code == 0, text
        began = delivered = time.monotonic()
        before = bytes_below(home), counts(variables)
        while (now := time.monotonic()) - began < asked.minutes * MINUTE:
            sample(stack, now - began, found)
            if now - delivered > MINUTE:
                delivered = now
                deliveries.again()
            time.sleep(EVERY_SECONDS)
        after = bytes_below(home), counts(variables)
        hours = (time.monotonic() - began) / 3600
        left = leftovers.leftovers(stack.urls, variables, idle=False)
        print("\n".join(f"    {name}: {rows}" for name, rows in tables.hashes(stack.urls).items()))
    left += stack.left
    growing = [name for name, values in found.items() if grows(name, values)]
    for name, values in sorted(found.items()):
        first, last = values[len(values) // 3][1], values[-1][1]
        print(f"{name:32} {first:8.1f} -> {last:8.1f}   {slope(values[len(values) // 3 :]):+8.2f} an hour")
    runs, failed, ticks = (later - earlier for earlier, later in zip(before[1], after[1], strict=True))
    print(f"{runs} runs, {failed} failed, {ticks} ticks in {hours * 60:.0f} minutes")
    for name, size in sorted(after[0].items()):
        grown = size - before[0].get(name, 0)
        if grown:
            a_run = grown / max(1, runs)
            print(f"{name:32} {size / 2**20:8.1f} MB, {grown / 2**20:+.1f} MB", end=", ")
            print(f"{a_run / 1024:.0f} kB a run, {a_run * YEAR_RUNS / 2**30:.2f} GB a year of a run an hour")
    for title, wrong in {"grows": growing, "left over": left}.items():
        print(f"{title}: {len(wrong)}", *wrong, sep="\n    ")
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if growing or left or failed else 0


if __name__ == "__main__":
    sys.exit(main())

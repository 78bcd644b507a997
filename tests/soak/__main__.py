"""`python -m tests.soak`: simulated hours of all schedules and sensors with faults, and the verdict.

Equal seeds and starts give equal deliveries and faults; which line of a run a kill meets is up to the machine.
"""

import argparse
import datetime as dt
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.soak import delivered, judge
from tests.soak.clock import coming_monday
from tests.soak.simulation import Options, Simulation, simulation
from tests.soak.world import SMALL, Size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=48.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    parser.add_argument("--start", help="the first moment, UTC, in the future; else midnight of the next Monday")
    parser.add_argument("--step", type=float, default=600.0, help="seconds between two looks of all daemons")
    parser.add_argument("--faults-every", type=float, default=2.0, help="hours; 0 for none")
    parser.add_argument("--stream-every", type=float, default=60.0, help="minutes between two batches of live trades")
    parser.add_argument("--big", action="store_true", help="more files, symbols and accounts of each delivery")
    asked = parser.parse_args()
    now = dt.datetime.now(dt.UTC)
    start = dt.datetime.fromisoformat(asked.start).replace(tzinfo=dt.UTC) if asked.start else coming_monday(now)
    if start <= now:
        parser.error("the start must be in the future: files that are written now shall be old by its clock")
    options = Options(
        start,
        asked.hours,
        step=dt.timedelta(seconds=asked.step),
        faults_every=asked.faults_every,
        seed=asked.seed,
        size=replace(Size() if asked.big else SMALL, stream_hours=asked.stream_every / 60),
    )
    print(f"seed {options.seed}, start {start:%Y-%m-%dT%H:%M}, {options.hours:g} hours", flush=True)
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    with simulation(options, home, say=lambda line: print(line, flush=True)) as lived:
        lived.run(settled=lambda: not judge.behind(lived.world))
        good = tell(lived, time.monotonic() - began)
    if good:
        shutil.rmtree(home)
    else:
        print(f"left for a look: {home}")
    return 0 if good else 1


def tell(lived: Simulation, seconds: float) -> bool:
    """Print the verdict; whether it is a good one."""
    found = judge.failures(lived)
    unexplained = judge.without_reason(lived, found)
    questions = {
        "behind": judge.behind(lived.world),
        "not as delivered": delivered.differences(lived.world),
        "checks that fail": judge.failing_checks(lived),
        "unexplained failures": unexplained,
        "failed runs that nothing mended": judge.not_mended(lived, found),
    }
    for title, answers in questions.items():
        print(f"{title}: {len(answers)}")
        for answer in answers[:40]:
            print(f"    {answer}")
    records = lived.instance.get_run_records()
    hours = (lived.clock.now - lived.options.start).total_seconds() / 3600
    print(
        f"{hours:.1f} simulated hours in {seconds:.0f} s, {lived.turns} turns of all daemons, {len(records)} runs,"
        f" {len(lived.faults)} faults,"
        f" {sum(one.what == 'run' for one in found)} failed runs, {sum(one.what == 'look' for one in found)} failed"
        f" looks, {sum(one.what == 'daemon' for one in found)} errors of daemons"
    )
    for table, (rows, size) in sorted(judge.growth(lived.world).items(), key=lambda one: -one[1][1])[:8]:
        print(f"    {table:40} {rows:9,} rows {size / 1e6:8.1f} MB   {rows / hours * 24:9,.0f} rows a day")
    return not any(questions.values())


if __name__ == "__main__":
    sys.exit(main())

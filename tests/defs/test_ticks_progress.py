"""What a run of ticks has loaded is materialized while it is in progress, and stays so when it is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
from tick_runs import BARS, EARLIER, MONTH, SYMBOLS, TicksEnv, drop, minutes, sessions, units

from marketdata_assets.partitions import tick_unit
from marketdata_assets.progress import reporting_to


def test_killed_run_leaves_what_it_loaded_materialized(ticks_env: TicksEnv, tmp_path: Path) -> None:
    for month in (MONTH, EARLIER):
        rows = [bar for symbol in SYMBOLS for bar in minutes(symbol, sessions(month)[0])]
        drop(ticks_env.folder, f"{month}.csv", rows)
    storage = tmp_path / "storage"
    storage.mkdir()
    child = Path(__file__).with_name("killed_ticks.py")
    died = subprocess.run([sys.executable, str(child), str(storage)], cwd=child.parent, check=False)
    assert died.returncode == -signal.SIGKILL
    with dg.DagsterInstance.local_temp(str(storage)) as instance:
        marked = {tick_unit(key) for key in instance.get_materialized_partitions(BARS)}
    assert len({unit.month for unit in marked}) == 1, "one month was loaded, the run died in the other"
    assert marked == units(SYMBOLS, {unit.month for unit in marked}) <= ticks_env.counts().keys()


def test_each_unit_is_materialized_once_and_the_last_has_the_summary(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setattr("marketdata_assets.defs.partition_results.AT_ONCE", 1)
    ticks_env.ready(*SYMBOLS)
    seen = []
    with reporting_to(lambda done, total, _: seen.append((done, len(ticks_env.materialized(BARS))))):
        result = ticks_env.select({MONTH: [], EARLIER: []}, ["tick_data"])
    assert result.success
    assert max(marked for done, marked in seen if done < 6) > 0, "in progress"
    parts = [str(event.partition_key) for event in ticks_env.instance.fetch_materializations(BARS, limit=100).records]
    assert {tick_unit(part) for part in parts} == units(SYMBOLS, (MONTH, EARLIER)) == ticks_env.materialized(BARS)
    assert len(parts) <= len(set(parts)) + 1, "only the last one is logged again, with the summary"
    last = max(ticks_env.materialized(BARS), key=lambda unit: (unit.month, unit.symbol))
    assert ticks_env.metadata(BARS, last)["units_ok"] == 6

"""What a run of ticks has loaded is materialized while it is in progress."""

from marketdata_assets.partitions import tick_unit
from marketdata_assets.progress import reporting_to
from tests.defs.tick_runs import BARS, EARLIER, MONTH, SYMBOLS, TicksEnv, units


def test_each_unit_is_materialized_once_and_the_last_has_the_summary(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setattr("marketdata_assets.defs.partition_results.AT_ONCE", 1)
    ticks_env.ready(*SYMBOLS[:2])
    seen = []
    with reporting_to(lambda done, total, _: seen.append((done, len(ticks_env.materialized(BARS))))):
        result = ticks_env.select({MONTH: [], EARLIER: []}, ["tick_data"])
    assert result.success
    assert max(marked for done, marked in seen if done < 4) > 0, "in progress"
    parts = [str(event.partition_key) for event in ticks_env.instance.fetch_materializations(BARS, limit=100).records]
    assert {tick_unit(part) for part in parts} == units(SYMBOLS[:2], (MONTH, EARLIER)) == ticks_env.materialized(BARS)
    assert len(parts) <= len(set(parts)) + 1, "only the last one is logged again, with the summary"
    last = max(ticks_env.materialized(BARS), key=lambda unit: (unit.month, unit.symbol))
    assert ticks_env.metadata(BARS, last)["units_ok"] == 4

"""One evaluation of `backfill_missing`, over whatever servers the environment names."""

import dagster as dg
from bar_runs import repository

from marketdata_assets import resources
from marketdata_assets.defs.repair.nightly import NAME


def night(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """What the sensor asks for, as the daemon would get it."""
    found = repository()
    with dg.build_sensor_context(
        instance=instance,
        repository_def=found,
        cursor=cursor,
        resources={
            "postgres": resources.Postgres(),
            "mongo": resources.Mongo(),
            "clickhouse": resources.ClickHouse(),
            "brain": resources.Brain(),
            "bar_files": resources.BarFiles(),
            "alphas_dir": resources.AlphaFiles(),
            "flow_files": resources.FlowFiles(),
            "ticks": resources.Ticks(),
        },
    ) as context:
        return found.get_sensor_def(NAME).evaluate_tick(context)

"""One evaluation of `backfill_missing`, over whatever servers the environment names."""

import dagster as dg
from bar_runs import repository

from marketdata_assets import resources
from marketdata_assets.defs.repair.nightly import NAME, RESOURCES


def night(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """What the sensor asks for, as the daemon would get it."""
    found = repository()
    with dg.build_sensor_context(
        instance=instance,
        repository_def=found,
        cursor=cursor,
        resources={name: one for name, one in resources.by_name().items() if name in RESOURCES},
    ) as context:
        return found.get_sensor_def(NAME).evaluate_tick(context)

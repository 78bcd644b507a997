"""One evaluation of `backfill_missing`, over whatever servers the environment names."""

from functools import cache

import dagster as dg
from bar_runs import repository

from marketdata_assets import resources
from marketdata_assets.defs.repair.nightly import NAME
from marketdata_assets.settings import Settings


def loaded() -> dg.RepositoryDefinition:
    """The definitions; loaded once for all tests that have no flows of their own."""
    return repository() if Settings().flows_folder.is_dir() else _without_own_flows()


@cache
def _without_own_flows() -> dg.RepositoryDefinition:
    return repository()


def night(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """What the sensor asks for, as the daemon would get it."""
    found = loaded()
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

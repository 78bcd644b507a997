"""The entry point of the code location: the definitions under `defs/`, and the resources they share."""

import datetime as dt
import logging
from functools import lru_cache
from pathlib import Path

import dagster as dg

from marketdata_assets import defs as project
from marketdata_assets import logs, resources
from marketdata_assets.defs import catalog
from marketdata_assets.defs.flows import own
from marketdata_assets.defs.repair import nightly
from marketdata_assets.flows import discovery
from marketdata_assets.settings import Settings


def project_definitions() -> dg.Definitions:
    """All definitions of the package, without the user's own flows.

    A process builds them again when the two settings that partitions depend on, or the hour, have changed. Found by
    module: `load_from_defs_folder` needs a pyproject.toml, which an installed package does not have.
    """
    settings = Settings()
    return _built(settings.ticks_months, settings.exchange_days, f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H}")


@lru_cache(1)
def _built(ticks_months: int, exchange_days: int, hour: str) -> dg.Definitions:
    return dg.ComponentTree.from_module(defs_module=project, project_root=Path(__file__).parents[1]).build_defs()


@dg.definitions
def defs() -> dg.Definitions:
    ours = project_definitions()
    settings = Settings()
    logs.configure(settings.log_format, logging.INFO)
    folder, taken = settings.flows_folder, own.names(ours)
    found = dg.Definitions.merge(ours, own.definitions(folder, taken), dg.Definitions([catalog.start_here()]))
    flows = [one.flow for one in (*discovery.shipped(), *own.find(folder, taken)) if one.flow]
    aged = catalog.with_freshness(found, [flow.name for flow in flows if flow.schedule])
    return dg.Definitions.merge(
        catalog.described(aged, settings.code_url),
        dg.Definitions(
            sensors=[nightly.repair_sensor(flows, [*(found.jobs or ())])],
            resources=resources.definitions(),
            executor=dg.in_process_executor,
        ),
    )

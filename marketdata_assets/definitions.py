"""The entry point of the code location: the definitions under `defs/`, and the resources they share."""

import datetime as dt
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name

import dagster as dg

from marketdata_assets import defs as project
from marketdata_assets import domains, logs, resources
from marketdata_assets.defs import catalog, metadata
from marketdata_assets.defs.executor import locked_executor
from marketdata_assets.defs.flows import build
from marketdata_assets.defs.repair import nightly
from marketdata_assets.settings import Settings


def project_definitions() -> dg.Definitions:
    """All definitions of the chosen domains, without the user's own flows.

    A process builds them again when the settings that they depend on, or the hour, have changed. Found by
    module: `load_from_defs_folder` needs a pyproject.toml, which an installed package does not have.
    """
    settings = Settings()
    hour = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H}"
    return _built(settings.domain_names, settings.ticks_months, settings.exchange_days, hour)


@lru_cache(1)
def _built(names: Sequence[str], ticks_months: int, exchange_days: int, hour: str) -> dg.Definitions:
    tree = dg.ComponentTree.from_module(defs_module=project, project_root=Path(__file__).parents[1])
    ours = [name for name in names if name in domains.OWN]
    theirs = [resolve_name(domains.find(name).definitions)() for name in names if name not in ours]
    return dg.Definitions.merge(_of_domains(tree, ours), *theirs)


def _of_domains(tree: dg.ComponentTree, names: Sequence[str]) -> dg.Definitions:
    """What is below `defs` of some of our domains, and of the repair."""
    if {*names} == {*domains.OWN}:
        return tree.build_defs()
    parts = [name if (Path(project.__path__[0]) / name).is_dir() else f"{name}.py" for name in names]
    if "ticks" not in names and "reference" in names:
        parts.append("ticks/symbols.py")  # instruments are refreshed with the list of symbols that follows from them
    loaded = dg.Definitions.merge(*(tree.build_defs(part) for part in (*parts, "repair")))
    read = {dep.asset_key for spec in catalog.specs(loaded) for dep in spec.deps}
    return dg.Definitions.merge(loaded, dg.Definitions([source for source in metadata.sources if source.key in read]))


@dg.definitions
def defs() -> dg.Definitions:
    ours = project_definitions()
    settings = Settings()
    logs.configure(settings.log_format, logging.INFO)
    if "flows" in settings.domain_names:
        folder, taken = settings.flows_folder, catalog.names(ours)
        ours = dg.Definitions.merge(ours, build.own_definitions(folder, taken))
    return dg.Definitions.merge(
        catalog.described(ours, settings.code_url),
        dg.Definitions(
            sensors=nightly.repair_sensors([*(ours.jobs or ())], settings.domain_names),
            resources=resources.by_name(),
            executor=locked_executor,
        ),
    )

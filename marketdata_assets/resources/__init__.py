"""One resource per outside system: the only place that turns settings into clients."""

import dagster as dg

from marketdata_assets.fanout import Fanout
from marketdata_assets.local.errors import NoServer
from marketdata_assets.resources.brain import Brain
from marketdata_assets.resources.files import AlphaFiles, BarFiles, Exchanges, FlowFiles
from marketdata_assets.resources.servers import ClickHouse, Health, Mongo, Nats, Postgres
from marketdata_assets.resources.ticks import Ticks
from marketdata_assets.settings import Settings

__all__ = [
    "AlphaFiles",
    "BarFiles",
    "Brain",
    "ClickHouse",
    "Exchanges",
    "FlowFiles",
    "Health",
    "Mongo",
    "Nats",
    "NoServer",
    "Postgres",
    "Ticks",
    "Workers",
    "by_name",
    "definitions",
]


class Workers(dg.ConfigurableResource):
    """Processes of one fan-out. `count` 0 means MARKETDATA_WORKERS, else one per core."""

    count: int = 0

    def fanout(self, *preload: str) -> Fanout:
        """A pool whose workers have the modules `preload` imported, or a cluster by MARKETDATA_RAY_ADDRESS."""
        settings = Settings()
        return Fanout(self.count or settings.workers or 0, preload, settings.ray_address)


def definitions() -> dict[str, dg.ResourceDefinition]:
    """The resources of the code location. Run config cannot change them: whoever reaches the UI can send run config.

    Otherwise a page in the user's browser could name another address, and receive the passwords that are sent there.
    """
    return {
        name: dg.ResourceDefinition(lambda _, resource=resource: resource, config_schema={})
        for name, resource in by_name().items()
    }


def by_name() -> dict[str, dg.ConfigurableResource[object]]:
    """The resources of the project under the names by which assets and sensors request them."""
    return {
        "postgres": Postgres(),
        "mongo": Mongo(),
        "clickhouse": ClickHouse(),
        "nats": Nats(),
        "brain": Brain(),
        "bar_files": BarFiles(),
        "flow_files": FlowFiles(),
        "alphas_dir": AlphaFiles(),
        "ticks": Ticks(),
        "exchanges": Exchanges(),
        "workers": Workers(),
    }

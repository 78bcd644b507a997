"""One resource per outside system: the only place that turns settings into clients."""

from dataclasses import dataclass, field

import dagster as dg

from marketdata_assets.fanout import Fanout
from marketdata_assets.local.errors import NoServer
from marketdata_assets.resources.brain import Brain
from marketdata_assets.resources.files import AlphaFiles, BarFiles, Exchanges, FlowFiles
from marketdata_assets.resources.servers import ClickHouse, Mongo, Nats, Postgres
from marketdata_assets.resources.ticks import Ticks
from marketdata_assets.settings import Settings

__all__ = [
    "AlphaFiles",
    "BarFiles",
    "Brain",
    "ClickHouse",
    "Exchanges",
    "FlowFiles",
    "Mongo",
    "Nats",
    "NoServer",
    "Postgres",
    "Resources",
    "Ticks",
    "Workers",
    "by_name",
]


class Workers(dg.ConfigurableResource):
    """Processes of one fan-out: MARKETDATA_WORKERS, else one per core."""

    def fanout(self, *preload: str) -> Fanout:
        """A pool whose workers have the modules `preload` imported, or a cluster by MARKETDATA_RAY_ADDRESS."""
        settings = Settings()
        return Fanout(settings.workers or 0, preload, settings.ray_address)


@dataclass(frozen=True)
class Resources:
    """The resources of the project under the names by which assets and sensors request them.

    None has any config: whoever reaches the UI can send run config. Otherwise a page in the user's browser could name
    another address, and receive the passwords that are sent there.
    """

    postgres: Postgres = field(default_factory=Postgres)
    mongo: Mongo = field(default_factory=Mongo)
    clickhouse: ClickHouse = field(default_factory=ClickHouse)
    nats: Nats = field(default_factory=Nats)
    brain: Brain = field(default_factory=Brain)
    bar_files: BarFiles = field(default_factory=BarFiles)
    flow_files: FlowFiles = field(default_factory=FlowFiles)
    alphas_dir: AlphaFiles = field(default_factory=AlphaFiles)
    ticks: Ticks = field(default_factory=Ticks)
    exchanges: Exchanges = field(default_factory=Exchanges)
    workers: Workers = field(default_factory=Workers)


def by_name() -> dict[str, dg.ConfigurableResource[object]]:
    """The same by name."""
    return vars(Resources())

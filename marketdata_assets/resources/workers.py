"""How much of a run may happen at once, and where."""

import dagster as dg

from marketdata_assets.fanout import Fanout
from marketdata_assets.settings import Settings


class Workers(dg.ConfigurableResource):
    """Processes of one fan-out. `count` 0 means MARKETDATA_WORKERS, else one per core."""

    count: int = 0

    def fanout(self, *preload: str) -> Fanout:
        """A pool whose workers have the modules `preload` imported, or a cluster by MARKETDATA_RAY_ADDRESS."""
        settings = Settings()
        return Fanout(self.count or settings.workers or 0, preload, settings.ray_address)

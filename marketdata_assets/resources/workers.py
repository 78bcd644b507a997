"""How much of a run may happen at once."""

import os

import dagster as dg

from marketdata_assets.fanout import Fanout
from marketdata_assets.settings import Settings


class Workers(dg.ConfigurableResource):
    """Processes of one fan-out. `count` 0 means MARKETDATA_WORKERS, else one per core."""

    count: int = 0

    def fanout(self, *preload: str) -> Fanout:
        """A pool whose workers have the modules `preload` imported."""
        return Fanout(self.count or Settings().workers or os.cpu_count() or 1, preload)

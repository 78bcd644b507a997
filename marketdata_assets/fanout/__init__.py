"""The one door to more processes, of this machine or of many: `Fanout.map` runs a function over items.

`mapping` says what a map promises, `pool` and `cluster` where the work is done. What the function does, and what a
failure means for the rest, is the caller's business.
"""

from marketdata_assets.fanout.mapping import Fanout
from marketdata_assets.fanout.pool import WorkerDied

__all__ = ["Fanout", "WorkerDied"]

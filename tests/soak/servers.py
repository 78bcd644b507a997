"""The test servers of APIs and venues, which live in the folders of the domains that they test."""
# ruff: noqa: E402

import sys
from pathlib import Path

for folder in ("", "alphas", "ticks", "exchanges", "collector"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

from streamed import publish
from unlimited import UNLIMITED

from marketdata_demo.servers.brain import Alpha, BrainServer, make
from marketdata_demo.servers.tushare import DAILY, TOKEN, TushareServer
from marketdata_demo.venues.binance_venue import BinanceServer

__all__ = [
    "DAILY", "TOKEN", "UNLIMITED", "Alpha", "BinanceServer", "BrainServer", "TushareServer", "make", "publish",
]  # fmt: skip

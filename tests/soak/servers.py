"""The test servers of APIs and venues, which live in the folders of the domains that they test."""
# ruff: noqa: E402

import sys
from pathlib import Path

for folder in ("", "alphas", "ticks", "exchanges", "collector"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

from binance_server import BinanceServer
from brain_alphas import Alpha, make
from brain_server import BrainServer
from streamed import publish
from tushare_server import DAILY, TOKEN, TushareServer
from unlimited import UNLIMITED

__all__ = [
    "DAILY", "TOKEN", "UNLIMITED", "Alpha", "BinanceServer", "BrainServer", "TushareServer", "make", "publish",
]  # fmt: skip

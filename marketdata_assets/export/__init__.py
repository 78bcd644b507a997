"""Bars, alphas and records of exchanges as files for other tools: Parquet, CSV, qlib, nautilus_trader, hftbacktest.

Only what has changed in the tables is written again, and every file is replaced atomically.
"""

from marketdata_assets.export.alphas import export as alphas
from marketdata_assets.export.parquet import export as parquet
from marketdata_assets.export.qlib import export as qlib
from marketdata_assets.export.records import export as records

__all__ = ["alphas", "parquet", "qlib", "records"]

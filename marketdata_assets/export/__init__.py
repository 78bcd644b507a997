"""Bars as files for other tools: a Parquet dataset, and the binary format of qlib.

Only what has changed in the tables is written again, and every file is replaced atomically.
"""

from marketdata_assets.export.parquet import export as parquet
from marketdata_assets.export.qlib import export as qlib

__all__ = ["parquet", "qlib"]

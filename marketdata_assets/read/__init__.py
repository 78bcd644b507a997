"""The tables as polars frames: pick columns and a span, and the databases hand over no more than that.

A library for notebooks and research: nothing is written, and Dagster is not needed. Servers are those of the settings,
as everywhere, or `connection` is an address or an open client. A span has its start in it and its end not.
"""

from marketdata_assets.read.alphas import alphas
from marketdata_assets.read.books import books
from marketdata_assets.read.exchanges import gaps, ohlcv, records, trades
from marketdata_assets.read.tables import minute_bars, monthly_kline, table
from marketdata_assets.read.ticks import factors, order_book, tick_data

__all__ = [
    "alphas",
    "books",
    "factors",
    "gaps",
    "minute_bars",
    "monthly_kline",
    "ohlcv",
    "order_book",
    "records",
    "table",
    "tick_data",
    "trades",
]

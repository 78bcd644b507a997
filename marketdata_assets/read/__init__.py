"""Tables as polars frames: the databases return only the requested columns and span.

A library for notebooks and research: it writes nothing and does not need Dagster. Servers are those of the settings;
`connection` is an address or an open client instead. A span includes its start and excludes its end.
"""

from marketdata_assets.read.alpha_correlation import alpha_correlations
from marketdata_assets.read.alpha_records import alpha_records
from marketdata_assets.read.alphas import alphas
from marketdata_assets.read.bars import bars
from marketdata_assets.read.books import books
from marketdata_assets.read.exchanges import gaps, ohlcv, records, trades
from marketdata_assets.read.kline import kline
from marketdata_assets.read.option_chain import option_chain
from marketdata_assets.read.tables import minute_bars, monthly_kline, table
from marketdata_assets.read.ticks import factors, order_book, tick_data

__all__ = [
    "alpha_correlations",
    "alpha_records",
    "alphas",
    "bars",
    "books",
    "factors",
    "gaps",
    "kline",
    "minute_bars",
    "monthly_kline",
    "ohlcv",
    "option_chain",
    "order_book",
    "records",
    "table",
    "tick_data",
    "trades",
]

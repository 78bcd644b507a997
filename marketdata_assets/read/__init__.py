"""The tables as polars frames: pick columns and a span, and the databases hand over no more than that.

A library for notebooks and research: nothing is written, and Dagster is not needed. Servers are those of the settings,
as everywhere, or `connection` is an address or an open client. A span has its start in it and its end not.
"""

from marketdata_assets.read.tables import minute_bars, monthly_kline, table

__all__ = ["minute_bars", "monthly_kline", "table"]

"""Which gaps are of trades, by the name of their stream, and how far two clocks may be apart."""

import re

from marketdata_assets.exchanges.records import Gap

TRADES = "^(aggTrade|aggTrades|trade|trades|trades-all|trades[.](100ms|agg2|raw)|option-trades)$"
"""Streams that carry trades, for `match` in ClickHouse as well."""

CLOCKS_DIFFER_NS = 5_000_000_000
"""A gap is told by our clock, trades are by the venue's. Recorders were seen more than a second behind a venue."""

_trades = re.compile(TRADES)


def of_trades(gap: Gap) -> bool:
    """Whether trades are missing in it."""
    return _trades.match(gap.stream) is not None

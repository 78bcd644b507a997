"""Which gaps are of trades or candles, by the name of their stream, and how far two clocks may be apart."""

import re

from marketdata_assets.exchanges.records import Gap

TRADES = "^(aggTrade|aggTrades|trade|trades|trades-all|trades[.](100ms|agg2|raw)|option-trades)$"
"""Streams that carry trades, for `match` in ClickHouse as well."""

CANDLES = "^(kline_.+|candle.+|chart[.]trades[.].+)$"
"""Streams that carry candles."""

CLOCKS_DIFFER_NS = 5_000_000_000
"""A gap is told by our clock, trades are by the venue's. Recorders were seen more than a second behind a venue."""

_trades, _candles = re.compile(TRADES), re.compile(CANDLES)


def of_trades(gap: Gap) -> bool:
    """Whether trades are missing in it."""
    return _trades.match(gap.stream) is not None


def of_candles(gap: Gap) -> bool:
    """Whether candles are missing in it."""
    return _candles.match(gap.stream) is not None

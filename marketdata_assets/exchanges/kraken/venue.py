"""The descriptor of Kraken."""

import re

from marketdata_assets.exchanges.kraken.adapter import KrakenAdapter
from marketdata_assets.exchanges.kraken.book import DEPTHS
from marketdata_assets.exchanges.kraken.feed import BOOK, CHANNELS, KrakenFeed
from marketdata_assets.exchanges.kraken.history import KEPT_CANDLES, URL, KrakenHistory, limits
from marketdata_assets.exchanges.kraken.parse import INTERVAL_OF, INTERVALS
from marketdata_assets.exchanges.kraken.wire import error_of
from marketdata_assets.exchanges.venue import SPOT_TYPES, Source, Venue, VenueMarket

_BEGINNING = re.compile(rf'{{"channel":"({"|".join((*CHANNELS, BOOK))})","type":"(snapshot|update)"'.encode())


def recognise(raw: bytes) -> Source | None:
    """Messages of market data begin with their channel, and whether they are whole."""
    return ("kraken", "spot") if _BEGINNING.match(raw) else None


VENUE = Venue(
    name="kraken",
    title="Kraken",
    markets={
        "spot": VenueMarket(
            URL, SPOT_TYPES, tuple(INTERVALS), ("BTC-USD", "ETH-USD"), depths=DEPTHS, kept_candles=KEPT_CANDLES
        )
    },
    feed=KrakenFeed,
    adapter=KrakenAdapter,
    error_of=error_of,
    limits=limits,
    history=KrakenHistory,
    addresses={r"(beta-)?ws\.kraken\.com/v2": "spot", r"api\.kraken\.com/0/": "spot"},
    recognise=recognise,
    trade_streams=("trade",),
    candle_stream="ohlc-",
    candle_interval={str(minutes): interval for minutes, interval in INTERVAL_OF.items()}.get,
    symbol_pattern=r"[^\s,;:@*?]+",  # pairs are BTC/USD
    trades="other_times",
    tardis={"kraken": ("spot",)},
    simulator="marketdata_demo.venues.kraken_venue:KrakenVenue",
)

"""The descriptor of Coinbase."""

import re

from marketdata_assets.exchanges.coinbase.adapter import CoinbaseAdapter
from marketdata_assets.exchanges.coinbase.feed import CHANNELS, RENAMED, CoinbaseFeed
from marketdata_assets.exchanges.coinbase.history import URL, CoinbaseHistory, limits
from marketdata_assets.exchanges.coinbase.parse import INTERVALS
from marketdata_assets.exchanges.coinbase.wire import error_of
from marketdata_assets.exchanges.records import DataType
from marketdata_assets.exchanges.venue import Source, Venue, VenueMarket

_BEGINNING = re.compile(rf'{{"channel":"({"|".join((*CHANNELS, *RENAMED))})","client_id":'.encode())


def recognise(raw: bytes) -> Source | None:
    """Messages of market data begin with their channel, and an id of the client."""
    return ("coinbase", "spot") if _BEGINNING.match(raw) else None


TYPES: tuple[DataType, ...] = ("trade", "orderbook", "ticker", "instrument_state")

VENUE = Venue(
    name="coinbase",
    title="Coinbase",
    markets={"spot": VenueMarket(URL, TYPES, tuple(INTERVALS), ("BTC-USD", "ETH-USD"))},
    feed=CoinbaseFeed,
    adapter=CoinbaseAdapter,
    error_of=error_of,
    limits=limits,
    history=CoinbaseHistory,
    addresses={r"advanced-trade-ws\.coinbase\.com": "spot", r"api\.exchange\.coinbase\.com": "spot"},
    recognise=recognise,
    trade_streams=("market_trades",),
    candle_stream="kline_",
    candle_interval=lambda word: word if word in INTERVALS else None,
    trades="other_times",
    tardis={"coinbase": ("spot",)},
    simulator="marketdata_demo.venues.coinbase_venue:CoinbaseVenue",
)

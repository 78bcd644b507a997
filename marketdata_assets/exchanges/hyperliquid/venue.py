"""The descriptor of Hyperliquid."""

from marketdata_assets.exchanges.hyperliquid.adapter import BOOKS, HyperliquidAdapter
from marketdata_assets.exchanges.hyperliquid.feed import CHANNELS, HyperliquidFeed
from marketdata_assets.exchanges.hyperliquid.history import (
    KEPT_CANDLES,
    URL,
    HyperliquidHistory,
    body_of,
    limits,
)
from marketdata_assets.exchanges.hyperliquid.parse import INTERVALS
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM, refusal
from marketdata_assets.exchanges.records import DataType
from marketdata_assets.exchanges.venue import SPOT_TYPES, Source, Testnet, Venue, VenueMarket
from marketdata_assets.exchanges.wire import CHANNEL

PERP_TYPES: tuple[DataType, ...] = (*SPOT_TYPES, "funding_rate", "open_interest")
CANDLES: dict[DataType, int | None] = {"kline": None}  # the last 5000 of an interval
_BEGINNINGS = tuple(CHANNEL + channel.encode() + b'","data":' for channel in (*CHANNELS, STREAM, FAST))


def recognise(raw: bytes) -> Source | None:
    """Messages of market data begin with the name of their channel, and then have only data."""
    return ("hyperliquid", None) if raw.startswith(_BEGINNINGS) else None


VENUE = Venue(
    name="hyperliquid",
    title="Hyperliquid",
    markets={
        "spot": VenueMarket(
            URL, SPOT_TYPES, INTERVALS, ("PURR-USDC", "HYPE-USDC"), CANDLES, tuple(BOOKS), kept_candles=KEPT_CANDLES
        ),
        "linear": VenueMarket(
            URL,
            PERP_TYPES,
            INTERVALS,
            ("BTC-USDC", "ETH-USDC"),
            {**CANDLES, "funding_rate": None},
            tuple(BOOKS),
            kept_candles=KEPT_CANDLES,
        ),
    },
    feed=HyperliquidFeed,
    adapter=HyperliquidAdapter,
    error_of=refusal,
    limits=limits,
    history=HyperliquidHistory,
    addresses={r"api\.hyperliquid(-testnet)?\.xyz(:[0-9]+)?(/|$)": None},
    recognise=recognise,
    trade_streams=("trades",),
    candle_stream="candle",
    candle_interval=lambda word: word if word in INTERVALS else None,
    symbol_pattern=r"[^\s,;*?]+",  # pairs are PURR/USDC or @107, perpetuals of builders dex:COIN
    body_of=body_of,
    default_markets=("linear",),
    shared_socket=True,
    ordered_trades=False,
    tardis={"hyperliquid": (None,)},
    testnet=Testnet(  # https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api
        r"api\.hyperliquid-testnet\.xyz",
        dict.fromkeys(("spot", "linear"), "https://api.hyperliquid-testnet.xyz"),
        dict.fromkeys(("spot", "linear"), "wss://api.hyperliquid-testnet.xyz"),
    ),
    simulator="marketdata_demo.venues.hyperliquid_venue:HyperliquidVenue",
    sample="marketdata_demo.venues.hyperliquid:VOICE",
    fixtures=("hyperliquid",),
)

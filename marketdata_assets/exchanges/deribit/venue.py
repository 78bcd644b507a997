"""The descriptor of Deribit."""

from typing import get_args

import msgspec

from marketdata_assets.exchanges.deribit.adapter import DeribitAdapter
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.deribit.history import URL, DeribitHistory, limits
from marketdata_assets.exchanges.deribit.parse import INTERVALS
from marketdata_assets.exchanges.deribit.rest import error_of
from marketdata_assets.exchanges.records import DataType
from marketdata_assets.exchanges.venue import SPOT_TYPES, Source, Testnet, Venue, VenueMarket
from marketdata_assets.exchanges.venue_adapter import Choice
from marketdata_assets.exchanges.wire import decoded

CANDLES = tuple(name for name, _ in INTERVALS.values())


class _Message(msgspec.Struct):
    jsonrpc: str


_message = msgspec.json.Decoder(_Message).decode


def recognise(raw: bytes) -> Source | None:
    """Deribit speaks JSON-RPC."""
    message = decoded(_message, raw)
    return ("deribit", None) if message and message.jsonrpc else None


CHOICES: dict[Choice, dict[str, str]] = {
    "book_speed": {"100ms": "", "agg2": "", "raw": "it needs a login, and the collector has none"}
}
PERPETUALS: dict[DataType, int | None] = {"trade": None, "kline": None, "funding_rate": None}

VENUE = Venue(
    name="deribit",
    title="Deribit",
    markets={
        "spot": VenueMarket(URL, SPOT_TYPES, CANDLES, ("BTC_USDT", "ETH_USDT"), choices=CHOICES),
        "linear": VenueMarket(
            URL, get_args(DataType), CANDLES, ("BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"), PERPETUALS, choices=CHOICES
        ),
        "inverse": VenueMarket(
            URL, get_args(DataType), CANDLES, ("BTC-PERPETUAL", "ETH-PERPETUAL"), PERPETUALS, choices=CHOICES
        ),
        "option": VenueMarket(URL, (*SPOT_TYPES, "open_interest"), CANDLES, choices=CHOICES),
    },
    feed=DeribitFeed,
    adapter=DeribitAdapter,
    error_of=error_of,
    limits=limits,
    history=DeribitHistory,
    addresses={r"([^/]+\.)?deribit\.com\b": None},
    recognise=recognise,
    trade_streams=("trades.100ms", "trades.agg2", "trades.raw"),
    candle_stream="chart.trades.",
    candle_interval=lambda word: INTERVALS.get(word, (None, 0))[0],
    default_markets=("inverse",),
    shared_socket=True,
    tardis={"deribit": (None,)},
    testnet=Testnet(  # https://docs.deribit.com, Environments
        r"test\.deribit\.com",
        dict.fromkeys(("spot", "linear", "inverse", "option"), "https://test.deribit.com/api/v2"),
        dict.fromkeys(("spot", "linear", "inverse", "option"), "wss://test.deribit.com"),
    ),
    simulator="marketdata_demo.venues.deribit_venue:DeribitVenue",
    sample="marketdata_demo.venues.deribit:VOICE",
    fixtures=("deribit",),
)

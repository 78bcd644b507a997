"""The descriptor of Binance."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from marketdata_assets.exchanges.binance.adapter import BinanceAdapter
from marketdata_assets.exchanges.binance.archive import ARCHIVE
from marketdata_assets.exchanges.binance.event_types import OF_FUTURES, OF_SPOT
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.history import INTERVALS, MARKETS, BinanceHistory, limits
from marketdata_assets.exchanges.binance.instruments import named
from marketdata_assets.exchanges.binance.rest import failure
from marketdata_assets.exchanges.records import DataType, MarketType
from marketdata_assets.exchanges.venue import SPOT_TYPES, Source, Testnet, Venue, VenueMarket
from marketdata_assets.exchanges.venue_adapter import Choice

MINUTES_UP = tuple(interval for interval in INTERVALS if interval != "1s")  # 1s is for spot alone


EVENTS_OF_FUTURES = frozenset({"bookTicker", "markPriceUpdate", "forceOrder"})
FORMS_OF_SPOT = (frozenset("eEsUuba"), frozenset("usbBaA"))
"""All fields of depth updates and of best prices of spot."""

SYMBOL_TYPES: dict[Any, MarketType] = {1: "linear", 2: "inverse"}


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


_message = msgspec.json.Decoder(_Message).decode
_events = msgspec.json.Decoder(dict[str, Any] | list[dict[str, Any]]).decode


def recognise(raw: bytes) -> Source | None:
    """The market that a message shows by what it has; None for what several markets may send.

    That is the form of its instrument's name, or `st`, or a field or event that one market has. What a message lacks
    says nothing, so a field that is added later leaves a market unknown, and is never taken for another one's.
    """
    try:
        seen = _message(raw)
        found = _events(seen.data) if seen.stream else []
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    event = found if isinstance(found, dict) else next(iter(found), {})
    name = str(event.get("s") or (seen.stream or "").partition("@")[0].upper())
    market_type = _market_of(event, name) if event else None
    return ("binance", market_type) if market_type else None


def _market_of(event: Mapping[str, Any], name: str) -> MarketType | None:
    for shaped in ("inverse", "option"):
        if named(shaped, name):
            return shaped
    if "st" in event:
        return SYMBOL_TYPES.get(event["st"]) if isinstance(event["st"], int) else None
    if str(event.get("e")) in EVENTS_OF_FUTURES or event.keys() & OF_FUTURES:
        return "linear" if named("linear", name) else None
    spot = event.keys() & OF_SPOT or ("u" in event and any(event.keys() <= fields for fields in FORMS_OF_SPOT))
    return "spot" if spot else None


SPOT_DEPTHS, FUTURES_DEPTHS = (tuple(MARKETS[name].snapshot_weights) for name in ("spot", "linear"))  # of snapshots
SPOT_CHOICES: dict[Choice, dict[str, str]] = {
    "book_speed": {"100ms": "", "1000ms": ""},
    "trade_channel": {"trade": "", "aggTrade": ""},
}
FUTURES_CHOICES: dict[Choice, dict[str, str]] = {
    "book_speed": {"100ms": "", "250ms": "", "500ms": ""},
    "trade_channel": {"aggTrade": "", "trade": "the venue documents no stream of single trades of futures"},
}
FUTURES_HISTORY: dict[DataType, int | None] = {"trade": None, "kline": None, "funding_rate": None, "open_interest": 30}

VENUE = Venue(
    name="binance",
    title="Binance",
    markets={
        "spot": VenueMarket(
            *(MARKETS["spot"].rest, SPOT_TYPES, tuple(INTERVALS), ("BTCUSDT", "ETHUSDT")),
            depths=SPOT_DEPTHS,
            choices=SPOT_CHOICES,
        ),
        "linear": VenueMarket(
            MARKETS["linear"].rest,
            get_args(DataType),
            MINUTES_UP,
            ("BTCUSDT", "ETHUSDT"),
            FUTURES_HISTORY,
            FUTURES_DEPTHS,
            choices=FUTURES_CHOICES,
        ),
        "inverse": VenueMarket(
            MARKETS["inverse"].rest,
            get_args(DataType),
            MINUTES_UP,
            ("BTCUSD_PERP", "ETHUSD_PERP"),
            FUTURES_HISTORY,
            FUTURES_DEPTHS,
            choices=FUTURES_CHOICES,
        ),
        "option": VenueMarket(
            MARKETS["option"].rest, ("trade", "ticker", "open_interest", "instrument_state"), history={}
        ),
    },
    feed=BinanceFeed,
    adapter=BinanceAdapter,
    error_of=failure,
    archive=ARCHIVE,
    limits=limits,
    history=BinanceHistory,
    addresses={
        r"(stream|api|www|ws-api|data-api|data-stream)\d*\.binance\.(com|vision)\b": "spot",
        r"(fstream|fapi)\d*\.binance\.(com|vision)\b": "linear",
        r"(dstream|dapi)\d*\.binance\.(com|vision)\b": "inverse",
        r"(eapi|nbstream|fstream)\d*\.binance\.(com|vision)\b": "option",
        r"([a-z0-9-]+\.)*testnet\.binance\.vision\b|demo-(stream|api)\.binance\.com\b": "spot",
        r"f?stream\.binancefuture\.com\b|testnet\.binancefuture\.com/fapi/|demo-f[a-z]+\.binance\.com\b": "linear",
        r"dstream\.binancefuture\.com\b|testnet\.binancefuture\.com/dapi/|demo-d[a-z]+\.binance\.com\b": "inverse",
    },
    recognise=recognise,
    trade_streams=("trade", "aggTrade", "aggTrades", "optionTrade"),
    candle_stream="kline_",
    candle_interval=str,
    default_markets=("spot", "linear"),
    trades="numbered_aggregates",
    tardis={"binance": ("spot",), "binance-futures": ("linear",), "binance-delivery": ("inverse",)},
    testnet=Testnet(  # general info of each market; of options none is documented
        r"([a-z0-9-]+\.)*testnet\.binance\.vision|(testnet|[a-z]*stream)\.binancefuture\.com|demo-[a-z]+\.binance\.com",
        {
            "spot": "https://testnet.binance.vision",
            **dict.fromkeys(("linear", "inverse"), "https://testnet.binancefuture.com"),
        },
        {
            "spot": "wss://stream.testnet.binance.vision:9443",
            "linear": "wss://fstream.binancefuture.com",
            "inverse": "wss://dstream.binancefuture.com",
        },
    ),
    simulator="marketdata_demo.venues.binance_venue:BinanceVenue",
    sample="marketdata_demo.venues.binance:VOICE",
    fixtures=("binance-spot", "binance-usdm", "binance-coinm", "binance-options"),
)

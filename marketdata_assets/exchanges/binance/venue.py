"""The descriptor of Binance."""

from typing import get_args

import msgspec

from marketdata_assets.exchanges.binance.adapter import BinanceAdapter
from marketdata_assets.exchanges.binance.archive import ARCHIVE
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.history import INTERVALS, BinanceHistory, limits
from marketdata_assets.exchanges.binance.rest import failure
from marketdata_assets.exchanges.binance.session import MARKETS
from marketdata_assets.exchanges.records import DataType
from marketdata_assets.exchanges.venue import SPOT_TYPES, Source, Venue, VenueMarket
from marketdata_assets.exchanges.venue_adapter import Choice

MINUTES_UP = tuple(interval for interval in INTERVALS if interval != "1s")  # 1s is for spot alone


class _Inside(msgspec.Struct):
    e: str = ""
    ps: str | None = None
    pu: int | None = None
    u: int | None = None


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


_message = msgspec.json.Decoder(_Message).decode
_inside = msgspec.json.Decoder(_Inside).decode


def recognise(raw: bytes) -> Source | None:
    """The market of a depth update or of best prices; its other messages are the same on all markets.

    `ps` is COIN-M's, spot has no `pu` or `e`.
    """
    try:
        seen = _message(raw)
        inside = _inside(seen.data) if seen.stream else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if inside is None or inside.u is None:
        return None
    if inside.ps is not None:
        return "binance", "inverse"
    if inside.e == "depthUpdate":
        return "binance", "spot" if inside.pu is None else "linear"
    return "binance", "linear" if inside.e else "spot"


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
            MARKETS["spot"].rest, SPOT_TYPES, tuple(INTERVALS), ("BTCUSDT", "ETHUSDT"), choices=SPOT_CHOICES
        ),
        "linear": VenueMarket(
            MARKETS["linear"].rest,
            get_args(DataType),
            MINUTES_UP,
            ("BTCUSDT", "ETHUSDT"),
            FUTURES_HISTORY,
            choices=FUTURES_CHOICES,
        ),
        "inverse": VenueMarket(
            MARKETS["inverse"].rest,
            get_args(DataType),
            MINUTES_UP,
            ("BTCUSD_PERP", "ETHUSD_PERP"),
            FUTURES_HISTORY,
            choices=FUTURES_CHOICES,
        ),
        "option": VenueMarket(MARKETS["option"].rest, ("trade", "ticker", "open_interest"), history={}),
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
        r"(eapi|nbstream)\d*\.binance\.(com|vision)\b": "option",
    },
    recognise=recognise,
    trade_streams=("trade", "aggTrade", "aggTrades", "optionTrade"),
    candle_stream="kline_",
    candle_interval=str,
    default_markets=("spot", "linear"),
    trades="numbered_aggregates",
    tardis={"binance": ("spot",), "binance-futures": ("linear",), "binance-delivery": ("inverse",)},
    simulator="marketdata_demo.venues.binance_venue:BinanceVenue",
    sample="marketdata_demo.venues.binance:VOICE",
    fixtures=("binance-spot", "binance-usdm", "binance-coinm", "binance-options"),
)

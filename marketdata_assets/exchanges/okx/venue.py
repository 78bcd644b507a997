"""The descriptor of OKX."""

from typing import get_args

import msgspec

from marketdata_assets.exchanges.okx.adapter import OkxAdapter
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.okx.history import BARS, URL, OkxHistory, limits
from marketdata_assets.exchanges.okx.parse import bar_of
from marketdata_assets.exchanges.okx.wire import error_of
from marketdata_assets.exchanges.records import DataType
from marketdata_assets.exchanges.venue import SPOT_TYPES, Source, Testnet, Venue, VenueMarket
from marketdata_assets.exchanges.venue_adapter import Choice
from marketdata_assets.exchanges.wire import decoded

INTERVALS = tuple(BARS)


class _Message(msgspec.Struct):
    arg: msgspec.Raw


_message = msgspec.json.Decoder(_Message).decode


def recognise(raw: bytes) -> Source | None:
    """Every message over OKX's sockets names its subscription in `arg`."""
    return ("okx", None) if decoded(_message, raw) else None


def candle_interval(word: str) -> str | None:
    """The interval of `1Dutc` and the like."""
    bar = bar_of(word)
    return bar.interval if bar else None


CHOICES: dict[Choice, dict[str, str]] = {
    "book_channel": {
        "books": "",
        "books5": "",
        "books-l2-tbt": "it needs a login with VIP level 5, and the collector has none",
        "books50-l2-tbt": "it needs a login with VIP level 4, and the collector has none",
        "bbo-tbt": "it sends best prices, and no book; add ticker to data_types",
    }
}
HISTORY: dict[DataType, int | None] = {"trade": 90, "kline": None}
FUTURES: dict[DataType, int | None] = {**HISTORY, "funding_rate": 90, "open_interest": 5}  # 1440 rows of 5m

VENUE = Venue(
    name="okx",
    title="OKX",
    markets={
        "spot": VenueMarket(URL, SPOT_TYPES, INTERVALS, ("BTC-USDT", "ETH-USDT"), HISTORY, choices=CHOICES),
        "linear": VenueMarket(
            URL, get_args(DataType), INTERVALS, ("BTC-USDT-SWAP", "ETH-USDT-SWAP"), FUTURES, choices=CHOICES
        ),
        "inverse": VenueMarket(
            URL, get_args(DataType), INTERVALS, ("BTC-USD-SWAP", "ETH-USD-SWAP"), FUTURES, choices=CHOICES
        ),
        "option": VenueMarket(URL, (*SPOT_TYPES, "open_interest"), INTERVALS, history=HISTORY, choices=CHOICES),
    },
    feed=OkxFeed,
    adapter=OkxAdapter,
    error_of=error_of,
    limits=limits,
    history=OkxHistory,
    addresses={r"([^/]+\.)?ok(e)?x\.com\b": None},
    recognise=recognise,
    trade_streams=("trades", "trades-all", "option-trades"),
    candle_stream="candle",
    candle_interval=candle_interval,
    default_markets=("spot", "linear"),
    shared_socket=True,
    trades="summed_by_order",
    tardis=dict.fromkeys(("okex", "okex-swap", "okex-futures", "okex-options"), (None,)),
    testnet=Testnet(
        r"ws[a-z]*pap\.okx\.com",
        dict.fromkeys(("spot", "linear", "inverse", "option"), URL),
        dict.fromkeys(("spot", "linear", "inverse", "option"), "wss://wspap.okx.com:8443"),
        {"x-simulated-trading": "1"},  # https://www.okx.com/docs-v5/en/#overview-demo-trading-services
    ),
    simulator="marketdata_demo.venues.okx_venue:OkxVenue",
    sample="marketdata_demo.venues.okx:VOICE",
    fixtures=("okx",),
)

"""The descriptor of Bybit."""

from typing import get_args

from marketdata_assets.exchanges.bybit.adapter import BybitAdapter
from marketdata_assets.exchanges.bybit.feed import DEPTHS, TRADES, BybitFeed
from marketdata_assets.exchanges.bybit.history import URL, BybitHistory, error_of, limits
from marketdata_assets.exchanges.bybit.parse import INTERVAL_OF, INTERVALS
from marketdata_assets.exchanges.records import DataType
from marketdata_assets.exchanges.venue import SPOT_TYPES, Testnet, Venue, VenueMarket

CANDLES: dict[DataType, int | None] = {"kline": None}  # of trades there are the last ones alone
CONTRACTS: dict[DataType, int | None] = {**CANDLES, "funding_rate": None, "open_interest": None}
HOSTS = r"(stream|api)(-testnet|-demo)?\.(bybit|bytick|bybit-tr|bybitgeorgia)\.[a-z]+/v5/"


VENUE = Venue(
    name="bybit",
    title="Bybit",
    markets={
        "spot": VenueMarket(URL, SPOT_TYPES, tuple(INTERVALS), ("BTCUSDT", "ETHUSDT"), CANDLES, DEPTHS),
        "linear": VenueMarket(URL, get_args(DataType), tuple(INTERVALS), ("BTCUSDT", "ETHUSDT"), CONTRACTS, DEPTHS),
        "inverse": VenueMarket(URL, get_args(DataType), tuple(INTERVALS), ("BTCUSD", "ETHUSD"), CONTRACTS, DEPTHS),
    },
    feed=BybitFeed,
    adapter=BybitAdapter,
    error_of=error_of,
    limits=limits,
    history=BybitHistory,
    addresses={
        **{rf"{HOSTS}public/{market_type}\b": market_type for market_type in ("spot", "linear", "inverse")},
        **{rf"{HOSTS}market/.*category={market_type}\b": market_type for market_type in ("spot", "linear", "inverse")},
    },
    recognise=lambda _: None,  # its messages are the same on all markets
    trade_streams=(TRADES,),
    candle_stream="kline.",
    candle_interval=INTERVAL_OF.get,
    default_markets=("spot", "linear"),
    ordered_trades=False,
    tardis={"bybit-spot": ("spot",), "bybit": ("linear", "inverse")},
    testnet=Testnet(  # https://bybit-exchange.github.io/docs/v5/ws/connect
        r"(stream|api)-(testnet|demo)\.(bybit|bytick|bybit-tr|bybitgeorgia)\.[a-z]+",
        dict.fromkeys(("spot", "linear", "inverse"), "https://api-testnet.bybit.com"),
        dict.fromkeys(("spot", "linear", "inverse"), "wss://stream-testnet.bybit.com"),
    ),
    simulator="marketdata_demo.venues.bybit_venue:BybitVenue",
    sample="marketdata_demo.venues.bybit:VOICE",
    fixtures=("bybit",),
)

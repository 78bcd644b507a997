"""Sockets and requests of the venues, kept alive: records and gaps come out."""

from collections.abc import Sequence

from marketdata_assets.collector.connections.binance import BinanceSpeaker
from marketdata_assets.collector.connections.deribit import DeribitSpeaker
from marketdata_assets.collector.connections.errors import (
    BadShard,
    ConnectionsError,
    NotListed,
    UnknownDataTypes,
    UnknownSymbols,
)
from marketdata_assets.collector.connections.market import Market
from marketdata_assets.collector.connections.okx import OkxSpeaker
from marketdata_assets.collector.connections.plan import Shard
from marketdata_assets.collector.connections.speaking import DATA_TYPES, Speaker
from marketdata_assets.collector.connections.state import (
    BookView,
    ConnectionState,
    JobState,
    MarketState,
    SubscriptionState,
)
from marketdata_assets.collector.connections.timing import Timing
from marketdata_assets.exchanges.records import Exchange, MarketType

__all__ = [
    "DATA_TYPES",
    "BadShard",
    "BookView",
    "ConnectionState",
    "ConnectionsError",
    "JobState",
    "Market",
    "MarketState",
    "NotListed",
    "Shard",
    "Speaker",
    "SubscriptionState",
    "Timing",
    "UnknownDataTypes",
    "UnknownSymbols",
    "speaker_of",
]


def speaker_of(
    exchange: Exchange,
    market_type: MarketType,
    *,
    rest_url: str | None = None,
    socket_url: str | None = None,
    intervals: Sequence[str] = ("1m",),
) -> Speaker:
    """How a market is spoken to. The addresses are of hosts, without paths; the venue's own when they are not given."""
    kinds: dict[Exchange, type[BinanceSpeaker] | type[OkxSpeaker] | type[DeribitSpeaker]] = {
        "binance": BinanceSpeaker,
        "okx": OkxSpeaker,
        "deribit": DeribitSpeaker,
    }
    return kinds[exchange](market_type, rest_url=rest_url, socket_url=socket_url, intervals=intervals)

"""Live connections to the venues: sockets and REST requests in, records and gaps out."""

from collections.abc import Sequence

from marketdata_assets.collector.connections.binance import BinanceAdapter
from marketdata_assets.collector.connections.connection import Timing
from marketdata_assets.collector.connections.deribit import DeribitAdapter
from marketdata_assets.collector.connections.market import Market
from marketdata_assets.collector.connections.okx import OkxAdapter
from marketdata_assets.collector.connections.sharding import Shard
from marketdata_assets.collector.connections.venue_adapter import VenueAdapter
from marketdata_assets.exchanges.records import Exchange, MarketType

__all__ = ["Market", "Shard", "Timing", "VenueAdapter", "adapter_for"]

ADAPTERS: dict[Exchange, type[VenueAdapter]] = {
    "binance": BinanceAdapter,
    "okx": OkxAdapter,
    "deribit": DeribitAdapter,
}


def adapter_for(
    exchange: Exchange,
    market_type: MarketType,
    *,
    rest_url: str | None = None,
    socket_url: str | None = None,
    intervals: Sequence[str] = ("1m",),
) -> VenueAdapter:
    """The adapter of a market; see VenueAdapter."""
    return ADAPTERS[exchange](market_type, rest_url=rest_url, socket_url=socket_url, intervals=intervals)

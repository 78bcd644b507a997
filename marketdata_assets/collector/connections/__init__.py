"""Live connections to the venues: sockets and REST requests in, records and gaps out."""

from typing import Unpack

from marketdata_assets.collector.connections.binance import BinanceAdapter
from marketdata_assets.collector.connections.connection import Timing
from marketdata_assets.collector.connections.deribit import DeribitAdapter
from marketdata_assets.collector.connections.market import Market
from marketdata_assets.collector.connections.okx import OkxAdapter
from marketdata_assets.collector.connections.sharding import Shard
from marketdata_assets.collector.connections.venue_adapter import AdapterOptions, VenueAdapter
from marketdata_assets.exchanges.records import Exchange, MarketType

__all__ = ["Market", "Shard", "Timing", "VenueAdapter", "adapter_for"]

ADAPTERS: dict[Exchange, type[VenueAdapter]] = {
    "binance": BinanceAdapter,
    "okx": OkxAdapter,
    "deribit": DeribitAdapter,
}


def adapter_for(exchange: Exchange, market_type: MarketType, **options: Unpack[AdapterOptions]) -> VenueAdapter:
    """The adapter of a market."""
    return ADAPTERS[exchange](market_type, **options)

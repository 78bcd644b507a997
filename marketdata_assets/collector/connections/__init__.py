"""Live connections to the venues: sockets and REST requests in, records and gaps out."""

from typing import Unpack

from marketdata_assets.collector.connections.clock import Clock
from marketdata_assets.collector.connections.connection import Timing
from marketdata_assets.collector.connections.market import Address, Market
from marketdata_assets.collector.connections.selection import Shard
from marketdata_assets.collector.connections.socket import Network
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.venue_adapter import AdapterOptions, VenueAdapter

__all__ = ["Address", "Clock", "Market", "Network", "Shard", "Timing", "VenueAdapter", "adapter_for"]


def adapter_for(exchange: Exchange, market_type: MarketType, **options: Unpack[AdapterOptions]) -> VenueAdapter:
    """The adapter of a market. Raises UnknownExchange."""
    venue = venues.find(exchange)
    return venue.adapter(venue, market_type, **options)

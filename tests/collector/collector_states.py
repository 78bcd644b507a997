"""States of a market as its connections tell them, with what a test cares about put in."""

from typing import Any

from marketdata_assets.collector.connections.state import (
    BookView,
    ConnectionState,
    JobState,
    MarketState,
    SubscriptionState,
)
from marketdata_assets.collector.counters import MarketCounters


def connection(**values: Any) -> ConnectionState:
    usual: dict[str, Any] = {
        "number": 1, "url": "wss://x", "status": "open", "opened_at": 1, "messages": 10, "bytes": 100, "reconnects": 0,
        "planned": 0, "last_message_at": None, "last_error": None, "subscriptions": 1, "unconfirmed": 0, "failures": 0,
    }  # fmt: skip
    return ConnectionState(**usual | values)


def subscription(**values: Any) -> SubscriptionState:
    usual: dict[str, Any] = {
        "key": "ab@trade", "instrument": "AB", "types": ("trade",), "connection": 1, "status": "confirmed",
        "last_message_at": None, "resubscribed": 0, "error": None,
    }  # fmt: skip
    return SubscriptionState(**usual | values)


def book(**values: Any) -> BookView:
    usual: dict[str, Any] = {
        "instrument": "AB", "stream": "depth", "status": "live", "gaps": 0, "applied": 1, "last_id": 1, "ts_last": 1,
    }  # fmt: skip
    return BookView(**usual | values)


def job(**values: Any) -> JobState:
    usual: dict[str, Any] = {
        "name": "instruments", "every_seconds": 60.0, "runs": 1, "failures": 0, "last_at": 1, "next_at": 2,
        "last_error": None,
    }  # fmt: skip
    return JobState(**usual | values)


def market_state(**values: Any) -> MarketState:
    usual: dict[str, Any] = {
        "exchange": "binance", "market_type": "spot", "instruments": 1, "listed": 5, "counters": MarketCounters(),
        "duplicates": 0, "resyncs_pending": 0, "connections": (), "subscriptions": (), "books": (), "jobs": (),
        "unknown": (),
    }  # fmt: skip
    return MarketState(**usual | values)

"""What a market says of itself, put together when somebody asks."""

from collections.abc import Iterable

from marketdata_assets.collector.connections.connection import Connection
from marketdata_assets.collector.connections.speaking import Subscription
from marketdata_assets.collector.connections.state import BookView, SubscriptionState, SubscriptionStatus
from marketdata_assets.collector.connections.watch import last_heard
from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.records import OrderBook


def subscriptions(connections: Iterable[Connection]) -> tuple[SubscriptionState, ...]:
    """All subscriptions, by connection."""
    return tuple(one for connection in connections for one in _of(connection))


def books(states: Iterable[BookState], followed: Iterable[str]) -> tuple[BookView, ...]:
    """The books of the instruments that are followed."""
    names = set(followed)
    return tuple(
        BookView(one.instrument.name, one.stream, one.status, one.gaps, one.applied, one.last_id, one.ts_last or None)
        for one in states
        if one.instrument.name in names
    )


def snapshot(state: BookState) -> OrderBook:
    """A live book as a record, with the receive time of the last message that is in it."""
    one = state.instrument
    bids, asks = state.book.levels()
    levels = tuple(bids), tuple(asks)
    ids = None, state.last_id
    return OrderBook(
        one.exchange, one.market_type, one.symbol, one.name, None, state.ts_last, "snapshot", *levels, one.unit, *ids
    )


def _of(connection: Connection) -> Iterable[SubscriptionState]:
    socket = connection.socket
    heard = last_heard(connection, socket) if socket else {}
    for key, one in connection.subscriptions.items():
        health = connection.health.get(key)
        asked = socket.asked.get(key) if socket else None
        yield SubscriptionState(
            key,
            one.instrument,
            one.types,
            connection.place,
            _status(connection, one),
            heard.get(key),
            health.resubscribed if health else 0,
            (asked.refused or None) if asked else None,
        )


def _status(connection: Connection, one: Subscription) -> SubscriptionStatus:
    asked = connection.socket.asked.get(one.key) if connection.socket else None
    if asked is None:
        return "waiting"
    if asked.refused:
        return "refused"
    health = connection.health.get(one.key)
    if health and (health.step or health.doubled):
        return "stale"
    return "confirmed" if asked.confirmed else "asked"

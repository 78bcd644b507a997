"""Whether sockets and subscriptions are alive, and what is done when one is not.

A silent socket is pinged. A subscription that is silent for longer than normal is restarted; if that does not help, the
socket is replaced, which loses nothing; after that the check interval of the subscription doubles.
"""

from collections.abc import Iterable

from marketdata_assets.collector.connections.connection import NS, Connection, SubscriptionHealth
from marketdata_assets.collector.connections.socket import Socket, SubscriptionRequest
from marketdata_assets.collector.connections.state import SubscriptionState, SubscriptionStatus
from marketdata_assets.exchanges.venue_adapter import Subscription
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

MAX_TRIES = 3
"""Requests for one subscription before it is given up for AGAIN_SECONDS, or until the next socket."""

NEVER_CONFIRMED, AGAIN_SECONDS = "never confirmed", 600.0

MAX_RESUBSCRIBED = 20
"""Unconfirmed subscriptions that are requested again one by one; with more of them, the socket is dropped."""

HELPED_SECONDS = 5.0
HELPED_SHARE = 0.2
"""What arrives later than this after an action, or later than this share of the silence before it, is not counted as
its effect."""

MAX_UNREADABLE = 100
"""Unreadable messages in a row before the socket is dropped."""


def check(connection: Connection, now: int) -> None:
    """Check one connection at `now` (steady ns)."""
    socket = connection.socket
    if socket is None or socket.over or socket.closing:
        return
    if socket.unreadable >= MAX_UNREADABLE:
        socket.drop(f"{socket.unreadable} messages in a row cannot be read")
        return
    ping_after = connection.adapter.ping_after if connection.timing.ping_after is None else connection.timing.ping_after
    every = connection.adapter.ping_every
    if every is not None and now - max(socket.pinged_at, socket.opened_at) >= every * NS:
        socket.ping()
    if now - socket.last_at >= ping_after * NS:
        if socket.pinged_at <= socket.last_at:
            socket.ping()
        elif now - socket.pinged_at > connection.timing.pong_within * NS:
            socket.drop("half open: no answer to a ping")
    _check_confirmations(connection, socket, now)
    if connection.replacement is None:
        seen = last_seen(connection, socket)
        for subscription in list(connection.subscriptions.values()):
            _check_subscription(connection, socket, subscription, seen.get(subscription.key, 0), now)


def last_seen(connection: Connection, socket: Socket) -> dict[str, int]:
    """When each subscription last delivered over this socket, by key; steady ns."""
    key_of = connection.adapter.key_of
    return {key_of(channel): seen for channel, seen in socket.seen.items()}


def clear_suspicion(connection: Connection, key: str) -> int:
    """Since when (steady ns) a subscription has been silent for longer than normal, else 0; resets its health."""
    health = connection.health.get(key)
    since = health.since if health else 0
    if health:
        health.step = health.doubled = health.since = 0
    return since


def normal_silence(connection: Connection, subscription: Subscription) -> float | None:
    """Seconds of silence after which a subscription is restarted; None for never."""
    timing, health = connection.timing, connection.health.get(subscription.key)
    configured = [timing.silence[tag] for tag in subscription.types if tag in timing.silence]
    limit = min(configured) if configured else subscription.silence
    if limit is None or health is None:
        return limit
    return max(limit, min(max(limit * 2.0**health.doubled, health.learned), timing.longest_silence))


def subscription_states(connection: Connection) -> Iterable[SubscriptionState]:
    """The state of each subscription of a connection."""
    socket = connection.socket
    seen = last_seen(connection, socket) if socket else {}
    for key, subscription in connection.subscriptions.items():
        health = connection.health.get(key)
        request = socket.requests.get(key) if socket else None
        yield SubscriptionState(
            key,
            subscription.instrument,
            subscription.types,
            connection.number,
            _status(request, health),
            connection.events.clock.shown(seen[key]) if key in seen else None,
            health.resubscribed if health else 0,
            (request.rejected or None) if request else None,
        )


def _status(request: SubscriptionRequest | None, health: SubscriptionHealth | None) -> SubscriptionStatus:
    if request is None:
        return "waiting"
    if request.rejected:
        return "rejected"
    if health and (health.step or health.doubled):
        return "stale"
    return "confirmed" if request.confirmed_at else "requested"


def _check_confirmations(connection: Connection, socket: Socket, now: int) -> None:
    for key, request in socket.requests.items():
        if request.rejected == NEVER_CONFIRMED and now - request.requested_at > AGAIN_SECONDS * NS and not socket.busy:
            socket.resubscribe([key])
            return
    late = [
        (key, request)
        for key, request in socket.requests.items()
        if not (request.confirmed_at or request.rejected or socket.busy)
        and now - request.requested_at > connection.timing.confirm * NS
    ]
    if not late:
        return
    none_confirmed = not any(request.confirmed_at for request in socket.requests.values())
    given_up = all(request.tries >= MAX_TRIES for _, request in late)
    if len(late) > MAX_RESUBSCRIBED or (none_confirmed and given_up):
        socket.drop(f"{len(late)} subscriptions are not confirmed")
        return
    for key, request in late:
        if request.tries < MAX_TRIES:
            socket.resubscribe([key])  # alone, as an invalid one may make the venue reject others with it
        else:
            request.rejected = NEVER_CONFIRMED
            log.warning("subscription_given_up", subscription=key, tries=request.tries)


def _check_subscription(
    connection: Connection, socket: Socket, subscription: Subscription, seen: int, now: int
) -> None:
    key = subscription.key
    request, limit = socket.requests.get(key), normal_silence(connection, subscription)
    if request is None or not request.confirmed_at or limit is None:
        return
    health = connection.health.get(key)
    if health and health.since and seen > health.acted_at:
        after = (seen - max(health.acted_at, request.confirmed_at)) / NS
        silent = (health.acted_at - health.since) / NS
        by_itself = after > max(min(HELPED_SECONDS, limit / 2), HELPED_SHARE * silent)
        if by_itself or not connection.events.woken(subscription, health.since, seen):
            health.learned = 2.0 * (seen - health.since) / NS
        health.step = health.doubled = health.since = 0
    since = max(seen, request.confirmed_at, health.acted_at if health else 0)
    if now - since <= limit * NS or socket.busy:
        return
    health = connection.health.setdefault(key, SubscriptionHealth())
    health.acted_at, health.since = now, health.since or since
    if health.step == 0:
        health.step, health.resubscribed = 1, health.resubscribed + 1
        log.warning("resubscribing", subscription=key, reason="silent", silent_s=(now - since) / NS)
        socket.resubscribe([key])
    elif health.step == 1:
        health.step = 2
        connection.replace(f"{key} is silent")
    else:
        health.step, health.doubled = 0, health.doubled + 1

"""Whether sockets and subscriptions are alive, and what is done when one is not.

A socket that says nothing is asked for a sign of life. A subscription that is silent for longer than is normal is made
anew; where that does not help, the socket is replaced, which loses nothing; and then it is let be for twice as long.
"""

from marketdata_assets.collector.connections.connection import NS, Connection, Health
from marketdata_assets.collector.connections.socket import Asked, Socket
from marketdata_assets.collector.connections.speaking import Subscription

TRIES = 3
"""So often a subscription is asked for before it is given up until the next socket."""

FEW = 20
"""Subscriptions that are asked for anew one by one; when more are not confirmed, the socket is no good."""

HELPED = 5.0
"""Seconds; what comes later than that after something was done comes by itself."""

BAD = 100
"""Messages in a row that cannot be read: the socket is no good."""


def look(connection: Connection, now: int) -> None:
    """Look at one connection; ns."""
    socket = connection.socket
    if socket is None or socket.over or socket.closing:
        return
    if socket.bad >= BAD:
        socket.drop(f"{socket.bad} messages in a row cannot be read")
        return
    _look_at_silence(connection, socket, now)
    _look_at_confirmations(connection, socket, now)
    if connection.heir is None:
        heard = last_heard(connection, socket)
        for one in list(connection.subscriptions.values()):
            _look_at(connection, socket, one, heard.get(one.key, 0), now)


def last_heard(connection: Connection, socket: Socket) -> dict[str, int]:
    """When each subscription brought something over this socket; ns."""
    name_of = connection.speaker.name_of
    return {name_of(key): seen for key, seen in socket.seen.items()}


def suspected(connection: Connection, key: str) -> int:
    """Since when a subscription has been silent for longer than is normal, ns; 0 when it is not. It is let off then."""
    health = connection.health.get(key)
    since = health.since if health else 0
    if health:
        health.step = health.doubled = health.since = 0
    return since


def normal_silence(connection: Connection, one: Subscription) -> float | None:
    """Seconds, after which a subscription is asked for anew; None for never."""
    timing, health = connection.timing, connection.health.get(one.key)
    told = [timing.silence[tag] for tag in one.types if tag in timing.silence]
    limit = min(told) if told else one.silence
    if limit is None or health is None:
        return limit
    return max(limit, min(max(limit * 2.0**health.doubled, health.learned), timing.longest_silence))


def _look_at_silence(connection: Connection, socket: Socket, now: int) -> None:
    timing = connection.timing
    ping_after = connection.speaker.ping_after if timing.ping_after is None else timing.ping_after
    if now - socket.last_at < ping_after * NS:
        return
    if socket.pinged_at <= socket.last_at:
        socket.ping()
    elif now - socket.pinged_at > timing.pong_within * NS:
        socket.drop("half open: no answer to a ping")


def _look_at_confirmations(connection: Connection, socket: Socket, now: int) -> None:
    late = [
        (key, one)
        for key, one in socket.asked.items()
        if not (one.confirmed or one.refused or socket.busy) and now - one.at > connection.timing.confirm * NS
    ]
    if len(late) > FEW or (late and not any(one.confirmed for one in socket.asked.values()) and _tired(late)):
        socket.drop(f"{len(late)} subscriptions are not confirmed")
        return
    for key, one in late:
        if one.tries < TRIES:
            socket.again([key])  # by itself, as one that is wrong may take others with it
        else:
            one.refused = "never confirmed"


def _tired(late: list[tuple[str, Asked]]) -> bool:
    return all(one.tries >= TRIES for _, one in late)


def _look_at(connection: Connection, socket: Socket, one: Subscription, heard: int, now: int) -> None:
    asked, limit = socket.asked.get(one.key), normal_silence(connection, one)
    if asked is None or not asked.confirmed or limit is None:
        return
    health = connection.health.get(one.key)
    if health and health.since and heard > health.acted_at:
        if (heard - max(health.acted_at, asked.confirmed)) / NS > min(HELPED, limit / 2):
            health.learned = 2.0 * (heard - health.since) / NS
        else:
            connection.events.woken(one, health.since, heard)
        health.step = health.doubled = health.since = 0
    since = max(heard, asked.confirmed, health.acted_at if health else 0)
    if now - since <= limit * NS or socket.busy:
        return
    health = connection.health.setdefault(one.key, Health())
    health.acted_at, health.since = now, health.since or since
    if health.step == 0:
        health.step, health.resubscribed = 1, health.resubscribed + 1
        socket.again([one.key])
    elif health.step == 1:
        health.step = 2
        connection.replace(f"{one.key} is silent")
    else:
        health.step, health.doubled = 0, health.doubled + 1

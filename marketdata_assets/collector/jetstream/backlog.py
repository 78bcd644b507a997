"""What a stream holds that is not in the tables yet, and how near it is to being deleted by the stream's limits."""

from dataclasses import dataclass

from nats.aio.client import Client

from marketdata_assets.collector.jetstream.inspection import StreamState, consumer_state, message_from, stream_state
from marketdata_assets.collector.jetstream.stream import connected, consumers


@dataclass(frozen=True)
class TypeBacklog:
    """The messages of one record type that are not acked; `oldest_ns` is when the first of them was stored."""

    messages: int
    oldest_ns: int | None = None
    limit_share: float = 0.0  # of a limit of the stream; at 1 the first of them is deleted


@dataclass(frozen=True)
class Backlog:
    """The stream at `read_at` (ns), its limits (0: none), and what is not loaded of each type."""

    read_at: int
    bytes: int
    bytes_limit: int
    age_limit_seconds: float
    types: dict[str, TypeBacklog]


async def pending_messages(url: str, stream: str) -> int:
    """How many messages of all types are not acked. Raises StreamMissing, NatsUnavailable, NatsRejected."""
    async with connected(url) as client:
        found = [await consumer_state(client, stream, consumer.name) for consumer in consumers().values()]
    return sum(one.pending + one.unacked for one in found)


async def backlog(client: Client, stream: str, now: int) -> Backlog:
    """The backlog at `now` (ns). Raises StreamMissing, and what the connection raises."""
    state = await stream_state(client, stream)
    types = {name: await _type(client, stream, state, name, now) for name in consumers()}
    return Backlog(now, state.bytes, max(0, state.max_bytes), state.max_age_seconds, types)


async def _type(client: Client, stream: str, state: StreamState, name: str, now: int) -> TypeBacklog:
    consumer = consumers()[name]
    position = await consumer_state(client, stream, consumer.name)
    left = position.pending + position.unacked
    found = await message_from(client, stream, consumer.subject, position.acked + 1) if left else None
    if found is None:
        return TypeBacklog(left)
    sequence, _, stored = found
    behind = (state.last - sequence + 1) / max(1, state.last - state.first + 1)
    by_bytes = behind * state.bytes / state.max_bytes if state.max_bytes > 0 else 0.0
    by_age = (now - stored) / 1e9 / state.max_age_seconds if state.max_age_seconds else 0.0
    return TypeBacklog(left, stored, max(0.0, by_bytes, by_age))

"""What a stream holds now, how far its consumers are, and how near what is not loaded is to being deleted.

Nothing is read from them or changed here.
"""

import asyncio
import base64
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from marketdata_assets.collector.errors import NatsUnavailable, StreamMissing
from marketdata_assets.collector.jetstream.stream import ANSWER_SECONDS, connected, consumers
from marketdata_assets.input_limits import NOT_JSON

CONCURRENT_REQUESTS = 50
NOT_FOUND = 10037  # "no message found"


@dataclass(frozen=True)
class StreamState:
    """Sequences and times (ns) of the first and last message; without messages, `first` is above `last`."""

    created: int
    first: int
    first_stored: int
    last: int
    last_stored: int
    messages: int
    bytes: int
    max_bytes: int  # -1: no limit
    max_age_seconds: float  # 0: no limit

    @property
    def oldest(self) -> int:
        """When the first message was stored; where none is left, the last one that there was."""
        return self.first_stored if self.messages else self.last_stored


@dataclass(frozen=True)
class ConsumerState:
    """How far a consumer is, in sequences of the stream."""

    created: int  # ns
    acked: int  # every message up to this one
    delivered: int
    delivered_count: int  # number of deliveries
    unacked: int  # delivered, without an ack
    pending: int  # not delivered yet

    @property
    def done(self) -> int:
        """Every message of the consumer up to this one was acked, as far as the server reports."""
        return self.acked if self.unacked else max(self.acked, self.delivered)


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


async def stream_state(client: Client, stream: str) -> StreamState:
    """Raises StreamMissing."""
    info = await _ask(client, f"STREAM.INFO.{stream}", {}, stream)
    with _answered(stream):
        state, config = info["state"], info["config"]
        return StreamState(
            created=instant(info["created"]),
            first=state["first_seq"],
            first_stored=instant(state["first_ts"]),
            last=state["last_seq"],
            last_stored=instant(state["last_ts"]),
            messages=state["messages"],
            bytes=state["bytes"],
            max_bytes=config["max_bytes"],
            max_age_seconds=config["max_age"] / 1e9,
        )


async def consumer_state(client: Client, stream: str, consumer: str) -> ConsumerState:
    """Raises StreamMissing."""
    info = await _ask(client, f"CONSUMER.INFO.{stream}.{consumer}", {}, f"{stream}/{consumer}")
    with _answered(stream):
        return ConsumerState(
            created=instant(info["created"]),
            acked=info["ack_floor"]["stream_seq"],
            delivered=info["delivered"]["stream_seq"],
            delivered_count=info["delivered"]["consumer_seq"],
            unacked=info["num_ack_pending"],
            pending=info["num_pending"],
        )


async def first_payloads(client: Client, stream: str, subject: str, first: int) -> list[bytes]:
    """The first message of each subject that matches, from a sequence on. Raises StreamMissing."""
    info = await _ask(client, f"STREAM.INFO.{stream}", {"subjects_filter": subject}, stream)
    with _answered(stream):
        names: Sequence[str] = sorted(info["state"].get("subjects") or {})
    turns = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def first_of(name: str) -> bytes | None:
        async with turns:
            found = await message_from(client, stream, name, first)
        return found[1] if found else None

    return [payload for payload in await asyncio.gather(*map(first_of, names)) if payload is not None]


async def message_from(client: Client, stream: str, subject: str, first: int) -> tuple[int, bytes, int] | None:
    """The first message with a subject, or one that matches it, from a sequence on; None when there is none.

    Its sequence, its bytes, and when (ns) it was stored. Raises StreamMissing.
    """
    request = {"seq": max(1, first), "next_by_subj": subject}
    reply = await _ask(client, f"STREAM.MSG.GET.{stream}", request, stream)
    with _answered(stream):
        if "error" in reply:
            return None
        message = reply["message"]
        return message["seq"], base64.b64decode(message.get("data", "")), instant(message["time"])


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


def instant(text: str) -> int:
    """`2026-01-02T03:04:05.123456789Z`, as the server writes times, in ns; 0 for its zero time, the year 1."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    seconds = int(dt.datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return max(0, seconds * 1_000_000_000 + int(rest.ljust(9, "0") or 0))


async def _ask(client: Client, subject: str, body: dict[str, Any], what: str) -> dict[str, Any]:
    """The answer; it has an `error` only where no message was found."""
    answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=ANSWER_SECONDS)
    with _answered(what):
        reply: dict[str, Any] = json.loads(answer.data.decode())
        error = reply.get("error", {})
        if error and error.get("err_code") != NOT_FOUND:
            raise StreamMissing(what, error.get("description", "not found"))
        return reply


@contextmanager
def _answered(what: str) -> Iterator[None]:
    """Turn what an answer that is none of JetStream makes its readers raise into NatsUnavailable."""
    try:
        yield
    except (*NOT_JSON, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise NatsUnavailable(what, f"an answer that cannot be read ({error!r:.200})") from error

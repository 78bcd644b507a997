"""Create and update the stream and its durable consumers. Publishing and reading are not done here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from marketdata_assets.collector.errors import CollectorError, NatsRejected, NatsUnavailable, StreamMissing
from marketdata_assets.collector.items import STORED, TAGS
from marketdata_assets.collector.jetstream.nats_connection import Address
from marketdata_assets.logs import get_logger
from marketdata_assets.server_versions import require

log = get_logger(__name__)

ANSWER_SECONDS = 15.0
FIRST_WITH_BATCHES = (2, 14)
SHORT_ACK_WAIT = 0.1
REDELIVERY_SECONDS = 0.3
"""The server checks for expired messages a tenth of a second after the ack wait was changed."""


@dataclass(frozen=True)
class Stream:
    """The stream's settings. Messages above `max_age_seconds` or `max_bytes` are deleted, drained or not."""

    name: str = "MARKET"
    subjects: tuple[str, ...] = ("market.>",)
    max_bytes: int = 8 << 30
    max_messages: int = -1
    max_age_seconds: float = 48 * 3600.0
    duplicate_seconds: float = 120.0
    replicas: int = 1


@dataclass(frozen=True)
class Consumer:
    """The settings of a durable consumer of one record type, or of all with the subject `market.>`."""

    name: str
    subject: str
    ack_seconds: float = 60.0  # a message without an ack is delivered again after this time
    max_unacked: int = 500_000  # over all readers; delivery pauses above it


def consumers(prefix: str = "clickhouse") -> dict[str, Consumer]:
    """One consumer for each type, by its name."""
    return {tag: Consumer(f"{prefix}_{tag}", f"market.{tag}.>") for tag in map(TAGS.__getitem__, STORED)}


async def ensure(url: str, stream: Stream | None = None, durable: Iterable[Consumer] | None = None) -> None:
    """Create the stream and its durable consumers, by default one for each type, or update them. Idempotent.

    Raises CollectorError, also for settings that NATS cannot change, NatsUnavailable, NatsRejected.
    """
    async with connected(url) as client:
        manager, stream = client.jetstream(timeout=ANSWER_SECONDS), stream or Stream()
        version = client.connected_server_version
        # Batches that are stored message by message; an older server acks each message.
        await _ensure_stream(manager, stream, batched=(version.major, version.minor) >= FIRST_WITH_BATCHES)
        for consumer in consumers().values() if durable is None else durable:
            await _ensure_consumer(manager, stream.name, consumer)


async def redeliver_now(url: str, stream: str, consumer: str) -> None:
    """Redeliver now what another reader has in flight, by shortening the ack wait for a moment.

    Raises StreamMissing, NatsUnavailable, NatsRejected.
    """
    async with connected(url) as client:
        manager = client.jetstream(timeout=ANSWER_SECONDS)
        try:
            existing = (await manager.consumer_info(stream, consumer)).config
        except NotFoundError as error:
            raise StreamMissing(f"{stream}/{consumer}", error.description or "not found") from error
        usual = existing.ack_wait if existing.ack_wait and existing.ack_wait >= 1 else Consumer.ack_seconds
        try:
            await manager.add_consumer(stream, replace(existing, ack_wait=SHORT_ACK_WAIT))
            await asyncio.sleep(REDELIVERY_SECONDS)
        finally:
            await manager.add_consumer(stream, replace(existing, ack_wait=usual))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A connection for requests about streams. Raises NatsUnavailable, NatsRejected, ServerTooOld."""
    address = Address.of(url)

    async def quiet(error: Exception) -> None:
        """Connection errors are raised here too."""

    server = f"{'tls' if address.tls else 'nats'}://{address}"
    login = {"user": address.user, "password": address.password, "token": address.token}
    once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0.1}
    try:
        client = await nats.connect(server, error_cb=quiet, connect_timeout=5, **once, **login)
        try:
            version = client.connected_server_version
            require("NATS", f"{version.major}.{version.minor}.{version.patch}")
            yield client
        finally:
            await client.close()
    except APIError as error:
        raise NatsRejected(str(address), error.description or str(error)) from error
    except (OSError, TimeoutError, NatsError) as error:
        raise NatsUnavailable(str(address), str(error) or "no answer") from error


async def _ensure_stream(manager: JetStreamContext, wanted: Stream, *, batched: bool) -> None:
    fields = {
        "subjects": list(wanted.subjects),
        "max_bytes": wanted.max_bytes,
        "max_msgs": wanted.max_messages,
        "max_age": wanted.max_age_seconds,
        "duplicate_window": wanted.duplicate_seconds,
        "num_replicas": wanted.replicas,
        "discard": api.DiscardPolicy.OLD,
    }
    if batched:
        fields["allow_batched"] = True
    fixed = {"storage": api.StorageType.FILE, "retention": api.RetentionPolicy.LIMITS}
    try:
        existing = (await manager.stream_info(wanted.name)).config
    except NotFoundError:
        await manager.add_stream(api.StreamConfig(name=wanted.name, **fields, **fixed))  # type: ignore[arg-type]
        log.info("stream_created", stream=wanted.name, max_bytes=wanted.max_bytes, max_age_s=wanted.max_age_seconds)
        return
    if await _update(f"stream {wanted.name}", existing, fixed, fields, manager.update_stream):
        log.info("stream_updated", stream=wanted.name, max_bytes=wanted.max_bytes)


async def _ensure_consumer(manager: JetStreamContext, stream: str, wanted: Consumer) -> None:
    fields = {
        "filter_subject": wanted.subject,
        "ack_wait": wanted.ack_seconds,
        "max_ack_pending": wanted.max_unacked,
        "max_deliver": -1,
    }
    fixed = {"ack_policy": api.AckPolicy.ALL, "deliver_policy": api.DeliverPolicy.ALL}
    try:
        existing = (await manager.consumer_info(stream, wanted.name)).config
    except NotFoundError:
        existing = api.ConsumerConfig(durable_name=wanted.name, **fixed)  # type: ignore[arg-type]
        await manager.add_consumer(stream, replace(existing, **fields))  # type: ignore[arg-type]
        return
    fixed_and_pulled = {**fixed, "deliver_subject": None}
    save = partial(manager.add_consumer, stream)
    await _update(f"consumer {stream}/{wanted.name}", existing, fixed_and_pulled, fields, save)


async def _update(
    what: str, existing: Any, fixed: dict[str, Any], fields: dict[str, Any], save: Callable[[Any], Awaitable[object]]
) -> bool:
    """Save the fields that differ; whether any did. Raises CollectorError when NATS cannot change one."""
    for name, value in fixed.items():
        if (current := getattr(existing, name)) != value:
            raise _conflict(what, f"{name} is {current}, not {getattr(value, 'value', value)}")
    if all(getattr(existing, name) == value for name, value in fields.items()):
        return False
    try:
        await save(replace(existing, **fields))
    except APIError as error:
        raise _conflict(what, error.description or str(error)) from error
    return True


def _conflict(what: str, cause: str) -> CollectorError:
    return CollectorError(
        f"{what}: {cause}. NATS cannot change this setting: drain and delete it, or configure another name."
    )

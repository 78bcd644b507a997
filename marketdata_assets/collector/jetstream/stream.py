"""The stream and its durable consumers, made and kept as configured. What goes in and out is not decided here."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from marketdata_assets.collector.items import TAGS
from marketdata_assets.collector.jetstream.errors import NatsAway, NatsRefused, StreamConflict, StreamMissing
from marketdata_assets.collector.jetstream.wire import Address

GB = 1 << 30
HOUR = 3600.0
ANSWER_SECONDS = 15.0
MOMENT = 0.1
LOOKED_SECONDS = 0.3
"""The server looks for messages whose time is over a tenth of a second after that time was changed."""


@dataclass(frozen=True)
class Stream:
    """The stream's settings. What is older than `max_age_seconds`, or more than fits, goes, drained or not."""

    name: str = "MARKET"
    subjects: tuple[str, ...] = ("market.>",)
    max_bytes: int = 8 * GB
    max_messages: int = -1
    max_age_seconds: float = 48 * HOUR
    duplicate_seconds: float = 120.0
    replicas: int = 1


@dataclass(frozen=True)
class Consumer:
    """The settings of a durable consumer of one type, or of all with the subject `market.>`."""

    name: str
    subject: str
    ack_seconds: float = 60.0  # without an ack for so long a message is delivered again
    max_unacked: int = 500_000  # over all readers; none gets more until some are acked


def consumers(prefix: str = "clickhouse") -> dict[str, Consumer]:
    """One consumer for each type, by its name."""
    return {tag: Consumer(f"{prefix}_{tag}", f"market.{tag}.>") for tag in TAGS.values()}


@dataclass(frozen=True)
class Wanted:
    """A stream and its consumers."""

    stream: Stream = field(default_factory=Stream)
    consumers: tuple[Consumer, ...] = field(default_factory=lambda: tuple(consumers().values()))


async def ensure(url: str, wanted: Wanted, *, context: ssl.SSLContext | None = None) -> None:
    """Make the stream and the consumers, or change them to what is wanted; what is as wanted is let be.

    Raises StreamConflict for what NATS cannot change, NatsAway, NatsRefused, BadAddress.
    """
    async with _managed(url, context) as manager:
        await _ensure_stream(manager, wanted.stream)
        for one in wanted.consumers:
            await _ensure_consumer(manager, wanted.stream.name, one)


async def pending(url: str, stream: str, consumer: str, *, context: ssl.SSLContext | None = None) -> int:
    """Messages that the consumer has not acked. Raises StreamMissing, NatsAway, NatsRefused."""
    async with _managed(url, context) as manager:
        try:
            info = await manager.consumer_info(stream, consumer)
        except NotFoundError as error:
            raise StreamMissing(f"{stream}/{consumer}", error.description or "not found") from error
        return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def hasten(url: str, stream: str, consumer: str, *, context: ssl.SSLContext | None = None) -> None:
    """Have delivered again at once what a reader had in hand, by letting its time run out.

    Raises StreamMissing, NatsAway, NatsRefused.
    """
    async with _managed(url, context) as manager:
        try:
            there = (await manager.consumer_info(stream, consumer)).config
        except NotFoundError as error:
            raise StreamMissing(f"{stream}/{consumer}", error.description or "not found") from error
        usual = there.ack_wait if there.ack_wait and there.ack_wait >= 1 else Consumer.ack_seconds
        try:
            await manager.add_consumer(stream, replace(there, ack_wait=MOMENT))
            await asyncio.sleep(LOOKED_SECONDS)
        finally:
            await manager.add_consumer(stream, replace(there, ack_wait=usual))


@asynccontextmanager
async def _managed(url: str, context: ssl.SSLContext | None) -> AsyncIterator[JetStreamContext]:
    address = Address.of(url)

    async def quiet(error: Exception) -> None:
        """What it says of the connection is raised here too."""

    server = f"{'tls' if address.tls else 'nats'}://{address}"
    login = {"user": address.user, "password": address.password, "token": address.token}
    try:
        client = await nats.connect(
            server,
            error_cb=quiet,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.1,
            connect_timeout=5,
            tls=context,
            **login,
        )
    except (OSError, TimeoutError, NatsError) as error:
        raise NatsAway(str(address), str(error) or "no answer") from error
    try:
        yield client.jetstream(timeout=ANSWER_SECONDS)
    except APIError as error:
        raise NatsRefused(str(address), error.description or str(error)) from error
    except (OSError, TimeoutError, NatsError) as error:
        raise NatsAway(str(address), str(error) or "no answer") from error
    finally:
        await client.close()


async def _ensure_stream(manager: JetStreamContext, wanted: Stream) -> None:
    fields = {
        "subjects": list(wanted.subjects),
        "max_bytes": wanted.max_bytes,
        "max_msgs": wanted.max_messages,
        "max_age": wanted.max_age_seconds,
        "duplicate_window": wanted.duplicate_seconds,
        "num_replicas": wanted.replicas,
        "discard": api.DiscardPolicy.OLD,
    }
    fixed = {"storage": api.StorageType.FILE, "retention": api.RetentionPolicy.LIMITS}
    try:
        there = (await manager.stream_info(wanted.name)).config
    except NotFoundError:
        await manager.add_stream(api.StreamConfig(name=wanted.name, **fields, **fixed))  # type: ignore[arg-type]
        return
    for name, value in fixed.items():
        if getattr(there, name) != value:
            raise StreamConflict(f"stream {wanted.name}", f"{name} is {getattr(there, name)}, not {_text(value)}")
    if any(getattr(there, name) != value for name, value in fields.items()):
        try:
            await manager.update_stream(replace(there, **fields))  # type: ignore[arg-type]
        except APIError as error:
            raise StreamConflict(f"stream {wanted.name}", error.description or str(error)) from error


async def _ensure_consumer(manager: JetStreamContext, stream: str, wanted: Consumer) -> None:
    fields = {
        "filter_subject": wanted.subject,
        "ack_wait": wanted.ack_seconds,
        "max_ack_pending": wanted.max_unacked,
        "max_deliver": -1,
    }
    fixed = {"ack_policy": api.AckPolicy.ALL, "deliver_policy": api.DeliverPolicy.ALL}
    try:
        there = (await manager.consumer_info(stream, wanted.name)).config
    except NotFoundError:
        there = api.ConsumerConfig(durable_name=wanted.name, **fixed)  # type: ignore[arg-type]
        await manager.add_consumer(stream, replace(there, **fields))  # type: ignore[arg-type]
        return
    for name, value in {**fixed, "deliver_subject": None}.items():
        if getattr(there, name) != value:
            cause = f"{name} is {getattr(there, name)}, not {_text(value)}"
            raise StreamConflict(f"consumer {stream}/{wanted.name}", cause)
    if any(getattr(there, name) != value for name, value in fields.items()):
        try:
            await manager.add_consumer(stream, replace(there, **fields))
        except APIError as error:
            raise StreamConflict(f"consumer {stream}/{wanted.name}", error.description or str(error)) from error


def _text(value: object) -> str:
    return str(getattr(value, "value", value))

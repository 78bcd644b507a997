"""Read a durable consumer in large batches. A message is redelivered until its batch is acked.

One ack acknowledges all messages before it: explicit acks cost the server as much as a second delivery, and a client
ten times the CPU. Such an ack would also acknowledge what another reader, or a killed one, has in flight. So a reader
first has everything in flight redelivered to itself, and then detects other readers by the consumer's sequence.
"""

import asyncio
import json
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Self

from marketdata_assets.collector.errors import NatsUnavailable, StreamMissing
from marketdata_assets.collector.jetstream import stream as streams
from marketdata_assets.collector.jetstream.nats_connection import CRLF, Address, Message, NatsConnection
from marketdata_assets.errors import TransientError

PULL_SECONDS = 5.0
"""Lifetime of a pull request at the server; after twice that without a reply it is sent again."""
ANSWER_SECONDS = 5.0
MAX_REDELIVERY_REQUESTS = 5
"""Redelivery requests to a busy server; after that the reader waits for the ack wait to expire."""

_GONE = (b"Consumer Deleted", b"Consumer is push based", b"Exceeded MaxRequestBatch")
_ACK, _NAK = b"+ACK", b"-NAK"


@dataclass
class Batch:
    """Messages in stream order, except redelivered ones."""

    messages: list[Message] = field(repr=False)
    redelivered: int  # messages delivered before
    first: int  # lowest stream sequence
    last: int  # highest stream sequence
    stored: int  # ns, when the stream stored that message
    oldest_stored: int  # ns, the same of the lowest sequence
    reply: bytes = field(repr=False)  # of the highest sequence
    reader: "Reader" = field(repr=False)
    is_acked: bool = False

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    async def ack(self) -> None:
        """Acknowledge all messages. The server has the ack on return, if all batches before it are acked too.

        While messages that a killed reader had in flight are outstanding, and after an unacknowledged batch, the ack is
        sent with a later one, or these messages are redelivered. Raises NatsUnavailable.
        """
        self.is_acked = True
        await self.reader.acked()


class Reader:
    """The only reader of a durable consumer, for one `async with` block.

    It does not reconnect: after NatsUnavailable another reader continues with the unacknowledged messages.
    """

    def __init__(self, url: str, stream: str, consumer: str) -> None:
        self.name = f"{stream}/{consumer}"
        self._url, self._stream, self._consumer = url, stream, consumer
        self._address = Address.of(url)
        self._inbox = f"_INBOX.{uuid.uuid4().hex[:12]}"
        self._first_delivery = f"$JS.ACK.{stream}.{consumer}.1.".encode()
        self._connection: NatsConnection | None = None
        self._waiting: list[Message] = []
        self._unfinished: deque[Batch] = deque()  # unacknowledged, or after an unacknowledged one
        self._delivered = 0  # consumer sequence of the last message handed out
        self._outstanding: set[int] | None = None  # stream sequences received, until all redeliveries arrived
        self._redelivery_requests = 0  # requests
        self._acked = (0, b"")  # highest acknowledged sequence without a hole before it, and its reply
        self._sent_ack = 0  # sequence of the last ack sent
        self._expected = 0  # messages the current pull may still deliver
        self._pulls, self._pulled_at = 0, 0.0
        self._empty = False  # the last pull found no more
        self._missing: str | None = None
        self._arrived = asyncio.Event()
        self._answers: dict[bytes, asyncio.Future[Message]] = {}

    async def __aenter__(self) -> Self:
        """Connect, and request redelivery of what is in flight. Raises NatsUnavailable, NatsRejected, StreamMissing."""
        connection = await NatsConnection.open(self._address, self._on_messages)
        self._connection = connection
        try:
            connection.write(f"SUB {self._inbox}.* 1\r\n".encode())
            connection.closed.add_done_callback(lambda _: self._arrived.set())
            info = await self._info()
            if info["num_ack_pending"]:
                self._outstanding = set()
                await self._redeliver_now()
                info = await self._info()
            self._delivered = info["delivered"]["consumer_seq"]
        except BaseException:
            connection.abort("not opened")
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Return unacknowledged messages for immediate redelivery, and close."""
        if self._connection is not None:
            unacked = [message for batch in self._unfinished if not batch.is_acked for message in batch.messages]
            naks = (_publication(message.reply, b"", _NAK) for message in (*unacked, *self._waiting))
            self._connection.write(b"", *naks)
            await self._connection.close()

    async def batches(self, max_rows: int, max_seconds: float, *, follow: bool = True) -> AsyncGenerator[Batch, None]:
        """Yield batches of at most `max_rows` messages, after at most `max_seconds` each, never empty.

        Without `follow` it ends when the consumer has no more messages now. Raises NatsUnavailable, StreamMissing, and
        TransientError when another reader takes messages of the same consumer.
        """
        while True:
            messages = await self._gather(max_rows, max_seconds, follow)
            if messages:
                batch = self._batch(messages)
                await self._finish_redelivery()
                more = follow or not self._empty
                if self._outstanding is None and not self._expected and more:
                    self._pull(max_rows, follow)
                yield batch
            elif not follow and self._empty:
                return

    async def acked(self) -> None:
        """Send the ack of all acknowledged batches from the first on. Raises NatsUnavailable.

        Not while an unacknowledged batch has older messages: redelivered ones may arrive after newer ones.
        """
        await self._finish_redelivery()
        while self._outstanding is None and self._unfinished and self._unfinished[0].is_acked:
            batch = self._unfinished.popleft()
            self._acked = max(self._acked, (batch.last, batch.reply))
        sequence, reply = self._acked
        if sequence > self._sent_ack and all(sequence < batch.first for batch in self._unfinished):
            await self._ask(reply.decode(), _ACK)
            self._sent_ack = sequence

    @property
    def in_order(self) -> bool:
        """Whether all messages before the last one that was handed out were handed out."""
        return self._outstanding is None

    async def is_caught_up(self) -> bool:
        """Whether all messages of the consumer were handed out here and acked. Raises as `batches` does."""
        if self._outstanding is not None or self._waiting or self._unfinished:
            return False
        info = await self._info()
        left = info["num_pending"] + info["num_ack_pending"]
        return not left and info["delivered"]["consumer_seq"] == self._delivered

    def _batch(self, messages: list[Message]) -> Batch:
        first, last = _numbers(messages[0]), _numbers(messages[-1])
        numbers = range(self._delivered + 1, self._delivered + 1 + len(messages))
        if (first[1], last[1]) != (numbers[0], numbers[-1]):
            self._waiting[:0] = messages  # returned at the end
            cause = "another reader takes its messages. Nothing is lost; run one drain at a time."
            raise TransientError(f"{self.name}: {cause}")
        self._delivered = last[1]
        if self._outstanding is not None:
            self._outstanding.update(_numbers(message)[0] for message in messages)
        again = sum(not message.reply.startswith(self._first_delivery) for message in messages)
        ordered = sorted(messages, key=_numbers) if again else messages
        lowest, highest = _numbers(ordered[0])[0], _numbers(ordered[-1])[0]
        oldest, newest = _stored(ordered[0]), _stored(ordered[-1])
        batch = Batch(messages, again, lowest, highest, newest, oldest, ordered[-1].reply, self)
        self._unfinished.append(batch)
        return batch

    async def _finish_redelivery(self) -> None:
        """End the redelivery phase when every message in flight has arrived."""
        if self._outstanding is None or self._expected or self._waiting:
            return
        info = await self._info()
        if info["num_ack_pending"] == len(self._outstanding) and info["delivered"]["consumer_seq"] == self._delivered:
            self._outstanding = None

    async def _redeliver_now(self) -> None:
        self._redelivery_requests += 1
        await streams.redeliver_now(self._url, self._stream, self._consumer)

    async def _request_again(self) -> bool:
        """Request redelivery again if a busy server has not finished it; whether it was requested."""
        if self._outstanding is None or self._waiting or self._redelivery_requests >= MAX_REDELIVERY_REQUESTS:
            return False
        if (await self._info())["num_ack_pending"] <= len(self._outstanding):
            return False
        await self._redeliver_now()
        return True

    async def _gather(self, max_rows: int, max_seconds: float, follow: bool) -> list[Message]:
        end = time.monotonic() + max_seconds
        while len(self._waiting) < max_rows:
            end_if_cancelled()
            self._connected()
            self._arrived.clear()
            if not self._expected or time.monotonic() - self._pulled_at > 2 * PULL_SECONDS:
                if self._outstanding is not None:
                    await self.acked()
                if self._empty and not follow and not await self._request_again():
                    break
                self._pull(max_rows - len(self._waiting), follow)
            left = end - time.monotonic()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break
        messages, self._waiting = self._waiting[:max_rows], self._waiting[max_rows:]
        return messages

    def _pull(self, rows: int, follow: bool) -> None:
        self._pulls += 1
        self._expected, self._empty, self._pulled_at = rows, False, time.monotonic()
        request: dict[str, object] = {"batch": rows}
        request |= {"expires": int(PULL_SECONDS * 1e9)} if follow else {"no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        reply = f"{self._inbox}.{self._pulls}"
        self._connected().write(_publication(subject.encode(), reply.encode(), json.dumps(request).encode()))

    async def _info(self) -> dict[str, Any]:
        subject = f"$JS.API.CONSUMER.INFO.{self._stream}.{self._consumer}"
        message = await self._ask(subject, b"")
        info: dict[str, Any] = json.loads(message.payload) if message.payload else {}
        if "delivered" not in info:
            cause = info.get("error", {}).get("description") or message.headers.split(CRLF)[0].decode()
            raise StreamMissing(self.name, cause)
        return info

    async def _ask(self, subject: str, body: bytes) -> Message:
        """Send a request; its response. Raises NatsUnavailable."""
        connection = self._connected()
        token = f"a{uuid.uuid4().hex[:8]}".encode()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        connection.write(_publication(subject.encode(), b"%b.%b" % (self._inbox.encode(), token), body))
        try:
            await asyncio.wait((answer, connection.closed), return_when="FIRST_COMPLETED", timeout=ANSWER_SECONDS)
        finally:
            del self._answers[token]
        if not answer.done():
            self._connected()
            raise NatsUnavailable(str(self._address), f"no answer in {ANSWER_SECONDS:g} s to {subject.split('.')[1]}")
        return answer.result()

    def _connected(self) -> NatsConnection:
        if self._missing is not None:
            raise StreamMissing(self.name, self._missing)
        connection = self._connection
        if connection is None or connection.closed.done():
            why = connection.last_error or connection.closed.result() if connection else "not connected"
            raise NatsUnavailable(str(self._address), why)
        return connection

    def _on_messages(self, messages: list[Message]) -> None:
        plain = [message for message in messages if message.reply]
        self._waiting += plain
        self._expected = max(0, self._expected - len(plain))
        if len(plain) < len(messages):
            for message in messages:
                if not message.reply:
                    self._on_control(message)
        self._arrived.set()

    def _on_control(self, message: Message) -> None:
        """Process a response, or the end of a pull: 404 no messages, 408 expired, 503 no responders."""
        what = message.subject.rpartition(b".")[2]
        if what in self._answers:
            if not self._answers[what].done():
                self._answers[what].set_result(message)
        elif what.isdigit() and int(what) == self._pulls:
            line = message.headers.split(CRLF, 1)[0]
            code = line[9:12]
            if code != b"100":
                self._expected, self._empty = 0, True
            if code == b"503" or any(text in line for text in _GONE):
                self._missing = line[9:].decode(errors="replace")


def end_if_cancelled() -> None:
    """Raise CancelledError again, which `asyncio.wait_for` of Python 3.11 loses where the reply came at that moment."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def _publication(subject: bytes, reply: bytes, body: bytes) -> bytes:
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(body), body)


def _numbers(message: Message) -> tuple[int, int]:
    """Stream sequence and consumer sequence of a message.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`
    """
    parts = message.reply.split(b".")
    return int(parts[-4]), int(parts[-3])


def _stored(message: Message) -> int:
    """When the stream stored a message; ns."""
    return int(message.reply.split(b".")[-2])

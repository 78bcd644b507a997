"""Reading a durable consumer in large batches. A message comes again until its batch is acked.

One ack stands for all messages before it: acks one by one cost the server as much as delivering twice. Such an ack
would take away what another reader, or a killed one, had in hand; so a reader first has everything that was in hand
delivered to itself, and from then on sees by the consumer's own numbers whether it is alone.
"""

import asyncio
import json
import ssl
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from marketdata_assets.collector.errors import ConcurrentReader, NatsUnavailable, StreamMissing
from marketdata_assets.collector.jetstream import stream as streams
from marketdata_assets.collector.jetstream.nats_connection import CRLF, Address, Message, NatsConnection

PULL_SECONDS = 5.0
"""A pull stays at the server for so long; one that is not heard of for twice as long is asked again."""
ANSWER_SECONDS = 5.0
HASTENED_TIMES = 5
"""So often a busy server is asked again for what was in hand before us, before its time is left to run out."""

_GONE = (b"Consumer Deleted", b"Consumer is push based", b"Exceeded MaxRequestBatch")
_ACK, _NAK = b"+ACK", b"-NAK"


@dataclass
class Batch:
    """Messages in the order of the stream, as far as none is delivered again."""

    messages: list[Message] = field(repr=False)
    redelivered: int  # how many of them were given out before
    first: int  # lowest sequence in the stream
    last: int  # and the highest
    reply: bytes = field(repr=False)  # of the highest
    reader: "Reader" = field(repr=False)
    is_acked: bool = False

    @property
    def payloads(self) -> list[bytes]:
        """Records as JSON."""
        return [one.payload for one in self.messages]

    async def ack(self) -> None:
        """Say that all are safe. The server knows when it returns, if all batches before it are acked too.

        While messages that a killed reader had in hand are still to come, and behind a batch that is not acked, the
        server learns of it with a later ack, or these messages come again. Raises NatsUnavailable.
        """
        self.is_acked = True
        await self.reader.acked()


class Reader:
    """The reader of a durable consumer, for one `async with` block. It has to be alone.

    It does not reconnect: NatsUnavailable ends the batches, and another reader goes on with what was not acked.
    """

    def __init__(
        self, url: str, stream: str, consumer: str, *, prefetch: bool = True, context: ssl.SSLContext | None = None
    ) -> None:
        self.name = f"{stream}/{consumer}"
        self._url, self._stream, self._consumer = url, stream, consumer
        self._address, self._context, self._prefetch = Address.of(url), context, prefetch
        self._inbox = f"_INBOX.{uuid.uuid4().hex[:12]}"
        self._first_delivery = f"$JS.ACK.{stream}.{consumer}.1.".encode()
        self._connection: NatsConnection | None = None
        self._waiting: list[Message] = []
        self._handed: deque[Batch] = deque()  # not acked, or not all before them
        self._delivered = 0  # the consumer's number of the last message that was handed out
        self._settled: set[int] | None = None  # until what was in hand before us is here: sequences that we have
        self._hastened = 0  # times that it was asked for
        self._done = (0, b"")  # highest sequence of what is acked from the first batch on, and its reply
        self._told = 0  # the sequence that the server knows of
        self._asked = 0  # messages that the pull under way may still give
        self._pulls, self._pulled_at = 0, 0.0
        self._empty = False  # the server had no more when it was asked last
        self._gone: str | None = None
        self._news = asyncio.Event()
        self._answers: dict[bytes, asyncio.Future[Message]] = {}

    async def __aenter__(self) -> Self:
        """Connect, and have delivered what was in hand. Raises NatsUnavailable, NatsRejected, StreamMissing."""
        self._connection = connection = await NatsConnection.open(
            self._address, self._on_messages, context=self._context
        )
        try:
            connection.write(f"SUB {self._inbox}.* 1\r\n".encode())
            connection.closed.add_done_callback(lambda _: self._news.set())
            info = await self._info()
            if info["num_ack_pending"]:
                self._settled = set()
                await self._redeliver_now()
                info = await self._info()
            self._delivered = info["delivered"]["consumer_seq"]
        except BaseException:
            connection.abort("not begun")
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Give back what is not acked, so that it comes again at once, and close."""
        if self._connection is not None:
            given = [one for batch in self._handed if not batch.is_acked for one in batch.messages]
            self._connection.write(b"", *(_answer(one.reply, b"", _NAK) for one in (*given, *self._waiting)))
            await self._connection.close()

    async def batches(self, max_rows: int, max_seconds: float, *, follow: bool = True) -> AsyncGenerator[Batch, None]:
        """Batches of at most so many messages, each given out at latest so long after it was begun, never empty.

        Without `follow` it ends when the consumer has nothing to give now. Raises NatsUnavailable, StreamMissing, and
        ConcurrentReader when another reader takes messages of the same consumer.
        """
        while True:
            messages = await self._gather(max_rows, max_seconds, follow)
            if messages:
                batch = self._batch(messages)
                await self._settle()
                if self._prefetch and self._settled is None and not self._asked and not (self._empty and not follow):
                    self._pull(max_rows, follow)
                yield batch
            elif not follow and self._empty:
                return

    async def acked(self) -> None:
        """Tell the server of the batches from the first on that are acked. Raises NatsUnavailable.

        Not while one that is not acked has messages from before them: what came again may come behind what is new.
        """
        await self._settle()
        while self._settled is None and self._handed and self._handed[0].is_acked:
            batch = self._handed.popleft()
            self._done = max(self._done, (batch.last, batch.reply))
        sequence, reply = self._done
        if sequence > self._told and all(sequence < batch.first for batch in self._handed):
            await self._ask(reply.decode(), _ACK)
            self._told = sequence

    def _batch(self, messages: list[Message]) -> Batch:
        first, last = _numbers(messages[0]), _numbers(messages[-1])
        numbers = range(self._delivered + 1, self._delivered + 1 + len(messages))
        if (first[1], last[1]) != (numbers[0], numbers[-1]):
            self._waiting[:0] = messages  # given back at the end
            raise ConcurrentReader(self.name)
        self._delivered = last[1]
        if self._settled is not None:
            self._settled.update(_numbers(one)[0] for one in messages)
        again = sum(not one.reply.startswith(self._first_delivery) for one in messages)
        lowest, highest = (messages[0], messages[-1]) if not again else _ends(messages)
        batch = Batch(messages, again, _numbers(lowest)[0], _numbers(highest)[0], highest.reply, self)
        self._handed.append(batch)
        return batch

    async def _settle(self) -> None:
        """Whether all that the consumer waits acks for is here, and nothing under way."""
        if self._settled is None or self._asked or self._waiting:
            return
        info = await self._info()
        if info["num_ack_pending"] == len(self._settled) and info["delivered"]["consumer_seq"] == self._delivered:
            self._settled = None

    async def _redeliver_now(self) -> None:
        self._hastened += 1
        await streams.redeliver_now(self._url, self._stream, self._consumer, context=self._context)

    async def _hastened_again(self) -> bool:
        """Whether there was something in hand that a busy server had not given back in the time it usually takes."""
        if self._settled is None or self._waiting or self._hastened >= HASTENED_TIMES:
            return False
        if (await self._info())["num_ack_pending"] <= len(self._settled):
            return False
        await self._redeliver_now()
        return True

    async def _gather(self, max_rows: int, max_seconds: float, follow: bool) -> list[Message]:
        end = time.monotonic() + max_seconds
        while len(self._waiting) < max_rows:
            self._connected()
            self._news.clear()
            if not self._asked or time.monotonic() - self._pulled_at > 2 * PULL_SECONDS:
                if self._settled is not None:
                    await self.acked()
                if self._empty and not follow and not await self._hastened_again():
                    break
                self._pull(max_rows - len(self._waiting), follow)
            left = end - time.monotonic()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                break
        messages, self._waiting = self._waiting[:max_rows], self._waiting[max_rows:]
        return messages

    def _pull(self, rows: int, follow: bool) -> None:
        self._pulls += 1
        self._asked, self._empty, self._pulled_at = rows, False, time.monotonic()
        request: dict[str, object] = {"batch": rows}
        request |= {"expires": int(PULL_SECONDS * 1e9)} if follow else {"no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        reply = f"{self._inbox}.{self._pulls}"
        self._connected().write(_answer(subject.encode(), reply.encode(), json.dumps(request).encode()))

    async def _info(self) -> dict[str, Any]:
        subject = f"$JS.API.CONSUMER.INFO.{self._stream}.{self._consumer}"
        message = await self._ask(subject, b"")
        told: dict[str, Any] = json.loads(message.payload) if message.payload else {}
        if "delivered" not in told:
            cause = told.get("error", {}).get("description") or message.headers.split(CRLF)[0].decode()
            raise StreamMissing(self.name, cause)
        return told

    async def _ask(self, subject: str, body: bytes) -> Message:
        """A request and its answer. Raises NatsUnavailable."""
        connection = self._connected()
        token = f"a{uuid.uuid4().hex[:8]}".encode()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        connection.write(_answer(subject.encode(), b"%b.%b" % (self._inbox.encode(), token), body))
        try:
            await asyncio.wait((answer, connection.closed), return_when="FIRST_COMPLETED", timeout=ANSWER_SECONDS)
        finally:
            del self._answers[token]
        if not answer.done():
            self._connected()
            raise NatsUnavailable(str(self._address), f"no answer in {ANSWER_SECONDS:g} s to {subject.split('.')[1]}")
        return answer.result()

    def _connected(self) -> NatsConnection:
        if self._gone is not None:
            raise StreamMissing(self.name, self._gone)
        connection = self._connection
        if connection is None or connection.closed.done():
            raise NatsUnavailable(
                str(self._address),
                connection.last_error or connection.closed.result() if connection else "not connected",
            )
        return connection

    def _on_messages(self, messages: list[Message]) -> None:
        plain = [one for one in messages if one.reply]
        self._waiting += plain
        self._asked = max(0, self._asked - len(plain))
        if len(plain) < len(messages):
            for one in messages:
                if not one.reply:
                    self._other(one)
        self._news.set()

    def _other(self, message: Message) -> None:
        """The answer to a request; or the end of a pull: 404 nothing is there, 408 its time is over, 503 nobody."""
        what = message.subject.rpartition(b".")[2]
        if what in self._answers:
            if not self._answers[what].done():
                self._answers[what].set_result(message)
        elif what.isdigit() and int(what) == self._pulls:
            line = message.headers.split(CRLF, 1)[0]
            code = line[9:12]
            if code != b"100":
                self._asked, self._empty = 0, True
            if code == b"503" or any(text in line for text in _GONE):
                self._gone = line[9:].decode(errors="replace")


def _answer(subject: bytes, reply: bytes, body: bytes) -> bytes:
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(body), body)


def _ends(messages: list[Message]) -> tuple[Message, Message]:
    """Those with the lowest and the highest sequence in the stream, of messages that may be in any order."""
    ordered = sorted(messages, key=_numbers)
    return ordered[0], ordered[-1]


def _numbers(message: Message) -> tuple[int, int]:
    """Its sequence in the stream, and the consumer's number of the delivery.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`
    """
    parts = message.reply.split(b".")
    return int(parts[-4]), int(parts[-3])

"""Reading a durable consumer in large batches. A message comes again until its batch is acked.

Acks are one by one on the wire, never for all before: a reader that follows a killed one would take away with its first
ack what the other had in hand.
"""

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from marketdata_assets.collector.jetstream.errors import NatsAway, StreamMissing
from marketdata_assets.collector.jetstream.wire import Address, Message, Wire

ACK, NAK = b"+ACK", b"-NAK"
TOLD = b"told"
"""What the confirmation of acks comes under."""
PULL_SECONDS = 5.0
"""A pull stays at the server for so long; one that is not heard of for twice as long is asked again."""

_GONE = (b"Consumer Deleted", b"Consumer is push based", b"Exceeded MaxRequestBatch")


@dataclass(frozen=True)
class Batch:
    """Messages in the order of the stream, as far as none is delivered again."""

    messages: list[Message] = field(repr=False)
    reader: "Reader" = field(repr=False)

    @property
    def payloads(self) -> list[bytes]:
        """Records as JSON."""
        return [one.payload for one in self.messages]

    @property
    def redelivered(self) -> int:
        """How many of them were given out before."""
        first = self.reader.first_delivery
        return sum(not one.reply.startswith(first) for one in self.messages)

    @property
    def sequences(self) -> tuple[int, int]:
        """Sequence in the stream of the first message and of the last."""
        return _sequence(self.messages[0]), _sequence(self.messages[-1])

    async def ack(self) -> None:
        """Say that all are safe; when it returns, the server knows. Raises NatsAway, and then they come again."""
        await self.reader.answer(self.messages, ACK)

    async def refuse(self) -> None:
        """Give all back, to be delivered again at once. Raises NatsAway."""
        await self.reader.answer(self.messages, NAK)


class Reader:
    """One reader of a durable consumer; several may read it at once, each message goes to one of them.

    For one `async with` block. It does not reconnect: NatsAway ends the batches, and another reader goes on with what
    was not acked.
    """

    def __init__(
        self, url: str, stream: str, consumer: str, *, prefetch: bool = True, context: ssl.SSLContext | None = None
    ) -> None:
        self.name = f"{stream}/{consumer}"
        self.first_delivery = f"$JS.ACK.{stream}.{consumer}.1.".encode()
        self._address, self._context, self._prefetch = Address.of(url), context, prefetch
        self._inbox = f"_INBOX.{uuid.uuid4().hex[:12]}"
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._wire: Wire | None = None
        self._waiting: list[Message] = []
        self._asked = 0  # messages that the pull under way may still give
        self._pulls = 0
        self._pulled_at = 0.0
        self._told: asyncio.Future[None] | None = None
        self._empty = False  # the server had no more when it was asked last
        self._gone: str | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Connect. Raises NatsAway or NatsRefused."""
        wire = await Wire.open(self._address, self._on_messages, context=self._context)
        wire.write(f"SUB {self._inbox}.* 1\r\n".encode())
        wire.closed.add_done_callback(lambda _: self._news.set())
        self._wire = wire
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._wire is not None:
            if self._waiting and not self._wire.closed.done():
                self._wire.write(*_answers(self._waiting, NAK))
            await self._wire.close()

    async def batches(self, max_rows: int, max_seconds: float, *, follow: bool = True) -> AsyncIterator[Batch]:
        """Batches of at most so many messages, each given out at latest so long after it was begun, never empty.

        Without `follow` it ends when the consumer has nothing to give now; what another reader has in hand, or a
        killed one had, is not waited for. Raises NatsAway, StreamMissing.
        """
        while True:
            messages = await self._gather(max_rows, max_seconds, follow)
            if messages:
                if self._prefetch and not self._asked and not (self._empty and not follow):
                    self._pull(max_rows, follow)
                yield Batch(messages, self)
            elif not follow and self._empty:
                return

    async def answer(self, messages: list[Message], what: bytes) -> None:
        """Ack or give back messages, and wait until the server has them all. Raises NatsAway."""
        wire = self._connected()
        *others, last = messages
        self._told = told = asyncio.get_running_loop().create_future()
        # Answers are worked off in their order, and the last one is confirmed.
        end = b"PUB %b %b.%b %d\r\n%b\r\n" % (last.reply, self._inbox.encode(), TOLD, len(what), what)
        wire.write(*_answers(others, what), end)
        await asyncio.wait((told, wire.closed), return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            self._connected()

    async def _gather(self, max_rows: int, max_seconds: float, follow: bool) -> list[Message]:
        end = time.monotonic() + max_seconds
        while len(self._waiting) < max_rows:
            self._connected()
            self._news.clear()
            if not self._asked or time.monotonic() - self._pulled_at > 2 * PULL_SECONDS:
                if self._empty and not follow:
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
        body = json.dumps(request).encode()
        head = f"PUB {self._next} {self._inbox}.{self._pulls} {len(body)}\r\n"
        self._connected().write(head.encode(), body, b"\r\n")

    def _connected(self) -> Wire:
        if self._gone is not None:
            raise StreamMissing(self.name, self._gone)
        wire = self._wire
        if wire is None or wire.closed.done():
            raise NatsAway(str(self._address), wire.last_error or wire.closed.result() if wire else "not connected")
        return wire

    def _on_messages(self, messages: list[Message]) -> None:
        plain = [one for one in messages if one.reply]
        self._waiting += plain
        self._asked = max(0, self._asked - len(plain))
        if len(plain) < len(messages):
            for one in messages:
                what = one.subject.rpartition(b".")[2]
                if what == TOLD:
                    if self._told is not None and not self._told.done():
                        self._told.set_result(None)
                elif not one.reply and int(what) == self._pulls:
                    self._status(one.headers.split(b"\r\n", 1)[0])
        self._news.set()

    def _status(self, line: bytes) -> None:
        """What ends a pull: 404 there is nothing, 408 its time is over, 409 it was ended, 503 nobody answers."""
        code = line[9:12]
        if code == b"100":
            return
        self._asked, self._empty = 0, True
        if code == b"503" or any(text in line for text in _GONE):
            self._gone = line[9:].decode(errors="replace")


def _answers(messages: list[Message], what: bytes) -> list[bytes]:
    return [b"PUB %b %d\r\n%b\r\n" % (one.reply, len(what), what) for one in messages]


def _sequence(message: Message) -> int:
    """`$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`."""
    return int(message.reply.split(b".")[-4])

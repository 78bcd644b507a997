"""One websocket: what came over it and when, what was asked for over it, and what we still have to say.

Whether it is opened again after its end is the business of `connection`.
"""

import asyncio
import socket as system
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from marketdata_assets.collector.connections.speaking import Conversation, Pace

MOST_BYTES = 64 << 20
"""Of one frame."""

KERNEL_BYTES = 256 << 10
"""Of what came and was not read yet. All of it is read at once, and nothing else has its turn before it is worked off;
left alone the kernel lets it grow to some 6 MB. Beyond it the venue has to wait."""

NS = 1_000_000_000

CANNOT_CONNECT = (OSError, TimeoutError, WSError, EOFError)


@dataclass
class Asked:
    """One subscription over this socket. Times are ns, 0 when it did not happen."""

    at: int = 0
    confirmed: int = 0
    tries: int = 0
    refused: str = ""


class Loop(Protocol):
    """What an outbox needs of an event loop."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle: ...


class Outbox:
    """Messages of ours, in order and no faster than the venue allows."""

    def __init__(self, paces: Sequence[Pace], send: Callable[[bytes], None], loop: Loop) -> None:
        self._windows = [(pace, deque[float]()) for pace in paces]
        self._send, self._loop = send, loop
        self._waiting: deque[bytes] = deque()
        self._later: asyncio.TimerHandle | None = None

    def put(self, messages: Sequence[bytes]) -> None:
        self._waiting.extend(messages)
        if self._later is None:
            self._work()

    @property
    def waits(self) -> bool:
        """Whether something is not sent yet."""
        return bool(self._waiting)

    def close(self) -> None:
        self._waiting.clear()
        if self._later:
            self._later.cancel()
            self._later = None

    def _work(self) -> None:
        self._later = None
        while self._waiting:
            now = self._loop.time()
            wait = max((self._wait(pace, sent, now) for pace, sent in self._windows), default=0.0)
            if wait > 0:
                self._later = self._loop.call_later(wait, self._work)
                return
            for _, sent in self._windows:
                sent.append(now)
            self._send(self._waiting.popleft())

    @staticmethod
    def _wait(pace: Pace, sent: deque[float], now: float) -> float:
        while sent and sent[0] <= now - pace.seconds:
            sent.popleft()
        return sent[0] + pace.seconds - now if len(sent) >= pace.most else 0.0


@dataclass(eq=False)
class Socket(WSListener):
    """One socket; `number` is the connection that feeds know it by. `take` gets all messages of one read together."""

    number: int
    url: str
    talk: Conversation
    paces: Sequence[Pace]
    take: Callable[["Socket", list[bytes], int], None]
    said: Callable[["Socket", bytes], None] | None = None  # what we sent
    ended: Callable[["Socket"], None] | None = None
    opened_at: int = 0  # ns
    last_at: int = 0  # ns, when anything came, a pong included
    messages: int = 0
    received: int = 0  # bytes
    asked: dict[str, Asked] = field(default_factory=dict)  # by key
    seen: dict[bytes, int] = field(default_factory=dict)  # when a subscription brought something, by Speaker.key_of
    muted: set[bytes] = field(default_factory=set)  # what is taken from the socket that comes after this one
    elder: "Socket | None" = None  # the socket that this one is to replace
    pinged_at: int = 0
    closing: bool = False  # by us
    error: str | None = None
    over: bool = False
    bad: int = 0  # messages in a row that could not be read
    _failed: bool = False
    _raws: list[bytes] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)

    async def open(self, seconds: float) -> None:
        """Connect; raises one of CANNOT_CONNECT."""
        self._outbox = Outbox(self.paces, self._send, asyncio.get_running_loop())
        async with asyncio.timeout(seconds):
            self._transport, _ = await ws_connect(
                lambda: self,
                self.url,
                websocket_handshake_timeout=seconds,
                max_frame_size=MOST_BYTES,
                max_redirects=0,
                enable_auto_pong=False,  # it would keep back what came before a ping in the same read
            )
        self._end = asyncio.ensure_future(self._closed())
        self.say(self.talk.hello())

    def subscribe(self, keys: Sequence[str]) -> None:
        """Ask for what was not asked for yet."""
        new = [key for key in keys if key not in self.asked]
        now = time.time_ns()
        self.asked.update((key, Asked(now, tries=1)) for key in new)
        if new:
            self.say(self.talk.subscribe(new))

    def unsubscribe(self, keys: Sequence[str]) -> None:
        known = [key for key in keys if self.asked.pop(key, None)]
        if known:
            self.say(self.talk.unsubscribe(known))

    def again(self, keys: Sequence[str]) -> None:
        """Ask anew for some. Wait until `busy` is over, so that requests do not pile up."""
        for key in keys:
            before = self.asked.get(key)
            self.asked[key] = Asked(time.time_ns(), tries=before.tries + 1 if before and not before.confirmed else 1)
        self.say(self.talk.again(keys))

    @property
    def busy(self) -> bool:
        """Whether the venue's pace keeps us from saying more now."""
        return self._outbox.waits

    def say(self, messages: Sequence[bytes]) -> None:
        self._outbox.put(messages)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.pinged_at = time.time_ns()
        if self.talk.ping is None:
            self._transport.send_ping()
        else:
            self._send(self.talk.ping)

    def drop(self, why: str) -> None:
        """Give up a socket that is broken."""
        self.error = self.error or why
        self._transport.disconnect(graceful=False)

    async def leave(self, seconds: float) -> None:
        """Close in an orderly way; what comes meanwhile is taken still."""
        self.closing = True
        if not self.over:
            self._transport.send_close()
            await asyncio.wait([self._end], timeout=seconds)
        if not self.over:
            self._transport.disconnect(graceful=False)
            await asyncio.wait([self._end], timeout=seconds)

    @property
    def unconfirmed(self) -> int:
        return sum(not one.confirmed and not one.refused for one in self.asked.values())

    # What picows calls.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.opened_at = self.last_at = time.time_ns()
        own: system.socket = transport.underlying_transport.get_extra_info("socket")
        own.setsockopt(system.SOL_SOCKET, system.SO_RCVBUF, KERNEL_BYTES)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY or kind == WSMsgType.CONTINUATION:
            raw = frame.get_payload_as_bytes()
            if frame.fin and not self._parts:
                self._raws.append(raw)
            else:
                self._parts.append(raw)
                if frame.fin:
                    self._raws.append(b"".join(self._parts))
                    self._parts.clear()
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self.error = self.error or f"closed by the venue: {frame.get_close_code()} {frame.get_close_reason()}"[:200]
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code())
            transport.disconnect()
        if frame.last_in_buffer:
            self._read()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._raws:
            self._read()
        self._outbox.close()

    async def _closed(self) -> None:
        """Tell of the end, and why."""
        try:
            await self._transport.wait_disconnected()
        except Exception as error:  # border: whatever picows found wrong, or a callback of ours raised
            self.error = self.error or f"{type(error).__name__} {error}"[:200]
        self.error = self.error or "the connection was cut"
        self.over = True  # together with `ended`, so that nobody sees an end that nobody was told of
        if self.ended:
            self.ended(self)

    def _read(self) -> None:
        """Hand over what came together. After a failure nothing is: what came is missing from then on."""
        raws, self._raws = self._raws, []
        if self._failed:
            return
        now = time.time_ns()
        if raws:
            self.messages += len(raws)
            self.received += sum(map(len, raws))
            try:
                self.take(self, raws, now)
            except Exception as error:  # border: picows logs it, and what is missing becomes a gap
                self._failed = True
                self.drop(f"{type(error).__name__} {error}"[:200])
                raise
        self.last_at = now

    def _send(self, message: bytes) -> None:
        if self.over:
            return
        self._transport.send(WSMsgType.TEXT, message)
        if self.said:
            self.said(self, message)

"""One websocket: what arrived and when, the subscriptions requested over it, and our unsent messages.

Whether it is reopened after its end is decided in `connection`.
"""

import asyncio
import socket as system
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from python_socks import ProxyError

from marketdata_assets.collector.connections.clock import Clock
from marketdata_assets.exchanges.venue_adapter import MessageRate, SocketSession
from marketdata_assets.http_client import DIRECT
from marketdata_assets.proxies import environment_proxy

MAX_FRAME_BYTES = 64 << 20

CANNOT_CONNECT = (OSError, TimeoutError, WSError, EOFError, ProxyError, ValueError)
"""ValueError is an address of a proxy that is none."""


RECEIVE_BYTES = 256 << 10
"""All of a socket's buffer is read at once, and nothing else runs until it is processed; the kernel would let it grow
to some 6 MB. When it is full, TCP makes the venue wait."""


@dataclass(frozen=True)
class Network:
    """Settings of all connections to a market.

    `proxy` is for REST and WebSockets: its URL, DIRECT for none, or None for that of the environment.
    """

    proxy: str | None = None
    receive_bytes: int = RECEIVE_BYTES

    def proxy_of(self, url: str) -> str | None:
        """The proxy for a `wss://` or `ws://` URL; None for a direct connection."""
        if self.proxy is None:
            return environment_proxy(url)
        return None if self.proxy == DIRECT else self.proxy


DEFAULT = Network()


@dataclass
class SubscriptionRequest:
    """One subscription over this socket. Times are steady (`clock`), 0 before the event."""

    requested_at: int = 0
    confirmed_at: int = 0
    tries: int = 0
    rejected: str = ""  # the reason


@dataclass(frozen=True)
class RateWindow:
    """A rate limit, and when the last messages that count for it were sent; of one socket, or of several."""

    rate: MessageRate
    sent: deque[float] = field(default_factory=deque)


class Outbox:
    """Our messages, sent in order and within the venue's rate limits."""

    def __init__(
        self, windows: Sequence[RateWindow], send: Callable[[bytes], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._windows, self._send, self._loop = windows, send, loop
        self._waiting: deque[bytes] = deque()
        self._later: asyncio.TimerHandle | None = None

    def put(self, messages: Sequence[bytes]) -> None:
        self._waiting.extend(messages)
        if self._later is None:
            self._flush()

    @property
    def waits(self) -> bool:
        """Whether something is not sent yet."""
        return bool(self._waiting)

    def close(self) -> None:
        self._waiting.clear()
        if self._later:
            self._later.cancel()
            self._later = None

    def _flush(self) -> None:
        self._later = None
        while self._waiting:
            now, wait = self._loop.time(), 0.0
            for window in self._windows:
                rate, sent = window.rate, window.sent
                while sent and sent[0] <= now - rate.seconds:
                    sent.popleft()
                if len(sent) >= rate.limit:
                    wait = max(wait, sent[0] + rate.seconds - now)
            if wait > 0:
                self._later = self._loop.call_later(max(wait, 0.001), self._flush)  # a timer may be early by less
                return
            for window in self._windows:
                window.sent.append(now)
            self._send(self._waiting.popleft())


@dataclass(eq=False)
class Socket(WSListener):
    """One socket. Feeds know it by `number`; `take` receives all messages of one read together."""

    number: int
    url: str
    session: SocketSession
    windows: Sequence[RateWindow]
    take: Callable[["Socket", list[bytes], int], None]
    sent: Callable[["Socket", bytes], None] | None = None  # called with what we sent
    ended: Callable[["Socket"], None] | None = None
    network: Network = DEFAULT
    clock: Clock = field(default_factory=Clock)
    opened_at: int = 0  # steady ns, as all that follow
    last_at: int = 0  # when anything arrived, pongs included
    messages: int = 0
    received: int = 0  # bytes
    requests: dict[str, SubscriptionRequest] = field(default_factory=dict)  # by key
    seen: dict[bytes, int] = field(default_factory=dict)  # time of the last data, by VenueAdapter.channel_of
    muted: set[bytes] = field(default_factory=set)  # channels that are taken from the replacement instead
    predecessor: "Socket | None" = None  # the socket that this one is to replace
    pinged_at: int = 0
    closing: bool = False  # by us
    error: str | None = None
    over: bool = False
    unreadable: int = 0  # messages in a row
    _failed: bool = False
    _raws: list[bytes] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)

    async def open(self, seconds: float) -> None:
        """Connect; raises one of CANNOT_CONNECT."""
        self._outbox = Outbox(self.windows, self._send, asyncio.get_running_loop())
        async with asyncio.timeout(seconds):
            self._transport, _ = await ws_connect(
                lambda: self,
                self.url,
                websocket_handshake_timeout=seconds,
                max_frame_size=MAX_FRAME_BYTES,
                max_redirects=0,
                proxy=self.network.proxy_of(self.url),
                enable_auto_pong=False,  # it would hold back what arrived before a ping in the same read
            )
        self._end = asyncio.ensure_future(self._closed())
        self.say(self.session.hello())

    def subscribe(self, keys: Sequence[str]) -> None:
        """Request the subscriptions that were not requested yet."""
        new = [key for key in keys if key not in self.requests]
        now = self.clock.steady_ns()
        self.requests.update((key, SubscriptionRequest(now, tries=1)) for key in new)
        if new:
            self.say(self.session.subscribe(new))

    def unsubscribe(self, keys: Sequence[str]) -> None:
        requested = [key for key in keys if self.requests.pop(key, None)]
        if requested:
            self.say(self.session.unsubscribe(requested))

    def resubscribe(self, keys: Sequence[str]) -> None:
        """Restart subscriptions. Wait while `busy`, so that requests do not pile up."""
        for key in keys:
            before = self.requests.get(key)
            tries = before.tries + 1 if before and not before.confirmed_at else 1
            self.requests[key] = SubscriptionRequest(self.clock.steady_ns(), tries=tries)
        self.say(self.session.resubscribe(keys))

    @property
    def busy(self) -> bool:
        """Whether the venue's rate limit delays our messages now."""
        return self._outbox.waits

    def say(self, messages: Sequence[bytes]) -> None:
        """Send messages, when the venue's rate limit allows it."""
        self._outbox.put(messages)

    def ping(self) -> None:
        """Send a ping, which the venue has to answer."""
        self.pinged_at = self.clock.steady_ns()
        if self.session.ping is None:
            self._transport.send_ping()
        else:
            self._send(self.session.ping)

    def drop(self, why: str) -> None:
        """Close a broken socket at once."""
        self.error = self.error or why
        self._transport.disconnect(graceful=False)

    async def leave(self, seconds: float) -> None:
        """Close gracefully; what arrives meanwhile is still taken."""
        self.closing = True
        if not self.over:
            self._transport.send_close()
            await asyncio.wait([self._end], timeout=seconds)
        if not self.over:
            self._transport.disconnect(graceful=False)
            await asyncio.wait([self._end], timeout=seconds)

    @property
    def unconfirmed(self) -> int:
        return sum(not request.confirmed_at and not request.rejected for request in self.requests.values())

    # Called by picows.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.opened_at = self.last_at = self.clock.steady_ns()
        own: system.socket = transport.underlying_transport.get_extra_info("socket")
        own.setsockopt(system.SOL_SOCKET, system.SO_RCVBUF, self.network.receive_bytes)

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
        """Wait for the end, and report it."""
        try:
            await self._transport.wait_disconnected()
        except Exception as error:  # border: any error of picows or of our callbacks
            self.error = self.error or f"{type(error).__name__} {error}"[:200]
        self.error = self.error or "connection lost"
        self.over = True  # together with `ended`, so that nobody sees an end that was not reported
        if self.ended:
            self.ended(self)

    def _read(self) -> None:
        """Deliver the messages of one read. After a failure nothing is delivered: a gap begins there."""
        raws, self._raws = self._raws, []
        if self._failed:
            return
        now = self.clock.time_ns()
        at = self.clock.steady(now)
        if raws:
            self.messages += len(raws)
            self.received += sum(map(len, raws))
            try:
                self.take(self, raws, now)
            except Exception as error:  # border: picows logs it, and what is missing becomes a gap
                self._failed = True
                self.drop(f"{type(error).__name__} {error}"[:200])
                raise
        self.last_at = at

    def _send(self, message: bytes) -> None:
        if self.over:
            return
        self._transport.send(WSMsgType.TEXT, message)
        if self.sent:
            self.sent(self, message)

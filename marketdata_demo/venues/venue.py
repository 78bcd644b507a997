"""What the simulated venues have in common: a market that happens, sockets that tell of it, and faults on demand.

    with BinanceVenue("spot", ["ABCUSDT"], seed=1) as venue:
        ...                    # a client subscribes at venue.ws_url; trades happen from then on
        venue.emit(1000)       # so many events at once; or venue.rate = 500.0, events a second
        venue.source().trades  # all that happened, sent or not, by instrument

Faults of requests are those of ProviderServer: fail(429, retry="1"), fail(418), say, drop, stall, each for the next
`times` requests whose path contains `where`. Faults of sockets stand below.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any, ClassVar, Self

from aiohttp import WSMsgType, web

from marketdata_assets.exchanges.records import MarketType
from marketdata_demo.servers.loopback import ProviderServer
from marketdata_demo.venues.live_market import Candle, Change, Made, Market, Source

Invented = Mapping[MarketType, Sequence[str]]

MOST_UNSENT = 256 << 20
"""Bytes; a client that is so far behind is thrown out, as venues do."""


def frame(raw: bytes, opcode: int = 1) -> bytes:
    """A whole websocket frame of a server."""
    length = len(raw)
    if length < 126:
        return bytes((0x80 | opcode, length)) + raw
    if length < 1 << 16:
        return pack(">BBH", 0x80 | opcode, 126, length) + raw
    return pack(">BBQ", 0x80 | opcode, 127, length) + raw


@dataclass(eq=False)
class Socket:
    """One client. `streams` is what it subscribed to, in the venue's words."""

    path: str
    response: web.WebSocketResponse
    transport: asyncio.Transport
    streams: set[str] = field(default_factory=set)
    muted: set[str] = field(default_factory=set)
    asked: list[float] = field(default_factory=list)  # when it sent something
    opened: float = field(default_factory=lambda: time.monotonic())
    heard: float = field(default_factory=lambda: time.monotonic())
    dead: bool = False  # half-open: neither reads nor sends, and does not close
    sent: int = 0  # messages of text
    interval: float = 0.0  # of heartbeats that the client asked for, seconds
    beat: float = 0.0  # when the last one was sent
    beats: int = 0
    owes: bool = False  # the answer to a heartbeat
    _held: deque[bytes] | None = None

    def write(self, framed: bytes) -> None:
        if self.dead or self.transport.is_closing():
            return
        if self._held is not None:
            self._held.append(framed)
            return
        self.sent += framed[0] & 15 == 1
        self.transport.write(framed)
        if self.transport.get_write_buffer_size() > MOST_UNSENT:
            self.transport.abort()

    def text(self, raw: bytes) -> None:
        self.write(frame(raw))

    def hold(self) -> None:
        if self._held is None:
            self._held = deque()

    def release(self) -> None:
        held, self._held = self._held, None
        for framed in held or ():
            self.write(framed)


@dataclass
class Planned:
    """A fault of the next `times` messages of streams whose name contains `where`."""

    kind: str
    where: str
    times: int

    def due(self, stream: str) -> bool:
        if self.times <= 0 or self.where not in stream:
            return False
        self.times -= 1
        return True


class Faults(ProviderServer):
    """A server with sockets."""

    socket_path = ""
    """A part of the path of every socket."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.sockets: list[Socket] = []
        self._planned: list[Planned] = []

    def skip(self, times: int = 1, where: str = "") -> None:
        """The next messages are not sent: a hole in the sequence."""
        self._plan_message("skip", where, times)

    def repeat(self, times: int = 1, where: str = "") -> None:
        """The next messages are sent twice."""
        self._plan_message("repeat", where, times)

    def spoil(self, times: int = 1, where: str = "") -> None:
        """Of the next messages only the first half is sent, as a whole frame."""
        self._plan_message("spoil", where, times)

    def hang_up(self) -> None:
        """Cut all sockets without a word."""
        self.for_each_socket(lambda one: one.transport.abort())

    def close_all(self, code: int = 1001) -> None:
        """Close all sockets in an orderly way."""
        self.for_each_socket(lambda one: one.write(frame(code.to_bytes(2, "big"), 8)))
        self.for_each_socket(lambda one: one.transport.close())

    def half_open(self) -> None:
        """All sockets that are open stay so, and neither read nor send any more."""
        self.for_each_socket(lambda one: setattr(one, "dead", True))

    def hold(self) -> None:
        """A stall of the network: what is sent from now on comes with `release`, in order."""
        self.for_each_socket(lambda one: one.hold())

    def release(self) -> None:
        self.for_each_socket(lambda one: one.release())

    def mute(self, where: str) -> None:
        """Stop delivering to the subscriptions of open sockets until clients subscribe again."""
        self.for_each_socket(lambda one: one.muted.update(stream for stream in one.streams if where in stream))

    def garbage(self, raw: bytes = b"\x00\xffnot json", *, text: bool = True) -> None:
        """A message that is none on every socket; `text` False breaks the websocket protocol itself."""
        framed = frame(raw) if text else b"\xff\xff\xff\xff" + raw
        self.for_each_socket(lambda one: one.write(framed))

    def away(self) -> None:
        """Refuse connections, and cut those that are open, until `back`."""
        self._run(self._away())
        self.hang_up()

    def back(self) -> None:
        self._run(self._listen())

    def no_new_sockets(self, times: int = 1, status: int = 503) -> None:
        """Answer the next handshakes with an error."""
        self.fail(status, times, where=self.socket_path)

    async def _away(self) -> None:
        assert self._runner
        for site in list(self._runner.sites):
            await site.stop()

    async def _listen(self) -> None:
        assert self._runner
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    def fault_of(self, stream: str) -> str:
        with self._lock:
            fault = next((one.kind for one in self._planned if one.due(stream)), "")
            self._planned = [one for one in self._planned if one.times > 0]
        return fault

    def _plan_message(self, kind: str, where: str, times: int) -> None:
        with self._lock:
            self._planned.append(Planned(kind, where, times))

    def for_each_socket(self, act: Callable[[Socket], object]) -> None:
        self.call(lambda: [act(one) for one in list(self.sockets)])

    def call(self, act: Callable[..., object], *given: object) -> None:
        async def run() -> None:
            act(*given)

        self._run(run())

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(60)


PULSE = 0.01
"""Seconds between two bursts of a market that goes by itself."""


class Venue(Faults, ABC):
    """`speed` is how much faster the venue's clock goes; it begins with `start_ms`, or with now.

    Everything that happens is remembered, or of each instrument the last `kept` trades, changes and candles.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        seed: int = 1,
        rate: float = 0.0,
        speed: float = 1.0,
        start_ms: int | None = None,
        kept: int | None = None,
        **limits: Any,
    ) -> None:
        super().__init__(**limits)
        self.rate, self.most = rate, kept
        self.markets = {name: self.market(name, seed, index) for index, name in enumerate(names)}
        self.expiries: dict[str, int] = {}  # ms, of the instruments that have one
        self.opened: list[float] = []  # when sockets were, by the monotonic clock
        self.violations: list[str] = []  # of the venue's limits and rules, by clients
        self.lifetime: float | None = None  # seconds, after which a socket is cut
        self._source = Source()
        self._wanted: set[tuple[str, str]] = set()  # instrument and kind that somebody subscribed to
        self._random = random.Random(seed)
        self._speed, self._began = speed, time.time_ns()
        self._start_ms = self._began // 1_000_000 if start_ms is None else start_ms
        self._tasks: list[asyncio.Task[None]] = []

    # What a venue is.

    connection_limit = (1.0, 1000)
    """So many sockets may be opened in so many seconds."""

    invented: ClassVar[Invented] = {}
    """Instruments of each market, for `by_itself`."""

    @classmethod
    def by_itself(cls, market_type: MarketType) -> Self:
        """A market with a few instruments that goes by itself, and forgets what was long ago.

        Its numbers are by the clock: they go on where those of an earlier run ended.
        """
        venue, now = cls._of_market(market_type, rate=40.0, kept=5_000), time.time()
        for market in venue.markets.values():
            market.number += int(now * 100)
            market.last_id += int(now * 1000)
        return venue

    @classmethod
    def _of_market(cls, market_type: MarketType, **options: Any) -> Self:
        return cls(cls.invented[market_type], **options)

    def market(self, name: str, seed: int, index: int) -> Market:
        return Market(name, seed, index)

    @abstractmethod
    async def rest(self, request: web.Request) -> web.StreamResponse:
        """The answer to a request that is not for a socket."""

    @abstractmethod
    async def message(self, socket: Socket, raw: str) -> None:
        """Handle a message of a client."""

    @abstractmethod
    def on_trade(self, market: Market, made: Made) -> None:
        """Send a trade to the subscribers."""

    @abstractmethod
    def on_change(self, market: Market, change: Change) -> None:
        """Send a change of the book to the subscribers."""

    @abstractmethod
    def on_candle(self, market: Market, candle: Candle) -> None:
        """Send a candle to the subscribers."""

    def on_second(self, market: Market) -> None:
        """What a venue sends now and then; called each second of this machine's clock."""

    def on_open(self, socket: Socket, request: web.Request) -> None:
        """A client came."""

    def on_tick(self, socket: Socket, now: float) -> None:
        """Keepalive; called all the time, with the monotonic clock."""

    # What tests ask.

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def source(self) -> Source:
        with self._lock:
            own = self._source
            return Source(
                {name: list(made) for name, made in own.trades.items()},
                {name: list(made) for name, made in own.changes.items()},
                {name: list(made) for name, made in own.candles.items()},
            )

    def emit(self, events: int) -> None:
        """Let so many events happen now, over all instruments that somebody subscribed to."""
        self.call(self._burst, events)

    def list_instrument(self, name: str, expires_ms: int | None = None) -> None:
        """Trade another instrument from now on."""
        if expires_ms is not None:
            self.expiries[name] = expires_ms
        self.markets = self.markets | {name: self.market(name, 1, len(self.markets))}

    def delist(self, name: str) -> None:
        """Trade an instrument no more: nothing is sent of it, and it is in no list."""
        self.call(self._delist, name)

    def _delist(self, name: str) -> None:
        self.markets = {other: market for other, market in self.markets.items() if other != name}
        self._wanted = {one for one in self._wanted if one[0] != name}

    def taken(self) -> bool:
        """Whether everything sent was taken by the clients' systems."""
        return all(one.transport.get_write_buffer_size() == 0 for one in list(self.sockets))

    def subscribed(self) -> set[str]:
        """What is subscribed to, over all sockets."""
        return {stream for one in list(self.sockets) for stream in one.streams}

    def now_ms(self) -> int:
        return self._start_ms + int((time.time_ns() - self._began) / 1e6 * self._speed)

    # The life of the server.

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def cost(self, request: web.Request) -> int:
        return 0 if _is_socket(request) else super().cost(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await (self._socket(request) if _is_socket(request) else self.rest(request))

    async def _start(self) -> None:
        await super()._start()
        self._tasks = [asyncio.ensure_future(self._pump()), asyncio.ensure_future(self._seconds())]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self.sockets:
            one.transport.abort()
        await super()._stop()

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20)
        await response.prepare(request)
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        socket = Socket(request.path, response, transport)
        self.opened.append(socket.opened)
        if over(self.opened, *self.connection_limit):
            self.violations.append(f"{len(self.opened)} sockets, too many at a time")
        self.sockets.append(socket)
        self.on_open(socket, request)
        pinger = asyncio.ensure_future(self._keep(socket))
        try:
            await self._read(socket)
        finally:
            pinger.cancel()
            self.sockets.remove(socket)
        return response

    async def _read(self, socket: Socket) -> None:
        async for message in socket.response:
            socket.heard = time.monotonic()
            if socket.dead:
                continue
            if message.type == WSMsgType.PING:
                socket.write(frame(message.data, 10))
            elif message.type == WSMsgType.TEXT:
                socket.asked.append(socket.heard)
                await self.message(socket, message.data)

    async def _keep(self, socket: Socket) -> None:
        """Heartbeats, and the end of a socket whose time is over."""
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if self.lifetime is not None and now - socket.opened >= self.lifetime:
                socket.write(frame((1001).to_bytes(2, "big"), 8))
                socket.transport.close()
                return
            if not socket.dead:
                self.on_tick(socket, now)

    def throw_out(self, socket: Socket, why: str) -> None:
        """The client broke a rule."""
        self.violations.append(f"{socket.path}: {why}")
        socket.transport.abort()

    # The market.

    def wanted(self, name: str, kind: str | None) -> None:
        """Somebody subscribed: from now on such events of the instrument happen. Kinds are trade and book, or none."""
        if kind:
            self._wanted.add((name, kind))

    def publish(self, stream: str, raw: bytes) -> None:
        """Tell all who subscribed to the stream."""
        listeners = [one for one in self.sockets if stream in one.streams]
        if not listeners:
            return
        fault = self.fault_of(stream) if self._planned else ""
        for one in listeners:
            if one.muted and stream in one.muted:
                continue
            told = self.numbered(one, raw)
            if fault == "skip":
                continue
            framed = frame(told[: len(told) // 2] if fault == "spoil" else told)
            one.write(framed)
            if fault == "repeat":
                one.write(framed)

    def numbered(self, socket: Socket, raw: bytes) -> bytes:
        """The message as a socket sends it, where those of a socket are numbered; called for each, sent or not."""
        return raw

    def _burst(self, events: int) -> None:
        open_to = sorted(self._wanted)
        for _ in range(events if open_to else 0):
            self._happen(*open_to[self._random.randrange(len(open_to))])

    def _happen(self, name: str, kind: str) -> None:
        market, ts, at = self.markets[name], self.now_ms(), time.time_ns()
        if kind == "book":
            change = market.change(ts, at)
            with self._lock:
                self._source.changes.setdefault(name, []).append(change)
            self.on_change(market, change)
            return
        made, done = market.trade(ts, at)
        with self._lock:
            self._source.trades.setdefault(name, []).append(made)
        if done:
            self._closed(market, done)
        self.on_trade(market, made)

    def _closed(self, market: Market, candle: Candle) -> None:
        with self._lock:
            self._source.candles.setdefault(market.name, []).append(candle)
        self.on_candle(market, candle)

    async def _pump(self) -> None:
        owed, before = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(PULSE)
            now = time.monotonic()
            owed = min(owed + self.rate * (now - before), self.rate)
            before = now
            self._burst(int(owed))
            owed -= int(owed)

    async def _seconds(self) -> None:
        while True:
            await asyncio.sleep(1.0 / max(1.0, min(self._speed, 10.0)))
            for market in self.markets.values():
                if done := market.close(self.now_ms()):
                    self._closed(market, done)
                if market.candle and self.rate:
                    self.on_candle(market, market.candle)
                if self.rate:
                    self.on_second(market)
            if self.most is not None:
                self._forget(self.most)

    def _forget(self, most: int) -> None:
        with self._lock:
            own, candles = self._source, getattr(self, "_kept", {})
            for lists in (own.trades, own.changes, own.candles, candles):
                for happened in lists.values():
                    del happened[:-most]
            del self.lines[:-most]
        for market in self.markets.values():
            del market.recent[:-most]


def _is_socket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def over(moments: Iterable[float], seconds: float, most: float) -> bool:
    """Whether more than so many of the moments are within so many seconds of the last one."""
    listed = list(moments)
    return sum(listed[-1] - one < seconds for one in listed) > most


def changed(before: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is different on one side of a book, by price and size; size 0 of a level that is gone."""
    old, new = dict(before), dict(now)
    gone = [(price, "0") for price in old if price not in new]
    return [*gone, *((price, size) for price, size in now if old.get(price) != size)]

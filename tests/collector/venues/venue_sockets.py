"""The sockets of a simulated venue: frames are built once and written as they are, and faults are on demand."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from struct import pack

from aiohttp import web

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
    opened: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
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

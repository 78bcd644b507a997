"""A NATS client for the hot paths: frames are written in bulk, and all messages of one read are delivered together.

`stream` manages streams and consumers with nats-py. Clusters are not supported: one URL, one server.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import unquote, urlsplit

import msgspec

from marketdata_assets.collector.errors import CollectorError, NatsRejected, NatsUnavailable

CRLF = b"\r\n"
LINE_BYTES = 1 << 16
"""Maximum length of a control line."""
HIGH_WATER = 4 << 20
DEFAULT_PORT = 4222
FORM = "Expected nats://HOST:PORT, or tls://HOST:PORT for TLS."

_MSG, _HMSG = b"MH"
_HEADER_BYTES = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n")

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The most that the `max_payload` of a server can be."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message from the server."""

    subject: bytes
    reply: bytes  # empty when there is none
    headers: bytes  # as received, with the version line; empty when there are none
    payload: bytes


@dataclass(frozen=True)
class Address:
    """A server and our credentials."""

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = None
    token: str | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """`nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]`, or `tls://`. Raises CollectorError, without secrets."""
        try:
            parts = urlsplit(url if "://" in url else f"nats://{url}")
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise CollectorError("the NATS URL is invalid: not a URL. " + FORM) from None
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            cause = f"the scheme is {parts.scheme!r} and the host {parts.hostname!r}"
            raise CollectorError(f"the NATS URL is invalid: {cause}. {FORM}")
        user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
        tls = parts.scheme == "tls"
        if password is None:
            return cls(parts.hostname, port, tls, token=user)
        return cls(parts.hostname, port, tls, user=user, password=password)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def login(self) -> dict[str, str]:
        """The credentials for CONNECT."""
        fields = {"user": self.user, "pass": self.password, "auth_token": self.token}
        return {name: value for name, value in fields.items() if value is not None}


def publish_header(subject: str, reply: str, message_id: str, size: int) -> bytes:
    """The HPUB frame before a payload of `size` bytes and CRLF, with the id for JetStream's deduplication."""
    head = _HEADER_BYTES + (len(message_id) if message_id.isascii() else len(message_id.encode()))
    lines = f"HPUB {subject} {reply} {head} {head + size}\r\nNATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n"
    return lines.encode()


class NatsConnection(asyncio.Protocol):
    """One connection, without reconnect: its owner waits for `closed` and opens another.

    `on_messages` receives all messages of one read, in the event loop; an exception closes the connection.
    """

    def __init__(self, address: Address, on_messages: Callable[[list[Message]], None], beat_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.max_payload = 1 << 20
        self.last_error: str | None = None  # from the server, which may keep the connection open
        self.closed: asyncio.Future[str] = loop.create_future()  # the reason
        self._address, self._on_messages, self._beat_seconds = address, on_messages, beat_seconds
        self._info: asyncio.Future[dict[str, object]] = loop.create_future()
        self._pongs: list[asyncio.Future[None]] = []
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._silent = 0  # beats without data from the server
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(
        cls,
        address: Address,
        on_messages: Callable[[list[Message]], None],
        *,
        seconds: float = 5,
        beat_seconds: float = 5,
    ) -> Self:
        """Connect and log in. Raises NatsUnavailable or NatsRejected.

        After three beats without a byte from the server the connection is considered dead.
        """
        connection = cls(address, on_messages, beat_seconds)
        try:
            async with asyncio.timeout(seconds):
                await connection._connect()
        except (OSError, TimeoutError, ssl.SSLError) as error:
            connection.abort("not opened")
            raise NatsUnavailable(str(address), str(error) or f"no answer in {seconds:g} s") from error
        except BaseException:
            connection.abort("not opened")
            raise
        return connection

    def write(self, *parts: bytes) -> None:
        """Send frames; see `writable` for backpressure. Does nothing on a closed connection."""
        if self._transport is not None and not self.closed.done():
            self._transport.write(b"".join(parts) if len(parts) > 1 else parts[0])

    async def writable(self) -> None:
        """Wait until the server takes more, or the connection is closed."""
        await self._writable.wait()

    async def flush(self) -> None:
        """Wait until the server has received everything written. Raises NatsUnavailable when the connection breaks."""
        pong = self._ping()
        await asyncio.wait((pong, self.closed), return_when=asyncio.FIRST_COMPLETED)
        if not pong.done():
            self._raise_closed()

    def abort(self, why: str) -> None:
        """Close at once, without sending the rest."""
        if not self.closed.done():
            self.closed.set_result(why)
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Send the rest, and close."""
        with suppress(NatsUnavailable, NatsRejected, TimeoutError):
            async with asyncio.timeout(2):
                await self.flush()
        self.abort("closed by us")

    async def _connect(self) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        await loop.create_connection(lambda: self, address.host, address.port)
        await asyncio.wait((self._info, self.closed), return_when=asyncio.FIRST_COMPLETED)
        if not self._info.done():
            self._raise_closed()
        info = self._info.result()
        self.max_payload = int(cast("int", info.get("max_payload", self.max_payload)))
        if address.tls or info.get("tls_required"):
            plain = self._transport
            assert plain is not None
            context = ssl.create_default_context()
            secure = await loop.start_tls(plain, self, context, server_hostname=address.host)
            self._transport = cast("asyncio.Transport", secure)
        hello = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "python"}
        hello |= {"version": "1", "protocol": 1, "name": "marketdata", "echo": True} | address.login()
        self.write(b"CONNECT ", json.dumps(hello).encode(), CRLF)
        await self.flush()
        loop.call_later(self._beat_seconds, self._beat)

    def _ping(self) -> asyncio.Future[None]:
        """Pongs arrive in the order of pings, so each needs a future."""
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self.write(b"PING\r\n")
        return pong

    def _raise_closed(self) -> None:
        if self.last_error is not None:
            raise NatsRejected(str(self._address), self.last_error)
        raise NatsUnavailable(str(self._address), self.closed.result())

    def _beat(self) -> None:
        if self.closed.done():
            return
        self._silent += 1
        if self._silent > 3:
            self.abort(f"silent for {self._silent * self._beat_seconds:g} s")
            return
        self._ping()
        asyncio.get_running_loop().call_later(self._beat_seconds, self._beat)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)

    def connection_lost(self, error: Exception | None) -> None:
        self.abort(str(error) if error else "closed by the server")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        try:
            messages = self._parse(self._rest + data if self._rest else data)
        except (ValueError, IndexError, RecursionError) as error:
            self.abort(f"invalid NATS protocol: {error}")
            return
        if messages:
            self._on_messages(messages)

    def _parse(self, buffer: bytes) -> list[Message]:
        messages: list[Message] = []
        at, size = 0, len(buffer)
        while (end := buffer.find(CRLF, at)) >= 0:
            kind = buffer[at]
            if kind == _MSG:
                parts = buffer[at:end].split()
                begin = end + 2
                stop = begin + _size(parts[-1])
                if stop + 2 > size:
                    break
                reply = parts[3] if len(parts) == 5 else b""
                messages.append(Message(parts[1], reply, b"", buffer[begin:stop]))
                at = stop + 2
            elif kind == _HMSG:
                parts = buffer[at:end].split()
                begin = end + 2
                middle, stop = begin + _size(parts[-2]), begin + _size(parts[-1])
                if stop + 2 > size:
                    break
                reply = parts[3] if len(parts) == 6 else b""
                messages.append(Message(parts[1], reply, buffer[begin:middle], buffer[middle:stop]))
                at = stop + 2
            else:
                self._control(buffer[at:end])
                at = end + 2
        self._rest = buffer[at:]
        if end < 0 and len(self._rest) > LINE_BYTES:
            raise ValueError(f"a line of more than {LINE_BYTES} bytes")
        return messages

    def _control(self, line: bytes) -> None:
        word = line[:4].upper()
        if word == b"PING":
            self.write(b"PONG\r\n")
        elif word == b"PONG":
            if self._pongs and not (pong := self._pongs.pop(0)).done():
                pong.set_result(None)
        elif word == b"INFO":
            info = json.loads(line[5:])
            if not isinstance(info, dict) or not isinstance(info.get("max_payload", 1), int):
                raise ValueError(repr(line[:40]))
            if not self._info.done():
                self._info.set_result(info)
        elif word == b"-ERR":
            self.last_error = line[5:].decode(errors="replace").strip("' ")
        elif word != b"+OK":
            raise ValueError(repr(line[:40]))


def _size(digits: bytes) -> int:
    """The size of a message, or of its headers. Raises ValueError for one that no server may send."""
    size = int(digits)
    if not 0 <= size <= MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {size} bytes")
    return size

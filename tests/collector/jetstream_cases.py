"""A NATS server to kill, a publisher on it, what the stream has in the end, and a line between that can fail."""

import asyncio
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats

from marketdata_assets.collector.items import Recorded, items
from marketdata_assets.collector.jetstream.publisher import Limits, Publisher
from marketdata_assets.collector.jetstream.reader import Reader
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.jetstream.stream import Consumer, Stream, ensure
from marketdata_assets.collector.queue import BoundedQueue
from marketdata_assets.local.process import Server
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from tests.collector.collector_records import snapshot

GB = 1 << 30
QUICK = Limits(ack_seconds=0.5, spill_seconds=0.2, first_backoff_seconds=0.02, last_backoff_seconds=0.2)


@contextmanager
def nats_server(home: Path) -> Iterator[Server]:
    """A server of one's own, to be killed and started again on its port."""
    with LocalStack(Settings(home=home, nats_url=None, nats_port=0), services=("nats",)) as stack:
        yield stack.server("nats")


def start(server: Server) -> None:
    """In a thread that lives on; the kernel ends the server with the thread that started it."""
    started = threading.Event()

    def run() -> None:
        server.start()
        started.set()
        while server.alive:
            threading.Event().wait(0.1)

    threading.Thread(target=run, daemon=True).start()
    assert started.wait(30)


@asynccontextmanager
async def publishing(
    url: str,
    spool: Path | None = None,
    *,
    capacity: int = 100_000,
    spool_bytes: int = GB,
    limits: Limits = QUICK,
    stream: Stream | None = None,
    prepare_url: str | None = None,
    prepare: bool = True,
) -> AsyncIterator[Publisher]:
    """A publisher that runs; nothing is drained at the end."""
    own = tempfile.TemporaryDirectory()
    publisher = Publisher(
        url,
        BoundedQueue(capacity, lambda *_: snapshot(0)),
        Spool(spool or Path(own.name), spool_bytes),
        prepare=partial(ensure, prepare_url or url, stream, ()) if prepare else None,
        limits=limits,
        jitter=lambda: 0.5,
    )
    running = asyncio.create_task(publisher.run())
    try:
        yield publisher
        assert not running.done(), running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        publisher.close()
        own.cleanup()


async def put_slowly(publisher: Publisher, records: list[Recorded], step: int = 100) -> None:
    """Put records a few at a time, as they come from a market."""
    for at in range(0, len(records), step):
        publisher.put(items(records[at : at + step]))
        await asyncio.sleep(0.002)


async def stored(url: str, subject: str = "market.>") -> list[bytes]:
    """All payloads of the stream, in its order."""
    name = f"look_{uuid.uuid4().hex[:6]}"
    await ensure(url, Stream(), (Consumer(name, subject),))
    async with Reader(url, "MARKET", name) as reader:
        return [payload async for batch in reader.batches(10_000, 5, follow=False) for payload in batch.payloads]


async def change_stream(url: str, **settings: Any) -> None:
    """As its operator changes it."""
    client = await nats.connect(url)
    manager = client.jetstream()
    config = (await manager.stream_info("MARKET")).config
    await manager.update_stream(config.evolve(**settings))
    await client.close()


class OldServer:
    """Acks every message for itself, but not the first time the one with the number `ignored`."""

    def __init__(self, ignored: int) -> None:
        self.ids: list[str] = []
        self._ignored = ignored

    async def __aenter__(self) -> "OldServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.10.29","headers":true,"max_payload":1048576}\r\n')
        while line := await reader.readline():
            word, *arguments = line.split()
            if word == b"PING":
                writer.write(b"PONG\r\n")
            if word == b"HPUB":
                head = (await reader.readexactly(int(arguments[3]) + 2))[: int(arguments[2])]
                self.ids.append(head.partition(b"Nats-Msg-Id: ")[2].strip().decode())
                if len(self.ids) != self._ignored:
                    answer = b'{"stream":"MARKET","seq":%d}' % len(self.ids)
                    writer.write(b"MSG %b 1 %d\r\n%b\r\n" % (arguments[1], len(answer), answer))
        writer.close()


class Line:
    """A TCP proxy between a client and the server.

    `deaf` passes nothing on that the server says, `limit` cuts the connection after so many more bytes of the client.
    """

    def __init__(self, url: str) -> None:
        self.deaf = False
        self.limit: int | None = None
        self.opened = 0
        self._url = urlsplit(url)
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        login = self._url.netloc.rpartition("@")[0]
        return f"nats://{login}@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.sleep(0.01)

    def cut(self) -> None:
        """End all connections at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._url.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pass(reader, far_writer, True), self._pass(far_reader, writer, False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if up and self.limit is not None:
                    data, self.limit = data[: self.limit], self.limit - len(data)
                    writer.write(data)
                    await writer.drain()
                    if self.limit <= 0:
                        self.limit = None
                        self.cut()
                elif up or not self.deaf:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


async def leave_in_hand(url: str, rows: int = 500) -> None:
    """A reader of trades that goes without a word, with so many messages that it did not ack."""
    line = Line(url)
    async with line as through:
        reader = Reader(through, "MARKET", "clickhouse_trade")
        await reader.__aenter__()
        async for _ in reader.batches(rows, 0.2, follow=False):
            break
        line.cut()

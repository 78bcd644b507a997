"""Raw messages into captures, which `marketdata replay` and the loading of captures read. Needs no server at all.

What the disk cannot take in time is left out, and the capture says so: the connection's next entry is preceded by one
that opens it anew, so that whoever reads it takes the books on it for broken.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns

from marketdata_assets.collector.finishing import to_its_end
from marketdata_assets.collector.items import Item
from marketdata_assets.collector.lag import Lag
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.exchanges.captures.native_format import ENTRY, Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.records import Exchange, MarketType

MB = 1 << 20
FRAME_BYTES = MB
LONGEST_PAUSE = 30.0
"""Seconds between two attempts, while the disk is full."""


@dataclass
class _Tapped:
    """The entries of one market that are not written yet."""

    writer: CaptureWriter
    entries: list[Entry] = field(default_factory=list)
    left_out: set[int] = field(default_factory=set)  # connections with a hole


class CaptureSink:
    """Writes what comes and goes over the wire into files of a folder, those of each market apart."""

    name = "capture"

    def __init__(
        self,
        folder: Path,
        *,
        flush_seconds: float = 1.0,
        file_bytes: int = 256 * MB,
        file_seconds: float = 3600.0,
        buffer_bytes: int = 64 * MB,
        lag: Lag | None = None,
    ) -> None:
        self.folder = folder
        self.lag = lag or Lag()
        self._flush_seconds, self._file_bytes, self._buffer_bytes = flush_seconds, file_bytes, buffer_bytes
        self._file_ns = round(file_seconds * 1e9)
        self._markets: dict[tuple[Exchange, MarketType], _Tapped] = {}
        self._bytes = 0
        self._under_way: list[Entry] = []
        self._sent = self._acked = self._dropped = self._failures = 0
        self._error: str | None = None
        self._turn = asyncio.Lock()

    def tap(self, exchange: Exchange, market_type: MarketType) -> Callable[[Entry], None]:
        """What a market calls with each entry; it only takes it into memory."""
        tapped = _Tapped(self._writer(exchange, market_type))
        self._markets[exchange, market_type] = tapped

        def take(entry: Entry) -> None:
            size = len(entry.raw) + ENTRY.size
            if self._bytes + size > self._buffer_bytes:
                tapped.left_out.add(entry.connection)
                self._dropped += 1
                return
            if entry.connection in tapped.left_out:
                tapped.left_out.discard(entry.connection)
                if entry.kind != "open":
                    tapped.entries.append(Entry(entry.ts_recv, "open", connection=entry.connection))
            self._bytes += size
            self._sent += 1
            tapped.entries.append(entry)

        return take

    def put(self, items: Sequence[Item]) -> None:
        """Records are not written: they can be made again of what came."""

    async def run(self) -> None:
        """Write what came, every `flush_seconds`; a disk that fails is tried again for ever."""
        while True:
            pause = self._flush_seconds
            if self._failures:
                most = min(LONGEST_PAUSE, self._flush_seconds * 2.0**self._failures)
                pause += random.uniform(0, most)  # noqa: S311 - no secret
            await asyncio.sleep(pause)
            await to_its_end(self._write_all())

    async def drain(self, seconds: float) -> int:
        """Write everything; the number of entries that remain."""
        until = asyncio.get_running_loop().time() + seconds
        while not await self._write_all() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(min(0.2, self._flush_seconds))
        return sum(len(tapped.entries) for tapped in self._markets.values())

    def close(self) -> None:
        """Close the files."""
        for tapped in self._markets.values():
            with suppress(OSError):  # what it wrote is flushed
                tapped.writer.close()

    def state(self) -> SinkState:
        """How it is doing; the capacity is what fits into memory of entries as large as those that wait."""
        waiting = [tapped.entries for tapped in self._markets.values()]
        queued = sum(map(len, waiting))
        each = self._bytes / queued if queued and self._bytes else 256
        oldest = [entries[0].ts_recv for entries in (self._under_way, *waiting) if entries]
        return SinkState(
            queued=queued,
            capacity=max(queued, int(self._buffer_bytes / each)),
            connected=not self._failures,
            last_error=self._error,
            oldest_ns=min(oldest, default=None),
            spooled=0,
            sent=self._sent,
            acked=self._acked,
            dropped=self._dropped,
        )

    async def _write_all(self) -> bool:
        """Whether all that had come is written."""
        async with self._turn:
            for tapped in self._markets.values():
                if tapped.entries and not await self._write(tapped):
                    return False
        return True

    async def _write(self, tapped: _Tapped) -> bool:
        for part in _parts(tapped.entries):
            self._under_way = part
            try:
                await asyncio.to_thread(_write, tapped.writer, part)
            except OSError as error:
                # A frame is whole or not there, so the part is written again, by a writer that knows nothing of it.
                self._failures += 1
                self._error = f"{self.folder}: {error}"
                tapped.writer = self._writer(*next(key for key, one in self._markets.items() if one is tapped))
                return False
            finally:
                self._under_way = []
            self._failures = 0
            self._acked += len(part)
            self._bytes -= sum(len(entry.raw) + ENTRY.size for entry in part)
            self.lag.observe_since((entry.ts_recv for entry in part), time_ns())
            del tapped.entries[: len(part)]
        return True

    def _writer(self, exchange: Exchange, market_type: MarketType) -> CaptureWriter:
        return CaptureWriter(
            self.folder,
            exchange,
            market_type,
            max_bytes=self._file_bytes,
            max_span_ns=self._file_ns,
            frame_bytes=2 * FRAME_BYTES + self._buffer_bytes,  # a frame ends where a part does
        )


def _parts(entries: list[Entry]) -> list[list[Entry]]:
    """The entries that are there now, in parts of about a frame."""
    parts: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if size >= FRAME_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += len(entry.raw) + ENTRY.size
    return parts


def _write(writer: CaptureWriter, entries: list[Entry]) -> None:
    for entry in entries:
        writer.write(entry.ts_recv, entry.kind, entry.raw, connection=entry.connection, url=entry.url)
    writer.flush()

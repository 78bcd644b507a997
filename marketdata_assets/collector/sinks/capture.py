"""Write raw messages to capture files, which `marketdata replay` and the capture load read. Needs no server.

What the disk cannot take in time is dropped, but for our own records, and the capture says so: the next entry of the
connection is preceded by one that opens it again, so that its readers invalidate the books of that connection; soon
another file begins with all books. Each file but the first one of a run begins with a checkpoint of books and
instruments.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from marketdata_assets.backoff import delay
from marketdata_assets.collector.items import Item
from marketdata_assets.collector.sink import Sink, SinkState, shield_until_done
from marketdata_assets.exchanges.captures.native_format import ENTRY, Begins, Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.checkpoints import FeedCheckpoint
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.logs import get_logger

MB = 1 << 20
FRAME_BYTES = MB
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts while the disk is full."""

log = get_logger(__name__)


@dataclass(frozen=True)
class _Rotation:
    """Another file begins here, with the state of the feed that took all entries so far."""

    ts_recv: int
    points: Sequence[FeedCheckpoint]


@dataclass
class _Tapped:
    """The unwritten entries of one market."""

    writer: CaptureWriter
    checkpoint: Callable[[], Sequence[FeedCheckpoint]]
    entries: list[Entry | _Rotation] = field(default_factory=list)
    dropped_from: set[int] = field(default_factory=set)  # connections with dropped entries
    began: int | None = None  # ns, when the open file began; None: none is open
    last: int = 0  # ns, receive time of the last entry
    overdue: bool = False  # another file has to begin, as soon as it can


class CaptureSink(Sink):
    """Writes what is sent and received into files of a folder, separate for each market."""

    name = "capture"

    def __init__(
        self,
        folder: Path,
        *,
        flush_seconds: float = 1.0,
        file_bytes: int = 256 * MB,
        file_seconds: float = 3600.0,
        buffer_bytes: int = 64 * MB,
    ) -> None:
        super().__init__()
        self.folder = folder
        self._flush_seconds, self._file_bytes, self._buffer_bytes = flush_seconds, file_bytes, buffer_bytes
        self._file_ns = round(file_seconds * 1e9)
        self._markets: dict[tuple[Exchange, MarketType], _Tapped] = {}
        self._bytes = 0
        self._in_progress: list[Entry | _Rotation] = []
        self._dropped = 0
        self._turn = asyncio.Lock()

    def tap(
        self,
        exchange: Exchange,
        market_type: MarketType,
        checkpoint: Callable[[], Sequence[FeedCheckpoint]],
        *,
        resumed: bool = False,
    ) -> Callable[[Entry], None]:
        """The callback of a market for each entry; it only keeps it in memory.

        It is called before the feed takes the entry, for all messages of one read with the same time. `checkpoint`
        returns the state of the feed. `resumed` says that the market records what was missed since the last run.
        """
        tapped = _Tapped(self._writer(exchange, market_type, begins="resumed" if resumed else "run"), checkpoint)
        self._markets[exchange, market_type] = tapped

        def take(entry: Entry) -> None:
            size = _size(entry)
            if self._bytes + size > self._buffer_bytes and entry.kind != "record":
                tapped.dropped_from.add(entry.connection)
                self._dropped += 1
                return
            if entry.connection in tapped.dropped_from:
                tapped.dropped_from.discard(entry.connection)
                tapped.overdue = True
                if entry.kind != "open":
                    tapped.entries.append(Entry(entry.ts_recv, "open", connection=entry.connection))
            self._rotate(tapped, entry)
            self._bytes += size
            self._sent += 1
            tapped.entries.append(entry)

        return take

    def _rotate(self, tapped: _Tapped, entry: Entry) -> None:
        """Begin another file before this entry where one is due and the feed has taken all entries before it."""
        between = entry.kind in ("in", "http") and entry.ts_recv != tapped.last
        tapped.last = entry.ts_recv
        if tapped.began is None:
            tapped.began = entry.ts_recv
        elif between:
            full = tapped.writer.written >= self._file_bytes
            if tapped.overdue or full or entry.ts_recv - tapped.began >= self._file_ns:
                tapped.entries.append(_Rotation(entry.ts_recv, tapped.checkpoint()))
                tapped.began, tapped.overdue = entry.ts_recv, False

    def put(self, items: Sequence[Item]) -> None:
        """Records are not written: a replay makes them again."""

    async def run(self) -> None:
        while True:
            pause = delay(self._failures, FIRST_PAUSE, LONGEST_PAUSE) if self._failures else 0.0
            await asyncio.sleep(self._flush_seconds + pause)
            await shield_until_done(self._write_all())

    async def drain(self, seconds: float) -> int:
        """Write everything; return the number of entries that remain."""
        until = asyncio.get_running_loop().time() + seconds
        while not await self._write_all() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(min(0.2, self._flush_seconds))
        return sum(len(tapped.entries) for tapped in self._markets.values())

    def close(self) -> None:
        for tapped in self._markets.values():
            with suppress(OSError):  # what it wrote is flushed
                tapped.writer.close()

    def state(self) -> SinkState:
        """The state now; the capacity is estimated from the size of the queued entries."""
        waiting = [tapped.entries for tapped in self._markets.values()]
        queued = sum(map(len, waiting))
        each = self._bytes / queued if queued and self._bytes else 256
        moments = [entries[0].ts_recv for entries in (self._in_progress, *waiting) if entries]
        capacity, connected = max(queued, int(self._buffer_bytes / each)), not self._failures
        return self._state(queued, capacity, connected=connected, moments=moments, dropped=self._dropped)

    async def _write_all(self) -> bool:
        """Write all entries; False when the disk failed."""
        async with self._turn:
            for tapped in self._markets.values():
                if tapped.entries and not await self._write(tapped):
                    return False
        return True

    async def _write(self, tapped: _Tapped) -> bool:
        for part in _parts(tapped.entries):
            self._in_progress = part
            try:
                await asyncio.to_thread(_write, tapped.writer, part)
            except OSError as error:
                # A frame is either complete or ignored by readers, so the part is written again, by a new writer.
                self._failures += 1
                self._error = f"{self.folder}: {error}"
                log.warning("capture_write_failed", folder=str(self.folder), error=error, queued=len(tapped.entries))
                with suppress(OSError):
                    tapped.writer.discard()
                market = next(key for key, other in self._markets.items() if other is tapped)
                tapped.writer = self._writer(*market)
                tapped.overdue = True
                return False
            finally:
                self._in_progress = []
            if self._failures:
                log.info("capture_write_recovered", folder=str(self.folder), attempts=self._failures)
            self._failures = 0
            self._bytes -= sum(map(_size, part))
            self._delivered([entry.ts_recv for entry in part if isinstance(entry, Entry)])
            del tapped.entries[: len(part)]
        return True

    def _writer(self, exchange: Exchange, market_type: MarketType, begins: Begins | None = None) -> CaptureWriter:
        """A writer whose files `_rotate` begins."""
        return CaptureWriter(
            self.folder,
            exchange,
            market_type,
            max_bytes=sys.maxsize,
            max_span_ns=sys.maxsize,
            frame_bytes=2 * FRAME_BYTES + self._buffer_bytes,  # a frame ends where a part does
            begins=begins,
            records=True,
        )


def _size(entry: Entry | _Rotation) -> int:
    """So much of the buffer. A checkpoint is none of it: it cannot be left out."""
    return len(entry.raw) + ENTRY.size if isinstance(entry, Entry) else 0


def _parts(entries: list[Entry | _Rotation]) -> list[list[Entry | _Rotation]]:
    parts: list[list[Entry | _Rotation]] = [[]]
    size = 0
    for entry in entries:
        if size >= FRAME_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += _size(entry)
    return parts


def _write(writer: CaptureWriter, entries: list[Entry | _Rotation]) -> None:
    for entry in entries:
        if isinstance(entry, _Rotation):
            writer.rotate(entry.ts_recv, entry.points)
            continue
        writer.write(entry.ts_recv, entry.kind, entry.raw, connection=entry.connection, url=entry.url)
    writer.flush()

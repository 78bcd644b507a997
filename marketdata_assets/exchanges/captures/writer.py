"""Writing captures: frames that are whole or not there, files that are rotated by size and time."""

import datetime as dt
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Self

import msgspec
import zstandard

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.captures.native_format import (
    ENTRY,
    NUMBERS,
    SUFFIX,
    URL,
    VERSION,
    Begins,
    Header,
    Kind,
)
from marketdata_assets.exchanges.checkpoints import FeedCheckpoint
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.state_files import made_folder

HOUR = 3_600_000_000_000
MB = 1 << 20


class CaptureWriter:
    """Writes entries into files of a folder. What was flushed is read back, however the process ends.

    A file's name has the receive time of its first entry; a file is never reopened for appending. Rotation uses
    the times of the entries. Entries of several connections may come in any order. `begins` is of the first
    file; `records` says that what no message shows is written too.
    """

    def __init__(
        self,
        folder: Path,
        exchange: Exchange,
        market_type: MarketType | None,
        *,
        max_bytes: int = 256 * MB,
        max_span_ns: int = HOUR,
        frame_bytes: int = MB,
        level: int = 3,
        begins: Begins | None = None,
        records: bool = False,
    ) -> None:
        self.written = 0  # bytes of the open file
        self.paths: list[Path] = []
        self._folder = folder
        self._header = Header(VERSION, exchange, market_type, records=records)
        self._begins = begins
        self._max_bytes, self._max_span_ns, self._frame_bytes = max_bytes, max_span_ns, frame_bytes
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        self._file: FileIO | None = None
        self._first = 0  # ns
        self._frame = bytearray()
        self._urls: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, ts_recv: int, kind: Kind, raw: bytes, *, connection: int = 0, url: str = "") -> None:
        """Add an entry; it is written by `flush`, or when a frame is full."""
        if self._file is None or self.written >= self._max_bytes or ts_recv - self._first >= self._max_span_ns:
            self._begin(ts_recv, self._begins)
        self._write(ts_recv, kind, raw, connection, url)

    def _write(self, ts_recv: int, kind: Kind, raw: bytes, connection: int = 0, url: str = "") -> None:
        if url and url not in self._urls:
            self._urls[url] = len(self._urls) + 1
            self._add(ts_recv, URL, url.encode(), 0, self._urls[url])
        self._add(ts_recv, NUMBERS[kind], raw, connection, self._urls[url] if url else 0)
        if len(self._frame) >= self._frame_bytes:
            self.flush()

    def rotate(self, ts_recv: int, points: Iterable[FeedCheckpoint]) -> None:
        """Begin another file with the checkpoints of a feed that took all entries so far: it can be read alone."""
        self._begin(ts_recv, "checkpoint")
        for point in points:
            self._write(ts_recv, "checkpoint", checkpoints.encode(point))
        self.flush()

    def _begin(self, ts_recv: int, begins: Begins | None) -> None:
        self.close()
        made_folder(self._folder.parent)
        self._folder.mkdir(exist_ok=True)
        self._file = self._open(ts_recv)
        self.written, self._first, self._begins = 0, ts_recv, None
        self._urls.clear()
        self._put(msgspec.json.encode(msgspec.structs.replace(self._header, begins=begins)) + b"\n")

    def flush(self) -> None:
        """Write everything to the operating system, so that it survives a kill of this process."""
        if self._frame and self._file:
            self._put(bytes(self._frame))
            self._frame.clear()

    def close(self) -> None:
        """Flush and close; a further entry opens another file."""
        if self._file:
            try:
                self.flush()
            finally:
                self._file.close()
                self._file = None

    def discard(self) -> None:
        """Close without what was not flushed."""
        self._frame.clear()
        self.close()

    def _open(self, ts_recv: int) -> FileIO:
        moment = dt.datetime.fromtimestamp(ts_recv // 1_000_000_000, dt.UTC)
        venue = "-".join(part for part in (self._header.exchange, self._header.market_type) if part)
        again = 0
        while True:
            path = self._folder / f"{venue}-{moment:%Y%m%dT%H%M%S}{f'-{again}' if again else ''}{SUFFIX}"
            try:
                file = FileIO(path, "xb")
            except FileExistsError:
                again += 1
                continue
            self.paths.append(path)
            return file

    def _add(self, ts_recv: int, kind: int, raw: bytes, connection: int, url: int) -> None:
        self._frame += ENTRY.pack(ts_recv, kind, connection, url, len(raw))
        self._frame += raw

    def _put(self, content: bytes) -> None:
        """Write one frame, or none of it: what comes after a half one could not be read."""
        assert self._file
        rest = memoryview(self._compressor.compress(content))
        whole = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(self.written)
            self._file.seek(self.written)
            raise
        self.written += whole

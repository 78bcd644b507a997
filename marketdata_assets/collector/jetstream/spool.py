"""A queue on disk for messages that the server cannot take now.

A folder of segments, each a sequence of frames: a header with length, count and CRC32, and zstd-compressed messages
with their lengths. What `append` returned from survives a `kill -9` of the process. Data is synced once a second and
when a segment is full, so a power loss costs the last second. An incomplete frame at the end of a segment was never
appended; after damage anywhere else the rest of the segment is moved to a file of its own.
"""

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class with the name of a function
from typing import BinaryIO, NamedTuple

import zstandard

from marketdata_assets import state_files
from marketdata_assets.collector.errors import CollectorError, SpoolFull
from marketdata_assets.logs import get_logger
from marketdata_assets.standard_streams import write_all

log = get_logger(__name__)

MB = 1 << 20
SUFFIX, DAMAGED = ".spool", ".damaged"
FIRST = 10**9
"""The number of the first segment; prepended segments have smaller ones."""

_MAGIC = b"MDS1"
_FRAME = Struct("<4sIIIQ")  # magic, bytes, messages, CRC32 of the bytes, receive time of the oldest message
_LENGTHS = Struct("<HHIQ")  # of subject, message id and payload; receive time
_POSITION = Struct("<QQI")  # segment, byte, CRC32 of both
"""The cursor file is a row of these: the first message, then one for each later segment that is partly consumed."""


class StoredMessage(NamedTuple):
    """One message as it is published."""

    subject: str
    message_id: str
    payload: bytes
    ts: int  # ns, receive time


@dataclass
class Frame:
    """Messages that were appended together, the offset of the next frame, and how many are not acknowledged."""

    segment: int
    end: int
    messages: list[StoredMessage]
    unacked: int


@dataclass
class _Segment:
    number: int
    path: Path
    size: int
    frames: deque[tuple[int, int, int]]  # unconsumed ones: offset, messages, oldest receive time


class Spool:
    """A persistent queue, for one process at a time. Thread-safe.

    After `close`, its messages wait for the next spool on the same folder.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        *,
        segment_bytes: int = 16 * MB,
        sync_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.damaged = 0  # segments with damage
        self._segment_bytes, self._sync_seconds, self._clock = segment_bytes, sync_seconds, clock
        self._guard = threading.RLock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()
        self._file: FileIO | None = None  # the last segment, when this process opened it
        self._synced, self._dirty = clock(), False
        state_files.made_folder(folder)
        self._lock = self._locked()
        self._cursor = os.open(folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._read = (0, 0)  # segment and offset of the next frame to read
        self._cursor_bytes = os.fstat(self._cursor).st_size
        positions = self._read_cursor()
        self._segments = self._read_segments(positions)
        used = [FIRST - 1, *positions, *(segment.number for segment in self._segments)]
        self._next = max(used) + 1
        self._save_cursor()
        log.info("spool_opened", folder=str(folder), messages=len(self), bytes=self.bytes)

    def __len__(self) -> int:
        """Unconsumed messages."""
        with self._guard:
            return sum(count for segment in self._segments for _, count, _ in segment.frames)

    @property
    def is_empty(self) -> bool:
        """Whether every message is consumed."""
        return not self._segments

    @property
    def unread(self) -> bool:
        """Whether `read` has a frame to return."""
        with self._guard:
            last = self._segments[-1] if self._segments else None
            return bool(last and last.frames and (last.number, last.frames[-1][0]) >= self._read)

    @property
    def bytes(self) -> int:
        """Size on disk."""
        with self._guard:
            return sum(segment.size for segment in self._segments)

    @property
    def oldest_ns(self) -> int | None:
        """Receive time of the oldest unconsumed message."""
        with self._guard:
            firsts = (segment.frames[0][2] for segment in self._segments if segment.frames)
            return min(firsts, default=None)

    @property
    def damage(self) -> str | None:
        """A description of the damage; None without any."""
        if not self.damaged:
            return None
        segments = f"{self.damaged} segment{'s' if self.damaged > 1 else ''}"
        return f"{self.folder}: {segments} damaged, the unreadable part is in files *{DAMAGED}"

    def append(self, messages: Sequence[StoredMessage]) -> None:
        """Append messages in one frame. Raises SpoolFull, then none of them is appended."""
        with self._guard:
            if self._file is None or self._segments[-1].size >= self._segment_bytes:
                self._close_segment()
                self._file = self._opened(self._next)
                self._segments.append(_Segment(self._next, self._path(self._next), 0, deque()))
                self._next += 1
            self._write(self._file, self._segments[-1], messages)

    def prepend(self, messages: Sequence[StoredMessage]) -> None:
        """Put messages in front of all others, and rewind. Raises SpoolFull."""
        with self._guard:
            if not self._segments:
                self.append(messages)
                return
            number = self._segments[0].number - 1
            # Its number may be that of a deleted segment: with such a position the next process would skip messages.
            try:
                self._write_cursor()
                os.fdatasync(self._cursor)
            except OSError as error:
                raise SpoolFull(str(self.folder), error.strerror or str(error)) from error
            with self._opened(number) as file:
                segment = _Segment(number, self._path(number), 0, deque())
                self._segments.insert(0, segment)
                self._write(file, segment, messages)
                os.fdatasync(file.fileno())
            self._save_cursor()
            self.rewind()

    def adopt(self, folder: Path) -> int:
        """Append the segments of another spool, which is empty then; how many messages.

        Raises CollectorError while a process uses that spool.
        """
        other = Spool(folder, self.max_bytes)
        with self._guard:
            self._close_segment()
            count, taken = len(other), other._segments
            for segment in taken:
                self._segments.append(replace(segment, number=self._next, path=self._path(self._next)))
                self._next += 1
            self._save_cursor()  # first: what is moved without its position is sent again
            for segment, ours in zip(taken, self._segments[len(self._segments) - len(taken) :], strict=True):
                segment.path.rename(ours.path)
        other.close()
        return count

    def read(self) -> Frame | None:
        """The next frame, or None. It stays in the spool until it is consumed."""
        with self._guard:
            for segment in list(self._segments):
                for at, count, _ in segment.frames:
                    if (segment.number, at) < self._read:
                        continue
                    frame = self._frame(segment, at, count)
                    if frame is None:
                        break
                    self._read = (frame.segment, frame.end)
                    return frame
            return None

    def rewind(self) -> None:
        """Read again from the first unconsumed message."""
        with self._guard:
            self._read = (0, 0)

    def consume(self, frame: Frame) -> None:
        """Remove a frame and all before it, persistently."""
        with self._guard:
            done = (frame.segment, frame.end)
            for segment in list(self._segments):
                while segment.frames and (segment.number, segment.frames[0][0]) < done:
                    segment.frames.popleft()
                if not segment.frames:
                    self._drop(segment)
            self._save_cursor()

    @property
    def sync_is_due(self) -> bool:
        """Whether data is unsynced for `sync_seconds`."""
        return self._dirty and self._clock() - self._synced >= self._sync_seconds

    def sync(self) -> None:
        """Sync to the disk, if due. Raises OSError."""
        with self._guard:
            if self._file is not None and self.sync_is_due:
                os.fdatasync(self._file.fileno())
                self._synced, self._dirty = self._clock(), False

    def close(self) -> None:
        with self._guard:
            self._close_segment()
            os.close(self._cursor)
            self._lock.close()

    def _locked(self) -> BinaryIO:
        lock = state_files.opened(self.folder / "lock")
        if not state_files.lock(lock, wait=False):
            lock.close()
            raise CollectorError(
                f"{self.folder}: another process uses this spool: {state_files.holder_of(Path(lock.name))}. Stop it, or"
                " give each collector its own folder."
            )
        return lock

    def _read_segments(self, positions: Mapping[int, int]) -> list[_Segment]:
        segments = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            segment = _Segment(int(path.stem), path, path.stat().st_size, deque())
            position = positions.get(segment.number, 0)
            segment.frames.extend(frame for frame in _frames(path) if frame[0] >= position)
            if segment.frames:
                segments.append(segment)
            else:
                path.unlink()
        return segments

    def _read_cursor(self) -> dict[int, int]:
        """The offset up to which each segment is consumed; damaged positions are ignored."""
        raw, positions = os.pread(self._cursor, self._cursor_bytes, 0), dict[int, int]()
        for start in range(0, len(raw) - _POSITION.size + 1, _POSITION.size):
            number, at, check = _POSITION.unpack_from(raw, start)
            if check == zlib.crc32(raw[start : start + 16]):
                positions[number] = max(at, positions.get(number, 0))
        return positions

    def _save_cursor(self) -> None:
        """Without it, the next process sends messages again."""
        with suppress(OSError):
            self._write_cursor()

    def _write_cursor(self) -> None:
        starts = [(segment.number, segment.frames[0][0]) for segment in self._segments if segment.frames]
        first, later = starts[:1] or [(self._next, 0)], [start for start in starts[1:] if start[1]]
        raw = b""
        for number, at in (*first, *later):
            position = _POSITION.pack(number, at, 0)[:16]
            raw += position + zlib.crc32(position).to_bytes(4, "little")
        os.pwrite(self._cursor, raw, 0)
        if len(raw) < self._cursor_bytes:
            os.ftruncate(self._cursor, len(raw))
        self._cursor_bytes = len(raw)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{SUFFIX}"

    def _opened(self, number: int) -> FileIO:
        try:
            return FileIO(self._path(number), "xb")
        except OSError as error:
            raise SpoolFull(str(self.folder), error.strerror or str(error)) from error

    def _close_segment(self) -> None:
        if self._file is not None:
            os.fdatasync(self._file.fileno())
            self._file.close()
            self._file = None

    def _drop(self, segment: _Segment) -> None:
        if segment is self._segments[-1] and self._file is not None:
            self._file.close()
            self._file = None
        self._segments.remove(segment)
        segment.path.unlink(missing_ok=True)

    def _write(self, file: FileIO, segment: _Segment, messages: Sequence[StoredMessage]) -> None:
        parts: list[bytes] = []
        for message in messages:
            subject, message_id = message.subject.encode(), message.message_id.encode()
            lengths = _LENGTHS.pack(len(subject), len(message_id), len(message.payload), message.ts)
            parts += (lengths, subject, message_id, message.payload)
        body = self._compressor.compress(b"".join(parts))
        oldest = min(message.ts for message in messages)
        frame = _FRAME.pack(_MAGIC, len(body), len(messages), zlib.crc32(body), oldest) + body
        if self.bytes + len(frame) > self.max_bytes:
            self._undo(file, segment)
            raise SpoolFull(str(self.folder), f"its limit is {self.max_bytes} bytes")
        try:
            write_all(file.fileno(), frame)
            self._dirty = True
            self.sync()
        except OSError as error:
            self._undo(file, segment)
            raise SpoolFull(str(self.folder), error.strerror or str(error)) from error
        segment.frames.append((segment.size, len(messages), oldest))
        segment.size += len(frame)

    def _undo(self, file: FileIO, segment: _Segment) -> None:
        """Remove an incomplete frame, and the segment when it is empty."""
        file.truncate(segment.size)
        file.seek(segment.size)
        if not segment.size:
            self._drop(segment)

    def _frame(self, segment: _Segment, at: int, count: int) -> Frame | None:
        """The frame at an offset; None when it is damaged, then the rest of its segment is set aside."""
        try:
            with segment.path.open("rb") as file:
                file.seek(at)
                _, size, _, check, _ = _FRAME.unpack(file.read(_FRAME.size))
                body = file.read(size)
            if zlib.crc32(body) != check:
                raise ValueError("CRC32 mismatch")
            messages = _unpacked(self._decompressor.decompress(body), count)
        except (OSError, ValueError, StructError, zstandard.ZstdError):
            self.damaged += 1
            log.error("spool_damaged", segment=str(segment.path), offset=at)
            with suppress(OSError):
                segment.path.with_suffix(f"{SUFFIX}{DAMAGED}").write_bytes(segment.path.read_bytes()[at:])
            segment.frames = deque(frame for frame in segment.frames if frame[0] < at)
            if not segment.frames:
                self._drop(segment)
            return None
        return Frame(segment.number, at + _FRAME.size + size, messages, count)


def _unpacked(body: bytes, count: int) -> list[StoredMessage]:
    messages, at = [], 0
    for _ in range(count):
        subject, message_id, payload, ts = _LENGTHS.unpack_from(body, at)
        a = at + _LENGTHS.size
        b = a + subject
        c = b + message_id
        at = c + payload
        messages.append(StoredMessage(body[a:b].decode(), body[b:c].decode(), body[c:at], ts))
    return messages


def _frames(path: Path) -> list[tuple[int, int, int]]:
    """Offset, messages and oldest receive time of each complete frame of a segment."""
    frames, at, size = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            magic, length, count, _, oldest = _FRAME.unpack(head)
            end = at + _FRAME.size + length
            if magic != _MAGIC or end > size:
                break
            frames.append((at, count, oldest))
            at = end
            file.seek(at)
    return frames

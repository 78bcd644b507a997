"""The spool as the publisher uses it: disk I/O in threads, and which of its messages are in progress."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from marketdata_assets.collector.errors import SpoolFull
from marketdata_assets.collector.jetstream.in_flight import Entry, FrameProgress, SpooledMessage, stored_message
from marketdata_assets.collector.jetstream.spool import Frame, Spool, StoredMessage
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

FRAME_MESSAGES = 2048
FRAME_BYTES = 4 << 20


class SpoolQueue:
    """A spool with a read position; for one task at a time."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.error: str | None = None  # why the last messages were not spooled
        self._page: deque[SpooledMessage] = deque()  # read ahead
        self._in_progress: deque[FrameProgress] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether everything is sent and acknowledged."""
        return not self._in_progress and not self.spool.unread

    @property
    def has_more(self) -> bool:
        return bool(self._page) or self.spool.unread

    def lacks(self, count: int) -> bool:
        """Whether reading ahead is due, to have `count` messages in memory."""
        return len(self._page) < count and self.spool.unread

    async def work(self, entries: Sequence[Entry], wanted: int) -> int:
        """Append entries, sync if due, and read ahead at least `wanted` messages; how many were appended."""
        was_empty = self.spool.is_empty
        appended, frames, error = await asyncio.to_thread(self._work, entries, wanted)
        if entries or error is not None:
            if error is not None:
                log.warning("spool_full", folder=str(self.spool.folder), error=error)
            elif was_empty:
                log.warning("spooling", folder=str(self.spool.folder), messages=appended)
            self.error = error
        for frame in frames:
            source = FrameProgress(frame, len(frame.messages))
            self._in_progress.append(source)
            self._page.extend(SpooledMessage(entry, source) for entry in frame.messages)
        return appended

    async def prepend(self, entries: Sequence[Entry]) -> None:
        """Prepend entries. Nothing of the spool may be in progress. Raises SpoolFull."""
        try:
            if self.spool.is_empty:
                log.warning("spooling", folder=str(self.spool.folder), messages=len(entries))
            await asyncio.to_thread(self.spool.prepend, [stored_message(entry) for entry in entries])
        except SpoolFull as error:
            self.error = str(error)
            log.warning("spool_full", folder=str(self.spool.folder), error=self.error)
            raise

    def take(self, most: int) -> list[Entry]:
        return [self._page.popleft() for _ in range(min(most, len(self._page)))]

    def acked(self, entries: Sequence[SpooledMessage]) -> None:
        """Consume what is acknowledged, frame by frame."""
        for entry in entries:
            entry.source.unacked -= 1
        while self._in_progress and not self._in_progress[0].unacked:
            self.spool.consume(self._in_progress.popleft().frame)
            if self.spool.is_empty:
                log.info("spool_drained", folder=str(self.spool.folder))

    def restart(self) -> None:
        """Read again from the first message that is not consumed; nothing is in progress any more."""
        self._page.clear()
        self._in_progress.clear()
        self.spool.rewind()

    def _work(self, entries: Sequence[Entry], wanted: int) -> tuple[int, list[Frame], str | None]:
        appended, error, frames = 0, None, []
        try:
            for messages in _frames(entries):
                self.spool.append(messages)
                appended += len(messages)
            self.spool.sync()
        except (SpoolFull, OSError) as failure:
            error = str(failure)
        while wanted > 0 and (frame := self.spool.read()) is not None:
            frames.append(frame)
            wanted -= len(frame.messages)
        return appended, frames, error


def _frames(entries: Sequence[Entry]) -> Iterator[list[StoredMessage]]:
    piece: list[StoredMessage] = []
    size = 0
    for entry in entries:
        if piece and (len(piece) >= FRAME_MESSAGES or size + len(entry.payload) > FRAME_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(stored_message(entry))
        size += len(entry.payload)
    if piece:
        yield piece

"""The spool as the publisher uses it: disk work away from the event loop, and which messages of it are under way."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from marketdata_assets.collector.jetstream.errors import SpoolFull
from marketdata_assets.collector.jetstream.spool import Frame, Kept, Spool
from marketdata_assets.collector.jetstream.window import Entry, FromSpool, Spooled, kept

FRAME_MESSAGES = 2048
FRAME_BYTES = 4 << 20


class _Done(NamedTuple):
    """What came of one piece of work."""

    appended: int
    frames: list[Frame]
    error: str | None


class Shelf:
    """A spool with a reading position; its methods are for one task at a time."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.error: str | None = None  # why the last messages had no room
        self._page: deque[Spooled] = deque()  # read, and not taken yet
        self._under_way: deque[FromSpool] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, neither to send nor to be acknowledged."""
        return not self._under_way and not self.spool.unread

    @property
    def has_more(self) -> bool:
        """Whether there are messages that are not taken yet."""
        return bool(self._page) or self.spool.unread

    def lacks(self, count: int) -> bool:
        """Whether reading from the disk is due to have so many messages at hand."""
        return len(self._page) < count and self.spool.unread

    async def work(self, entries: Sequence[Entry], wanted: int) -> int:
        """Append, sync when that is due, and read so many messages or more; how many were appended."""
        done = await asyncio.to_thread(self._work, entries, wanted)
        if entries or done.error is not None:
            self.error = done.error
        for frame in done.frames:
            source = FromSpool(frame, len(frame.messages))
            self._under_way.append(source)
            self._page.extend(Spooled(one, source) for one in frame.messages)
        return done.appended

    async def put_in_front(self, entries: Sequence[Entry]) -> None:
        """Before all others. Nothing of the spool may be under way. Raises SpoolFull."""
        try:
            await asyncio.to_thread(self.spool.prepend, [kept(one) for one in entries])
        except SpoolFull as error:
            self.error = str(error)
            raise

    def take(self, most: int) -> list[Entry]:
        """The next messages to send."""
        return [self._page.popleft() for _ in range(min(most, len(self._page)))]

    def acked(self, entries: Sequence[Spooled]) -> None:
        """Forget what is acknowledged, a frame at a time."""
        for one in entries:
            one.source.left -= 1
        while self._under_way and not self._under_way[0].left:
            self.spool.consume(self._under_way.popleft().frame)

    def begin_anew(self) -> None:
        """Nothing is under way any more; begin with the first message that is not forgotten."""
        self._page.clear()
        self._under_way.clear()
        self.spool.rewind()

    def _work(self, entries: Sequence[Entry], wanted: int) -> _Done:
        appended, error, frames = 0, None, []
        try:
            for some in _pieces(entries):
                self.spool.append(some)
                appended += len(some)
            self.spool.sync()
        except (SpoolFull, OSError) as failure:
            error = str(failure)
        while wanted > 0 and (frame := self.spool.read()) is not None:
            frames.append(frame)
            wanted -= len(frame.messages)
        return _Done(appended, frames, error)


def _pieces(entries: Sequence[Entry]) -> Iterator[list[Kept]]:
    """As they become frames."""
    piece: list[Kept] = []
    size = 0
    for one in entries:
        if piece and (len(piece) >= FRAME_MESSAGES or size + len(one.payload) > FRAME_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(kept(one))
        size += len(one.payload)
    if piece:
        yield piece

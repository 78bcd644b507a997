"""Messages on their way through the publisher: those that are sent and not acknowledged, and those of the spool."""

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from marketdata_assets.collector.errors import SpoolFull
from marketdata_assets.collector.items import Item, message_id, moment, subject
from marketdata_assets.collector.jetstream.spool import Frame, Spool, StoredMessage
from marketdata_assets.logs import get_logger

FRAME_MESSAGES = 2048
FRAME_BYTES = 4 << 20

log = get_logger(__name__)


class SpooledMessage(NamedTuple):
    """A message from the spool."""

    message: StoredMessage
    source: Frame

    @property
    def payload(self) -> bytes:
        return self.message.payload


Entry = Item | SpooledMessage


def stored_message(entry: Entry) -> StoredMessage:
    """The message as it is published."""
    if isinstance(entry, SpooledMessage):
        return entry.message
    record = entry.record
    return StoredMessage(subject(record), message_id(record), entry.payload, moment(record))


@dataclass
class Burst:
    """Entries that were sent together, by their position from 1 on."""

    entries: dict[int, Entry]  # those that are not acknowledged
    size: int  # at the beginning
    sent_at: float
    rejected: int | None = None  # the first position that the server reported as not stored


class InFlight:
    """What is not acknowledged: bursts by number, in the order of sending. Only an ack removes an entry."""

    def __init__(self) -> None:
        self.bytes = 0  # of the payloads
        self._bursts: dict[int, Burst] = {}
        self._entries = 0
        self._numbers = count(secrets.randbits(62))  # the server knows a batch by its number, whoever sends it

    def __len__(self) -> int:
        return self._entries

    def add(self, entries: Sequence[Entry], now: float) -> int:
        """Add entries that are sent now; the number of their burst, which no other publisher has."""
        number = next(self._numbers)
        self._bursts[number] = Burst(dict(enumerate(entries, 1)), len(entries), now)
        self._entries += len(entries)
        self.bytes += sum(len(entry.payload) for entry in entries)
        return number

    def acked(self, number: int, positions: range) -> list[Entry]:
        """Remove the entries at these positions of a burst; of several, only those before a rejected one."""
        burst = self._bursts.get(number)
        if burst is None:
            return []
        if burst.rejected is not None and len(positions) > 1:
            positions = range(positions.start, min(positions.stop, burst.rejected))
        if len(positions) == burst.size:
            taken = list(burst.entries.values())
            burst.entries.clear()
        else:
            taken = [burst.entries.pop(position) for position in positions if position in burst.entries]
        if not burst.entries:
            del self._bursts[number]
        return self._removed(taken)

    def rejected(self, number: int, position: int) -> bool:
        """Note that the server did not store the entry at a position; whether this is the first one of the burst."""
        burst = self._bursts.get(number)
        if burst is None:
            return False
        first, burst.rejected = burst.rejected is None, min(position, burst.rejected or position)
        return first

    def take(self, before: float = math.inf) -> list[list[Entry]]:
        """Remove the bursts that were sent before a time, to send them again.

        Of a burst that was stored in part, the first entry that was not comes alone: the server may never take it.
        """
        bursts: list[list[Entry]] = []
        for number in [number for number, one in self._bursts.items() if one.sent_at < before]:
            one = self._bursts.pop(number)
            entries = self._removed(list(one.entries.values()))
            pieces = [entries] if one.rejected is None and len(entries) == one.size else [entries[:1], entries[1:]]
            bursts += [piece for piece in pieces if piece]
        return bursts

    def _removed(self, entries: list[Entry]) -> list[Entry]:
        self._entries -= len(entries)
        self.bytes -= sum(len(entry.payload) for entry in entries)
        return entries

    @property
    def oldest(self) -> float | None:
        """When the oldest burst was sent."""
        return next((one.sent_at for one in self._bursts.values()), None)

    @property
    def oldest_ns(self) -> int | None:
        """Receive time of the oldest entry."""
        firsts = map(_first, self._bursts.values())
        return min((e.message.ts if isinstance(e, SpooledMessage) else moment(e.record) for e in firsts), default=None)

    @property
    def items(self) -> int:
        """Entries that exist only in memory; all entries are either those or from the spool."""
        first = next(iter(self._bursts.values()), None)
        return 0 if first is None or isinstance(_first(first), SpooledMessage) else len(self)


def _first(burst: Burst) -> Entry:
    return next(iter(burst.entries.values()))


class SpoolQueue:
    """A spool as the publisher uses it, with disk I/O in threads; for one task at a time."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.error: str | None = None  # why the last messages were not spooled
        self._page: deque[SpooledMessage] = deque()  # read ahead
        self._in_progress: deque[Frame] = deque()

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
            self._in_progress.append(frame)
            self._page.extend(SpooledMessage(entry, frame) for entry in frame.messages)
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
            self.spool.consume(self._in_progress.popleft())
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

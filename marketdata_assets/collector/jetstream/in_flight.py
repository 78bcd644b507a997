"""Messages that are sent and not acknowledged yet, in sending order."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from marketdata_assets.collector.items import Item, message_id, moment, subject
from marketdata_assets.collector.jetstream.spool import Frame, StoredMessage


@dataclass
class FrameProgress:
    """A spool frame that is being sent."""

    frame: Frame
    unacked: int  # messages


class SpooledMessage(NamedTuple):
    """A message from the spool."""

    message: StoredMessage
    source: FrameProgress

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


class InFlight:
    """Entries by the number in their reply subject. Only an ack removes one."""

    def __init__(self) -> None:
        self.bytes = 0  # of the payloads
        self._entries: dict[int, Entry] = {}
        self._next = 0
        self._sent: deque[tuple[float, int]] = deque()  # time of a send, and its last number

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[Entry], now: float) -> range:
        """Add sent entries; their numbers."""
        numbers = range(self._next, self._next + len(entries))
        self._entries.update(zip(numbers, entries, strict=True))
        self._next = numbers.stop
        self._sent.append((now, numbers.stop - 1))
        self.bytes += sum(len(entry.payload) for entry in entries)
        return numbers

    def pop(self, number: int) -> Entry | None:
        """Remove an acknowledged entry; None when it was acknowledged before."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            self.bytes -= len(entry.payload)
        return entry

    def sent_again(self, now: float, last: int | None = None) -> list[tuple[int, Entry]]:
        """The entries to repeat with their numbers: all, or those up to `last`."""
        last = self._next - 1 if last is None else last
        while self._sent and self._sent[0][1] <= last:
            self._sent.popleft()
        self._sent.appendleft((now, last))
        return [(number, entry) for number, entry in self._entries.items() if number <= last]

    def oldest(self) -> tuple[float, int] | None:
        """When the oldest entry was sent, and the last number of that send."""
        if not self._entries:
            self._sent.clear()
            return None
        first = next(iter(self._entries))
        while self._sent[0][1] < first:
            self._sent.popleft()
        return self._sent[0]

    @property
    def oldest_ns(self) -> int | None:
        """Receive time of the oldest entry."""
        if not self._entries:
            return None
        entry = next(iter(self._entries.values()))
        return entry.message.ts if isinstance(entry, SpooledMessage) else moment(entry.record)

    @property
    def items(self) -> int:
        """Entries that exist only in memory; all entries are either those or from the spool."""
        return len(self) if isinstance(next(iter(self._entries.values()), None), Item) else 0

    def clear(self) -> list[Entry]:
        entries = list(self._entries.values())
        self._entries.clear()
        self._sent.clear()
        self.bytes = 0
        return entries

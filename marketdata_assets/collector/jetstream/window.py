"""What is sent and not acknowledged yet, in the order in which it was sent."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from marketdata_assets.collector.items import Item, message_id, moment, subject
from marketdata_assets.collector.jetstream.spool import Frame, Kept


@dataclass
class FromSpool:
    """A frame of the spool that is being sent."""

    frame: Frame
    left: int  # messages of it that are not acknowledged


class Spooled(NamedTuple):
    """A message of the spool."""

    kept: Kept
    source: FromSpool

    @property
    def payload(self) -> bytes:
        """Its record as JSON."""
        return self.kept.payload


Entry = Item | Spooled


def kept(one: Entry) -> Kept:
    """All that publishing it takes."""
    if isinstance(one, Spooled):
        return one.kept
    record = one.record
    return Kept(subject(record), message_id(record), one.payload, moment(record))


class Window:
    """Entries by the number they were sent with. Each is removed by its ack and by nothing else."""

    def __init__(self) -> None:
        self.bytes = 0  # of the payloads
        self._entries: dict[int, Entry] = {}
        self._next = 0
        self._sent: deque[tuple[float, int]] = deque()  # when, and the last number that was sent then

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[Entry], now: float) -> range:
        """Take entries in as sent; their numbers."""
        numbers = range(self._next, self._next + len(entries))
        self._entries.update(zip(numbers, entries, strict=True))
        self._next = numbers.stop
        self._sent.append((now, numbers.stop - 1))
        self.bytes += sum(len(one.payload) for one in entries)
        return numbers

    def pop(self, number: int) -> Entry | None:
        """Take out what was acknowledged; None where it was before."""
        one = self._entries.pop(number, None)
        if one is not None:
            self.bytes -= len(one.payload)
        return one

    def sent_again(self, now: float, last: int | None = None) -> list[tuple[int, Entry]]:
        """What is to be sent once more, with its numbers: all up to that one, or simply all."""
        last = self._next - 1 if last is None else last
        while self._sent and self._sent[0][1] <= last:
            self._sent.popleft()
        self._sent.appendleft((now, last))
        return [(number, one) for number, one in self._entries.items() if number <= last]

    def oldest(self) -> tuple[float, int] | None:
        """When the oldest entry was sent, and the last number sent with it."""
        if not self._entries:
            self._sent.clear()
            return None
        first = next(iter(self._entries))
        while self._sent[0][1] < first:
            self._sent.popleft()
        return self._sent[0]

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest entry was received."""
        if not self._entries:
            return None
        one = next(iter(self._entries.values()))
        return one.kept.ts if isinstance(one, Spooled) else moment(one.record)

    @property
    def items(self) -> int:
        """Entries that are nowhere but in memory; the window has either those or some of the spool."""
        return len(self) if isinstance(next(iter(self._entries.values()), None), Item) else 0

    def clear(self) -> list[Entry]:
        """Take all entries out."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._sent.clear()
        self.bytes = 0
        return entries

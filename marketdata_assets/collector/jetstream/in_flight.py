"""Messages that are sent and not acknowledged yet, in the bursts in which they were sent."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
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


@dataclass
class Burst:
    """Entries that were sent together, by their position from 1 on."""

    entries: dict[int, Entry]  # those that are not acknowledged
    size: int  # at the beginning
    sent_at: float
    rejected: int | None = None  # the first position that the server reported as not stored


class InFlight:
    """Bursts by number, in the order in which they were sent. Only an ack removes an entry."""

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

"""Which snapshot, and which changes after it, make an order book at an instant; and when that is not known.

A change follows another when it begins where that one ended, by the venue's own numbers. Here are no levels, only what
follows what.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.exchanges.records import Gap

WHOLE_DEPTH = 20  # no stream that sends only the best levels, whole each time, has more of them

SNAPSHOT_LATE_NS = 600_000_000_000
"""So much later than a change may the snapshot be that it follows, by another clock and with a request between."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Whole:
    """A snapshot on record."""

    at: int  # ns, venue's clock
    ts_recv: int
    last_id: int | None
    depth: int
    unit: str
    content: int


@dataclass(frozen=True)
class Standing:
    """The book of an instant: a snapshot and the changes `first` to `last` on top of it; or `why` it is not known."""

    base: Whole | None = None
    first: int | None = None
    last: int | None = None
    until: int | None = None  # ns, the next record that follows; None: nothing came after
    why: str | None = None


class Chain:
    """The records of one instrument's book in a span, as `book_records.sql` gives them, and the gaps of it.

    `from_beginning` says that there are none before the span.
    """

    def __init__(self, records: pl.DataFrame, gaps: list[Gap], *, from_beginning: bool) -> None:
        wholes, changes = records.filter("whole"), records.filter(~pl.col("whole"))
        fields = ("at", "ts_recv", "last_id", "depth", "unit", "content")
        self.wholes = [Whole(*row) for row in wholes.select(fields).iter_rows()]
        self.at, self.ts_recv = changes["at"].to_numpy(), changes["ts_recv"].to_numpy()
        self.numbered = changes["last_id"].null_count() == 0 and changes["begin"].null_count() == 0
        self.last_id, self.begin = (changes[name].fill_null(0).to_numpy() for name in ("last_id", "begin"))
        self._from_beginning = from_beginning
        self._ascending = bool((np.diff(self.last_id) >= 0).all())
        self._gaps = [gap for gap in gaps if gap.cause != "repeat"]
        self._breaks = self._found_breaks()
        self._starts = np.maximum.accumulate(np.where(self._breaks, np.arange(len(self.at)), 0))
        self._bases = self._found_bases()

    def at_instant(self, instant: int) -> Standing:
        """The book at an instant in ns."""
        last = int(np.searchsorted(self.at, instant, side="right")) - 1
        following = last + 1 if last + 1 < len(self.at) else None
        newer = [whole for whole in self.wholes if whole.at <= instant and (last < 0 or whole.at > self.at[last])]
        found = self._of_changes(last, following) if last >= 0 else Standing(why="nothing is on record before")
        if not newer:
            return found
        replaced = not self.numbered or (following is None and newer[-1].depth > WHOLE_DEPTH)
        return self._of_snapshot(newer, following) if found.why or replaced else found

    def begins_before(self, instant: int) -> bool:
        """Whether the book of an instant hangs on records from before the span."""
        last = int(np.searchsorted(self.at, instant, side="right")) - 1
        if last < 0:
            return not any(whole.at <= instant for whole in self.wholes)
        return int(self._starts[last]) == 0 and self._base(last) is None

    def _of_changes(self, last: int, following: int | None) -> Standing:
        base = self._base(last)
        if base is None:
            return Standing(why="the snapshot that its changes begin with is not on record")
        broken = following is not None and bool(self._breaks[following])
        if following is None or broken:
            gap = self._gap(int(self.ts_recv[last]), None if following is None else int(self.ts_recv[following]))
            if gap is not None:
                return Standing(why=gap)
            if broken and self.numbered:
                return Standing(why=f"changes {self.last_id[last] + 1} to {self.begin[following or 0]} are missing")
        first, whole = base
        return Standing(whole, first, last, None if following is None else int(self.at[following]))

    def _of_snapshot(self, newer: list[Whole], following: int | None) -> Standing:
        """A snapshot that no change on record has followed yet."""
        if following is not None:
            begun = [whole for whole in newer if self._bases.get(following) == whole]
            if begun:
                return Standing(begun[-1], until=int(self.at[following]))
            if self.numbered:
                return Standing(why=f"changes before {self.begin[following] + 1} are missing")
        newest = newer[-1]
        later = next((whole.at for whole in self.wholes if whole.at > newest.at), None)
        gap = self._gap(newest.ts_recv, None)
        return Standing(why=gap) if gap and later is None else Standing(newest, until=later)

    def _base(self, last: int) -> tuple[int, Whole] | None:
        """The snapshot that the changes up to `last` are to be put on, and the first of them."""
        start = int(self._starts[last])
        usable = [place for place in self._bases if start <= place <= last]
        return (max(usable), self._bases[max(usable)]) if usable else None

    def _gap(self, after: int, before: int | None) -> str | None:
        """The gap on record that began with the message received at `after`, in words."""
        within = (gap for gap in self._gaps if gap.ts_from >= after and (before is None or gap.ts_to <= before))
        return next((f"a gap is on record: {gap.cause}" for gap in within), None)

    def _found_breaks(self) -> Array:
        breaks = np.zeros(len(self.at), bool)
        if self.numbered:
            breaks[1:] = self.begin[1:] > self.last_id[:-1]
        else:  # the feed has made sure of it, up to a new snapshot
            for whole in self.wholes:
                place = int(np.searchsorted(self.at, whole.at))
                breaks[place : place + 1] = True
        breaks[:1] = True
        return breaks

    def _found_bases(self) -> dict[int, Whole]:
        """By the change that follows them, the snapshots that can be relied on to be whole.

        Those that a chain begins with; and within a chain those too deep to be of the best levels alone.
        """
        bases: dict[int, Whole] = {}
        for whole in self.wholes:
            place = self._follower(whole)
            if place is None:
                continue
            begins = self._breaks[place] and (place > 0 or self._from_beginning)
            known = bases.get(place)
            if (begins or whole.depth > WHOLE_DEPTH) and (known is None or whole.depth >= known.depth):
                bases[place] = whole
        return bases

    def _follower(self, whole: Whole) -> int | None:
        if not self.numbered or whole.last_id is None:
            place = int(np.searchsorted(self.at, whole.at))
            return place if place < len(self.at) else None
        earliest = int(np.searchsorted(self.at, whole.at - SNAPSHOT_LATE_NS))
        if self._ascending:
            place = max(earliest, int(np.searchsorted(self.last_id, whole.last_id)))
        else:  # the venue has restarted its numbering
            place = (
                earliest + int(np.argmax(self.last_id[earliest:] >= whole.last_id)) if earliest < len(self.at) else 0
            )
        fits = place < len(self.at) and self.begin[place] <= whole.last_id <= self.last_id[place]
        return place if fits else None

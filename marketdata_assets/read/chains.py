"""Which snapshot, and which changes after it, make an order book at an instant; and when that is not known.

A change follows another when it begins where that one ended, by the venue's own numbers. Here are no levels, only what
follows what.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS

WHOLE_DEPTH = 20  # no stream that sends only the best levels, whole each time, has more of them

SNAPSHOT_LATE_NS = 600_000_000_000
"""So much later than a change may the snapshot be that it follows, by another clock and with a request between."""

OURS = "its snapshot is dated by our clock, and changes before it are missing"
ENDED = "nothing on record after it shows that the stream continued"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Whole:
    """A snapshot on record, or a checkpoint."""

    checkpoint: bool
    at: int  # ns, venue's clock; of a checkpoint, ours
    ts_recv: int
    last_id: int | None
    depth: int
    unit: str
    content: int
    ours: bool  # `at` is of our clock

    def settled(self, held_id: int | None) -> int:
        """When it was so by the venue's clock, too; `held_id` is of the last change on record that is in it, if any."""
        return self.at + CLOCKS_DIFFER_NS if self.ours and held_id != self.last_id else self.at


@dataclass(frozen=True)
class Position:
    """A change on record."""

    at: int  # ns, venue's clock
    last_id: int | None


@dataclass(frozen=True)
class Standing:
    """The book of an instant: a snapshot and the changes `first` to `last` on top of it; or `why` it is not known."""

    base: Whole | None = None
    first: Position | None = None
    last: Position | None = None
    until: int | None = None  # ns, the next record that follows; None: nothing followed while the stream was alive
    why: str | None = None
    proven: bool = False  # every change has a higher id than the one before it


class Chain:
    """The records of one instrument's book in a span, as `book_records.sql` gives them, and the gaps of it.

    `from_beginning` says that there are none before the span.
    """

    def __init__(self, records: pl.DataFrame, gaps: list[Gap], *, from_beginning: bool) -> None:
        wholes, changes = records.filter("whole"), records.filter(~pl.col("whole"))
        fields = ("checkpoint", "at", "ts_recv", "last_id", "depth", "unit", "content", "ours")
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
        found = self._of_changes(instant, last, following) if last >= 0 else Standing(why="nothing is on record before")
        if not newer:
            return found
        whole = newer[-1].depth > WHOLE_DEPTH or newer[-1].checkpoint
        replaced = not self.numbered or (following is None and whole)
        if not (found.why or replaced):
            return found
        held = int(self.last_id[last]) if last >= 0 else None
        if self.numbered and len(self.at) and instant < newer[-1].settled(held):
            return Standing(why=OURS)
        return self._of_snapshot(instant, newer, following)

    def begins_before(self, instant: int) -> bool:
        """Whether the book of an instant hangs on records from before the span."""
        last = int(np.searchsorted(self.at, instant, side="right")) - 1
        if last < 0:
            return not any(whole.at <= instant for whole in self.wholes)
        return int(self._starts[last]) == 0 and self._base(last) is None

    def _of_changes(self, instant: int, last: int, following: int | None) -> Standing:
        base = self._base(last)
        if base is None:
            return Standing(why="the snapshot that its changes begin with is not on record")
        broken = following is not None and bool(self._breaks[following])
        first, whole = base
        position, begun = self._position(last), self._position(first)
        if following is None or broken:
            gap = self._gap(int(self.ts_recv[last]), None if following is None else int(self.ts_recv[following]))
            if gap is not None:
                return Standing(why=gap)
            if broken and self.numbered:
                return Standing(why=f"changes {self.last_id[last] + 1} to {self.begin[following or 0]} are missing")
        if following is None and not self._alive(instant, position.last_id):
            return Standing(why=ENDED)
        return Standing(whole, begun, position, None if following is None else int(self.at[following]))

    def _of_snapshot(self, instant: int, newer: list[Whole], following: int | None) -> Standing:
        """A snapshot that no change on record has followed yet."""
        if following is not None:
            begun = [whole for whole in newer if self._bases.get(following) == whole]
            if begun:
                return Standing(begun[-1], until=int(self.at[following]))
            if self.numbered:
                return Standing(why=f"changes before {self.begin[following] + 1} are missing")
        newest = newer[-1]
        later = next((whole for whole in self.wholes if whole.at > newest.at), None)
        gap = self._gap(newest.ts_recv, later.ts_recv if later else None)
        if gap or later is None:
            return Standing(why=gap or ENDED)
        if later.checkpoint:
            alive = self._alive(instant, newest.last_id)
            return Standing(newest) if alive else Standing(why=ENDED)
        return Standing(newest, until=later.at)

    def _position(self, place: int) -> Position:
        return Position(int(self.at[place]), int(self.last_id[place]) if self.numbered else None)

    def _alive(self, instant: int, last_id: int | None) -> bool:
        """Whether a later record of the whole book has the same position, so that nothing came between."""
        later = (whole for whole in self.wholes if whole.at >= instant + CLOCKS_DIFFER_NS)
        return last_id is not None and any(whole.last_id == last_id for whole in later)

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

        Those that a chain begins with; and within a chain those too deep to be of the best levels alone, and those that
        ended a gap, if no snapshot is deeper, and no checkpoint shows that the book is.
        """
        bases: dict[int, Whole] = {}
        gap_ends = {gap.ts_to for gap in self._gaps}
        deep = (whole.depth for whole in self.wholes if not whole.checkpoint or whole.depth > WHOLE_DEPTH)
        deepest = max(deep, default=0)
        for whole in self.wholes:
            place = self._follower(whole)
            if place is None:
                continue
            ended_gap = whole.ts_recv in gap_ends and whole.depth == deepest
            begins = ended_gap or (self._breaks[place] and (place > 0 or self._from_beginning))
            known = bases.get(place)
            if (begins or whole.checkpoint or whole.depth > WHOLE_DEPTH) and (
                known is None or whole.depth >= known.depth
            ):
                bases[place] = whole
        return bases

    def _follower(self, whole: Whole) -> int | None:
        if not self.numbered or whole.last_id is None:
            place = int(np.searchsorted(self.at, whole.at))
            return place if place < len(self.at) else None
        earliest = int(np.searchsorted(self.at, whole.at - SNAPSHOT_LATE_NS))
        if self._ascending:
            side: Literal["left", "right"] = "right" if whole.checkpoint else "left"  # it may be long after its change
            place = max(earliest, int(np.searchsorted(self.last_id, whole.last_id, side=side)))
        else:  # the venue has restarted its numbering
            place = (
                earliest + int(np.argmax(self.last_id[earliest:] >= whole.last_id)) if earliest < len(self.at) else 0
            )
        fits = place < len(self.at) and self.begin[place] <= whole.last_id <= self.last_id[place]
        return place if fits else None

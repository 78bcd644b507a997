"""Order books as a stream of events that another tool can apply one after the other: clear, snapshot, delta.

Records may be stored twice, late, or from two collectors. Here they are put in order, by the same rules by which
`read.books` rebuilds a book: what is missing ends in a clear, and nothing follows it before a whole book does.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import polars as pl

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.read.chains import WHOLE_DEPTH

Action = Literal["clear", "snapshot", "delta"]
MAX_WAITING = 100_000
"""Changes that wait for a snapshot, of a book that has none; above it the oldest are forgotten."""


class _Row(NamedTuple):
    """A record of a book without its levels, and where it is."""

    frame: int
    place: int  # in the frame
    local: int
    exch: int
    whole: bool
    begin: int | None  # the update before its first one
    last_id: int | None
    depth: int


class _Event(NamedTuple):
    action: Action
    exch: int
    local: int
    last_id: int | None
    row: _Row | None


@dataclass
class BookEvents:
    """The events of one book. `gaps` are all of its gaps."""

    gaps: Sequence[Gap]
    live: bool = False
    last_id: int | None = None
    _is_deep: bool = False  # it has changes, or more levels than a stream of the best levels
    _passed: _Row | None = None  # the last whole book that was left out; updates may begin with it, as in `chains`
    _waiting: deque[_Row] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    _frames: dict[int, pl.DataFrame] = field(default_factory=dict)
    _next_gap: int = 0
    _count: int = 0

    def __post_init__(self) -> None:
        self.gaps = sorted((gap for gap in self.gaps if gap.cause != "repeat"), key=lambda gap: gap.ts_from)

    def start(self, at: int, last_id: int | None) -> None:
        """The book is known at this moment, in ns."""
        self.live, self.last_id, self._is_deep = True, last_id, True
        while self._next_gap < len(self.gaps) and self.gaps[self._next_gap].ts_from < at:
            self._next_gap += 1

    def take(self, records: pl.DataFrame, until: int) -> pl.DataFrame:
        """The events of records in the order of `local`, up to `until` in ns.

        Columns of records: local, exch (ns), whole, begin, last_id, bids, asks; of events: action, exch, local,
        last_id, bids, asks.
        """
        number = self._count = self._count + 1
        self._frames[number] = records
        depth = pl.max_horizontal(pl.col("bids").list.len(), pl.col("asks").list.len())
        columns = ("local", "exch", "whole", "begin", "last_id", depth)
        events: list[_Event] = []
        for place, values in enumerate(records.select(columns).iter_rows()):
            row = _Row(number, place, *values)
            events += self._gaps_before(row.local)
            events += self._whole(row) if row.whole else self._change(row)
        events += self._gaps_before(until)
        gathered = self._gathered(events)
        used = {row.frame for row in (*self._waiting, self._passed) if row}
        self._frames = {key: frame for key, frame in self._frames.items() if key in used}
        return gathered

    def _gaps_before(self, local: int) -> Iterator[_Event]:
        """A gap begins with the last good message: what was received later is after it."""
        while self._next_gap < len(self.gaps) and self.gaps[self._next_gap].ts_from < local:
            yield from self._broken(self.gaps[self._next_gap].ts_from)
            self._next_gap += 1

    def _broken(self, at: int) -> Iterator[_Event]:
        if self.live:
            yield _Event("clear", at, at, self.last_id, None)
        self.live, self.last_id, self._passed = False, None, None
        self._waiting.clear()

    def _whole(self, row: _Row) -> Iterator[_Event]:
        if self.live and row.last_id is not None and self.last_id is not None and row.last_id <= self.last_id:
            return  # it has nothing that is not in the book
        if self.live and self._is_deep and row.depth <= WHOLE_DEPTH:
            self._passed = row
            return  # of a stream of the best levels alone, or of another recorder
        yield from self._begun(row)

    def _begun(self, row: _Row) -> Iterator[_Event]:
        self._passed = None
        self.live, self.last_id, self._is_deep = True, row.last_id, row.depth > WHOLE_DEPTH
        yield _Event("snapshot", row.exch, row.local, row.last_id, row)
        waiting = [*self._waiting]
        self._waiting.clear()
        for change in waiting:  # received before the snapshot that they follow
            if row.last_id is not None:
                yield from self._change(change._replace(exch=row.exch, local=row.local))

    def _change(self, row: _Row) -> Iterator[_Event]:
        if not self.live:
            if row.last_id is not None:
                self._waiting.append(row)
            return
        if row.last_id is not None and self.last_id is not None:
            if row.last_id <= self.last_id:
                return
            if row.begin is not None and row.begin > self.last_id:
                base = self._passed
                if base is None or base.last_id is None or not row.begin <= base.last_id <= row.last_id:
                    yield from self._broken(row.local)
                    self._waiting.append(row)
                    return
                yield from self._begun(base._replace(exch=row.exch, local=row.local))
        self.last_id, self._is_deep = row.last_id, True
        yield _Event("delta", row.exch, row.local, row.last_id, row)

    def _gathered(self, events: Sequence[_Event]) -> pl.DataFrame:
        about = pl.DataFrame(
            {
                "action": [one.action for one in events],
                "exch": [one.exch for one in events],
                "local": [one.local for one in events],
                "last_id": [one.last_id for one in events],
                "frame": [one.row.frame if one.row else 0 for one in events],
                "place": [one.row.place if one.row else 0 for one in events],
            },
            schema={
                "action": pl.String,
                "exch": pl.Int64,
                "local": pl.Int64,
                "last_id": pl.Int64,
                "frame": pl.Int64,
                "place": pl.UInt32,
            },
        )
        levels = pl.concat(
            frame.select("bids", "asks").with_row_index("place").with_columns(frame=pl.lit(key, pl.Int64))
            for key, frame in self._frames.items()
        )
        return about.join(levels, ["frame", "place"], "left", maintain_order="left").drop("frame", "place")


def level_rows(events: pl.DataFrame) -> pl.DataFrame:
    """A row for each level of events, in their order: `place` is that within the event, bids and asks in turns.

    The first of an event that is not a delta clears the book: its `buy` is null, price and size are 0. Columns: event,
    exch, local, last_id, whole, place, buy, price, size.
    """
    numbered = events.with_row_index("event")
    whole, zero = pl.col("action") == "snapshot", pl.lit(0).cast(pl.Decimal(38, 18))
    clears = numbered.filter(pl.col("action") != "delta").select(
        "event", "exch", "local", "last_id", whole=whole, place=pl.lit(0, pl.UInt32), buy=pl.lit(None, pl.Boolean),
        price=zero, size=zero,
    )  # fmt: skip
    sides = [
        numbered.select("event", "exch", "local", "last_id", whole=whole, level=side, buy=pl.lit(side == "bids"))
        .explode("level")
        .filter(pl.col("level").is_not_null())
        .with_columns(price=pl.col("level").struct.field("price"), size=pl.col("level").struct.field("size"))
        .with_columns(place=pl.int_range(1, pl.len() + 1).over("event").cast(pl.UInt32) * 2 + (side == "asks"))
        for side in ("bids", "asks")
    ]
    return pl.concat([clears, *(side.select(clears.columns) for side in sides)]).sort("event", "place")

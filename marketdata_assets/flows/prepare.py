"""One unit, read to its end and through the handlers: the verdict on it, and its rows as the database takes them.

Nothing is written here but a spool of encoded rows; the transaction is in `unit`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
import polars as pl

from marketdata_assets.flows import conform, frames, reading
from marketdata_assets.flows.definition import FlowDefinition, Month, Target
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.frames import FrameSpool
from marketdata_assets.flows.handlers import Pipeline
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.text import OPEN_END, has_open_end
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.pgcopy import Spool, Text

MANY_VALUES = 1000
KEY_LOCKS = 64
EPOCH_2000_US = 946_684_800_000_000


class _Repeated(Exception):
    """A key may be twice in the unit: all its rows have to be compared."""


@dataclass
class Prepared:
    """A unit that may be loaded: each row read is among `rows`, in `rejects`, or was left out by a handler."""

    read: int = 0
    """Rows of the unit, and those that handlers have made beside them."""
    rows: int = 0
    skipped: int = 0
    """Rows that handlers, or rows of the same key, have left out."""
    rejects: list[Reject] = field(default_factory=list)
    content_hash: str = ""
    remark: str = ""
    """What a person should know of it although it is loaded."""
    undeclared: tuple[str, ...] = ()
    """Columns of the unit that the flow neither takes nor ignores."""
    months: set[str] = field(default_factory=set)
    leading: pl.Series | None = None
    """The different values of the key's first column; None when they are many."""
    locks: tuple[int, ...] = ()
    """Numbers below KEY_LOCKS, ascending: units that have a key in common have a number in common."""
    payload: Spool = field(default_factory=Spool)
    """The rows, encoded for Postgres."""
    frames: FrameSpool | None = None
    """The rows, for another store."""

    def close(self) -> None:
        """Release the rows."""
        self.payload.close()
        if self.frames:
            self.frames.close()


def prepare(opener: Opener, flow: FlowDefinition, unit: Unit, number: int) -> Prepared:
    """Read `unit`, whose number in the store is `number`; the caller closes what is prepared.

    Raises LoadError; then nothing of it may be loaded.
    """
    try:
        return _Preparation(opener, flow, unit, number).run(together=False)
    except _Repeated:
        return _Preparation(opener, flow, unit, number).run(together=True)


class _Preparation:
    def __init__(self, opener: Opener, flow: FlowDefinition, unit: Unit, number: int) -> None:
        self._opener = opener
        self._flow = flow
        self._unit = unit
        self._rejects = Rejects(flow.quality.limit)
        self._pipeline = Pipeline(flow, unit.place, self._rejects)
        self._owner = _owner(flow.target, unit, number)
        self._keys: list[pl.Series] = []
        self._leading: list[pl.Series] = []
        self._prepared = Prepared()
        if flow.target.kind != "postgres":
            self._prepared.frames = FrameSpool(frames.schema(flow.target))

    def run(self, together: bool) -> Prepared:
        try:
            with reading.frames(self._opener, self._unit, self._flow, self._rejects) as (read, stream):
                self._read(read, together or self._pipeline.whole)
                self._prepared.content_hash = stream.content_hash
            self._judge()
        except BaseException:
            self._prepared.close()
            raise
        return self._prepared

    def _read(self, read: Iterable[pl.DataFrame], together: bool) -> None:
        blocks: list[pl.DataFrame] = []
        for given in read:
            frame = self._pipeline.block(given)
            if self._rejects.hopeless:
                return
            if together:
                blocks.append(frame)
            else:
                self._take(frame)
        if together:
            self._take(self._pipeline.all(blocks or [self._pipeline.block(reading.empty(self._flow.loader))]))
        elif len(self._keys) > 1 and pl.concat(self._keys).n_unique() < self._prepared.rows:
            raise _Repeated

    def _take(self, frame: pl.DataFrame) -> None:
        """Encode the rows that fit the target."""
        flow, prepared = self._flow, self._prepared
        given, rejected = frame.height, len(self._rejects)
        frame = conform.conform(flow, self._unit.place, frame, self._rejects)
        if flow.target.key:
            keys = conform.key_hashes(flow, frame)
            if keys.n_unique() < frame.height:
                frame = conform.newest_of_keys(flow, frame, self._rejects)
                keys = conform.key_hashes(flow, frame)
            self._keys.append(keys)
            self._leading.append(_distinct(frame[flow.target.key[0]]))
        if isinstance(flow.partitions, Month):
            months = np.unique(frame[flow.partitions.month].to_numpy().astype("datetime64[M]"))
            prepared.months.update(np.datetime_as_string(months[~np.isnat(months)]).tolist())
        self._keep(frame)
        prepared.rows += frame.height
        self._pipeline.count(given, frame.height, len(self._rejects) - rejected)

    def _keep(self, frame: pl.DataFrame) -> None:
        if self._prepared.frames:
            self._prepared.frames.add(frames.typed(self._flow.target, frame))
            return
        for columns, rows in conform.encoded_columns(self._flow, frame):
            self._prepared.payload.add_rows([*columns, *self._owner], rows)

    def _judge(self) -> None:
        rejects, prepared = self._rejects, self._prepared
        prepared.undeclared = tuple(sorted(rejects.undeclared))
        if prepared.undeclared and self._flow.loader.new_columns == "fail":
            raise FlowError(
                f"{self._unit.place}: undeclared columns {', '.join(prepared.undeclared)}, and loader.new_columns is"
                " fail. Nothing of the file is loaded; name them in loader.columns or loader.ignored_columns, and run"
                " the flow again."
            )
        remedy = "Correct the file and deliver it again, or raise quality in the flow."
        rejects.check_limit(self._unit.place, remedy, self._raw)
        prepared.read = rejects.rows + self._pipeline.made
        lines = self._flow.loader.format in ("csv", "fixed_width") and not self._flow.loader.function
        open_end = lines and prepared.read and has_open_end(self._unit)
        prepared.remark = "; ".join([*rejects.remarks, *([OPEN_END] if open_end else [])])
        prepared.skipped = rejects.left_out + self._pipeline.left_out
        if self._leading:
            leading = _distinct(pl.concat(self._leading))
            prepared.leading = leading if len(leading) <= MANY_VALUES else None
            prepared.locks = _locks(prepared.leading)
        if rejects.reasons:
            prepared.rejects = rejects.for_quarantine(self._raw(set(rejects.reasons)))

    def _raw(self, lines: set[int]) -> dict[int, str]:
        return reading.raw_rows(self._opener, self._unit, self._flow, lines)


def _distinct(values: pl.Series) -> pl.Series:
    return values.head(1) if values.n_unique() == 1 else values.unique()


def _owner(target: Target, unit: Unit, number: int) -> list[Text]:
    """Our columns, which rows are written with: the number of their unit, and its time where that orders rows."""
    if target.mode == "append":
        return []
    columns = [Text(0, (number.to_bytes(4),))]
    if target.by_time:
        time_us = unit.file.modified_ns // 1000 - EPOCH_2000_US
        columns.append(Text(0, (time_us.to_bytes(8, signed=True),)))
    return columns


def _locks(leading: pl.Series | None) -> tuple[int, ...]:
    if leading is None:
        return tuple(range(KEY_LOCKS))
    return tuple(sorted({crc32(str(value).encode()) % KEY_LOCKS for value in leading.to_list()}))

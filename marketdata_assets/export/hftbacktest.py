"""Trades and books as the events of hftbacktest 2: one `.npz` of an instrument and day, with the array `data`.

https://hftbacktest.readthedocs.io/en/latest/data.html. An event has the venue's time and ours. The array is in the
order of both: an event for which they disagree is there twice, once for the exchange and once for the local side.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.export.book_events import level_rows
from marketdata_assets.export.exchange_rows import CannotExport, Day
from marketdata_assets.state_files import replacing

DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
LATEST_NS = 600_000_000_000
"""An event may be received so much later than another that happened after it."""

EVENT = np.dtype(
    [
        ("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"),
        ("order_id", "u8"), ("ival", "i8"), ("fval", "f8"),
    ],
    align=True,
)  # fmt: skip
Events = np.ndarray[Any, np.dtype[Any]]


def path_of(day: Day) -> Path:
    """Where the events of a day are, below the folder of the export."""
    return Path(day.exchange) / day.market_type / day.instrument.replace("/", "") / f"{day.date}.npz"


def write(path: Path, day: Day, parts: Iterable[Events]) -> int:
    """Write the events of consecutive spans as one file; the number of rows. Raises CannotExport."""
    rows = 0
    with tempfile.TemporaryFile() as raw:
        for part in ordered(parts, day):
            raw.write(part.tobytes())
            rows += len(part)
        raw.seek(0)
        with (
            replacing(path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("data.npy", "w", force_zip64=True) as member,
        ):
            header = {"descr": np.lib.format.dtype_to_descr(EVENT), "fortran_order": False, "shape": (rows,)}
            np.lib.format.write_array_header_1_0(member, header)  # the version that hftbacktest reads
            shutil.copyfileobj(raw, member, 1 << 20)
    return rows


def trades(frame: pl.DataFrame) -> Events:
    """The events of trades."""
    side = pl.when("buy").then(BUY).otherwise(SELL)
    return _events(frame.select("exch", "local", px="price", qty="size", ev=side + TRADE))


def depth(events: pl.DataFrame) -> Events:
    """The events of a book, in their order; of each the bids come first."""
    kind = pl.when("whole").then(SNAPSHOT).otherwise(DEPTH) + pl.when("buy").then(BUY).otherwise(SELL)
    rows = level_rows(events).sort("event", "buy", descending=[False, True], nulls_last=False, maintain_order=True)
    ev = pl.when(pl.col("buy").is_null()).then(CLEAR).otherwise(kind)
    return _events(rows.select("exch", "local", px="price", qty="size", ev=ev))


def by_receipt(parts: Sequence[Events]) -> Events:
    """Events of several kinds of one span, each in the order of `local_ts`, as one such array."""
    joined = np.concatenate([np.zeros(0, EVENT), *parts])
    return joined[np.argsort(joined["local_ts"], kind="stable")]


def ordered(parts: Iterable[Events], day: Day) -> Iterator[Events]:
    """Events in the order of both times. Each part is in the order of `local_ts`, and so are the parts."""
    held = np.zeros(0, EVENT)
    written = np.iinfo(np.int64).min
    for part in parts:
        held = np.concatenate([held, part])
        if len(held):
            newest = held["local_ts"][-1] - LATEST_NS
            settled = held["local_ts"] < newest
            cut = _cut(held, int(settled.sum()))
            if cut:
                written = _checked(held[:cut], written, day)
                yield _both(held[:cut])
                held = held[cut:]
    if len(held):
        _checked(held, written, day)
        yield _both(held)


def _cut(events: Events, settled: int) -> int:
    """The last place up to `settled` before which all events happened before those after it."""
    if not settled:
        return 0
    exch = events["exch_ts"]
    latest = np.maximum.accumulate(exch)
    earliest = np.minimum.accumulate(exch[::-1])[::-1]
    places = np.flatnonzero(latest[: settled - 1] <= earliest[1:settled]) + 1 if settled > 1 else np.zeros(0, int)
    return int(places[-1]) if len(places) else 0


def _checked(events: Events, written: int, day: Day) -> int:
    if events["exch_ts"].min() < written:
        raise CannotExport(
            f"{day.exchange} {day.market_type} {day.instrument} on {day.date}: an event was received more than"
            f" {LATEST_NS // 10**9} s after a later one. Use the layout plain."
        )
    return int(events["exch_ts"].max())


def _both(events: Events) -> Events:
    """Flag events that are in the order of both times for both sides, and repeat the others for each side."""
    exch = events["exch_ts"]
    latest = np.maximum.accumulate(exch)
    earliest = np.minimum.accumulate(exch[::-1])[::-1]
    fits = (latest <= exch) & (exch <= earliest)
    block = np.cumsum(fits) * 2 + ~fits
    index = np.arange(len(events))
    late = np.flatnonzero(~fits)
    rank = np.concatenate([index, late])  # within a block: by the venue's time for the exchange, then by ours
    time = np.concatenate([np.where(fits, index, exch), late])
    side = np.concatenate([np.zeros(len(index), int), np.ones(len(late), int)])
    order = np.lexsort([rank, time, side, np.concatenate([block, block[late]])])
    out = np.concatenate([events, events[late]])
    out["ev"] |= np.concatenate([np.where(fits, EXCH | LOCAL, EXCH), np.full(len(late), LOCAL)]).astype("u8")
    return out[order]


def _events(frame: pl.DataFrame) -> Events:
    events = np.zeros(frame.height, EVENT)
    for name, column in (("ev", "ev"), ("exch_ts", "exch"), ("local_ts", "local")):
        events[name] = frame[column].to_numpy()
    for name in ("px", "qty"):
        events[name] = frame[name].cast(pl.Float64).to_numpy()
    return events

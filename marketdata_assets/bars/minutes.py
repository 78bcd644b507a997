"""Sets of times as runs a minute apart: a trading day is two runs, so a month takes 60 bytes, and any set fits.

Times are microseconds since 1970, rising and distinct, in arrays of int64.
"""

import zlib
from typing import Any

import numpy as np

MINUTE = 60_000_000

Array = np.ndarray[Any, np.dtype[np.int64]]

NONE: Array = np.empty(0, np.int64)


def runs(times: Array) -> Array:
    """The first and the last time of each run without a gap, in one array."""
    if not len(times):
        return NONE
    gaps = np.flatnonzero(np.diff(times) != MINUTE)
    ends = np.empty((len(gaps) + 1, 2), np.int64)
    ends[0, 0], ends[1:, 0] = times[0], times[gaps + 1]
    ends[:-1, 1], ends[-1, 1] = times[gaps], times[-1]
    return ends.ravel()


def times(runs: Array) -> Array:
    """Every time of `runs`, in their order."""
    first, last = runs[::2], runs[1::2]
    counts = (last - first) // MINUTE + 1
    before = np.cumsum(counts) - counts
    numbers = np.arange(counts.sum()) - np.repeat(before, counts)
    found: Array = np.repeat(first, counts) + numbers * MINUTE
    return found


def pack(chosen: Array) -> bytes:
    """The set as bytes, the same for the same set."""
    return zlib.compress(np.diff(runs(chosen), prepend=0).astype("<i8").tobytes(), 1)


def unpack(packed: bytes) -> Array:
    """The set that `pack` was given."""
    return times(np.cumsum(np.frombuffer(zlib.decompress(packed), "<i8")))

"""Finding a (code, time) that a file has twice, with memory that does not grow while times only rise or only fall.

Which of the two rows is kept: the first.
"""

from typing import Any

import numpy as np

from marketdata_assets.bars.rules import Bars

Array = np.ndarray[Any, np.dtype[Any]]


class OutOfOrder(Exception):
    """Times neither only rise nor only fall, so keys must be remembered: read again with `remember=True`."""


class Duplicates:
    """Sees the bars of one file, block after block.

    With `remember` every key is kept, 16 bytes a row; without, only the last time of each code and its direction.
    """

    def __init__(self, remember: bool = False) -> None:
        self._remember = remember
        self._last: dict[str, tuple[int, int]] = {}
        self._numbers: dict[str, int] = {}
        self._seen = np.empty(0, dtype=[("code", "i8"), ("time", "i8")])

    def repeated(self, bars: Bars) -> Array | None:
        """Mask of bars whose key was seen before; None when there is none. May raise OutOfOrder."""
        if not len(bars):
            return None
        if self._remember:
            return self._by_keys(bars)
        for number, code in enumerate(bars.codes):
            times = bars.time if isinstance(bars.code, int) else bars.time[bars.code == number]
            if len(times):
                self._one_way(code, times)
        return None

    def _one_way(self, code: str, times: Array) -> None:
        last, direction = self._last.get(code, (None, 0))
        steps = np.diff(times) if last is None else np.diff(times, prepend=last)
        if len(steps):
            rising = bool(steps[0] > 0)
            direction = direction or (1 if rising else -1)
            if not (steps * direction > 0).all():
                raise OutOfOrder(code)
        self._last[code] = (int(times[-1]), direction)

    def _by_keys(self, bars: Bars) -> Array | None:
        numbers = np.array([self._numbers.setdefault(code, len(self._numbers)) for code in bars.codes])
        keys = np.empty(len(bars), dtype=self._seen.dtype)
        keys["code"] = numbers[bars.code]
        keys["time"] = bars.time
        everything = np.concatenate([self._seen, keys])
        first = np.unique(everything, return_index=True)[1]
        repeated = np.ones(len(everything), bool)
        repeated[first] = False
        fresh = repeated[len(self._seen) :]
        self._seen = everything[~repeated]
        return fresh if fresh.any() else None

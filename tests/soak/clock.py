"""The clock of the simulation: it stands where it was put, and goes on from there as fast as a real one.

Python's clocks follow it, those of Dagster's daemons and of the runs too; servers keep the real one. It begins in the
future, so that files which the servers and runs have just written are never younger than now.
"""

import datetime as dt
import time
from types import TracebackType
from typing import Self

import time_machine


class Clock:
    """Up between `with` and its end."""

    def __init__(self, start: dt.datetime) -> None:
        self.start = start
        self._travel = time_machine.travel(start, tick=True)
        self._coordinates: time_machine.Traveller | None = None

    def __enter__(self) -> Self:
        self._coordinates = self._travel.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._travel.stop()

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(time.time(), dt.UTC)

    def jump(self, moment: dt.datetime) -> None:
        """Stand at `moment`; a clock that has gone past it by itself stays where it is."""
        assert self._coordinates is not None
        if moment > self.now:
            self._coordinates.move_to(moment)


def coming_monday(now: dt.datetime) -> dt.datetime:
    """Midnight, UTC, of the next Monday: a start in the future, with two trading days after it."""
    day = now.date() + dt.timedelta(days=7 - now.weekday())
    return dt.datetime.combine(day, dt.time(), dt.UTC)

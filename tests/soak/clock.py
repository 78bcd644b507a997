"""The clock of the simulation: it starts where it was set, and runs from there as fast as a real one.

Python's clocks follow it, those of Dagster's daemons and of the runs too; servers keep the real one. It begins in the
future, so that files which the servers and runs have just written are never younger than now.
"""

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import time_machine


@dataclass(frozen=True)
class Clock:
    coordinates: time_machine.Traveller

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(time.time(), dt.UTC)

    def jump(self, moment: dt.datetime) -> None:
        """Jump to `moment`; a clock that has gone past it by itself stays where it is."""
        if moment > self.now:
            self.coordinates.move_to(moment)


@contextmanager
def running(start: dt.datetime) -> Iterator[Clock]:
    """A clock that begins at `start`."""
    with time_machine.travel(start, tick=True) as coordinates:
        yield Clock(coordinates)


def coming_monday(now: dt.datetime) -> dt.datetime:
    """Midnight, UTC, of the next Monday: a start in the future, with two trading days after it."""
    day = now.date() + dt.timedelta(days=7 - now.weekday())
    return dt.datetime.combine(day, dt.time(), dt.UTC)

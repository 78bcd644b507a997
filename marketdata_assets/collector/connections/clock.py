"""The clocks of a market: the one of this machine, which may be set at any moment, and a steady one for durations.

What is recorded has times of the former. Sockets and subscriptions have steady times, of which two can be subtracted:
ns since 1970 as the machine's clock would have gone on if nobody had set it since the process began.
"""

import time
from bisect import bisect_right
from collections.abc import Callable

SET_NS = 1_000_000_000
"""A smaller difference of the clocks is no setting: a process may wait between reading the one and the other."""


class Clock:
    """Both clocks of one process."""

    def __init__(self, time_ns: Callable[[], int] | None = None, monotonic_ns: Callable[[], int] | None = None) -> None:
        self.time_ns, self._monotonic_ns = time_ns or time.time_ns, monotonic_ns or time.monotonic_ns
        self._origin = self.time_ns() - self._monotonic_ns()
        self._set_at, self._steps = [0], [0]  # since when (steady ns), and by how much the clock was set in all

    def steady_ns(self) -> int:
        return self.steady(self.time_ns())

    def steady(self, received: int) -> int:
        """The steady time of a moment that was read from the machine's clock just now."""
        step = self.time_ns() - self._monotonic_ns() - self._origin
        if abs(step - self._steps[-1]) > SET_NS:
            self._steps.append(step)
            self._set_at.append(received - step)
        return received - self._steps[-1]

    def shown(self, at: int) -> int:
        """A steady time by the machine's clock of now, so that the time since then is right."""
        return at + self._steps[-1]

    def earliest(self, at: int) -> int:
        """A steady time by the machine's clock of then or of any time since, whichever is earliest.

        What was received before a moment has no later time, nor has what is received from now on. A suspended machine
        looks as if its clock was set, too.
        """
        return at + min(self._steps[max(0, bisect_right(self._set_at, at) - 1) :])

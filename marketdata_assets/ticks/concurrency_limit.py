"""How many requests may be under way at one provider: one more after each good round, half as many when it chokes.

How often it may be asked is the business of `meter`; this is about how many answers it works on at the same time.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class ConcurrencyLimit:
    """Lets at most `allowed` through at a time, from 1 up to `most`. Use within one event loop."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if most < 1:
            raise ValueError(f"most must be 1 or more, was {most}")
        self.most = most
        self.allowed = 1
        self.busy = 0
        self.halvings = 0
        self.clock = clock
        self._good = 0
        self._halved = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place, and keep it for the block."""
        while self.busy >= self.allowed:
            await self._wait()
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self._wake()

    def record(self, sent: float, choked: bool) -> None:
        """Learn from an answer; one to a request `sent` before the last halving says nothing about the present."""
        if sent < self._halved:
            return
        if choked:
            self.allowed = max(1, self.allowed // 2)
            self.halvings += 1
            self._good = 0
            self._halved = self.clock()
            return
        self._good += 1
        if self._good >= self.allowed:
            self.allowed = min(self.most, self.allowed + 1)
            self._good = 0
            self._wake()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            self._wake()  # the call may have been for this one
            raise

    def _wake(self) -> None:
        """Call as many as there are places; who finds none left waits again."""
        for _ in range(min(self.allowed - self.busy, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

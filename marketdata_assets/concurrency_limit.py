"""An adaptive limit of concurrent requests to one server: it grows by one, and is halved on overload (AIMD).

The rate of requests is limited elsewhere, in `budget` and `ticks/rate_limit`.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from marketdata_assets.logs import get_logger

log = get_logger(__name__)


class ConcurrencyLimit:
    """Admits at most `allowed` requests at a time, from 1 up to `maximum`. Use within one event loop.

    It grows when as many requests have succeeded and no earlier one is left: a server that is overloaded may answer
    some requests at once and the others never.
    As many requests as were too many are tried again only after `patience` times as many successes as another step
    takes: each trial costs requests.
    """

    def __init__(
        self, maximum: int, *, name: str = "", patience: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if maximum < 1:
            raise ValueError(f"maximum must be 1 or more, was {maximum}")
        self.maximum = maximum
        self.name = name
        self.patience = patience
        self.allowed = 1
        self.in_flight = 0
        self.halvings = 0
        self.clock = clock
        self._successes = 0
        self._too_many = maximum + 1
        self._round = self._earlier = 0
        self._halved_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and keep it for the block."""
        while self.in_flight >= self.allowed:
            await self._wait()
        self.in_flight += 1
        began = self._round
        try:
            yield
        finally:
            self.in_flight -= 1
            self._earlier -= began < self._round
            self._wake()

    def record(self, sent: float, overloaded: bool) -> None:
        """Learn from a response; one to a request `sent` before the last halving is ignored."""
        if sent < self._halved_at:
            return
        if overloaded:
            self._too_many = self.allowed
            self.allowed = max(1, self.allowed // 2)
            self.halvings += 1
            self._successes = 0
            self._halved_at = self.clock()
            log.warning("concurrency_reduced", provider=self.name, allowed=self.allowed, maximum=self.maximum)
            return
        self._successes += 1
        trial = self.allowed + 1 >= self._too_many
        if self._successes >= self.allowed * (self.patience if trial else 1) and not self._earlier:
            self.allowed = min(self.maximum, self.allowed + 1)
            self._round, self._earlier = self._round + 1, self.in_flight
            self._too_many = self.maximum + 1 if trial else self._too_many
            self._successes = 0
            self._wake()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            self._wake()  # the slot may have been for this waiter
            raise

    def _wake(self) -> None:
        """Wake as many waiters as there are slots; one that finds none left waits again."""
        for _ in range(min(self.allowed - self.in_flight, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

"""What is done again and again over REST: polls of what has no stream, and the list of instruments."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from marketdata_assets.collector.connections.state import JobState
from marketdata_assets.exchanges.errors import RequestRejected, VenueRateLimited, VenueUnavailable

NS = 1_000_000_000

NO_ANSWER = (VenueUnavailable, VenueRateLimited, RequestRejected)


@dataclass(eq=False)
class Job:
    """Does `act` every so many seconds. What goes wrong is noted, and the next turn comes as planned."""

    name: str
    every: float
    act: Callable[[], Awaitable[None]]
    at_once: bool = True
    runs: int = 0
    failures: int = 0
    last_at: int | None = None
    next_at: int | None = None
    last_error: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        pause = 0.0 if self.at_once else self.every
        while True:
            self.next_at = time.time_ns() + int(pause * NS)
            await asyncio.sleep(pause)
            begun = time.monotonic()
            await self.once()
            pause = max(0.0, self.every * random.uniform(0.95, 1.0) - (time.monotonic() - begun))  # noqa: S311

    async def once(self) -> bool:
        """Do it now; whether it went well."""
        self.last_at = time.time_ns()
        self.runs += 1
        try:
            await self.act()
        except NO_ANSWER as error:
            self.failures += 1
            self.last_error = str(error)[:300]
            return False
        self.last_error = None
        return True

    def state(self) -> JobState:
        return JobState(self.name, self.every, self.runs, self.failures, self.last_at, self.next_at, self.last_error)

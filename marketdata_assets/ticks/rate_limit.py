"""How often a provider may be asked: so many requests a minute and so many an hour, all processes together.

The minute is a `Budget`, which spaces the requests evenly. The hour is counted: it is larger than what is asked for at
a stretch, so spacing it too would slow every minute down. What a provider refuses for one interface silences that
interface only.
"""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from marketdata_assets.budget import Budget, BudgetBlocked, private_folder
from marketdata_assets.ticks.providers_file import RateLimits

SLOTS = 240
"""A period is counted in so many parts; one more part is waited for before a request is forgotten."""

_LONGEST_NAP_SECONDS = 5.0
_LANE_REQUESTS = 1e6
_SHORT_SECONDS = 0.05


@dataclass(frozen=True)
class Quota:
    """At most `requests` in any `per_seconds`, as soon as they are wanted, over all processes that share the file.

    Goes by the wall clock, because an hour may outlast a restart of the machine.
    """

    folder: Path
    name: str
    per_seconds: float
    requests: float
    clock: Callable[[], float] = time.time

    def take(self) -> float:
        """Count one request and return 0; or count nothing and return the seconds until it is worth asking again."""
        with _opened(self.folder, f"{self.name}.quota") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            slot = self.per_seconds / SLOTS
            now = self.clock()
            current = int(now / slot)
            counts = {number: count for number, count in _counts(handle.read()).items() if number > current - SLOTS - 2}
            if sum(counts.values()) + 1 > max(self.requests, 1):
                return max((min(counts) + SLOTS + 2) * slot - now, slot / 10)
            counts[current] = counts.get(current, 0) + 1
            handle.seek(0)
            handle.write(json.dumps(counts).encode())
            handle.truncate()
            return 0.0


@dataclass(frozen=True)
class RateLimiter:
    """Both limits of one account at one provider. `minute_seconds` and `hour_seconds` are shorter in tests."""

    folder: Path
    name: str
    limits: RateLimits
    longest_wait: float = 900.0
    minute_seconds: float = 60.0
    hour_seconds: float = 3600.0
    _minute: Budget = field(init=False)
    _hour: Quota = field(init=False)

    def __post_init__(self) -> None:
        minute = Budget(self.folder, self.name, self.minute_seconds, self.limits.requests_per_minute)
        hour = Quota(self.folder, self.name, self.hour_seconds, self.limits.requests_per_hour)
        object.__setattr__(self, "_minute", minute)
        object.__setattr__(self, "_hour", hour)

    async def acquire(self, lane: str) -> None:
        """Wait until `lane` may be asked; BudgetBlocked when that takes more than `longest_wait` seconds."""
        own = self._lane(lane)
        while True:
            await own.acquire(self.longest_wait)
            await self._minute.acquire(self.longest_wait)
            if not await _free(own):  # silenced while we waited for the minute
                continue
            wait = self._hour.take()
            if not wait:
                return
            if wait > self.longest_wait:
                raise BudgetBlocked(f"{self.name} (requests per hour)", wait)
            await asyncio.sleep(min(wait, _LONGEST_NAP_SECONDS))

    def block(self, lane: str, seconds: float) -> None:
        """Let nobody ask `lane` for `seconds`."""
        self._lane(lane).block(seconds)

    def _lane(self, lane: str) -> Budget:
        return Budget(self.folder, f"{self.name}.{lane}", 1.0, _LANE_REQUESTS)


async def _free(lane: Budget) -> bool:
    try:
        await lane.acquire(_SHORT_SECONDS)
    except BudgetBlocked:
        return False
    return True


def _opened(folder: Path, name: str) -> BinaryIO:
    private_folder(folder)
    return os.fdopen(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


def _counts(data: bytes) -> dict[int, int]:
    """What the file says; a torn one is no reason to stop, and counts as nothing."""
    try:
        return {int(number): int(count) for number, count in json.loads(data or b"{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}

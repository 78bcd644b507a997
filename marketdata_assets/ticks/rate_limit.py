"""The rate limit of a provider: so many requests a minute and so many an hour, over all processes.

The minute is a `Budget`, which spaces requests evenly. The hour is a counted quota: loads are usually shorter, so
spacing it as well would slow every minute down. A 429 for one interface blocks that interface only.
"""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.budget import Budget, BudgetBlocked, private_folder
from marketdata_assets.ticks.providers_file import RateLimits

SLOTS = 240  # a period is counted in so many slots; a request counts for one slot longer than the period

_LONGEST_NAP_SECONDS = 5.0
_INTERFACE_REQUESTS = 1e6
_SHORT_SECONDS = 0.05


@dataclass(frozen=True)
class Quota:
    """At most `requests` in any `per_seconds`, as soon as they are wanted, over all processes that share the file.

    Uses the wall clock, because an hour may span a restart of the machine.
    """

    folder: Path
    name: str
    per_seconds: float
    requests: float
    clock: Callable[[], float] = time.time

    def take(self) -> float:
        """Count one request and return 0; or count nothing and return the seconds until it is worth asking again."""
        private_folder(self.folder)
        file = os.open(self.folder / f"{self.name}.quota", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "r+b") as handle:
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


class RateLimiter:
    """Both limits of one account at one provider. `minute_seconds` and `hour_seconds` are shorter in tests."""

    def __init__(
        self,
        folder: Path,
        name: str,
        limits: RateLimits,
        *,
        longest_wait: float = 900.0,
        minute_seconds: float = 60.0,
        hour_seconds: float = 3600.0,
    ) -> None:
        self.folder, self.name, self.longest_wait = folder, name, longest_wait
        self._minute = Budget(folder, name, minute_seconds, limits.requests_per_minute)
        self._hour = Quota(folder, name, hour_seconds, limits.requests_per_hour)

    async def acquire(self, interface: str) -> None:
        """Wait for a request to `interface`; BudgetBlocked when that takes more than `longest_wait` seconds."""
        own = self._interface(interface)
        while True:
            await own.acquire(self.longest_wait)
            await self._minute.acquire(self.longest_wait)
            try:
                await own.acquire(_SHORT_SECONDS)
            except BudgetBlocked:  # while we waited for the minute
                continue
            wait = self._hour.take()
            if not wait:
                return
            if wait > self.longest_wait:
                raise BudgetBlocked(f"{self.name} (requests per hour)", wait)
            await asyncio.sleep(min(wait, _LONGEST_NAP_SECONDS))

    def block(self, interface: str, seconds: float) -> None:
        """Stop all requests to `interface` for `seconds`."""
        self._interface(interface).block(seconds)

    def _interface(self, interface: str) -> Budget:
        return Budget(self.folder, f"{self.name}.{interface}", 1.0, _INTERFACE_REQUESTS)


def _counts(data: bytes) -> dict[int, int]:
    """The counts of the file; a damaged file counts as empty."""
    try:
        return {int(number): int(count) for number, count in json.loads(data or b"{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}

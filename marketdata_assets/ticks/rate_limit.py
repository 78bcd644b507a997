"""The rate limit of a provider: so many requests a minute and so many an hour, over all processes.

The minute is a `Budget`, which spaces requests evenly. The hour is a counted quota: loads are usually shorter, so
spacing it as well would slow every minute down. A 429 for one interface blocks that interface only.
"""

import asyncio
import time

from marketdata_assets.budget import Budget, BudgetBlocked, BudgetPlace, Quota
from marketdata_assets.ticks.providers_file import RateLimits

_LONGEST_NAP_SECONDS = 5.0
_INTERFACE_REQUESTS = 1e6
_SHORT_SECONDS = 0.05
_OLD_SECONDS = 0.25


class RateLimiter:
    """Both limits of one account at one provider. `minute_seconds` and `hour_seconds` are shorter in tests."""

    def __init__(
        self,
        place: BudgetPlace,
        name: str,
        limits: RateLimits,
        *,
        longest_wait: float = 900.0,
        minute_seconds: float = 60.0,
        hour_seconds: float = 3600.0,
    ) -> None:
        self.place, self.name, self.longest_wait = place, name, longest_wait
        self._minute = Budget(place, name, minute_seconds, limits.requests_per_minute)
        self._hour = Quota(place, name, hour_seconds, limits.requests_per_hour)

    async def acquire(self, interface: str) -> None:
        """Wait for a request to `interface`; BudgetBlocked when that takes more than `longest_wait` seconds."""
        own = self._interface(interface)
        while True:
            await own.acquire(self.longest_wait)
            await self._minute.acquire(self.longest_wait)
            granted = time.monotonic()
            try:
                await own.acquire(_SHORT_SECONDS)
            except BudgetBlocked:  # while we waited for the minute
                continue
            wait = await self._hour.take()
            if not wait:
                if time.monotonic() - granted <= max(self._minute.lateness, _OLD_SECONDS):
                    return
                continue  # the turn is too old: the store, or this process, was stopped meanwhile
            if wait > self.longest_wait:
                raise BudgetBlocked(f"{self.name} (requests per hour)", wait)
            await asyncio.sleep(min(wait, _LONGEST_NAP_SECONDS))

    def block(self, interface: str, seconds: float) -> None:
        """Stop all requests to `interface` for `seconds`."""
        self._interface(interface).block(seconds)

    def _interface(self, interface: str) -> Budget:
        return Budget(self.place, f"{self.name}.{interface}", 1.0, _INTERFACE_REQUESTS)

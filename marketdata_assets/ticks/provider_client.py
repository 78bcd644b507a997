"""HTTP requests to a provider of ticks, with retries, within its rate limit and the limit of concurrent requests.

What a response means is decided by the caller. Nothing is sent to another server than the configured one.
"""

import asyncio
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Self, TypeVar

import httpx

from marketdata_assets.budget import Budget, BudgetBlocked, BudgetPlace, Quota
from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.ticks.errors import ProviderUnavailable, QuotaSpent, RequestRejected, TicksError
from marketdata_assets.ticks.providers_file import Network, RateLimits

T = TypeVar("T")

_LONGEST_NAP_SECONDS = 5.0
_INTERFACE_REQUESTS = 1e6
_SHORT_SECONDS = 0.05
_OLD_SECONDS = 0.25


class RateLimiter:
    """So many requests of one account a minute and so many an hour, over all processes.

    The minute is a `Budget`, which spaces requests evenly. The hour is a counted quota: loads are usually shorter, so
    spacing it as well would slow every minute down. A 429 for one interface blocks that interface only.
    `minute_seconds` and `hour_seconds` are shorter in tests.
    """

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


class ProviderClient:
    """Sends requests to one provider. Use within one event loop, and close it.

    `concurrency_limit` bounds concurrent requests; None is no limit.
    """

    def __init__(
        self,
        provider: str,
        url: str,
        limiter: RateLimiter,
        network: Network,
        *,
        secrets: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.provider = provider
        self.concurrency_limit: ConcurrencyLimit | None = None
        self._limiter = limiter
        self._locks: dict[str, asyncio.Lock] = {}
        policy = RetryPolicy(network.timeout, network.max_retries, network.backoff, sleep=sleep, jitter=jitter)
        try:
            self._http = HttpClient(url, policy, secrets=secrets, headers=headers)
        except ValueError as error:
            raise TicksError(f"URL of {provider}: {error}") from error
        self.close, self.redact, self.in_thread = self._http.close, self._http.redact, self._http.in_thread

    @property
    def sent(self) -> int:
        """Requests sent so far, retries included."""
        return self._http.sent

    async def send(
        self,
        what: str,
        interface: str,
        parse: Callable[[httpx.Response], T | RetryLater],
        method: str,
        path: str,
        **options: Any,
    ) -> T:
        """What `parse` makes of the first response that is not `RetryLater`; `what` names the request in errors.

        Raises ProviderUnavailable when every attempt ends in `RetryLater`, an error or a timeout, QuotaSpent when the
        rate limit is blocked for too long, and whatever `parse` raises.
        """
        attempt = partial(self._attempt, interface, parse, method, path, options)
        try:
            return await self._http.call_with_retry(attempt, partial(self._limiter.block, interface))
        except RetriesExhausted as error:
            if error.blocked:
                raise QuotaSpent(f"{self.provider} {what}", error.cause) from error
            raise ProviderUnavailable(f"{self.provider} {what}", error.attempts, error.cause) from error

    def rejected(self, what: str, response: httpx.Response, reason: str = "") -> RetryLater:
        """RetryLater for a transient status; RequestRejected for any other."""
        text = self._http.rejection(response, reason)
        later = self._http.retry_later(response, text)
        if later is None:
            raise RequestRejected(f"{self.provider} {what}", response.status_code, text)
        return later

    async def _attempt(
        self,
        interface: str,
        parse: Callable[[httpx.Response], T | RetryLater],
        method: str,
        path: str,
        options: dict[str, Any],
    ) -> T | RetryLater:
        acquire = partial(self._acquire, interface)
        if self.concurrency_limit is None:
            await acquire()
            return await self._http.send(parse, method, path, options)
        return await self._http.send_within(self.concurrency_limit, acquire, parse, method, path, options)

    async def _acquire(self, interface: str) -> None:
        """Wait for the rate limit one by one: if all read its files at once, each turn would cost as many reads."""
        async with self._locks.setdefault(interface, asyncio.Lock()):
            await self._limiter.acquire(interface)


class HttpProvider:
    """A provider that sends requests by `calls`, one an account. Use it within `async with`, in one event loop."""

    def __init__(self, *calls: ProviderClient) -> None:
        self._calls = calls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for calls in self._calls:
            await calls.close()

    @property
    def configured(self) -> bool:
        """Whether it can answer at all; without a token, a provider that needs one cannot."""
        return True

    def first_day(self, symbol: str) -> dt.date | None:
        """The first day that it has minute bars of a symbol of; None when they go back for years."""
        return None

    @property
    def requests(self) -> int:
        """Requests sent so far, repeated ones included."""
        return sum(calls.sent for calls in self._calls)

    def set_concurrency_limit(self, limit: ConcurrencyLimit) -> None:
        """Bound concurrent requests by `limit`, those of all accounts together."""
        for calls in self._calls:
            calls.concurrency_limit = limit

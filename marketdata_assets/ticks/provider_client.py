"""One request to a provider of ticks, until it is answered: a turn at the limiter and a place at the limit.

What an answer means is decided by the caller. Nothing is sent to another server than the configured one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import httpx

from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.ticks.concurrency_limit import ConcurrencyLimit
from marketdata_assets.ticks.errors import BadProviders, ProviderAway, QuotaSpent, RequestRefused
from marketdata_assets.ticks.providers_file import Network
from marketdata_assets.ticks.rate_limit import RateLimiter

T = TypeVar("T")

__all__ = ["ProviderClient", "RetryLater"]


class ProviderClient:
    """Sends requests to one provider. Use within one event loop, and close it.

    `limit` says how many are under way at a time; None is no limit.
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
        self._lines: dict[str, asyncio.Lock] = {}
        patience = RetryPolicy(network.timeout, network.max_retries, network.backoff, sleep=sleep, jitter=jitter)
        try:
            self._server = HttpClient(url, patience, secrets=secrets, headers=headers)
        except ValueError as error:
            raise BadProviders(f"URL of {provider}", str(error)) from error

    async def close(self) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def sent(self) -> int:
        """Requests sent so far."""
        return self._server.sent

    async def send(
        self,
        what: str,
        lane: str,
        judge: Callable[[httpx.Response], T | RetryLater],
        method: str,
        path: str,
        **options: Any,
    ) -> T:
        """What `judge` makes of the first answer that is not `RetryLater`; `what` names the request in errors.

        Raises ProviderAway when all attempts end in `RetryLater`, errors or timeouts, QuotaSpent when a turn is too far
        away, and whatever `judge` raises.
        """
        attempt = partial(self._in_turn, lane, judge, method, path, options)
        try:
            return await self._server.call_with_retry(attempt, partial(self._limiter.block, lane))
        except RetriesExhausted as error:
            if error.blocked:
                raise QuotaSpent(f"{self.provider} {what}", error.cause) from error
            raise ProviderAway(f"{self.provider} {what}", error.attempts, error.cause) from error

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call in the thread that reads answers."""
        return await self._server.in_thread(function, *arguments)

    def clean(self, text: str) -> str:
        """The text in one short line, without the token."""
        return self._server.redact(text)

    async def _in_turn(
        self,
        lane: str,
        judge: Callable[[httpx.Response], T | RetryLater],
        method: str,
        path: str,
        options: dict[str, Any],
    ) -> T | RetryLater:
        """One request. Its place is taken before its turn, so that turns are not saved up at the gate."""
        if self.concurrency_limit is None:
            await self._turn(lane)
            return await self._server.send(judge, method, path, options)
        async with self.concurrency_limit.slot():
            await self._turn(lane)
            sent = self.concurrency_limit.clock()
            answer = await self._server.request(method, path, options)
        verdict = await self._server.parsed(judge, answer)
        if not isinstance(verdict, RetryLater) or verdict.overloaded:
            self.concurrency_limit.record(sent, isinstance(verdict, RetryLater))
        return verdict

    async def _turn(self, lane: str) -> None:
        """Wait for a turn in a line: if all looked at the limiter at once, each turn would cost as many looks."""
        async with self._lines.setdefault(lane, asyncio.Lock()):
            await self._limiter.acquire(lane)

    def refused(self, what: str, response: httpx.Response, reason: str = "") -> RetryLater:
        """RetryLater for a status that may pass; RequestRefused for any other."""
        text = self._server.rejection(response, reason)
        later = self._server.retry_later(response, text)
        if later is None:
            raise RequestRefused(f"{self.provider} {what}", response.status_code, text)
        return later

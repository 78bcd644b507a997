"""Requests to the REST host of one venue: rate limits shared by all processes, pauses on demand, retries.

Responses are parsed by each venue's module `rest`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Self
from urllib.parse import urlencode

import httpx

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.errors import RequestRejected, VenueRateLimited, VenueUnavailable
from marketdata_assets.exchanges.records import Exchange, VenueError
from marketdata_assets.http_client import TOO_MANY_REQUESTS, HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

BANNED = 418  # Binance's response to a client that continues after 429

ErrorOf = Callable[[bytes], VenueError | None]
"""The venue's own error in the bytes of a response, if it is one; never raises."""

BodyOf = Callable[[Mapping[str, str | int]], bytes]
"""The JSON body of a request with these parameters."""

_LEAVE_ALONE = frozenset({TOO_MANY_REQUESTS, BANNED})


@dataclass(frozen=True)
class Answer:
    """An accepted response, and the requested URL, which names its subject."""

    url: str
    raw: bytes
    ts_recv: int  # ns


@dataclass(frozen=True)
class Limits:
    """The rate limits of a host or a pool of hosts: `host` counts every request by its cost, `lanes` some kinds of
    request in addition.

    All are shared by all processes. `longest_wait` is the longest pause in seconds that is waited for.
    """

    host: Budget
    lanes: Mapping[str, Budget] = field(default_factory=dict)
    longest_wait: float = 900.0


def limits_of(
    host: str,
    requests: float,
    seconds: float = 1.0,
    lanes: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> Callable[[BudgetPlace, object], Limits]:
    """The limits of a host by address, for the descriptor of its venue: so many requests, or their cost, in so many
    seconds; the same of each lane."""

    def limits(budgets: BudgetPlace, _: object) -> Limits:
        own = {
            lane: Budget(budgets, f"{host}.{lane.replace('/', '.')}", span, most)
            for lane, (most, span) in lanes.items()
        }
        return Limits(Budget(budgets, host, seconds, requests), own)

    return limits


class Rest:
    """Sends requests to one host of one venue. `error_of` finds the venue's error in a response of any status.

    With `body_of`, parameters are sent as the body of a POST; the URL of the answer names them anyway.
    """

    def __init__(
        self,
        venue: Exchange,
        url: str,
        limits: Limits,
        error_of: ErrorOf,
        *,
        body_of: BodyOf | None = None,
        patience: RetryPolicy | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.venue = venue
        self.limits = limits
        self._error_of, self._body_of, self._clock = error_of, body_of, clock
        self._server = HttpClient(url, patience or RetryPolicy(), headers=dict(headers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def get(self, path: str, params: Mapping[str, str | int], *, lane: str = "", cost: float = 1.0) -> Answer:
        """The first accepted response.

        Raises VenueUnavailable when every attempt ends in an error or a timeout, VenueRateLimited when the venue
        demands a pause longer than `longest_wait`, RequestRejected when it rejects the request.
        """
        query = f"{path}?{urlencode(params)}" if params else path
        what = f"{self.venue} {query}"

        async def attempt() -> bytes | RetryLater:
            if lane in self.limits.lanes:
                await self.limits.lanes[lane].acquire(self.limits.longest_wait)
            await self.limits.host.acquire(self.limits.longest_wait, cost=cost)
            judged = partial(self._judged, what)
            if self._body_of is None:
                return await self._server.send(judged, "GET", query, {})
            options = {"content": self._body_of(params), "headers": {"Content-Type": "application/json"}}
            return await self._server.send(judged, "POST", path, options)

        try:
            raw = await self._server.call_with_retry(attempt, self.limits.host.block)
        except RetriesExhausted as error:
            if error.blocked:
                log.warning("rate_limited", venue=self.venue, request=path, reason=error.cause)
                raise VenueRateLimited(what, error.cause) from error
            raise VenueUnavailable(what, error.attempts, error.cause) from error
        return Answer(self._server.url + query, raw, self._clock())

    def _judged(self, what: str, response: httpx.Response) -> bytes | RetryLater:
        """The bytes of an accepted response; raises RequestRejected."""
        error = self._error_of(response.content)
        if response.is_success and error is None:
            return response.content
        text = self._server.rejection(response, f"{error.code} {error.message}" if error else "")
        too_many = _LEAVE_ALONE | {response.status_code} if error and error.rate_limited else _LEAVE_ALONE
        banned = None  # seconds, where the venue names them
        if error and error.until_ms is not None:
            banned = max(error.until_ms / 1000 - self._clock() / 1e9, 0.0)
        later = self._server.retry_later(response, text, too_many=too_many, default_wait=banned)
        if later is None:
            raise RequestRejected(what, error.code if error else response.status_code, text)
        return later

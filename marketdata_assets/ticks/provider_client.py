"""HTTP requests to a provider of ticks, with retries, within its rate limit and the limit of concurrent requests.

What a response means is decided by the caller. Nothing is sent to another server than the configured one.
"""

import asyncio
import datetime as dt
import hashlib
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import httpx

from marketdata_assets.budget import Budget, BudgetBlocked, BudgetPlace, Quota
from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.errors import MarketDataError
from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy, block_all
from marketdata_assets.ticks.errors import (
    AccountBlocked,
    NoPermission,
    ProviderUnavailable,
    QuotaSpent,
    RequestRejected,
    TicksError,
    TokenRejected,
    UnknownSymbol,
)
from marketdata_assets.ticks.providers_file import Network, RateLimits, WebProvider
from marketdata_assets.ticks.rejections import BEIJING, DOOR_SECONDS, WEB, WHATEVER_THE_RATE, Rule, rule_of, seconds_of

T = TypeVar("T")

_LONGEST_NAP_SECONDS = 5.0
_INTERFACE_REQUESTS = 1e6
_SHORT_SECONDS = 0.05
_OLD_SECONDS = 0.25
_PAGE_TITLE = re.compile(r"<title[^>]*>\s*(.{1,80}?)\s*</title>", re.IGNORECASE | re.DOTALL)

ALL = ""
"""In place of an interface: all that the account has."""

REJECTED = (NoPermission, AccountBlocked, QuotaSpent, TokenRejected)
"""Errors that concern an interface or an account, whichever the request."""


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
        """Stop all requests to `interface`, or with ALL those of the account, for `seconds`."""
        (self._interface(interface) if interface else self._minute).block(seconds)

    def _interface(self, interface: str) -> Budget:
        return Budget(self.place, f"{self.name}.{interface}", 1.0, _INTERFACE_REQUESTS)


def rate_limiter(provider: str, config: WebProvider, place: BudgetPlace, secret: str = "") -> RateLimiter:
    """The limiter of the account that owns `secret`, which its files do not show; without one, of this machine."""
    account = f"-{hashlib.sha256(secret.encode()).hexdigest()[:12]}" if secret else ""
    return RateLimiter(place, provider + account, config.rate_limits)


class ProviderClient:
    """Sends requests to one provider with one account. Use within one event loop, and close it.

    `concurrency_limit` bounds concurrent requests; None is no limit. What is rejected for an interface, or for the
    whole account, is not requested again. `credentials` is the variable with its token, for errors.
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
        credentials: str = "",
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.provider = provider
        self.concurrency_limit: ConcurrencyLimit | None = None
        self._credentials, self._clock = credentials, clock
        self._rejected: dict[str, MarketDataError] = {}
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
        rate limit is blocked for too long, AccountBlocked when every attempt is one too many, and whatever `parse`
        raises. An error of REJECTED is raised again for what it concerns, and nothing is sent.
        """
        attempt = partial(self._attempt, interface, parse, method, path, options)
        try:
            return await self._http.call_with_retry(attempt, partial(self._limiter.block, interface))
        except RetriesExhausted as error:
            if error.blocked:
                self._rejected[interface] = QuotaSpent(f"{self.provider} {what}", error.cause)
                raise self._rejected[interface] from error
            if not error.rejected:
                raise ProviderUnavailable(f"{self.provider} {what}", error.attempts, error.cause) from error
            answer = self._until(DOOR_SECONDS, error.cause)
            rejection = AccountBlocked(self.provider, answer, WHATEVER_THE_RATE, DOOR_SECONDS)
        except AccountBlocked as error:
            if self._rejected.get(ALL) is error:
                raise
            rejection = error
        self._rejected[ALL] = rejection
        await block_all(partial(self._limiter.block, ALL), rejection.seconds)
        raise rejection

    async def probe(self, what: str, parse: Callable[[httpx.Response], T | RetryLater], path: str) -> T:
        """What `parse` makes of the response to one GET, sent once and without regard to the rate limit.

        Raises ProviderUnavailable, AccountBlocked, and whatever `parse` raises.
        """
        answer = await self._http.send(parse, "GET", path, {})
        if not isinstance(answer, RetryLater):
            return answer
        if answer.rejected:
            raise AccountBlocked(self.provider, f"now: {answer.cause}", WHATEVER_THE_RATE, 0.0)
        raise ProviderUnavailable(f"{self.provider} {what}", 1, self.redact(answer.cause))

    def rejected(
        self, interface: str, what: str, response: httpx.Response, reason: str = "", rules: Sequence[Rule] = WEB
    ) -> RetryLater:
        """RetryLater, or the error, for a response that is no data, by status and text; one that is cut is retried."""
        title = _PAGE_TITLE.search(response.text)
        page = f"a web page {title[1]!r}" if title else "a web page"
        text = self._http.rejection(response, page if response.text.lstrip().startswith("<") else reason)
        rule = rule_of(rules, response.status_code, response.text)
        if response.is_success and rule.then == "reject":
            return RetryLater(f"a response that cannot be parsed ({text[:80]})")
        wait = self._http.retry_later(response, text)
        return self.reject(interface, what, rule, response.status_code, text, wait.wait_seconds if wait else None)

    def reject(
        self, interface: str, what: str, rule: Rule, code: int, text: str, wait: float | None = None
    ) -> RetryLater:
        """RetryLater, or the error, that a `rule` makes of the answer with this code and text to the request `what`.

        `wait` are the seconds that the answer itself asks for.
        """
        text = self.redact(text) or "no reason given"
        said, whole = f"{code} ({text})", rule.scope == "account"
        match rule.then:
            case "reject":
                raise RequestRejected(f"{self.provider} {what}", code, text)
            case "retry" | "slow":
                pause = self._http.policy.backoff if wait is None and rule.then == "slow" else wait
                return RetryLater(said, pause, rejected=whole)
            case "token":
                raise self._rejected.setdefault(ALL, TokenRejected(self.provider, self._credentials, text))
            case "permission":
                error = NoPermission(self.provider, "every interface" if whole else interface, text)
                raise self._rejected.setdefault(ALL if whole else interface, error)
        seconds = seconds_of(rule, text, self._clock())
        if seconds > self._limiter.longest_wait:
            said = self._until(seconds, said)
        if whole:
            raise AccountBlocked(self.provider, said, rule.advice or "Run it again after that", seconds)
        return RetryLater(said, seconds)

    def _until(self, seconds: float, said: str) -> str:
        until = self._clock().astimezone(BEIJING) + dt.timedelta(seconds=seconds)
        return f"until {until:%Y-%m-%d %H:%M} Beijing time: {said}"

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
            self._check(interface)
            await self._limiter.acquire(interface)
        self._check(interface)  # again, as others were answered meanwhile

    def _check(self, interface: str) -> None:
        """Raise what was rejected before for the account or the interface."""
        if error := self._rejected.get(ALL) or self._rejected.get(interface):
            raise error.with_traceback(None)


class HttpProvider:
    """A provider that sends requests by `calls`, one an account. Use it within `async with`, in one event loop."""

    name: str
    config: WebProvider

    def __init__(self, *calls: ProviderClient) -> None:
        self._calls = calls

    def theirs(self, symbol: str) -> str:
        """The provider's name of a symbol. Raises UnknownSymbol."""
        name = self.config.symbol_mapping.theirs(symbol)
        if name is None:
            raise UnknownSymbol(self.name, symbol, "no rule of the symbol mapping fits")
        return name

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

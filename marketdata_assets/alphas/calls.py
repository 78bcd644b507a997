"""One request to the BRAIN API, until it is answered: a turn in the budget, a timeout, bounded retries.

What an answer means is decided by the caller, but for these: 429 and 5xx are asked again, other refusals are errors.
Nothing is sent to another server than the configured one.
"""

import asyncio
import datetime as dt
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx
import msgspec

from marketdata_assets.alphas.answers import reason
from marketdata_assets.alphas.errors import ApiAway, BadOptions, RequestRefused
from marketdata_assets.budget import Budget, BudgetBlocked
from marketdata_assets.web import retry_after, safe_url

T = TypeVar("T")

_TOO_MANY = 429
_ASK_AGAIN = frozenset({408, 425, _TOO_MANY})
_HIDDEN = "***"


@dataclass(frozen=True)
class Patience:
    """How long a request is tried. Pauses double from `first_pause` to `longest_pause`, each times a random number."""

    attempts: int = 6
    first_pause: float = 2.0
    longest_pause: float = 60.0
    timeout: float = 30.0
    longest_block: float = 900.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def pause(self, attempt: int) -> float:
        """Seconds to wait after this many attempts: exponential, with full jitter."""
        return min(self.longest_pause, self.first_pause * 2.0 ** (attempt - 1)) * self.random()


@dataclass(frozen=True)
class Answer(Generic[T]):
    """An answer that means something: `value` of a good one, None of a 401."""

    response: httpx.Response
    value: T | None


class Calls:
    """Sends requests to one server within one budget; cookies are kept in `jar`."""

    def __init__(self, url: str, budget: Budget, patience: Patience, secrets: tuple[str, ...] = ()) -> None:
        self.url = check_url(url)
        self.sent = 0
        self.patience = patience
        self._budget = budget
        self._secrets = secrets
        self._http = httpx.AsyncClient(timeout=patience.timeout, follow_redirects=False)
        self.jar = self._http.cookies.jar
        logging.getLogger("httpcore").setLevel(logging.INFO)  # at DEBUG it writes down headers, cookies among them

    async def close(self) -> None:
        await self._http.aclose()

    async def send(
        self, method: str, path: str, decode: Callable[[bytes], T], auth: tuple[str, str] | None = None
    ) -> Answer[T]:
        """The first good answer, decoded, or a 401.

        Raises RequestRefused for any other refusal, and ApiAway when all attempts end in errors, timeouts or answers
        that `decode` cannot read.
        """
        request = f"{method} {path}"
        cause = ""
        for attempt in range(1, self.patience.attempts + 1):
            await self._turn(request, attempt)
            try:
                async with asyncio.timeout(4 * self.patience.timeout):
                    response = await self._once(method, path, auth)
                if response.status_code == 401:
                    return Answer(response, None)
                if response.is_success:
                    return Answer(response, decode(response.content))
            except (httpx.HTTPError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
                cause = f"{type(error).__name__} {self.clean(str(error))}".strip()
                pause = self.patience.pause(attempt)
            else:
                cause = f"{response.status_code} ({self.clean(reason(response))})"
                if not self._worth_asking_again(response):
                    raise RequestRefused(request, response.status_code, self._refusal(response))
                pause = self._block(response, attempt)
            if attempt < self.patience.attempts and pause:
                await self.patience.sleep(pause)
        raise ApiAway(request, self.patience.attempts, cause)

    async def _once(self, method: str, path: str, auth: tuple[str, str] | None) -> httpx.Response:
        self.sent += 1
        return await self._http.request(method, self.url + path, auth=auth)

    def clean(self, text: str) -> str:
        """The text without anything that proves who we are, for errors."""
        cookies = tuple(cookie.value or "" for cookie in self.jar)
        for secret in filter(None, (*self._secrets, *cookies)):
            text = text.replace(secret, _HIDDEN)
        return text

    async def _turn(self, request: str, attempt: int) -> None:
        try:
            await self._budget.acquire(self.patience.longest_block)
        except BudgetBlocked as error:
            raise ApiAway(request, attempt - 1, str(error)) from error

    def _worth_asking_again(self, response: httpx.Response) -> bool:
        return response.status_code in _ASK_AGAIN or response.is_server_error

    def _block(self, response: httpx.Response, attempt: int) -> float:
        """Obey a Retry-After, all processes of the account together; else return how long this request alone waits."""
        asked = retry_after(response, dt.datetime.now(dt.UTC))
        if asked is None and response.status_code != _TOO_MANY:
            return self.patience.pause(attempt)
        self._budget.block(self.patience.pause(attempt) if asked is None else asked)
        return 0.0

    def _refusal(self, response: httpx.Response) -> str:
        if response.is_redirect:
            return "a redirect, which is not followed because it could lead our login to another server"
        return self.clean(reason(response))


def check_url(url: str) -> str:
    """The URL without a slash at its end; BadOptions when a login sent there could be read on the way."""
    try:
        return safe_url(url)
    except ValueError as error:
        raise BadOptions(f"the URL of BRAIN {error}") from error

"""One request to the BRAIN API, until it is answered: a turn in the account's budget, and what an answer means to all.

How often and after which pauses one asks again is the business of `marketdata_assets.http_client`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import httpx

from marketdata_assets.alphas.answers import reason
from marketdata_assets.alphas.errors import ApiAway, BadOptions, RequestRefused
from marketdata_assets.budget import Budget
from marketdata_assets.http_client import REDACTED, HttpClient, RetriesExhausted, RetryLater, RetryPolicy, safe_url

T = TypeVar("T")

PATIENCE = RetryPolicy(timeout=30.0, max_retries=5, backoff=2.0)
LONGEST_BLOCK_SECONDS = 900.0
"""A longer silence is told instead of waited for."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """An answer that means something: `value` of a good one, None of a 401."""

    response: httpx.Response
    value: T | None


class Calls:
    """Sends requests to one server within one budget; cookies are kept in `jar`."""

    def __init__(self, url: str, budget: Budget, patience: RetryPolicy, secrets: tuple[str, ...] = ()) -> None:
        self.url = check_url(url)
        self.patience = patience
        self._budget = budget
        self._server = HttpClient(self.url, patience, secrets=secrets)
        self.jar = self._server.jar
        logging.getLogger("httpcore").setLevel(logging.INFO)  # at DEBUG it writes down headers, cookies among them

    @property
    def sent(self) -> int:
        """Requests sent so far, repeated ones included."""
        return self._server.sent

    async def close(self) -> None:
        await self._server.close()

    async def send(
        self, method: str, path: str, decode: Callable[[bytes], T], auth: tuple[str, str] | None = None
    ) -> Answer[T]:
        """The first good answer, decoded, or a 401.

        Raises RequestRefused for any other refusal, and ApiAway when all attempts end in errors, timeouts or answers
        that `decode` cannot read.
        """
        request = f"{method} {path}"
        attempts = 0

        async def attempt() -> Answer[T] | RetryLater:
            nonlocal attempts
            attempts += 1
            await self._budget.acquire(LONGEST_BLOCK_SECONDS)
            judge = partial(self._judged, request, decode, self.patience.pause(attempts))
            return await self._server.send(judge, method, path, {"auth": auth})

        try:
            return await self._server.call_with_retry(attempt, self._budget.block)
        except RetriesExhausted as error:
            cause = str(error.__cause__) if error.blocked else error.cause
            raise ApiAway(request, error.attempts, cause) from error

    def _judged(
        self, request: str, decode: Callable[[bytes], T], pause: float, response: httpx.Response
    ) -> Answer[T] | RetryLater:
        """`pause` is for all of the account when the server wants one and does not say how long."""
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return Answer(response, None)
        if response.is_success:
            return Answer(response, decode(response.content))
        said = self.clean(reason(response))
        if later := self._server.retry_later(response, said, default_wait=pause):
            return later
        raise RequestRefused(request, response.status_code, self._server.rejection(response, said))

    def clean(self, text: str) -> str:
        """The text without anything that proves who we are, for errors."""
        for cookie in self.jar:
            text = text.replace(cookie.value, REDACTED) if cookie.value else text
        return self._server.redact(text)


def check_url(url: str) -> str:
    """The URL without a slash at its end; BadOptions when a login sent there could be read on the way."""
    try:
        return safe_url(url)
    except ValueError as error:
        raise BadOptions(f"the URL of BRAIN {error}") from error

"""One request to the BRAIN API: its turn in the account's budget, its retries, and what the response means.

Backoff and timeouts are in `marketdata_assets.http_client`.
"""

import datetime as dt
import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from marketdata_assets.alphas.errors import ApiUnavailable, BadOptions, RequestRejected
from marketdata_assets.alphas.raw_files import OLDEST, NoAlpha, alpha_of, members, split
from marketdata_assets.budget import Budget
from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.http_client import (
    REDACTED,
    HttpClient,
    RetriesExhausted,
    RetryLater,
    RetryPolicy,
    retry_after,
    safe_url,
)
from marketdata_assets.input_limits import NOT_JSON

_REASON_CHARACTERS = 200
_THROTTLED = re.compile(r"[A-Z]_THROTTLED\b|BIOMETRICS", re.IGNORECASE)
_AVAILABLE = re.compile(r"available in (\d+) second")


@dataclass(frozen=True)
class Page:
    """A page of the list: alphas as their raw bytes, and beside each its id and date.

    What is no alpha has its digest in place of an id: it is written with the others, and rejected when it is packaged.
    """

    count: int  # in the whole window, not on this page
    results: list[bytes]
    ids: list[str]
    created: list[dt.datetime | None]  # UTC; None where it is missing or no date


class _List(msgspec.Struct):
    count: int
    results: list[msgspec.Raw]


class _Token(msgspec.Struct):
    expiry: float  # seconds left


class Authentication(msgspec.Struct, frozen=True):
    """The response to a login: `{"user": {"id": ..}, "token": {"expiry": 14400.0}, "permissions": [..]}`.

    After an identity check the token may be missing, and a login that requires one may have an `inquiry` instead.
    """

    token: _Token | None = None
    inquiry: str | None = None


class Listed(msgspec.Struct):
    """A page of a catalogue: how many entries there are in all, and those of the page."""

    count: int
    results: list[dict[str, Any]]


_listed = msgspec.json.Decoder(Listed | list[dict[str, Any]])
_list = msgspec.json.Decoder(_List)


def decode_page(content: bytes) -> Page:
    """Decode a page of the list. Raises ValueError or msgspec.DecodeError."""
    content.decode()
    try:
        listed = _list.decode(content)
        count, results = listed.count, [bytes(raw) for raw in listed.results]
    except msgspec.DecodeError as error:
        found = members(content)
        if not {"count", "results"} <= found.keys():
            raise
        count, results = msgspec.json.decode(found["count"], type=int), split(found["results"], "results", False, error)
    page = Page(count, results, [], [])
    for raw in results:
        try:
            alpha = alpha_of(raw, OLDEST)
            name, created = alpha.id, alpha.created
        except NoAlpha:
            name, created = f"no alpha {hashlib.md5(raw, usedforsecurity=False).hexdigest()}", None
        page.ids.append(name)
        page.created.append(created)
    return page


def decode_listed(content: bytes) -> Listed:
    """Decode a page of a catalogue, or a whole one without pages. Raises msgspec.DecodeError."""
    found = _listed.decode(content)
    return Listed(len(found), found) if isinstance(found, list) else found


def decode_alpha(content: bytes) -> bytes:
    """Check that the response is one object and return it. Raises ValueError or msgspec.DecodeError."""
    members(content)
    return content


def decode_authentication(content: bytes) -> Authentication:
    """Decode the response to a login, which may be empty. Raises msgspec.DecodeError."""
    return msgspec.json.decode(content, type=Authentication) if content.strip() else Authentication()


def reason(response: httpx.Response) -> str:
    """Why the API rejects a request, in one line: `{"detail": ".."}`, or a 400 by field: `{"limit": [".."]}`."""
    try:
        body = response.json()
    except NOT_JSON:
        body = response.text
    if isinstance(body, dict):
        body = body.get("detail") or "; ".join(f"{key}: {_joined(value)}" for key, value in body.items())
    return " ".join(_joined(body).split())[:_REASON_CHARACTERS] or "no reason given"


def rejected(response: httpx.Response) -> bool:
    """Whether a login that is sent again unchanged would be answered the same, as that of a locked account."""
    return response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.FORBIDDEN)


def throttled(response: httpx.Response) -> bool:
    """Whether BRAIN throttles logins, for hours as BIOMETRICS_THROTTLED says, or another server answers for it.

    A 429 in any words does, unless it names a wait of minutes at most; so does a success that is no JSON.
    """
    if response.is_success:
        try:
            decode_authentication(response.content)
        except NOT_JSON:
            return True
        return False
    text = reason(response)
    if _THROTTLED.search(text):
        return True
    said = _said_wait(text)
    wait = retry_after(response, dt.datetime.now(dt.UTC)) if said is None else said
    return response.status_code == httpx.codes.TOO_MANY_REQUESTS and (wait is None or wait > LONGEST_BLOCK_SECONDS)


def _said_wait(text: str) -> float | None:
    """The seconds of `Expected available in 30 seconds.`"""
    said = _AVAILABLE.search(text)
    return float(said[1]) if said else None


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


T = TypeVar("T")

_LOGIN_PATH = re.compile(r"/authentication(/[A-Za-z0-9_-]+)*(\?.*)?")

RETRY_POLICY = RetryPolicy(timeout=30.0, max_retries=5, backoff=2.0)
LONGEST_BLOCK_SECONDS = 900.0
"""When the server asks for a longer pause the request fails instead of waiting."""


@dataclass(frozen=True)
class ApiResponse(Generic[T]):
    """A usable response: the decoded `value`, or None for a 401 and for a login that is rejected or throttled."""

    response: httpx.Response
    value: T | None


class ApiRequests:
    """Sends requests to one server within a rate budget and a limit of concurrency; cookies are kept in `jar`."""

    def __init__(
        self,
        url: str,
        budget: Budget,
        policy: RetryPolicy,
        concurrency_limit: ConcurrencyLimit,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.url = check_url(url)
        self.policy = policy
        self._limit = concurrency_limit
        self._budget = budget
        self._http = HttpClient(self.url, policy, secrets=secrets)
        self.jar = self._http.jar
        logging.getLogger("httpcore").setLevel(logging.INFO)  # at DEBUG it writes down headers, cookies among them

    @property
    def sent(self) -> int:
        """Requests sent so far, retries included."""
        return self._http.sent

    async def close(self) -> None:
        await self._http.close()

    async def send(
        self, method: str, path: str, decode: Callable[[bytes], T], auth: tuple[str, str] | None = None
    ) -> ApiResponse[T]:
        """The first successful response, decoded, or a 401, or that a login (with `auth`) is rejected or throttled.

        Nothing but a login is sent that could write to the account: raises RequestRejected for it and for any other
        rejection, and ApiUnavailable when all attempts end in errors, timeouts or
        responses that `decode` cannot read.
        """
        request = f"{method} {path}"
        if method != "GET" and not (method == "POST" and _LOGIN_PATH.fullmatch(path)):
            raise RequestRejected(request, 401, "it is answered with a link that is no login; nothing is sent to it")
        attempts = 0

        async def attempt() -> ApiResponse[T] | RetryLater:
            nonlocal attempts
            attempts += 1
            acquire = partial(self._budget.acquire, LONGEST_BLOCK_SECONDS)
            parse = partial(self._parsed, request, decode, self.policy.pause(attempts), auth is not None)
            return await self._http.send_within(self._limit, acquire, parse, method, path, {"auth": auth})

        try:
            return await self._http.call_with_retry(attempt, self._budget.block)
        except RetriesExhausted as error:
            cause = str(error.__cause__) if error.blocked else error.cause
            raise ApiUnavailable(request, error.attempts, cause) from error

    def _parsed(
        self, request: str, decode: Callable[[bytes], T], pause: float, login: bool, response: httpx.Response
    ) -> ApiResponse[T] | RetryLater:
        """`pause` stops all requests of the account when the server asks for a pause without its length."""
        if response.status_code == httpx.codes.UNAUTHORIZED or (login and (rejected(response) or throttled(response))):
            return ApiResponse(response, None)
        if response.is_success:
            return ApiResponse(response, decode(response.content))
        text = self.redact(reason(response))
        if later := self._http.retry_later(response, text, default_wait=_said_wait(text) or pause):
            return later
        raise RequestRejected(request, response.status_code, self._http.rejection(response, text))

    def redact(self, text: str) -> str:
        """The text without cookies and credentials, for errors."""
        for cookie in self.jar:
            text = text.replace(cookie.value, REDACTED) if cookie.value else text
        return self._http.redact(text)


def check_url(url: str) -> str:
    """The URL without a slash at its end; BadOptions when a login sent there could be intercepted."""
    try:
        return safe_url(url)
    except ValueError as error:
        raise BadOptions(f"the URL of BRAIN {error}") from error

"""HTTP requests with bounded retries, backoff with jitter and a timeout, never redirected to another server.

Rate limits, what a response means, and which error a failure becomes belong to the domains.
"""

import asyncio
import datetime as dt
import math
import random
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, TypeVar

import httpx

from marketdata_assets.backoff import delay
from marketdata_assets.budget import BudgetBlocked, BudgetUnavailable
from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.errors import TerminalError
from marketdata_assets.input_limits import MAX_RESPONSE_BYTES, NOT_JSON
from marketdata_assets.logs import get_logger
from marketdata_assets.proxies import LOOPBACK, environment_proxy

T = TypeVar("T")

DIRECT = "direct"  # instead of the URL of a proxy
MAX_BACKOFF_SECONDS = 60.0
TOO_MANY_REQUESTS = 429
RETRYABLE = frozenset({408, 425, TOO_MANY_REQUESTS})
REDACTED = "***"
_REASON_CHARACTERS = 200
_HOST = re.compile(r"https?://([^/?#@]+)", re.IGNORECASE)
_LARGE_BYTES = 50_000

log = get_logger(__name__)


@dataclass(frozen=True)
class RetryLater:
    """A request without a usable response: the cause, and for how many seconds the server asks all clients to wait.

    `slow` is a timeout; `rejected` says that the server rejects the client, whatever it requests.
    """

    cause: str
    wait_seconds: float | None = None
    slow: bool = False
    rejected: bool = False

    @classmethod
    def after(cls, error: Exception) -> "RetryLater":
        """What a request without a response ended with."""
        named = "" if isinstance(error, ResponseTooLong) else f"{type(error).__name__} "
        return cls(f"{named}{error}", slow=isinstance(error, httpx.TimeoutException | TimeoutError))

    @property
    def overloaded(self) -> bool:
        """Whether fewer concurrent requests would help."""
        return self.slow or self.wait_seconds is not None


@dataclass(frozen=True)
class RetryPolicy:
    """Timeout and retries of a request: the backoff doubles from `backoff`, and is multiplied by a random number.

    Seconds; no pause is longer than `max_backoff`. `proxy` is an `http://` URL, DIRECT for none, or None for that of
    the environment.
    """

    timeout: float = 30.0
    max_retries: int = 5
    backoff: float = 1.0
    max_backoff: float = MAX_BACKOFF_SECONDS
    proxy: str | None = None
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int) -> float:
        """Seconds to wait after this many attempts."""
        return delay(attempt, self.backoff, self.max_backoff, self.jitter)


class SocksProxy(TerminalError):
    """The environment names a SOCKS proxy, for which a package is missing."""

    def __init__(self, proxy: str) -> None:
        super().__init__(
            f"the proxy of the environment is {proxy.partition('://')[0]}://..., which needs the package socksio: run"
            " `pip install socksio`, or set HTTPS_PROXY to the http:// port of the same proxy"
        )


class RetriesExhausted(Exception):
    """Every attempt ended in `RetryLater`, or the rate budget was `blocked` for too long. Each domain translates it.

    `rejected` is that of the last attempt.
    """

    def __init__(self, attempts: int, cause: str, *, blocked: bool, rejected: bool = False) -> None:
        self.attempts, self.cause, self.blocked, self.rejected = attempts, cause, blocked, rejected
        super().__init__(cause)


class ResponseTooLong(Exception):
    """More than any response of our servers; the rest is not read."""

    def __init__(self) -> None:
        super().__init__(f"a response of more than {MAX_RESPONSE_BYTES // 1024 // 1024} MB, unpacked")


class HttpClient:
    """Requests to one server. Use within one event loop, and close it.

    ValueError for a URL over which secrets could be read on the way.
    """

    def __init__(
        self,
        url: str,
        policy: RetryPolicy,
        *,
        secrets: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        self.url = safe_url(url)
        self.policy = policy
        self.sent = 0
        self._secrets = tuple(filter(None, secrets))
        self._reader = ThreadPoolExecutor(1, "responses")
        proxy = environment_proxy(self.url) if policy.proxy is None else policy.proxy
        secure = self.url.startswith("https://")  # loading certificates takes long, and loopback has none
        try:
            self._http = httpx.AsyncClient(
                timeout=policy.timeout,
                follow_redirects=False,
                headers=headers,
                proxy=None if proxy == DIRECT else proxy,
                trust_env=False,
                verify=httpx.create_ssl_context() if secure else False,
            )
        except ImportError:
            raise SocksProxy(str(proxy)) from None
        self.jar = self._http.cookies.jar

    async def close(self) -> None:
        self._reader.shutdown(wait=False)
        await self._http.aclose()

    async def send(
        self, parse: Callable[[httpx.Response], T | RetryLater], method: str, path: str, options: dict[str, Any]
    ) -> T | RetryLater:
        """What `parse` makes of the response to one request; RetryLater when there is none that can be parsed."""
        return await self.parsed(parse, await self.request(method, path, options))

    async def send_within(
        self,
        limit: ConcurrencyLimit,
        acquire: Callable[[], Awaitable[None]],
        parse: Callable[[httpx.Response], T | RetryLater],
        method: str,
        path: str,
        options: dict[str, Any],
    ) -> T | RetryLater:
        """`send` within `limit`, which learns from the response; `acquire` waits for the rate limit."""
        async with limit.slot():  # before the rate limit, so that admitted requests do not pile up at it
            await acquire()
            sent = limit.clock()
            response = await self.request(method, path, options)
        result = await self.parsed(parse, response)
        if not isinstance(result, RetryLater) or result.overloaded:
            limit.record(sent, isinstance(result, RetryLater))
        return result

    async def request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response | RetryLater:
        """The response to one request; RetryLater when there is none."""
        self.sent += 1
        try:
            async with asyncio.timeout(4 * self.policy.timeout):
                async with self._http.stream(method, self.url + path, **options) as response:
                    return await _unpacked(response)
        except (httpx.HTTPError, TimeoutError, ResponseTooLong) as error:
            return RetryLater.after(error)

    async def download(self, path: str, file: BinaryIO) -> httpx.Response | RetryLater:
        """Write the body of the response to a GET, if it is a success, into `file` from its beginning.

        The response has no body, or that of the error. A silence longer than the timeout ends it, no length does.
        """
        self.sent += 1
        try:
            async with self._http.stream("GET", self.url + path) as response:
                if not response.is_success:
                    return await _unpacked(response)
                file.seek(0)
                file.truncate()
                async for piece in response.aiter_bytes():
                    file.write(piece)
                return httpx.Response(response.status_code, headers=response.headers, request=response.request)
        except (httpx.HTTPError, ResponseTooLong) as error:
            return RetryLater.after(error)

    async def parsed(
        self, parse: Callable[[httpx.Response], T | RetryLater], response: httpx.Response | RetryLater
    ) -> T | RetryLater:
        """What `parse` makes of a response, in a thread when it is large; RetryLater when it cannot be parsed."""
        if isinstance(response, RetryLater):
            return response
        try:
            if len(response.content) < _LARGE_BYTES:
                return parse(response)
            return await self.in_thread(parse, response)
        except NOT_JSON as error:
            return RetryLater(f"a response that cannot be parsed: {error}")

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call in a thread, so that the next request need not wait for it; one call at a time, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)

    async def call_with_retry(
        self, attempt: Callable[[], Awaitable[T | RetryLater]], block: Callable[[float], None]
    ) -> T:
        """The first result that is not `RetryLater`; `block` stops every client for the seconds the server asks for.

        Raises RetriesExhausted.
        """
        attempts = self.policy.max_retries + 1
        cause, rejected = "", False
        for number in range(1, attempts + 1):
            try:
                result = await attempt()
            except BudgetBlocked as error:
                raise RetriesExhausted(number - 1, cause or str(error), blocked=True) from error
            except BudgetUnavailable as error:
                result = RetryLater(str(error))
            if not isinstance(result, RetryLater):
                return result
            cause, rejected = self.redact(result.cause), result.rejected
            pause = result.wait_seconds
            if pause is not None:
                await block_all(block, pause)
            elif number < attempts:
                pause = self.policy.pause(number)
            log.warning("request_failed", server=self.url, attempt=number, attempts=attempts, wait_s=pause, error=cause)
            if pause is not None and result.wait_seconds is None:
                await self.policy.sleep(pause)
        raise RetriesExhausted(attempts, cause, blocked=False, rejected=rejected)

    def redact(self, text: str) -> str:
        """The text in one short line, without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return " ".join(text.split())[:_REASON_CHARACTERS]

    def retry_later(
        self,
        response: httpx.Response,
        text: str,
        *,
        too_many: frozenset[int] = frozenset({TOO_MANY_REQUESTS}),
        default_wait: float | None = None,
    ) -> RetryLater | None:
        """RetryLater for a transient status, with the wait that the server asks for; None for any other.

        `default_wait` is the wait after too many requests when the server does not name one; the backoff if None.
        """
        status = response.status_code
        if status not in RETRYABLE | too_many and not response.is_server_error:
            return None
        wait = retry_after(response, dt.datetime.now(dt.UTC))
        if wait is None and status in too_many:
            wait = self.policy.backoff if default_wait is None else default_wait
        return RetryLater(f"{status} ({text})", wait)

    def rejection(self, response: httpx.Response, text: str = "") -> str:
        """Why the server rejected a request."""
        if response.is_redirect:
            host = _HOST.match(response.headers.get("Location", ""))
            where = host[1] if host else "no host"
            return f"a redirect, which is not followed because it could lead to another server, to {where}"
        return self.redact(text or response.text) or "no reason given"


async def block_all(block: Callable[[float], None], seconds: float) -> None:
    """Call `block` in a thread, as budgets may be in a database; where it is unavailable, nobody gets a turn anyway."""
    try:
        await asyncio.to_thread(block, seconds)
    except BudgetUnavailable as error:
        log.warning("pause_not_stored", wait_s=seconds, error=error)


def safe_url(url: str) -> str:
    """The URL without a trailing slash; ValueError when what is sent there could be read on the way."""
    parsed = httpx.URL(url)
    if parsed.userinfo:
        raise ValueError("must not have a user or password in it")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.host in LOOPBACK):
        raise ValueError(f"must begin with https://, was {url}")
    return url.rstrip("/")


def retry_after(response: httpx.Response, now: dt.datetime) -> float | None:
    """The seconds of a Retry-After header, a number or a date; None when it is missing or cannot be parsed.

    A date is compared with the server's own clock where the response has one.
    """
    text = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    until = _http_date(text)
    if until is None:
        return None
    return max((until - (_http_date(response.headers.get("Date", "")) or now)).total_seconds(), 0.0)


def _http_date(text: str) -> dt.datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date


async def _unpacked(response: httpx.Response) -> httpx.Response:
    """The response with its content unpacked. Raises ResponseTooLong."""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_RESPONSE_BYTES:
            raise ResponseTooLong
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
    return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)

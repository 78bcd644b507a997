"""One request to a server, until it is answered: a timeout, bounded retries with jitter, and never another server.

Whose turn it is, what an answer means and which error comes of it is the domain's business.
"""

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec

from marketdata_assets.bounds import LARGEST_ANSWER
from marketdata_assets.budget import BudgetBlocked
from marketdata_assets.web import retry_after, safe_url

T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 60.0
TOO_MANY = 429
ASK_AGAIN = frozenset({408, 425, TOO_MANY})
_REASON_CHARACTERS = 200
_LARGE_BYTES = 50_000
HIDDEN = "***"


@dataclass(frozen=True)
class Later:
    """No answer now; `silence` is how many seconds nobody should ask for, when the server says so.

    `slow` is an answer that took too long.
    """

    cause: str
    silence: float | None = None
    slow: bool = False

    @property
    def choked(self) -> bool:
        """Whether fewer requests at a time would help."""
        return self.slow or self.silence is not None


@dataclass(frozen=True)
class Patience:
    """How long a request is tried: retries after pauses that double from `backoff`, each times a random number.

    Seconds; no pause is longer than `longest_pause`.
    """

    timeout: float = 30.0
    max_retries: int = 5
    backoff: float = 1.0
    longest_pause: float = LONGEST_PAUSE_SECONDS
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int) -> float:
        """Seconds to wait after this many attempts."""
        return min(self.longest_pause, self.backoff * 2.0 ** (attempt - 1)) * self.jitter()


class Unanswered(Exception):
    """All attempts ended in `Later`, or the next turn was `blocked` for longer than one waits. Each domain names it."""

    def __init__(self, attempts: int, cause: str, *, blocked: bool) -> None:
        self.attempts, self.cause, self.blocked = attempts, cause, blocked
        super().__init__(cause)


class AnswerTooLong(Exception):
    """More than any server of ours has to say; the rest is not read."""

    def __init__(self) -> None:
        super().__init__(f"an answer of more than {LARGEST_ANSWER // 1024 // 1024} MB, unpacked")


class Server:
    """One server. Use within one event loop, and close it. ValueError for a URL that could be read on the way."""

    def __init__(
        self,
        url: str,
        patience: Patience,
        *,
        secrets: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        self.url = safe_url(url)
        self.patience = patience
        self.sent = 0
        self._secrets = tuple(filter(None, secrets))
        self._reader = ThreadPoolExecutor(1, "answers")
        self._http = httpx.AsyncClient(
            timeout=patience.timeout,
            follow_redirects=False,
            headers=headers,
            verify=self.url.startswith("https://"),  # loading certificates takes long, and loopback has none
        )
        self.jar = self._http.cookies.jar

    async def close(self) -> None:
        self._reader.shutdown(wait=False)
        await self._http.aclose()

    async def once(
        self, judge: Callable[[httpx.Response], T | Later], method: str, path: str, options: dict[str, Any]
    ) -> T | Later:
        """What `judge` makes of the answer to one request; Later when there is none, or none that can be read."""
        return await self.judged(judge, await self.answer(method, path, options))

    async def answer(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response | Later:
        """The answer to one request; Later when there is none."""
        self.sent += 1
        try:
            async with asyncio.timeout(4 * self.patience.timeout):
                async with self._http.stream(method, self.url + path, **options) as response:
                    return await _whole(response)
        except (httpx.TimeoutException, TimeoutError) as error:
            return Later(f"{type(error).__name__} {error}", slow=True)
        except httpx.HTTPError as error:
            return Later(f"{type(error).__name__} {error}")
        except AnswerTooLong as error:
            return Later(str(error))

    async def judged(self, judge: Callable[[httpx.Response], T | Later], answer: httpx.Response | Later) -> T | Later:
        """What `judge` makes of an answer, in a thread when it is large; Later when it cannot be read."""
        if isinstance(answer, Later):
            return answer
        try:
            if len(answer.content) < _LARGE_BYTES:
                return judge(answer)
            return await self.aside(judge, answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return Later(f"an answer that cannot be read: {error}")

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call in a thread, so that the next request need not wait for it; one call at a time, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)

    async def insist(self, attempt: Callable[[], Awaitable[T | Later]], silence: Callable[[float], None]) -> T:
        """The first verdict that is not `Later`. `silence` keeps everybody from asking; raises Unanswered."""
        attempts = self.patience.max_retries + 1
        cause = ""
        for number in range(1, attempts + 1):
            try:
                verdict = await attempt()
            except BudgetBlocked as error:
                raise Unanswered(number - 1, cause or str(error), blocked=True) from error
            if not isinstance(verdict, Later):
                return verdict
            cause = self.clean(verdict.cause)
            if verdict.silence is not None:
                silence(verdict.silence)
            elif number < attempts:
                await self.patience.sleep(self.patience.pause(number))
        raise Unanswered(attempts, cause, blocked=False)

    def clean(self, text: str) -> str:
        """The text in one short line, without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return " ".join(text.split())[:_REASON_CHARACTERS]

    def passing(
        self,
        response: httpx.Response,
        text: str,
        *,
        too_many: frozenset[int] = frozenset({TOO_MANY}),
        unsaid: float | None = None,
    ) -> Later | None:
        """Later for a status that may pass, with the silence that the server wants; None for any other.

        `unsaid` is the silence after too many requests when the server does not say how long; the backoff if null.
        """
        status = response.status_code
        if status not in ASK_AGAIN | too_many and not response.is_server_error:
            return None
        asked = retry_after(response, dt.datetime.now(dt.UTC))
        if asked is None and status in too_many:
            asked = self.patience.backoff if unsaid is None else unsaid
        return Later(f"{status} ({text})", asked)

    def reason(self, response: httpx.Response, text: str = "") -> str:
        """Why the server refused."""
        if response.is_redirect:
            return "a redirect, which is not followed because it could lead to another server"
        return self.clean(text or response.text) or "no reason given"


async def _whole(response: httpx.Response) -> httpx.Response:
    """The response with its content unpacked. Raises AnswerTooLong."""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise AnswerTooLong
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
    return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)

"""One request to a provider, until it is answered: a turn at the meter, a timeout, bounded retries with jitter.

What an answer means is decided by the caller. Nothing is sent to another server than the configured one.
"""

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec

from marketdata_assets.budget import BudgetBlocked
from marketdata_assets.ticks.errors import BadProviders, ProviderAway, QuotaSpent, RequestRefused
from marketdata_assets.ticks.gate import Gate
from marketdata_assets.ticks.meter import Meter
from marketdata_assets.ticks.providers_file import Network
from marketdata_assets.web import retry_after, safe_url

T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 60.0
_ASK_AGAIN = frozenset({408, 425, 429})
_REASON_CHARACTERS = 200
_HIDDEN = "***"


@dataclass(frozen=True)
class Later:
    """No answer now; `silence` is how many seconds nobody should ask for, when the provider says so.

    `slow` is an answer that took too long.
    """

    cause: str
    silence: float | None = None
    slow: bool = False

    @property
    def choked(self) -> bool:
        """Whether fewer requests at a time would help."""
        return self.slow or self.silence is not None


class Calls:
    """Sends requests to one provider. Use within one event loop, and close it.

    `gate` says how many are under way at a time; None is no limit.
    """

    def __init__(
        self,
        provider: str,
        url: str,
        meter: Meter,
        network: Network,
        *,
        secrets: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.provider = provider
        self.url = checked_url(provider, url)
        self.sent = 0
        self.gate: Gate | None = None
        self._meter, self._network, self._secrets = meter, network, tuple(filter(None, secrets))
        self._sleep, self._jitter = sleep, jitter
        self._http = httpx.AsyncClient(
            timeout=network.timeout,
            follow_redirects=False,
            headers=headers,
            verify=self.url.startswith("https://"),  # loading certificates takes long, and loopback has none
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def send(
        self, what: str, lane: str, judge: Callable[[httpx.Response], T | Later], method: str, path: str, **options: Any
    ) -> T:
        """What `judge` makes of the first answer that is not `Later`; `what` names the request in errors.

        Raises ProviderAway when all attempts end in `Later`, errors or timeouts, QuotaSpent when a turn is too far
        away, and whatever `judge` raises.
        """
        attempts = self._network.max_retries + 1
        cause = ""
        for attempt in range(1, attempts + 1):
            try:
                verdict = await self._in_turn(lane, judge, method, path, options)
            except BudgetBlocked as error:
                raise QuotaSpent(f"{self.provider} {what}", cause or str(error)) from error
            if not isinstance(verdict, Later):
                return verdict
            cause = self.clean(verdict.cause)
            if verdict.silence is not None:
                self._meter.silence(lane, verdict.silence)
            elif attempt < attempts:
                await self._sleep(self._pause(attempt))
        raise ProviderAway(f"{self.provider} {what}", attempts, cause)

    def clean(self, text: str) -> str:
        """The text in one short line, without the token."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return " ".join(text.split())[:_REASON_CHARACTERS]

    async def _in_turn(
        self, lane: str, judge: Callable[[httpx.Response], T | Later], method: str, path: str, options: dict[str, Any]
    ) -> T | Later:
        """One request. Its place is taken before its turn, so that turns are not saved up at the gate."""
        if self.gate is None:
            await self._meter.turn(lane)
            return await self._once(judge, method, path, options)
        async with self.gate.place():
            await self._meter.turn(lane)
            sent = self.gate.clock()
            verdict = await self._once(judge, method, path, options)
        if not isinstance(verdict, Later) or verdict.choked:
            self.gate.heard(sent, isinstance(verdict, Later))
        return verdict

    async def _once(
        self, judge: Callable[[httpx.Response], T | Later], method: str, path: str, options: dict[str, Any]
    ) -> T | Later:
        self.sent += 1
        try:
            async with asyncio.timeout(4 * self._network.timeout):
                response = await self._http.request(method, self.url + path, **options)
        except (httpx.TimeoutException, TimeoutError) as error:
            return Later(f"{type(error).__name__} {error}", slow=True)
        except httpx.HTTPError as error:
            return Later(f"{type(error).__name__} {error}")
        try:
            return judge(response)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return Later(f"an answer that cannot be read: {error}")

    def _pause(self, attempt: int) -> float:
        return min(LONGEST_PAUSE_SECONDS, self._network.backoff * 2.0 ** (attempt - 1)) * self._jitter()

    def refused(self, what: str, response: httpx.Response, reason: str = "") -> Later:
        """Later for a status that may pass; RequestRefused for any other."""
        status = response.status_code
        text = self.clean(reason or response.text) or "no reason given"
        if status in _ASK_AGAIN or response.is_server_error:
            asked = retry_after(response, dt.datetime.now(dt.UTC))
            return Later(f"{status} ({text})", self._network.backoff if asked is None and status == 429 else asked)
        if response.is_redirect:
            text = "a redirect, which is not followed because it could lead to another server"
        raise RequestRefused(f"{self.provider} {what}", status, text)


def checked_url(provider: str, url: str) -> str:
    """The URL without a slash at its end; BadProviders when what is sent there could be read on the way."""
    try:
        return safe_url(url)
    except ValueError as error:
        raise BadProviders(f"URL of {provider}", str(error)) from error

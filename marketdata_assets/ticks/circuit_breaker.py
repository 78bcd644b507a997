"""A circuit breaker of one provider: in an outage one request at a time probes.

What an account is rejected is not requested again by `provider_client`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from marketdata_assets.backoff import delay
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.logs import get_logger
from marketdata_assets.ticks.errors import ProviderUnavailable

T = TypeVar("T")

OUTAGE_AFTER = 3  # consecutive requests without a response that count as an outage

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0

log = get_logger(__name__)


class CircuitBreaker:
    """Lets requests to a provider through, depending on the responses before. Use it for one load, in one event loop.

    Until the first response, and in an outage, one request at a time probes while the others wait; those that would
    wait for an outage of more than `patience` seconds fail with TransientError and are not sent.
    """

    def __init__(
        self,
        provider: str,
        *,
        patience: float,
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._provider, self._patience, self._pause = provider, patience, pause
        self._closed = False
        self._probing = False
        self._misses = 0
        self._since = 0.0  # of the first miss
        self._probe_at = 0.0
        self._cause = ""
        self._changed = asyncio.Event()

    async def call(self, symbol: str, request: Callable[[], Awaitable[T]]) -> T:
        """The response of `request`; raises what it raises, or TransientError."""
        await self._admit(symbol)
        probe = self._probing = not self._closed
        began = time.monotonic()
        try:
            response = await request()
        except ProviderUnavailable as error:
            self._missed(error, probe)
            raise
        except MarketDataError:
            self._answered(began)
            raise
        else:
            self._answered(began)
            return response
        finally:
            if probe:
                self._probing = False
            self._changed.set()
            self._changed = asyncio.Event()

    async def _admit(self, symbol: str) -> None:
        while True:
            if self._closed:
                return
            now = time.monotonic()
            if not self._probing and now >= self._probe_at:
                return
            outage = self._misses >= OUTAGE_AFTER
            if outage and now - self._since >= self._patience:
                raise TransientError(
                    f"{self._provider}: no request was sent for {symbol}: no successful response for"
                    f" {now - self._since:.0f} s ({self._cause}). Run the same partitions again when"
                    f" {self._provider} has recovered."
                )
            until = [] if self._probing else [self._probe_at]
            if outage:
                until.append(self._since + self._patience)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(min(until) - now, 0.0) if until else None):
                    await self._changed.wait()

    def _answered(self, began: float) -> None:
        if self._misses and began < self._since:
            return  # sent before the first miss
        if self._misses >= OUTAGE_AFTER and not self._closed:
            log.info("circuit_closed", provider=self._provider, outage_s=time.monotonic() - self._since)
        self._closed, self._misses = True, 0

    def _missed(self, error: ProviderUnavailable, probe: bool) -> None:
        if not self._closed and not probe:
            return  # sent before the outage was known
        now = time.monotonic()
        if not self._misses:
            self._since = now
        self._misses += 1
        self._cause = str(error)
        if self._misses >= OUTAGE_AFTER:
            self._closed = False
            pause = delay(self._misses - OUTAGE_AFTER + 1, self._pause, LONGEST_PAUSE_SECONDS, None)
            self._probe_at = now + pause
            log.warning("circuit_opened", provider=self._provider, misses=self._misses, next_probe_s=pause, error=error)

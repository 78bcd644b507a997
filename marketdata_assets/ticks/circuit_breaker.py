"""A provider that is not asked in vain: an outage is waited for once, and what a person has to mend is heard once."""

import asyncio
import time
from collections.abc import Callable

from marketdata_assets.backoff import delay
from marketdata_assets.errors import MarketDataError
from marketdata_assets.ticks.errors import (
    NoPermission,
    NoToken,
    ProviderAway,
    ProviderResting,
    QuotaSpent,
    TokenRefused,
)
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.providers_file import FilesProvider
from marketdata_assets.ticks.records import Days, Delivery

IN_A_ROW = 3
"""So many symbols without an answer are an outage."""

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0

_OF_THE_ACCOUNT = (TokenRefused, NoToken, NoPermission, QuotaSpent)


class CircuitBreaker:
    """A provider whose every answer counts for the symbols after it. Use it for one load, in one event loop.

    Until the first answer, and in an outage, one symbol at a time probes while the others wait; those that would wait
    for an outage of more than `patience` seconds fail with ProviderResting without being asked for. What the provider
    says of the whole account it says to all of them.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        patience: float,
        pause: float = FIRST_PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.label = provider.name, provider.label
        self._provider, self._patience, self._pause, self._clock = provider, patience, pause, clock
        self._final: MarketDataError | None = None
        self._answering = False
        self._probing = False
        self._missed = 0
        self._since = 0.0  # when the first of those was missed
        self._probe_at = 0.0
        self._cause = ""
        self._news = asyncio.Event()

    @property
    def config(self) -> FilesProvider:
        return self._provider.config

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """As the provider's own; raises ProviderResting too."""
        await self._admitted(symbol)
        probe = self._probing = not self._answering
        try:
            delivery = await self._provider.bars(symbol, days)
        except _OF_THE_ACCOUNT as error:
            self._final = error
            raise
        except ProviderAway as error:
            self._miss(error, probe)
            raise
        except MarketDataError:
            self._answer()
            raise
        else:
            self._answer()
            return delivery
        finally:
            if probe:
                self._probing = False
            self._tell()

    async def _admitted(self, symbol: str) -> None:
        while True:
            if self._final:
                raise self._final.with_traceback(None)
            if self._answering:
                return
            now = self._clock()
            if not self._probing and now >= self._probe_at:
                return
            outage = self._missed >= IN_A_ROW
            if outage and now - self._since >= self._patience:
                raise ProviderResting(self.name, symbol, now - self._since, self._cause)
            until = self._probe_at if not self._probing else float("inf")
            if outage:
                until = min(until, self._since + self._patience)
            await self._hear(until - now)

    async def _hear(self, seconds: float) -> None:
        """Wait until something changed, or so long."""
        try:
            async with asyncio.timeout(None if seconds == float("inf") else max(seconds, 0.0)):
                await self._news.wait()
        except TimeoutError:
            pass

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _answer(self) -> None:
        self._answering, self._missed = True, 0

    def _miss(self, error: ProviderAway, probe: bool) -> None:
        if not self._answering and not probe:
            return  # sent before the outage was known; it says nothing new
        now = self._clock()
        if not self._missed:
            self._since = now
        self._missed += 1
        self._cause = str(error)
        if self._missed >= IN_A_ROW:
            self._answering = False
            self._probe_at = now + delay(self._missed - IN_A_ROW + 1, self._pause, LONGEST_PAUSE_SECONDS, None)

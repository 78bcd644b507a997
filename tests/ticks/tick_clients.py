"""Clients of the test servers, with short pauses and limits that are in nobody's way unless a test says so."""

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.alpaca import Alpaca
from marketdata_assets.ticks.provider_client import HttpProvider, RateLimiter, rate_limiter
from marketdata_assets.ticks.providers_file import DroppedFiles, Network, RateLimits, WebProvider, shipped
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.tushare import Account, Tushare
from marketdata_assets.ticks.yahoo import Yahoo
from marketdata_demo.servers.alpaca import KEYS, AlpacaServer
from marketdata_demo.servers.tushare import TOKEN, TushareServer
from marketdata_demo.servers.yahoo import YahooServer

T = TypeVar("T")

SYMBOL = "600000.SH"
JUNE = Days.month("2025-06")
NOW = dt.datetime(2025, 6, 30, 8, tzinfo=dt.UTC)
NOON = dt.datetime(2026, 8, 14, 4, tzinfo=dt.UTC)
"""12:00 in Beijing: tomorrow begins in 12 hours."""

HASTY = Network(timeout=10.0, max_retries=3, backoff=0.01)
FREE = RateLimits(requests_per_minute=100000, requests_per_hour=1000000)


def week(first: str = "2025-06-02") -> Days:
    day = dt.date.fromisoformat(first)
    return Days(day, day + dt.timedelta(days=6))


def tushare_config(**changes: Any) -> WebProvider:
    section = shipped().tushare
    assert section
    return section.model_copy(update={"network": HASTY, "rate_limits": FREE, **changes})


def yahoo_config(**changes: Any) -> WebProvider:
    section = shipped().yahoo
    assert section
    return section.model_copy(update={"network": HASTY, "rate_limits": FREE, **changes})


def alpaca_config(**changes: Any) -> WebProvider:
    section = shipped().alpaca
    assert section
    return section.model_copy(update={"network": HASTY, "rate_limits": FREE, **changes})


def files_config(**changes: Any) -> DroppedFiles:
    section = shipped().files
    assert section
    return section.model_copy(update=changes)


@dataclass
class Clients:
    """Makes clients, and runs something with one."""

    home: Path

    def tushare(self, server: TushareServer, *, token: str | Sequence[str] | None = TOKEN, **options: Any) -> Tushare:
        config = options.pop("config", None) or tushare_config()
        limiter = options.pop("limiter", None)
        accounts = [
            Account(one, limiter or RateLimiter(self.home / "budgets", f"tushare-{number}", config.rate_limits))
            for number, one in enumerate([token] if isinstance(token, str) else token or [])
        ]
        return Tushare(accounts, config, url=server.url, **{"clock": lambda: NOON, **options})

    def yahoo(self, server: YahooServer, **options: Any) -> Yahoo:
        config = options.pop("config", None) or yahoo_config()
        limiter = options.pop("limiter", None) or rate_limiter("yahoo", config, self.home / "budgets")
        return Yahoo(config, limiter, url=server.url, clock=lambda: server.now, **options)

    def alpaca(self, server: AlpacaServer, **options: Any) -> Alpaca:
        config = options.pop("config", None) or alpaca_config()
        limiter = options.pop("limiter", None) or rate_limiter("alpaca", config, self.home / "budgets", "key")
        keys = options.pop("keys", KEYS)
        return Alpaca(keys, config, limiter, url=server.url, clock=lambda: server.now, **options)

    def with_tushare(
        self, server: TushareServer, body: Callable[[Tushare], Coroutine[Any, Any, T]], **options: Any
    ) -> T:
        return used(self.tushare(server, **options), body)

    def with_yahoo(self, server: YahooServer, body: Callable[[Yahoo], Coroutine[Any, Any, T]], **options: Any) -> T:
        return used(self.yahoo(server, **options), body)

    def with_alpaca(self, server: AlpacaServer, body: Callable[[Alpaca], Coroutine[Any, Any, T]], **options: Any) -> T:
        return used(self.alpaca(server, **options), body)


P = TypeVar("P", bound=HttpProvider)


def used(provider: P, body: Callable[[P], Coroutine[Any, Any, T]]) -> T:
    """What `body` makes of a provider, in an event loop of its own."""

    async def main() -> T:
        async with provider:
            return await body(provider)

    return asyncio.run(main())


def flag_names(flags: int) -> list[str]:
    """The names of FLAGS in a bar's `flags`."""
    return [name for name, bit in FLAGS.items() if flags & bit]

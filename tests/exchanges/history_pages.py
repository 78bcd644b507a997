"""What the tests of the venues' histories have in common: a venue's server and history, records of pages, windows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Gap, MarketType, Trade
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_assets.exchanges.rest_history import Page, Window
from marketdata_assets.http_client import RetryPolicy

MS = 1_000_000
MINUTE, HOUR = 60_000, 3_600_000
HASTY = RetryPolicy(timeout=10.0, max_retries=3, backoff=0.01)


def run(
    server: Any,
    folder: Path,
    market: tuple[str, MarketType],
    body: Callable[[Any], Coroutine[Any, Any, Any]],
    *names: str,
    allowed: Limits | None = None,
    listed: bool = False,
    now_ms: int | None = None,
) -> Any:
    """What `body` makes of a history that knows instruments by these names, or those of its list."""
    exchange, market_type = market
    venue = venues.find(exchange)
    derived = venue.feed(market_type, strict=False).instruments
    known: list[Instrument] = [derived[name] for name in names]
    free = Limits(Budget(folder, exchange, 1.0, 1_000_000))
    options: dict[str, Any] = {"body_of": venue.body_of, "patience": HASTY}
    if now_ms is not None:
        options["clock"] = partial(int, now_ms * MS)

    async def main() -> Any:
        async with Rest(exchange, server.url, allowed or free, venue.error_of, **options) as client:
            history: Any = venue.history(client, venue.adapter(venue, market_type))
            history.instruments.add(known)
            if listed:
                await history.listed()
            return await body(history)

    return asyncio.run(main())


async def all_of(pages: AsyncIterator[Page]) -> list[AnyRecord | Gap]:
    return [record async for page in pages for record in page.records]


def numbers(records: list[AnyRecord | Gap]) -> list[int]:
    """The numbers of the trades; Deribit's have the currency before them."""
    return [int(one.trade_id.rpartition("-")[2]) for one in records if isinstance(one, Trade)]


def windows_after(start_ms: int) -> Callable[[int, int], Window]:
    """Windows whose ends are given in ms after `start_ms`."""
    return lambda first, last: Window((start_ms + first) * MS, (start_ms + last) * MS)

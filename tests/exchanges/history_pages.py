"""What the tests of the venues' histories have in common: all records of some pages, and windows after a moment."""

from collections.abc import AsyncIterator, Callable

from marketdata_assets.exchanges.records import AnyRecord, Gap, Trade
from marketdata_assets.exchanges.rest_history import Page, Window
from marketdata_assets.http_client import RetryPolicy

MS = 1_000_000
HASTY = RetryPolicy(timeout=10.0, max_retries=3, backoff=0.01)


async def all_of(pages: AsyncIterator[Page]) -> list[AnyRecord | Gap]:
    return [record async for page in pages for record in page.records]


def numbers(records: list[AnyRecord | Gap]) -> list[int]:
    """The numbers of the trades; Deribit's have the currency before them."""
    return [int(one.trade_id.rpartition("-")[2]) for one in records if isinstance(one, Trade)]


def windows_after(start_ms: int) -> Callable[[int, int], Window]:
    """Windows whose ends are given in ms after `start_ms`."""
    return lambda first, last: Window((start_ms + first) * MS, (start_ms + last) * MS)

"""The best levels of the books that changed, at most every so many milliseconds, as records of the type `book_top`."""

import asyncio
from collections.abc import Callable, Sequence

from marketdata_assets.collector.items import BookTop, Item, Levels, Recorded, TopOf, items
from marketdata_assets.exchanges.records import Exchange, MarketType, OrderBook

Key = tuple[Exchange, MarketType, str]


class BookTops:
    """Makes records of books and passes them to `puts`. A book that is out of sync has none until it is valid again."""

    def __init__(
        self, levels: int, interval_seconds: float, top_of: TopOf, puts: Sequence[Callable[[Sequence[Item]], None]]
    ) -> None:
        self._levels, self._interval, self._top_of, self._puts = levels, interval_seconds, top_of, puts
        self._changed: dict[Key, OrderBook] = {}  # by the last update
        self._last: dict[Key, Levels] = {}

    def note(self, records: Sequence[Recorded]) -> None:
        """Remember the books that these records change."""
        for record in records:
            if isinstance(record, OrderBook):
                self._changed[record.exchange, record.market_type, record.instrument] = record

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if tops := self._tops():
                encoded = items(tops)
                for put in self._puts:
                    put(encoded)

    def _tops(self) -> list[BookTop]:
        """A record of each changed book whose best levels are others than before."""
        changed, self._changed = self._changed, {}
        tops = []
        for key, update in changed.items():
            levels = self._top_of(*key, self._levels)
            if levels is not None and levels != self._last.get(key):
                self._last[key] = levels
                tops.append(BookTop.of(update, levels))
        return tops

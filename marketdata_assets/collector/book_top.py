"""The best levels of an order book, for consumers that want neither all levels nor every update."""

from collections.abc import Callable, Sequence

from marketdata_assets.exchanges.records import Exchange, Level, MarketType, OrderBook, Record, SizeUnit

Levels = tuple[Sequence[Level], Sequence[Level]]
"""Bids and asks, best first."""

TopOf = Callable[[Exchange, MarketType, str, int], Levels | None]
"""The best n levels of both sides of an instrument, by the venue's name; None where no valid book exists."""


class BookTop(Record, frozen=True, gc=False, tag="book_top"):
    """The best levels of both sides, best first, after an update of the book."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    unit: SizeUnit
    last_id: int | None  # last update that is in it

    @classmethod
    def of(cls, update: OrderBook, levels: Levels) -> "BookTop":
        """The best levels after that update, with its times."""
        place = (update.exchange, update.market_type, update.symbol, update.instrument)
        content = (tuple(levels[0]), tuple(levels[1]), update.unit, update.last_id)
        return cls(*place, update.ts_event, update.ts_recv, *content)

"""What sinks receive: a record with its JSON, encoded once, and its subject and message id in JetStream."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from marketdata_assets.exchanges.records import (
    RECORDS,
    AnyRecord,
    Exchange,
    FundingRate,
    Gap,
    InstrumentState,
    Kline,
    Level,
    Liquidation,
    MarketType,
    OpenInterest,
    OrderBook,
    Record,
    SizeUnit,
    Ticker,
    Trade,
)

Levels = tuple[Sequence[Level], Sequence[Level]]
"""Bids and asks, best first."""

TopOf = Callable[[Exchange, MarketType, str, int], Levels | None]
"""The best n levels of both sides of an instrument, by the venue's name; None where no valid book exists."""


class BookTop(Record, frozen=True, gc=False, tag="book_top"):
    """The best levels of both sides of a book, best first, after an update of it."""

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


Recorded = AnyRecord | Gap | BookTop

STORED: tuple[type[msgspec.Struct], ...] = (*RECORDS, Gap)
"""Those that have a table."""

KINDS: tuple[type[msgspec.Struct], ...] = (*STORED, BookTop)
TAGS: dict[type[msgspec.Struct], str] = {kind: str(kind.__struct_config__.tag) for kind in KINDS}
"""The name of each type in JSON, subjects and message ids."""

CACHED_NAMES = 1 << 16
"""Above it, names are computed again."""

_NO_TOKEN = re.compile(r"[\x00-\x20\x7f.*>]")
_NO_HEADER = re.compile(r"[\x00-\x20\x7f%]")
_encode = msgspec.json.Encoder().encode


class Item(msgspec.Struct, frozen=True, gc=False):
    """A record, and its JSON. Queues hold many of them, which the garbage collector need not walk."""

    record: Recorded
    payload: bytes


def items(records: Iterable[Recorded]) -> list[Item]:
    """The records with their JSON, in the same order."""
    return [Item(record, _encode(record)) for record in records]


def moment(record: Recorded) -> int:
    """Receive time of the record; of a gap, when it was detected. Nanoseconds."""
    return record.ts_to if isinstance(record, Gap) else record.ts_recv


def subject(record: Recorded) -> str:
    """`market.<type>.<exchange>.<market_type>.<symbol>`; characters that a subject cannot have become `_`."""
    return names(record)[0]


def message_id(record: Recorded) -> str:
    """The deduplication id: the same for the same event, whichever socket or process received it.

    It consists of the venue's ids. Without ids it has the venue's time and the values, so two liquidations of one
    instrument with the same time, side, price and size count as one. A gap, and a snapshot without a time, are our own
    events and have our time.
    """
    return names(record)[1]


def names(record: Recorded) -> tuple[str, str]:
    """The subject and the message id."""
    kind = type(record)
    subject, prefix = _names(kind, record.exchange, record.market_type, record.symbol, record.instrument)
    return subject, prefix + _OWN[kind](record)


@lru_cache(CACHED_NAMES)
def _names(
    kind: type[msgspec.Struct], exchange: str, market_type: str, symbol: str, instrument: str
) -> tuple[str, str]:
    """The subject, and how the message ids of an instrument begin."""
    place = f"{TAGS[kind]}.{exchange}.{market_type}."
    return f"market.{place}{_NO_TOKEN.sub('_', symbol) or '_'}", f"{place}{_header(instrument)}."


def _header(text: str) -> str:
    """The text escaped for a header line; unique for each text."""
    return _NO_HEADER.sub(lambda match: f"%{ord(match[0]):02x}", text)


def _trade(trade: Trade) -> str:
    # Aggregated trades have their own numbering.
    number = trade.trade_id if trade.first_id is None else f"a{trade.trade_id}"
    return number if number.isalnum() else _header(number)


def _orderbook(book: OrderBook) -> str:
    if book.kind == "delta" and book.last_id is not None:
        return f"{book.first_id}-{book.last_id}-{book.ts_event or ''}"  # venues restart their numbering
    when = book.ts_recv if book.ts_event is None else book.ts_event
    if book.kind != "delta":
        return f"{book.kind[0]}{book.last_id}-{when}-{len(book.bids)}-{len(book.asks)}"
    return f"d{when}-{len(book.bids)}-{len(book.asks)}-{book.bids[:1]}{book.asks[:1]}".replace(" ", "")


def _kline(candle: Kline) -> str:
    state = {True: "c", False: "o", None: ""}[candle.closed]
    values = f"{candle.high}-{candle.low}-{candle.close}-{candle.volume}-{candle.contracts}-{candle.trades}"
    return f"{candle.interval}-{candle.open_time}-{candle.ts_event or ''}{state}-{values}"


def _ticker(ticker: Ticker) -> str:
    if ticker.update_id is not None:
        return f"u{ticker.update_id}-{ticker.ts_event or ''}"
    when = ticker.ts_recv if ticker.ts_event is None else ticker.ts_event
    prices = f"{ticker.last}-{ticker.bid}-{ticker.ask}-{ticker.mark_price}-{ticker.index_price}"
    return f"{when}-{prices}-{ticker.trades}-{ticker.volume}"


def _funding_rate(funding: FundingRate) -> str:
    values = f"{funding.rate}-{funding.predicted_rate}-{funding.mark_price}-{funding.index_price}"
    return f"{funding.ts_recv if funding.ts_event is None else funding.ts_event}-{funding.funding_time or ''}-{values}"


def _open_interest(interest: OpenInterest) -> str:
    when = interest.ts_recv if interest.ts_event is None else interest.ts_event
    return f"{when}-{interest.contracts}-{interest.size}-{interest.value}"


def _liquidation(liquidation: Liquidation) -> str:
    if liquidation.liquidation_id is not None:
        return _header(liquidation.liquidation_id)
    when = liquidation.ts_recv if liquidation.ts_event is None else liquidation.ts_event
    return f"{when}-{liquidation.side}-{liquidation.price}-{liquidation.size}-{liquidation.contracts}"


def _instrument_state(one: InstrumentState) -> str:
    return _header(f"{one.ts_recv}-{one.state}-{one.venue_state}")


def _book_top(top: BookTop) -> str:
    when = top.ts_recv if top.ts_event is None else top.ts_event
    return f"{top.last_id}-{when}-{len(top.bids)}-{len(top.asks)}"


def _gap(gap: Gap) -> str:
    ids = f"{gap.last_id}-{gap.next_id}-{gap.ts_from}-{gap.ts_to}-{gap.healed_at or ''}"
    return _header(f"{gap.stream}-{gap.cause}-{ids}")


_OWN: dict[type[msgspec.Struct], Callable[[Any], str]] = {
    Trade: _trade,
    OrderBook: _orderbook,
    Kline: _kline,
    Ticker: _ticker,
    FundingRate: _funding_rate,
    OpenInterest: _open_interest,
    Liquidation: _liquidation,
    InstrumentState: _instrument_state,
    Gap: _gap,
    BookTop: _book_top,
}


class BookTops:
    """The best levels of the books that changed, at most every so many seconds, as records that are passed to `puts`.

    A book that is out of sync has none until it is valid again.
    """

    def __init__(
        self, levels: int, interval_seconds: float, top_of: TopOf, puts: Sequence[Callable[[Sequence[Item]], None]]
    ) -> None:
        self._levels, self._interval, self._top_of, self._puts = levels, interval_seconds, top_of, puts
        self._changed: dict[tuple[Exchange, MarketType, str], OrderBook] = {}  # by the last update
        self._last: dict[tuple[Exchange, MarketType, str], Levels] = {}

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

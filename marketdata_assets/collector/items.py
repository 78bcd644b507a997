"""What sinks receive: a record with its JSON, encoded once, and its subject and message id in JetStream."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from marketdata_assets.exchanges.records import (
    RECORDS,
    AnyRecord,
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
)

Recorded = AnyRecord | Gap

KINDS: tuple[type[msgspec.Struct], ...] = (*RECORDS, Gap)
TAGS: dict[type[msgspec.Struct], str] = {kind: str(kind.__struct_config__.tag) for kind in KINDS}
"""The name of each type in JSON, subjects and message ids."""

CACHED_NAMES = 1 << 16
"""Above it, names are computed again."""

_NO_TOKEN = re.compile(r"[\x00-\x20\x7f.*>]")
_NO_HEADER = re.compile(r"[\x00-\x20\x7f%]")
_encode = msgspec.json.Encoder().encode


class Item(NamedTuple):
    """A record, and its JSON."""

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
    return _subject(TAGS[type(record)], record.exchange, record.market_type, record.symbol)


def message_id(record: Recorded) -> str:
    """The deduplication id: the same for the same event, whichever socket or process received it.

    It consists of the venue's ids. Without ids it has the venue's time and the values, so two liquidations of one
    instrument with the same time, side, price and size count as one. A gap, and a snapshot without a time, are our own
    events and have our time.
    """
    prefix = _prefix(TAGS[type(record)], record.exchange, record.market_type, record.instrument)
    return prefix + _OWN[type(record)](record)


@lru_cache(CACHED_NAMES)
def _subject(tag: str, exchange: str, market_type: str, symbol: str) -> str:
    return f"market.{tag}.{exchange}.{market_type}.{_NO_TOKEN.sub('_', symbol) or '_'}"


@lru_cache(CACHED_NAMES)
def _prefix(tag: str, exchange: str, market_type: str, instrument: str) -> str:
    return f"{tag}.{exchange}.{market_type}.{_header(instrument)}."


def _header(text: str) -> str:
    """The text escaped for a header line; unique for each text."""
    return _NO_HEADER.sub(lambda found: f"%{ord(found[0]):02x}", text)


def _trade(one: Trade) -> str:
    # Aggregated trades have their own numbering.
    number = one.trade_id if one.first_id is None else f"a{one.trade_id}"
    return number if number.isalnum() else _header(number)


def _orderbook(one: OrderBook) -> str:
    if one.kind == "delta" and one.last_id is not None:
        return f"{one.first_id}-{one.last_id}"
    when = one.ts_recv if one.ts_event is None else one.ts_event
    if one.kind == "snapshot":
        return f"s{one.last_id}-{when}-{len(one.bids)}-{len(one.asks)}"
    return f"d{when}-{len(one.bids)}-{len(one.asks)}-{one.bids[:1]}{one.asks[:1]}".replace(" ", "")


def _kline(one: Kline) -> str:
    state = {True: "c", False: "o", None: ""}[one.closed]
    values = f"{one.high}-{one.low}-{one.close}-{one.volume}-{one.contracts}-{one.trades}"
    return f"{one.interval}-{one.open_time}-{one.ts_event or ''}{state}-{values}"


def _ticker(one: Ticker) -> str:
    if one.update_id is not None:
        return f"u{one.update_id}-{one.ts_event or ''}"
    when = one.ts_recv if one.ts_event is None else one.ts_event
    return f"{when}-{one.last}-{one.bid}-{one.ask}-{one.mark_price}-{one.index_price}-{one.trades}-{one.volume}"


def _funding_rate(one: FundingRate) -> str:
    values = f"{one.rate}-{one.predicted_rate}-{one.mark_price}-{one.index_price}"
    return f"{one.ts_recv if one.ts_event is None else one.ts_event}-{one.funding_time or ''}-{values}"


def _open_interest(one: OpenInterest) -> str:
    return f"{one.ts_recv if one.ts_event is None else one.ts_event}-{one.contracts}-{one.size}-{one.value}"


def _liquidation(one: Liquidation) -> str:
    if one.liquidation_id is not None:
        return _header(one.liquidation_id)
    when = one.ts_recv if one.ts_event is None else one.ts_event
    return f"{when}-{one.side}-{one.price}-{one.size}-{one.contracts}"


def _gap(one: Gap) -> str:
    ids = f"{one.last_id}-{one.next_id}-{one.ts_from}-{one.ts_to}-{one.healed_at or ''}"
    return _header(f"{one.stream}-{one.cause}-{ids}")


_OWN: dict[type[msgspec.Struct], Callable[[Any], str]] = {
    Trade: _trade,
    OrderBook: _orderbook,
    Kline: _kline,
    Ticker: _ticker,
    FundingRate: _funding_rate,
    OpenInterest: _open_interest,
    Liquidation: _liquidation,
    Gap: _gap,
}

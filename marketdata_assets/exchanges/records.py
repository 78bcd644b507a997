"""What a venue's message becomes: records of eight types, gaps, control messages, venue errors and dead letters.

Prices and sizes are decimals as text, exactly as published; nothing passes through a float. Times are nanoseconds
since 1970 in UTC, `ts_event` by the venue's clock and `ts_recv` by ours, which may run behind it. What a venue does
not send is null.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self

import msgspec
from msgspec.structs import replace

from marketdata_assets.exchanges.errors import BadMessage

Exchange = str  # the name of a venue; `venues` knows which there are
MarketType = Literal["spot", "linear", "inverse", "option"]
DataType = Literal[
    "trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation", "instrument_state"
]
"""The tags of the records below."""

Side = Literal["buy", "sell"]
SizeUnit = Literal["base", "contracts", "quote"]
"""What a published size counts: coins, contracts, or units of the quote currency, as USD of some inverse futures."""

State = Literal["prelaunch", "trading", "suspended", "settling", "delisted", "unknown"]
"""Of an instrument: to be traded later; traded; not traded now, as in maintenance, or with orders that cannot trade;
expired or withdrawn, its positions being settled; gone; a word of the venue that we do not know."""

TradeFlag = Literal["block", "rpi", "combo", "liquidation"]
"""What distinguishes a trade: it was agreed outside of the book; with an order that only retail traders meet, of OKX's
and Bybit's and Binance's programs of price improvement; as a leg of a combination; by a forced order."""

DecimalText = str  # text of a decimal number, as the venue wrote it

Level = tuple[DecimalText, DecimalText]
"""Price and size, the size in the record's `unit`. In a delta, size 0 removes the level."""

EARLIEST, DAY = 1_262_304_000_000_000_000, 86_400_000_000_000  # ns: 2010, and a day


def recorded_at(ns: int, text: str, unit: str) -> int:
    """The time of something that another recorder wrote as `text`. Raises ValueError for one of another unit."""
    if EARLIEST <= ns < time.time_ns() + DAY:
        return ns
    raise ValueError(f"the time {text[:40]} is before 2010 or after tomorrow; write times in {unit} since 1970")


class Record(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """What all records say."""

    exchange: Exchange
    market_type: MarketType
    symbol: str  # BASE-QUOTE, for a dated future or an option with more, as BTC-USD-250328-60000-C
    instrument: str  # the venue's own name
    ts_event: int | None  # ns; null where the message carries no time
    ts_recv: int  # ns


class Trade(Record, frozen=True, gc=False, tag="trade"):
    """One trade, or an aggregate of trades (`first_id` to `last_id`)."""

    trade_id: str
    price: DecimalText
    size: DecimalText | None  # base units; null when only contracts are known
    contracts: DecimalText | None  # where the venue trades contracts
    side: Side  # of the taker
    first_id: str | None = None
    last_id: str | None = None
    sequence: int | None = None  # where the venue numbers an instrument's trades without gaps: the number of the last
    flags: tuple[TradeFlag, ...] = ()  # an aggregate has those of any of its trades


class OrderBook(Record, frozen=True, tag="orderbook"):
    """A whole book, or what changed in it. Levels are best first in a whole book, as published in a delta.

    A `checkpoint` is no message of the venue: the verified book of the collector at a time of our clock, up to which
    nothing was received that follows `last_id`.
    """

    kind: Literal["snapshot", "delta", "checkpoint"]
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    unit: SizeUnit
    first_id: int | None  # first update that is in it
    last_id: int | None  # last update that is in it
    prev_id: int | None = None  # the update it follows, where the venue says so


class Kline(Record, frozen=True, gc=False, tag="kline"):
    """One candle. `closed` is null where the venue does not say."""

    interval: str  # 1m, 1h, 1d, 1M is a month
    open_time: int  # ns
    close_time: int  # ns, the first moment that is no longer in it
    open: DecimalText
    high: DecimalText
    low: DecimalText
    close: DecimalText
    volume: DecimalText | None  # base units
    contracts: DecimalText | None
    quote_volume: DecimalText | None
    trades: int | None
    taker_buy_volume: DecimalText | None
    taker_buy_quote_volume: DecimalText | None
    closed: bool | None


class Ticker(Record, frozen=True, gc=False, tag="ticker"):
    """The state of a market, of 24 hours where it sums up; a message of best prices alone has only those."""

    bid: DecimalText | None = None
    bid_size: DecimalText | None = None  # in `unit`, as ask_size and last_size
    ask: DecimalText | None = None
    ask_size: DecimalText | None = None
    unit: SizeUnit | None = None
    update_id: int | None = None
    last: DecimalText | None = None
    last_size: DecimalText | None = None
    open: DecimalText | None = None
    high: DecimalText | None = None
    low: DecimalText | None = None
    volume: DecimalText | None = None  # base units
    contracts: DecimalText | None = None
    quote_volume: DecimalText | None = None
    weighted_average: DecimalText | None = None
    trades: int | None = None
    mark_price: DecimalText | None = None
    index_price: DecimalText | None = None
    settlement_price: DecimalText | None = None
    bid_iv: DecimalText | None = None  # options: implied volatility, percent
    ask_iv: DecimalText | None = None
    mark_iv: DecimalText | None = None
    price_change: DecimalText | None = None  # of 24 hours, percent, where the venue states it
    underlying_price: DecimalText | None = None  # options: the forward that the venue values them with
    delta: DecimalText | None = None  # options: greeks of Black-Scholes, in the quote currency for one base unit
    gamma: DecimalText | None = None
    vega: DecimalText | None = None  # for one point of volatility
    theta: DecimalText | None = None  # for one day
    rho: DecimalText | None = None


TICKER_PARTS: dict[str, tuple[str, ...]] = {
    "quote": ("bid", "bid_size", "ask", "ask_size", "update_id"),
    "last": ("last", "last_size"),
    "day": ("open", "high", "low", "volume", "contracts", "quote_volume", "weighted_average", "trades", "price_change"),
    **{part: (f"{part}_price",) for part in ("mark", "index", "settlement", "underlying")},
    "volatility": ("bid_iv", "ask_iv", "mark_iv"),
    "greeks": ("delta", "gamma", "vega", "theta", "rho"),
}
"""The fields of a ticker that one message gives together; null where the newest such message does not have one."""


class FundingRate(Record, frozen=True, gc=False, tag="funding_rate"):
    """The rate of a perpetual. `funding_time` is when `rate` is paid, or was."""

    rate: DecimalText
    funding_time: int | None  # ns
    predicted_rate: DecimalText | None = None  # of the period after
    interval_hours: int | None = None
    mark_price: DecimalText | None = None
    index_price: DecimalText | None = None
    premium: DecimalText | None = None  # premium index: how far prices are above the index; 1 is 100 percent


class OpenInterest(Record, frozen=True, gc=False, tag="open_interest"):
    """How much is open, each in the unit that the venue gives or its contract size makes exact."""

    contracts: DecimalText | None
    size: DecimalText | None  # base units
    value: DecimalText | None  # quote units
    value_usd: DecimalText | None = None  # as the venue states it


class Liquidation(Record, frozen=True, gc=False, tag="liquidation"):
    """A forced order: `sell` closes a long position."""

    side: Side
    price: DecimalText  # at which it traded; where the venue does not say, its bankruptcy price
    size: DecimalText | None  # base units
    contracts: DecimalText | None
    liquidation_id: str | None = None  # without ids of the venue: 2, 3, ... of equal orders of one message


def numbered(orders: Iterable[Liquidation]) -> list[Liquidation]:
    """Forced orders of one message without ids, of which equal ones are orders of their own."""
    seen = Counter[Liquidation]()
    made = list[Liquidation]()
    for order in orders:
        seen[order] += 1
        made.append(replace(order, liquidation_id=str(seen[order])) if seen[order] > 1 else order)
    return made


class InstrumentState(Record, frozen=True, gc=False, tag="instrument_state"):
    """The state of an instrument in the venue's list, when it is seen for the first time and when it has changed.

    What two lists in a row lack is `delisted`.
    """

    state: State
    venue_state: str  # the venue's own word; empty where it has none


class Gap(msgspec.Struct, frozen=True, gc=False, tag="gap", tag_field="type"):
    """A hole in a stream: what came last before it, what came next, why, and when the stream was whole again."""

    exchange: Exchange
    market_type: MarketType
    symbol: str
    instrument: str
    stream: str
    last_id: int | None
    next_id: int | None
    ts_from: int  # ns, receive time of the last good message
    ts_to: int  # ns, receive time of the message that showed the hole
    cause: str
    healed_at: int | None = None  # ns


AnyRecord = Trade | OrderBook | Kline | Ticker | FundingRate | OpenInterest | Liquidation | InstrumentState
RECORDS: tuple[type[Record], ...] = (
    *(Trade, OrderBook, Kline, Ticker, FundingRate, OpenInterest, Liquidation),
    InstrumentState,
)


ControlKind = Literal["ack", "pong", "heartbeat", "test_request", "notice", "login", "ignored"]
"""`ignored` is a message that is as documented and that we have no record for, as an index price."""


@dataclass(frozen=True)
class Control:
    """A message that carries no record. `detail` says which subscription, or what the venue said."""

    kind: ControlKind
    detail: str = ""


@dataclass(frozen=True)
class VenueError:
    """The venue says that something is wrong: a code of its own and its words.

    `rate_limited` asks for a pause, which ends at `until_ms` of the venue's clock where it says so.
    """

    code: int | str
    message: str
    rate_limited: bool = False
    until_ms: int | None = None


@dataclass(frozen=True)
class DeadLetter:
    """A message that differs from the venue's documentation, kept whole, and why."""

    raw: bytes
    cause: str
    ts_recv: int

    @classmethod
    def of(cls, raw: bytes, error: Exception, ts_recv: int) -> Self:
        """The dead letter of a message that made a parser raise."""
        cause = error.cause if isinstance(error, BadMessage) else f"{type(error).__name__}: {error}"
        return cls(raw, cause, ts_recv)


Outcome = AnyRecord | Gap | Control | VenueError | DeadLetter

Parser = Callable[[bytes, int, int], list[Outcome]]
"""What becomes of a message: its bytes, the time it was received at (ns), the number of its connection."""

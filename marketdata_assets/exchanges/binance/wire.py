"""What Binance sends over its websockets, one struct for each event; names and units are the venue's.

Fields that no record has are left out. Times are milliseconds of UTC, prices and sizes decimals as text. A number out
of range makes the message invalid: a stream in microseconds is rejected rather than misread.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from marketdata_assets.exchanges.levels import Number, ShortPrice

Ms = Annotated[int, Meta(ge=0, le=9_223_372_036_854)]  # a time whose nanoseconds fit 64 bits
Id = Annotated[int, Meta(ge=-1, le=2**63 - 1)]  # an id; -1 where there is none
Levels = tuple[tuple[str, str], ...]  # price and size
ShortLevels = tuple[tuple[ShortPrice, str], ...]


class Event(Struct, frozen=True, gc=False, tag_field="e"):
    """Every event says what it is; spot's best prices alone do not."""


class Trade(Event, frozen=True, gc=False, tag="trade"):
    s: str  # instrument
    t: Id  # trade
    p: str  # price
    q: str  # size
    T: Ms  # when it was made
    m: bool  # the buyer is the maker


class ListedTrade(Struct, frozen=True, gc=False):
    """The same in an answer of REST."""

    t: Id = field(name="id")
    p: str = field(name="price")
    q: str = field(name="qty")  # COIN-M: contracts
    T: Ms = field(name="time")
    m: bool = field(name="isBuyerMaker")
    rpi: bool = field(name="isRPITrade", default=False)  # USD-M, since 2025-11


class FuturesTrade(Trade, frozen=True, gc=False, tag="trade"):
    X: str = ""  # MARKET, INSURANCE_FUND, ADL; NA fills a hole in the ids and is no trade


class AggTrade(Event, frozen=True, gc=False, tag="aggTrade"):
    s: str
    a: Id  # of the whole
    p: str
    q: str
    f: Id  # first trade in it
    l: Id  # last trade in it  # noqa: E741
    T: Ms
    m: bool
    nq: str | None = None  # USD-M, since 2026-01: what of q was traded without orders for retail traders


class ListedAggTrade(Struct, frozen=True, gc=False):
    """The same in an answer of REST."""

    a: Id
    p: str
    q: str
    f: Id
    l: Id  # noqa: E741
    T: Ms
    m: bool
    nq: str | None = None  # since 2026-06


class SpotDepth(Event, frozen=True, tag="depthUpdate"):
    s: str
    E: Ms
    U: Id  # first update in it
    u: Id  # last update in it
    b: Levels
    a: Levels


class FuturesDepth(Event, frozen=True, tag="depthUpdate"):
    s: str
    T: Ms
    U: Id
    u: Id
    pu: Id  # `u` of the message before; -1 in a partial book
    b: Levels
    a: Levels


class QuickSpotDepth(SpotDepth, frozen=True, tag="depthUpdate"):
    """The same with prices short enough to be distinct as floats, as nearly all are."""

    b: ShortLevels
    a: ShortLevels


class QuickFuturesDepth(FuturesDepth, frozen=True, tag="depthUpdate"):
    b: ShortLevels
    a: ShortLevels


class DepthNumbers(Struct, frozen=True):
    """The levels of either as numbers."""

    b: list[tuple[Number, Number]]
    a: list[tuple[Number, Number]]


class OptionDepth(Event, frozen=True, tag="depth"):
    s: str
    T: Ms
    u: Id
    b: Levels
    a: Levels


class SpotBookTicker(Struct, frozen=True, gc=False):
    s: str
    u: Id  # the book's update
    b: str  # best bid
    B: str
    a: str  # best offer
    A: str


class BookTicker(SpotBookTicker, frozen=True, gc=False, tag_field="e", tag="bookTicker"):
    T: Ms


class MiniTicker(Event, frozen=True, gc=False, tag="24hrMiniTicker"):
    s: str
    E: Ms
    c: str  # last price
    o: str
    h: str
    l: str  # noqa: E741
    v: str  # volume in base units; COIN-M: contracts
    q: str  # volume in quote units; COIN-M: base units


class FuturesTicker(MiniTicker, frozen=True, gc=False, tag="24hrTicker"):
    w: str  # weighted average price
    Q: str  # last size
    n: Id  # trades
    P: str | None = None  # price change, percent


class SpotTicker(FuturesTicker, frozen=True, gc=False, kw_only=True, tag="24hrTicker"):
    b: str
    B: str
    a: str
    A: str


class OptionTicker(Event, frozen=True, gc=False, tag="24hrTicker"):
    s: str
    E: Ms
    c: str
    Q: str
    o: str
    h: str
    l: str  # noqa: E741
    V: str  # contracts
    A: str  # volume in quote units
    n: Id
    bo: str  # best bid
    bq: str
    ao: str  # best offer
    aq: str
    b: str  # implied volatility of the bid; 1 is 100 %
    a: str
    vo: str  # of the mark price
    mp: str  # mark price
    P: str | None = None  # price change, percent
    d: str | None = None  # delta
    g: str | None = None  # gamma
    v: str | None = None  # vega
    t: str | None = None  # theta


class Candle(Struct, frozen=True, gc=False):
    t: Ms  # first millisecond
    T: Ms  # last millisecond
    i: str  # interval
    o: str
    c: str
    h: str
    l: str  # noqa: E741
    v: str  # COIN-M: contracts
    n: Id  # trades
    x: bool  # closed
    q: str  # quote units; COIN-M: base units
    V: str  # bought by takers, in the unit of v
    Q: str  # bought by takers, in the unit of q


class Kline(Event, frozen=True, gc=False, tag="kline"):
    s: str
    E: Ms
    k: Candle


class ListedCandle(Struct, frozen=True, gc=False, array_like=True):
    """A candle in an answer of REST, which says no interval."""

    t: Ms
    o: str
    h: str
    l: str  # noqa: E741
    c: str
    v: str
    T: Ms
    q: str
    n: Id
    V: str
    Q: str


class MarkPrice(Event, frozen=True, gc=False, tag="markPriceUpdate"):
    s: str
    E: Ms
    p: str  # mark price
    P: str | None = None  # estimated settlement price
    i: str | None = None  # index price
    r: str | None = None  # funding rate; empty, 0 or missing for a dated future
    T: Ms | None = None  # when it is paid; 0 or missing for a dated future


class Premium(Struct, frozen=True, gc=False):
    """The same as an answer of REST."""

    s: str = field(name="symbol")
    E: Ms = field(name="time")
    p: str = field(name="markPrice")
    P: str = field(name="estimatedSettlePrice")
    i: str = field(name="indexPrice")
    r: str = field(name="lastFundingRate")
    T: Ms = field(name="nextFundingTime")


class OptionMark(Event, frozen=True, gc=False, tag="markPrice"):
    s: str
    E: Ms
    mp: str
    i: str | None = None
    P: str | None = None
    bo: str | None = None
    bq: str | None = None
    ao: str | None = None
    aq: str | None = None
    b: str | None = None
    a: str | None = None
    vo: str | None = None
    d: str | None = None  # delta
    g: str | None = None  # gamma
    v: str | None = None  # vega
    t: str | None = None  # theta


class Forced(Struct, frozen=True, gc=False):
    s: str
    S: Literal["BUY", "SELL"]  # of the forced order
    ap: str  # average price
    z: str  # filled so far
    T: Ms


class ForceOrder(Event, frozen=True, gc=False, tag="forceOrder"):
    o: Forced

    @property
    def s(self) -> str:
        return self.o.s


class OptionInterest(Event, frozen=True, gc=False, tag="openInterest"):
    s: str
    E: Ms
    o: str  # contracts
    h: str  # quote units


class OptionTrade(Event, frozen=True, gc=False, tag="trade"):
    s: str
    t: Id | Annotated[str, Meta(pattern="^[0-9]{1,20}$")]  # text in the feed of before 2025-12
    p: str
    q: str  # contracts
    T: Ms
    S: Literal["BUY", "SELL", "1", "-1"]  # of the taker; numbers in the feed of before 2025-12

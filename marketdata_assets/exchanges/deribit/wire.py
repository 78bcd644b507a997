"""What Deribit sends over its socket, as typed messages. What becomes of them is said in `parse`.

Deribit writes numbers as JSON numbers, now and then with an exponent (`2.0e3`). They are kept as the text that came:
`2.0e3` stays `2.0e3`, `10.0` stays `10.0`. Notifications: https://docs.deribit.com/articles/notifications
"""

from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.levels import Number
from marketdata_assets.exchanges.wire import NONE, Millis, Sequence, Wire

T = TypeVar("T")

VENUE: Final = "deribit"
Direction = Literal["buy", "sell"]


class Params(msgspec.Struct, Generic[T], frozen=True, gc=False):
    data: T


class Notification(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """What a channel brings."""

    params: Params[T]


class Trade(Wire, frozen=True, gc=False):
    trade_id: str  # unique within a currency
    timestamp: Millis
    instrument_name: str
    direction: Direction  # of the taker
    price: Raw
    amount: Raw  # USD of inverse futures, else coins
    trade_seq: Sequence  # number among the trades of its instrument, which have no holes
    contracts: Raw = NONE  # not in older messages
    liquidation: Literal["M", "T", "MT"] | None = None  # whose order was forced: the maker's, the taker's, both
    block_trade_id: str | None = None
    combo_id: str | None = None  # of the combo that it is a leg of


Action = Literal["new", "change", "delete"]
Change = tuple[Action, Number, Number]  # what happened, price, amount
Text = tuple[str, Any, Any]  # the same once more: a number with a point or an exponent as its text, else an integer
Level = tuple[Raw, Raw]  # price, amount


class Book(Wire, frozen=True, gc=False):
    """A snapshot, or the changes after `prev_change_id`."""

    timestamp: Millis
    instrument_name: str
    change_id: Sequence  # 0 is a book that nothing ever happened to
    bids: list[Change]
    asks: list[Change]
    type: Literal["snapshot", "change"] | None = None  # was not said before 2020
    prev_change_id: Sequence | None = None


class Texts(Wire, frozen=True, gc=False):
    """The levels of the same message as they are written."""

    bids: list[Text]
    asks: list[Text]


class Levels(Wire, frozen=True, gc=False):
    """The best levels, whole every time."""

    timestamp: Millis
    instrument_name: str
    change_id: Sequence
    bids: list[Level]
    asks: list[Level]


class Stats(Wire, frozen=True, gc=False):
    """Of 24 hours; null where nothing traded."""

    high: Raw
    low: Raw
    volume: Raw  # coins
    volume_usd: Raw = NONE
    volume_notional: Raw = NONE  # in the currency of the price
    price_change: Raw = NONE  # percent


class Quote(Wire, frozen=True, gc=False):
    """The best prices. A side without orders is 0.0 or null."""

    timestamp: Millis
    instrument_name: str
    best_bid_price: Raw
    best_bid_amount: Raw
    best_ask_price: Raw
    best_ask_amount: Raw


class Greeks(Wire, frozen=True, gc=False):
    """Of an option, by Black-Scholes: in USD for one coin."""

    delta: Raw
    gamma: Raw
    vega: Raw
    theta: Raw
    rho: Raw


class Ticker(Quote, frozen=True, gc=False):
    """The state of an instrument."""

    last_price: Raw
    mark_price: Raw
    index_price: Raw
    stats: Stats
    settlement_price: Raw = NONE
    open_interest: Raw = NONE  # not on a spot market; USD of inverse futures, else coins
    bid_iv: Raw = NONE
    ask_iv: Raw = NONE
    mark_iv: Raw = NONE
    current_funding: Raw = NONE  # perpetuals: what is being paid now, for 8 hours
    underlying_price: Raw = NONE  # options: the forward of their expiry
    greeks: Greeks | None = None


class Candle(Wire, frozen=True, gc=False):
    tick: Millis  # when it begins
    open: Raw
    high: Raw
    low: Raw
    close: Raw
    volume: Raw  # coins
    cost: Raw  # in the currency of the price, of inverse futures USD


TOO_MANY_REQUESTS = 10028  # the session may be closed with it
TOO_MANY_AT_ONCE = 10066
RATE_LIMITED = frozenset({TOO_MANY_REQUESTS, TOO_MANY_AT_ONCE})


class Error(Wire, frozen=True, gc=False):
    code: int
    message: str


class AnyParams(Wire, frozen=True, gc=False):
    channel: str = ""
    type: str = ""
    data: Raw = NONE


class AnyMessage(Wire, frozen=True, gc=False):
    """Anything in the envelope of JSON-RPC: a notification, a heartbeat, an answer, an error."""

    method: str | None = None
    params: AnyParams | None = None
    id: int | str | None = None
    result: Raw = NONE
    error: Error | None = None

"""Coinbase's messages: `{"channel", "timestamp", "sequence_num", "events": [...]}` over the socket, lists over REST.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
Prices and sizes are texts, sizes count coins, times are RFC 3339. `sequence_num` numbers the messages of a connection,
those of all channels together.
"""

from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.records import Control, Exchange, Outcome, Side, VenueError
from marketdata_assets.exchanges.wire import Sequence, Wire, decoded

T = TypeVar("T")

VENUE: Exchange = "coinbase"
TAKER: dict[str, Side] = {"buy": "sell", "sell": "buy"}
"""The side of the taker by that of the maker, which the venue says."""


class Pushed(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A message of a channel."""

    timestamp: str
    sequence_num: Sequence
    events: list[T]


class Trade(Wire, frozen=True, gc=False):
    trade_id: Sequence  # a text; numbers the trades of a product
    product_id: str
    price: str
    size: str
    side: Literal["BUY", "SELL"]  # of the maker
    time: str


class Trades(Wire, frozen=True, gc=False):
    type: Literal["snapshot", "update"]
    trades: list[Trade]


class Level(Wire, frozen=True, gc=False):
    side: Literal["bid", "offer"]
    event_time: str  # of the change
    price_level: str
    new_quantity: str  # 0 takes the price away


class Book(Wire, frozen=True, gc=False):
    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[Level]


class Ticker(Wire, frozen=True, gc=False):
    product_id: str
    price: str  # of the last trade
    volume_24_h: str
    low_24_h: str
    high_24_h: str
    price_percent_chg_24_h: str
    best_bid: str | None = None  # not in older messages, as the fields below
    best_bid_quantity: str | None = None
    best_ask: str | None = None
    best_ask_quantity: str | None = None


class Tickers(Wire, frozen=True, gc=False):
    tickers: list[Ticker]


class Subscriptions(Wire, frozen=True, gc=False):
    subscriptions: dict[str, list[str] | dict[str, Raw]]  # products by channel; what is no list is of no channel


class Envelope(Wire, frozen=True, gc=False):
    channel: str = ""
    type: str = ""


class Error(Wire, frozen=True, gc=False):
    message: str
    reason: str = ""


class PastTrade(Wire, frozen=True, gc=False):
    trade_id: Sequence
    price: str
    size: str
    side: Literal["buy", "sell"]  # of the maker
    time: str


envelope = msgspec.json.Decoder(Envelope).decode
_subscriptions = msgspec.json.Decoder(Pushed[Subscriptions]).decode
_error = msgspec.json.Decoder(Error).decode


# {"channel":"subscriptions","client_id":"","timestamp":"2026-01-31T08:00:00.123456Z","sequence_num":0,
#   "events":[{"subscriptions":{"level2":["ABC-USD"],"market_trades":["ABC-USD","XYZ-USD"]}}]}
def confirmed(raw: bytes) -> list[Outcome]:
    """All that the connection is subscribed to, after each request."""
    listed = [each for one in _subscriptions(raw).events for each in one.subscriptions.items()]
    keys = sorted(f"{channel}:{name}" for channel, names in listed if isinstance(names, list) for name in names)
    return [Control("ack", " ".join(keys))]


# {"type":"error","message":"Failed to subscribe","reason":"NO-USD is not a valid product"}
# https://docs.cdp.coinbase.com/exchange/rest-api/requests has errors of REST, which are the same but for the type.
def complaint(raw: bytes) -> list[Outcome]:
    """What an error says; it has words, and no code."""
    told = _error(raw)
    words = f"{told.message} {told.reason}".rstrip()
    return [VenueError(told.message[:80], words, "rate limit" in words.lower())]


# {"message":"Public rate limit exceeded"}
def error_of(raw: bytes) -> VenueError | None:
    """What a response says is wrong; null as well when it cannot be read."""
    told = decoded(complaint, raw)
    return told[0] if told else None  # type: ignore[return-value]  # complaint makes no other

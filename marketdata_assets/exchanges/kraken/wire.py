"""Kraken's messages: `{"channel", "type", "data": [...]}` over the socket, `{"error": [], "result": {...}}` over REST.

https://docs.kraken.com/exchange/api-reference/spot-websocket, https://docs.kraken.com/api-reference/market-data/get-recent-trades
Over the socket prices and sizes are JSON numbers, of which the text is kept, and times RFC 3339. Over REST they are
texts and seconds. Both have other names of a pair: BTC/USD is XBTUSD over REST, DOGE/USD is XDGUSD.
"""

from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.records import Control, Exchange, Outcome, VenueError
from marketdata_assets.exchanges.wire import Sequence, Wire, decoded

T = TypeVar("T")

VENUE: Exchange = "kraken"

RENAMED = {"BTC": "XBT", "DOGE": "XDG"}
"""What REST calls a coin that the socket calls otherwise."""


class Pushed(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A message of a channel."""

    type: Literal["snapshot", "update"]
    data: list[T]


class Trade(Wire, frozen=True, gc=False):
    symbol: str
    side: Literal["buy", "sell"]  # of the taker
    price: Raw
    qty: Raw  # coins
    trade_id: Sequence  # numbers the trades of a pair
    timestamp: str


class Level(Wire, frozen=True, gc=False):
    price: Raw
    qty: Raw  # 0 takes the price away


class Book(Wire, frozen=True, gc=False):
    symbol: str
    bids: list[Level]
    asks: list[Level]
    checksum: int  # of the best ten levels of both sides
    timestamp: str | None = None  # not in older snapshots


class Ticker(Wire, frozen=True, gc=False):
    symbol: str
    bid: Raw
    bid_qty: Raw
    ask: Raw
    ask_qty: Raw
    last: Raw
    volume: Raw  # coins of 24 hours, as the fields below
    vwap: Raw
    low: Raw
    high: Raw
    change_pct: Raw
    timestamp: str | None = None  # not in older messages


class Candle(Wire, frozen=True, gc=False):
    symbol: str
    open: Raw
    high: Raw
    low: Raw
    close: Raw
    volume: Raw  # coins
    trades: Sequence
    interval_begin: str
    interval: int  # minutes


class Subscribed(Wire, frozen=True, gc=False):
    """A subscription as it is confirmed."""

    channel: str
    symbol: str
    interval: int = 0  # minutes, of candles
    depth: int = 0  # levels of a side, of a book

    @property
    def key(self) -> str:
        """Its name in our records and logs: the channel, of candles with the interval, and the pair."""
        return f"{self.channel}{f'-{self.interval}' if self.interval else ''}:{self.symbol}"


class Answer(Wire, frozen=True, gc=False):
    """What the venue says of a request for one pair; also of a ping. Data have only a channel."""

    channel: str = ""
    method: str = ""
    success: bool = True
    result: Subscribed | None = None
    error: str = ""
    symbol: str = ""  # that an error is about


class Error(Wire, frozen=True, gc=False):
    error: list[str]


class Answered(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """The result has one list by the name of the pair, and the position of the last row as `last`."""

    result: dict[str, T]


answer = msgspec.json.Decoder(Answer).decode
_error = msgspec.json.Decoder(Error).decode

UNSUBSCRIBED = "unsubscribe:"  # prefix of the key in the ack of an unsubscription
TOO_MANY = "Exceeded msg rate"  # over the socket
PAUSES = ("EAPI:Rate limit exceeded", "EGeneral:Too many requests", "EService:")
"""Errors of REST that a pause heals: too many requests, throttled, unavailable, busy."""


# {"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"ABC/USD"},
#   "success":true,"time_in":"2026-01-31T08:00:00.123456Z","time_out":"2026-01-31T08:00:00.123999Z"}
# {"error":"Currency pair not supported NO/USD","method":"subscribe","success":false,"symbol":"NO/USD",
#   "time_in":"2026-01-31T08:00:00.123456Z","time_out":"2026-01-31T08:00:00.123999Z"}
# {"method":"pong","time_in":"2026-01-31T08:00:00.123456Z","time_out":"2026-01-31T08:00:00.123999Z"}
# https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book
def answered(raw: bytes) -> tuple[list[Outcome], Subscribed | None]:
    """What the answer to a request means, and the subscription that it confirms. An error has words, and no code."""
    told = answer(raw)
    if told.method == "pong":
        return [Control("pong")], None
    if told.success and told.result:
        prefix = "" if told.method == "subscribe" else UNSUBSCRIBED
        return [Control("ack", prefix + told.result.key)], told.result if not prefix else None
    words = told.error if told.symbol in told.error else f"{told.error} {told.symbol}"
    if told.method == "unsubscribe":
        return [Control("ignored", words)], None
    return [VenueError(told.method, words, rate_limited=words.startswith(TOO_MANY))], None


# {"error":["EQuery:Unknown asset pair"]}
# {"error":["EService:Throttled: 1700000000"]}
# https://docs.kraken.com/api/docs/guides/spot-errors; a throttled client waits until that second.
def error_of(raw: bytes) -> VenueError | None:
    """What a response says is wrong; null as well when it cannot be read."""
    told = decoded(_error, raw)
    if not told or not told.error:
        return None
    words = told.error[0]
    until = words.rpartition(" ")[2] if words.startswith("EService:Throttled") else ""
    until_ms = int(until) * 1000 if until.isascii() and until.isdecimal() and len(until) < 12 else None
    return VenueError(words[:80], words, words.startswith(PAUSES), until_ms)

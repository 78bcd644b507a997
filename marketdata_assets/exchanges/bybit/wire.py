"""What Bybit sends: messages of the public sockets, answers to our requests over them, and responses of REST.

Prices and sizes are texts. Times are milliseconds, as numbers over the socket and as texts over REST; the decoders here
are lax, which turns such a text into an integer. https://bybit-exchange.github.io/docs/v5/intro
"""

from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from marketdata_assets.exchanges.records import Exchange
from marketdata_assets.exchanges.wire import Millis, Wire

T = TypeVar("T")

VENUE: Exchange = "bybit"
Name = Annotated[str, Meta(min_length=1)]


# Messages of the sockets.


class Envelope(Wire, frozen=True, gc=False):
    """What distinguishes messages: data has a `topic`, the answer to a request has an `op`."""

    topic: str | None = None
    op: str | None = None


class Push(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """Data of a topic."""

    data: T
    ts: Millis  # when the venue made the message


class Answer(Wire, frozen=True, gc=False):
    """The answer to a request over the socket, with our number of it."""

    op: str  # subscribe, unsubscribe, ping, pong
    success: bool = True
    ret_msg: str = ""
    ret_code: int | None = None
    req_id: str = ""


class Trade(Wire, frozen=True, gc=False):
    time: Millis = msgspec.field(name="T")
    side: Literal["Buy", "Sell"] = msgspec.field(name="S")  # of the taker
    size: str = msgspec.field(name="v")  # coins; USD on inverse contracts
    price: str = msgspec.field(name="p")
    trade_id: Name = msgspec.field(name="i")  # a number on spot, else a UUID
    block: bool = msgspec.field(name="BT", default=False)
    rpi: bool = msgspec.field(name="RPI", default=False)  # since 2025-02


class Liquidation(Wire, frozen=True, gc=False):
    time: Millis = msgspec.field(name="T")
    side: Literal["Buy", "Sell"] = msgspec.field(name="S")  # of the position: Buy says that a long one was closed
    size: str = msgspec.field(name="v")  # executed
    price: str = msgspec.field(name="p")  # the bankruptcy price


class Candle(Wire, frozen=True, gc=False):
    start: Millis
    end: Millis  # the last millisecond of it
    open: str
    close: str
    high: str
    low: str
    volume: str  # coins; USD on inverse contracts
    turnover: str  # quote currency; coins on inverse contracts
    confirm: bool  # closed
    timestamp: Millis  # of its last trade


class Ticker(Wire, frozen=True, gc=False):
    """A state, or what changed in it: what is missing has not changed. What does not apply is empty."""

    last: str | None = msgspec.field(name="lastPrice", default=None)
    open: str | None = msgspec.field(name="prevPrice24h", default=None)
    high: str | None = msgspec.field(name="highPrice24h", default=None)
    low: str | None = msgspec.field(name="lowPrice24h", default=None)
    volume: str | None = msgspec.field(name="volume24h", default=None)  # coins; USD on inverse contracts
    turnover: str | None = msgspec.field(name="turnover24h", default=None)  # quote; coins on inverse contracts
    bid: str | None = msgspec.field(name="bid1Price", default=None)
    bid_size: str | None = msgspec.field(name="bid1Size", default=None)
    ask: str | None = msgspec.field(name="ask1Price", default=None)
    ask_size: str | None = msgspec.field(name="ask1Size", default=None)
    mark_price: str | None = msgspec.field(name="markPrice", default=None)
    index_price: str | None = msgspec.field(name="indexPrice", default=None)
    open_interest: str | None = msgspec.field(name="openInterest", default=None)  # both sides; coins, or USD on inverse
    open_interest_value: str | None = msgspec.field(
        name="openInterestValue", default=None
    )  # quote, or coins on inverse
    funding_rate: str | None = msgspec.field(name="fundingRate", default=None)
    next_funding_time: str | None = msgspec.field(name="nextFundingTime", default=None)
    funding_hours: str | None = msgspec.field(name="fundingIntervalHour", default=None)


# Responses of REST.


class Status(Wire, frozen=True, gc=False):
    ret_code: int = msgspec.field(name="retCode")
    ret_msg: str = msgspec.field(name="retMsg", default="")


class Page(msgspec.Struct, Generic[T], frozen=True, gc=False):
    list: list[T]
    next_cursor: str | None = msgspec.field(name="nextPageCursor", default=None)


class Response(msgspec.Struct, Generic[T], frozen=True, gc=False):
    result: Page[T]
    time: Millis  # when the venue answered


class PastTrade(Wire, frozen=True, gc=False):
    trade_id: Name = msgspec.field(name="execId")
    price: str
    size: str
    side: Literal["Buy", "Sell"]
    time: Millis
    block: bool = msgspec.field(name="isBlockTrade", default=False)
    rpi: bool = msgspec.field(name="isRPITrade", default=False)


class PastFunding(Wire, frozen=True, gc=False):
    rate: str = msgspec.field(name="fundingRate")
    time: Millis = msgspec.field(name="fundingRateTimestamp")  # when it was paid


class PastInterest(Wire, frozen=True, gc=False):
    open_interest: str = msgspec.field(name="openInterest")  # both sides; coins, or USD on inverse contracts
    time: Millis = msgspec.field(name="timestamp")


envelope = msgspec.json.Decoder(Envelope).decode
answer = msgspec.json.Decoder(Answer, strict=False).decode

"""Hyperliquid's messages: `{"channel": ..., "data": ...}` over the socket, the same data without a channel over REST.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
Prices and sizes are texts and sizes count coins on all markets. Times are milliseconds, as numbers. `coin` is the name
of a perpetual, as BTC, or of a spot pair, as PURR/USDC or @107.
"""

from typing import Generic, Literal, TypeVar

import msgspec

from marketdata_assets.exchanges.records import Control, Exchange, Outcome, VenueError
from marketdata_assets.exchanges.wire import Millis, Sequence, Wire, decoded

T = TypeVar("T")

VENUE: Exchange = "hyperliquid"

STREAM, FAST = "l2Book", "fastBook"  # books; the second is the name that some recorders give to a fast one


class Pushed(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A message of the socket."""

    data: T


class Trade(Wire, frozen=True, gc=False):
    coin: str
    side: Literal["A", "B"]  # of the taker: A sells, B buys
    px: str
    sz: str
    time: Millis  # of the block
    tid: Sequence  # 50-bit hash of the two orders: no sequence


class Level(Wire, frozen=True, gc=False):
    px: str
    sz: str


class Book(Wire, frozen=True, gc=False):
    """The best levels of both sides, best first."""

    coin: str
    levels: tuple[tuple[Level, ...], tuple[Level, ...]]  # bids, asks
    time: Millis
    fast: bool | None = None  # 5 levels, and more often


class Best(Wire, frozen=True, gc=False):
    """The best prices; null where a side is empty."""

    coin: str
    time: Millis
    bbo: tuple[Level | None, Level | None]  # bid, ask


class Candle(Wire, frozen=True, gc=False):
    start: Millis = msgspec.field(name="t")
    end: Millis = msgspec.field(name="T")  # the last millisecond that is in it
    coin: str = msgspec.field(name="s")
    interval: str = msgspec.field(name="i")
    open: str = msgspec.field(name="o")
    close: str = msgspec.field(name="c")
    high: str = msgspec.field(name="h")
    low: str = msgspec.field(name="l")
    volume: str = msgspec.field(name="v")  # coins
    trades: Sequence = msgspec.field(name="n")


class SpotContext(Wire, frozen=True, gc=False, kw_only=True):
    mark_px: str = msgspec.field(name="markPx")
    prev_day_px: str = msgspec.field(name="prevDayPx")  # 24 hours ago
    day_ntl_vlm: str = msgspec.field(name="dayNtlVlm")  # quote units of 24 hours
    day_base_vlm: str | None = msgspec.field(name="dayBaseVlm", default=None)  # coins of 24 hours


class PerpContext(SpotContext, frozen=True, gc=False, kw_only=True):
    funding: str  # the rate of this hour as it is so far
    open_interest: str = msgspec.field(name="openInterest")  # coins
    oracle_px: str = msgspec.field(name="oraclePx")
    premium: str | None = None


class OfCoin(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """The context of a coin; it has no time."""

    coin: str
    ctx: T


class Paid(Wire, frozen=True, gc=False):
    """A rate that was paid."""

    coin: str
    rate: str = msgspec.field(name="fundingRate")
    time: Millis
    premium: str | None = None


class Subscription(Wire, frozen=True, gc=False):
    """What is subscribed to. Other fields, as the precision of a book, are null where they were not requested."""

    type: str
    coin: str = ""
    interval: str = ""
    fast: bool | None = None

    @property
    def key(self) -> str:
        """Its name in our records and logs: the type, of candles with the interval, and the coin."""
        return f"{FAST if self.fast else self.type}{self.interval}:{self.coin}"


class Answered(Wire, frozen=True, gc=False):
    """The confirmation of a request."""

    method: Literal["subscribe", "unsubscribe"]
    subscription: Subscription


class Envelope(Wire, frozen=True, gc=False):
    channel: str


envelope = msgspec.json.Decoder(Envelope).decode
_answered = msgspec.json.Decoder(Pushed[Answered]).decode
_error = msgspec.json.Decoder(Pushed[str]).decode
_subscription = msgspec.json.Decoder(Subscription).decode

UNSUBSCRIBED = "unsubscribe:"  # prefix of the subscription in the ack of an unsubscription
TOO_MANY = "Cannot send more than"
TWICE = "Already subscribed"  # the subscription is there


# {"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"trades","coin":"ABC"}}}
def confirmation(raw: bytes) -> list[Outcome]:
    """What the answer to a request means."""
    answer = _answered(raw).data
    prefix = UNSUBSCRIBED if answer.method == "unsubscribe" else ""
    return [Control("ack", prefix + answer.subscription.key)]


# {"channel":"error","data":"Invalid subscription {\"type\":\"trades\",\"coin\":\"NONE\"}"}
# {"channel":"error","data":"Already subscribed: {\"type\":\"bbo\",\"coin\":\"ABC\"}"}
# {"channel":"error","data":"Cannot send more than 2000 messages per minute."}
def complaint(raw: bytes) -> list[Outcome]:
    """What an error says. It has words and no code; the words before the subscription are the code."""
    words = _error(raw).data
    code = words.partition("{")[0].strip(" :") or "error"
    return [VenueError(code[:80], words, rate_limited=words.startswith(TOO_MANY))]


def named_in(words: str) -> str:
    """The key of the subscription that an error names; empty where it names none."""
    begin = words.find("{")
    named = decoded(_subscription, words[begin:].encode()) if begin >= 0 else None
    return named.key if named else ""


# null
# Failed to deserialize the JSON body into the target type
def refusal(raw: bytes) -> VenueError | None:
    """The error that a REST answer is; null when it is none. A request about a coin that is not listed gives null."""
    if raw[:1] in (b"[", b"{"):
        return None
    words = raw[:200].decode("utf-8", "replace").strip()
    return VenueError("rejected", "no such coin or request" if words == "null" else words or "an empty answer")

"""What all of OKX's messages have in common: they say what they are about in `arg`, and carry a list in `data`.

Numbers are texts, times are milliseconds as texts, and what does not apply is an empty text. The decoders here are lax
on purpose: that turns texts into integers, and nothing else.
"""

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.records import Control, ControlKind, Exchange, Outcome, Side, VenueError
from marketdata_assets.exchanges.wire import Millis, Wire, decoded

T = TypeVar("T")

VENUE: Exchange = "okx"
Sequence = Annotated[int, Meta(ge=-1, le=2**63 - 1)]


class Named(Wire, frozen=True, gc=False):
    """An element that names its instrument."""

    inst_id: str = msgspec.field(name="instId")


class Arg(Wire, frozen=True, gc=False):
    """A subscription: a channel, and an instrument or a class of them."""

    channel: str
    inst_id: str = msgspec.field(name="instId", default="")
    inst_type: str = msgspec.field(name="instType", default="")
    inst_family: str = msgspec.field(name="instFamily", default="")
    uly: str = ""
    sprd_id: str = msgspec.field(name="sprdId", default="")

    def __str__(self) -> str:
        about = self.inst_id or self.sprd_id or ":".join(filter(None, (self.inst_type, self.inst_family or self.uly)))
        return f"{self.channel}:{about}" if about else self.channel


class Envelope(Wire, frozen=True, gc=False):
    """What every message over the socket begins with: an answer has an `event`, a push has not."""

    arg: Arg | None = None
    event: str | None = None


class Data(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """The list that a push or an answer carries."""

    data: list[T]


envelope = msgspec.json.Decoder(Envelope).decode


BARE: dict[bytes, ControlKind] = {b"pong": "pong", b"ping": "heartbeat"}
UNSUBSCRIBED = "unsubscribe "  # prefix of the subscription in the ack of an unsubscription

TOO_MANY = frozenset({"50011", "50040", "50061", "60014", "60023"})
"""Codes of requests that came too fast: https://www.okx.com/docs-v5/en/#error-code"""


class Event(Wire, frozen=True, gc=False):
    event: str
    arg: Arg | None = None
    code: str = ""
    msg: str = ""
    channel: str = ""  # of the count of connections
    conn_count: str = msgspec.field(name="connCount", default="")


class Status(Wire, frozen=True, gc=False):
    """The status of a REST response."""

    code: str
    msg: str = ""


_event = msgspec.json.Decoder(Event).decode
_status = msgspec.json.Decoder(Status).decode


def control_event(raw: bytes) -> tuple[Outcome, Arg | None]:
    """What an event means, and the subscription that it is about."""
    message = _event(raw)
    match message.event:
        case "subscribe":
            return Control("ack", str(_arg(message))), message.arg
        case "unsubscribe":
            return Control("ack", f"{UNSUBSCRIBED}{_arg(message)}"), message.arg
        case "error" | "channel-conn-count-error":
            return _error(message.code, message.msg or message.event), message.arg
        case "notice":
            return Control("notice", f"{message.code} {message.msg}".strip()), None
        case "login":
            return Control("login", message.code), None
        case "channel-conn-count":
            return Control("notice", f"{message.conn_count} connections to {message.channel}"), None
    raise BadMessage(VENUE, f"an event {message.event[:40]!r}")


def refusal(raw: bytes) -> VenueError | None:
    """The error that an answer of REST is; null when it is none."""
    status = _status(raw)
    return _error(status.code, status.msg) if status.code != "0" else None


def error_of(raw: bytes) -> VenueError | None:
    """The error that an answer of REST is; null when it is none, or cannot be read."""
    return decoded(refusal, raw)


def _arg(message: Event) -> Arg:
    if message.arg is None:
        raise BadMessage(VENUE, f"{message.event} without arg")
    return message.arg


def _error(code: str, message: str) -> VenueError:
    number = int(code) if code.isascii() and code.isdecimal() and len(code) < 10 else code
    return VenueError(number, message, code in TOO_MANY)


class Trade(Wire, frozen=True, gc=False):
    trade_id: Annotated[str, Meta(min_length=1)] = msgspec.field(name="tradeId")
    px: str
    sz: str  # coins on spot markets, contracts elsewhere
    side: Side  # of the taker
    ts: Millis
    count: Annotated[int, Meta(ge=1)] = 1  # so many trades of one order at one price; not in answers of REST
    source: str = "0"  # since 2025; 1 is an order of the program for retail traders


class OptionTrade(Trade, frozen=True, gc=False, kw_only=True):
    inst_id: str = msgspec.field(name="instId")


class Forced(Wire, frozen=True, gc=False):
    """One forced order: `sell` with posSide `long` closes a long position."""

    bk_px: str = msgspec.field(name="bkPx")  # the bankruptcy price; at which price it traded is not said
    sz: str
    side: Side
    ts: Millis


class Liquidations(Named, frozen=True, gc=False):
    details: list[Forced]


class Ticker(Named, frozen=True, gc=False):
    """Sizes are coins on spot markets, contracts elsewhere; a missing side or last price is empty."""

    last: str
    last_sz: str = msgspec.field(name="lastSz")
    ask_px: str = msgspec.field(name="askPx")
    ask_sz: str = msgspec.field(name="askSz")
    bid_px: str = msgspec.field(name="bidPx")
    bid_sz: str = msgspec.field(name="bidSz")
    open_24h: str = msgspec.field(name="open24h")
    high_24h: str = msgspec.field(name="high24h")
    low_24h: str = msgspec.field(name="low24h")
    vol_24h: str = msgspec.field(name="vol24h")
    vol_ccy_24h: str = msgspec.field(name="volCcy24h")  # quote currency on spot markets, coins elsewhere
    ts: Millis


class Level(Wire, frozen=True, gc=False, array_like=True):
    """A level: price, size, a number that means nothing any more, how many orders."""

    price: str
    size: str


class Best(Wire, frozen=True, gc=False):
    asks: tuple[Level, ...]
    bids: tuple[Level, ...]
    ts: Millis
    seq_id: Sequence | None = msgspec.field(name="seqId", default=None)


class MarkPrice(Named, frozen=True, gc=False):
    mark_px: str = msgspec.field(name="markPx")
    ts: Millis


class IndexTicker(Named, frozen=True, gc=False):
    """`inst_id` is the index, as ABC-USDT."""

    idx_px: str = msgspec.field(name="idxPx")
    ts: Millis


class Option(Named, frozen=True, gc=False):
    """Volatilities, 1 is 100 percent."""

    mark_vol: str = msgspec.field(name="markVol")
    bid_vol: str = msgspec.field(name="bidVol")
    ask_vol: str = msgspec.field(name="askVol")
    ts: Millis
    fwd_px: str = msgspec.field(name="fwdPx", default="")  # forward of the expiry; not in older messages
    delta_bs: str = msgspec.field(name="deltaBS", default="")  # USD for one coin; deltas in coins are left out
    gamma_bs: str = msgspec.field(name="gammaBS", default="")
    vega_bs: str = msgspec.field(name="vegaBS", default="")
    theta_bs: str = msgspec.field(name="thetaBS", default="")


class Funding(Named, frozen=True, gc=False):
    """`nextFundingRate` is empty where the rate of a period is made within it."""

    funding_rate: str = msgspec.field(name="fundingRate")
    funding_time: Millis = msgspec.field(name="fundingTime")
    next_funding_rate: str = msgspec.field(name="nextFundingRate", default="")
    next_funding_time: str = msgspec.field(name="nextFundingTime", default="")
    ts: str = ""
    premium: str = ""


class Paid(Named, frozen=True, gc=False):
    """A rate of the past; `fundingRate` is what had been said before, `realizedRate` what was paid."""

    realized_rate: str = msgspec.field(name="realizedRate")
    funding_time: Millis = msgspec.field(name="fundingTime")


class OpenInterest(Named, frozen=True, gc=False):
    oi: str  # contracts
    oi_ccy: str = msgspec.field(name="oiCcy")  # coins
    ts: Millis
    oi_usd: str = msgspec.field(name="oiUsd", default="")

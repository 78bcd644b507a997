"""What all of OKX's messages have in common: they say what they are about in `arg`, and carry a list in `data`.

Numbers are texts, times are milliseconds as texts, and what does not apply is an empty text. The decoders here are lax
on purpose: that turns texts into integers, and nothing else.
"""

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.outcomes import Outcome
from marketdata_assets.exchanges.records import Exchange

T = TypeVar("T")

VENUE: Exchange = "okx"
MS = 1_000_000
"""Nanoseconds of a millisecond."""

LATEST = 9_000_000_000_000
"""The last millisecond that fits into 64 bits as nanoseconds, about."""

Millis = Annotated[int, Meta(ge=0, le=LATEST)]
Sequence = Annotated[int, Meta(ge=-1, le=2**63 - 1)]

Parse = Callable[[bytes, int, int], list[Outcome]]
"""What becomes of a message: its bytes, the time it was received at, the number of its connection."""

Find = Callable[[str], Instrument]
"""The instrument of a name; raises UnknownInstrument."""


class Wire(msgspec.Struct, frozen=True, gc=False):
    """A message or a part of one. Fields that are not named are not looked at."""


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


def each(decode: Callable[[bytes], Data[T]], made: Callable[[T, int], Outcome]) -> Parse:
    """A parser that makes one outcome of each element."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [made(one, ts_recv) for one in decode(raw).data]

    return parse


def nanoseconds(millis: str) -> int | None:
    """A time that may be empty."""
    return time_of(millis) if millis else None


def time_of(millis: str) -> int:
    """The nanoseconds of a time that stands where the decoder cannot know it for one."""
    if not (millis.isascii() and millis.isdecimal()) or int(millis) > LATEST:
        raise ValueError(f"{millis[:40]!r} is no time")
    return int(millis) * MS

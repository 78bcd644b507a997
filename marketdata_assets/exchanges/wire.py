"""What the wire messages of several venues have in common. A number out of range makes a message invalid."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.input_limits import NOT_JSON

T = TypeVar("T")

MS = 1_000_000  # nanoseconds of a millisecond
LATEST = 9_000_000_000_000  # the last millisecond that fits into 64 bits as nanoseconds, about
Millis = Annotated[int, Meta(ge=0, le=LATEST)]
Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1)]

Find = Callable[[str], Instrument]  # the instrument of a name; raises UnknownInstrument


class Wire(msgspec.Struct, frozen=True, gc=False):
    """A message or a part of one. Fields that are not named are ignored."""


def decoded(decode: Callable[[bytes], T], raw: bytes) -> T | None:
    """What a decoder makes of bytes; None where they are not of its kind."""
    try:
        return decode(raw)
    except NOT_JSON:
        return None


def nanoseconds(millis: str) -> int:
    """The nanoseconds of a time that the decoder reads as text. Raises ValueError."""
    if not (millis.isascii() and millis.isdecimal()) or int(millis) > LATEST:
        raise ValueError(f"{millis[:40]!r} is no time")
    return int(millis) * MS

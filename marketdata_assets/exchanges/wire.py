"""What the wire messages of several venues have in common. A number out of range makes a message invalid."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw

from marketdata_assets.exchanges.decimals import NotDecimal, decimal
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.input_limits import NOT_JSON

T = TypeVar("T")

MS = 1_000_000  # nanoseconds of a millisecond
NS = 1_000_000_000  # and of a second
LATEST = 9_000_000_000_000  # the last millisecond that fits into 64 bits as nanoseconds, about
Millis = Annotated[int, Meta(ge=0, le=LATEST)]
Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1)]

CHANNEL = b'{"channel":"'  # how messages of some venues begin
NONE = Raw(b"null")
_SHORT, _LONG = 24, 60

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


@lru_cache(1024)
def _seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if len(text) != 19 or moment.tzinfo is not None or not 1970 <= moment.year < 2255:
        raise ValueError(f"{text[:40]!r} is no time")
    return int(moment.replace(tzinfo=UTC).timestamp())


def rfc3339(text: str) -> int:
    """The nanoseconds of a time in UTC, as 2026-01-31T08:00:00.123456Z. Raises ValueError."""
    head, _, fraction = text.partition(".")
    digits = fraction.removesuffix("Z")
    if not text.endswith("Z") or not (digits + "0").isdecimal() or len(digits) > 9 or not text.isascii():
        raise ValueError(f"{text[:40]!r} is no time")
    return _seconds(head.removesuffix("Z")) * NS + int(digits.ljust(9, "0"))


def field(name: str) -> re.Pattern[bytes]:
    """Finds the text or number that a field of this name has anywhere in a message; far faster than to decode it."""
    return re.compile(rf'"{name}"\s*:\s*"?([^",\s}}]+)'.encode())


def number(raw: Raw) -> str:
    """The text of a JSON number that cannot be negative: a price, an amount. Raises NotDecimal."""
    text = str(raw, "utf-8")
    if "0" <= text[0] <= "9" and len(text) <= _SHORT and "e" not in text and "E" not in text:
        return text  # the decoder has seen to it that what begins with a digit is a number
    if text[0] == "-":
        raise NotDecimal("a price or amount", text)
    return signed(raw)


def maybe(raw: Raw) -> str | None:
    """The same, or None for null."""
    return number(raw) if raw != NONE else None


def signed(raw: Raw) -> str:
    """The text of a JSON number of any sign: a rate. Raises NotDecimal."""
    text = str(raw, "utf-8")
    if len(text) > _LONG:
        raise NotDecimal("a number beyond all reason", text)
    return decimal("a number", text)

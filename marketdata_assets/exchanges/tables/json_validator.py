"""Validates the JSON of records before ClickHouse reads it, because ClickHouse coerces invalid values silently.

It turns a missing key and "" into 0, truncates decimals after the 18th place, and lets integers overflow. A batch is
decoded at once, and regular rows pass after a few comparisons; any other row is checked exactly. Decimals that are too
large, which the fast check does not recognise, are rejected by ClickHouse.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.decimals import DIGITS, PLAIN, is_decimal
from marketdata_assets.exchanges.records import Level
from marketdata_assets.exchanges.tables.schema import PRECISION, SCALE, Table

SHORT = 19  # a number of so many characters fits: 18 digits behind a point, or 19 before it
LONG_RUN = b"0" * (SCALE + 1)
_AS_ZEROS = bytes.maketrans(DIGITS.encode(), b"0" * len(DIGITS))
_AS_EIGHTS = bytes.maketrans(DIGITS.encode(), b"8" * len(DIGITS))
_LARGEST = 1 << 63
_LARGE = re.compile(rb":-?9[0-9]{18}")
"""An integer that may be too large for 64 bits, though another one of 19 digits is not."""

KEPT_FORMS = 20_000

_Int = Annotated[int, Meta(ge=-_LARGEST, le=_LARGEST - 1)]
_Time = Annotated[int, Meta(ge=0, le=_LARGEST - 1)]
_levels = msgspec.json.Decoder(tuple[Level, ...]).decode
_encode = msgspec.json.Encoder().encode


class JsonValidator:
    """Validates records of one type.

    Of types without levels it remembers the forms of regular records, their JSON with 8 for every digit. What has the
    form of one is as regular: decimals are digits and a point, and integers as long as those, but for 19 digits that
    begin with a 9.
    """

    def __init__(self, table: Table) -> None:
        fields: list[Any] = []  # of the record, with bounds of integers, and levels as raw JSON
        for field in msgspec.structs.fields(table.record):
            name, kind = field.encode_name, field.type
            whole = _Time if name.startswith("ts_") or name.endswith(("_time", "_at")) else _Int
            if name == "exchange":
                kind = Literal[venues.known()]
            elif name in ("bids", "asks"):
                kind = msgspec.Raw
            elif kind is int or kind == (int | None):
                kind = whole if kind is int else whole | None
            fields.append((name, kind) if field.required else (name, kind, field.default))
        checked_struct = msgspec.defstruct(table.name, fields, tag_field="type", tag=table.type, frozen=True, gc=False)
        self._all = msgspec.json.Decoder(list[checked_struct]).decode  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(checked_struct).decode
        self._decimals = table.decimals
        self._numbers = [attrgetter(name) for name in table.decimals]
        self._sides = tuple(name for name in table.columns if name in ("bids", "asks"))
        self._forms: set[bytes] = set()
        self._positive = frozenset(table.positive)
        self._zeros = [re.compile(b'"%b":"[0.]+"' % name.encode()) for name in table.positive]

    def faults(self, payloads: Sequence[bytes], array: bytes) -> dict[int, str]:
        """What is wrong with which of the payloads; `array` is all of them as one JSON array."""
        if self._sides or _LARGE.search(array):
            suspects = self._suspects(payloads, array, learn=False)
        else:
            forms = self._forms
            new = [at for at, payload in enumerate(payloads) if payload.translate(_AS_EIGHTS) not in forms]
            unknown = [payloads[at] for at in new]
            suspects = [new[at] for at in self._suspects(unknown, b"[%b]" % b",".join(unknown), learn=True)]
        for zero in self._zeros:
            if zero.search(array):
                suspects = [*suspects, *(at for at, payload in enumerate(payloads) if zero.search(payload))]
        return {number: fault for number in suspects if (fault := self._fault(payloads[number]))}

    def _suspects(self, payloads: Sequence[bytes], array: bytes, *, learn: bool) -> Sequence[int]:
        try:
            rows = self._all(array)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = []
        if len(rows) != len(payloads):
            return range(len(payloads))
        odd = self._odd_levels(rows) if self._sides else self._odd_numbers(rows)
        if learn:
            irregular = set(odd)
            if len(self._forms) > KEPT_FORMS:
                self._forms.clear()
            for at, row in enumerate(rows):
                form = payloads[at].translate(_AS_EIGHTS)
                known = at in irregular or form in self._forms
                if not known and b"\\" not in payloads[at] and _encode(row) == payloads[at]:
                    self._forms.add(form)
        return odd

    def _odd_numbers(self, rows: list[Any]) -> list[int]:
        texts: set[str | None] = set()
        for get in self._numbers:
            texts.update(map(get, rows))
        odd = {
            text
            for text in texts
            if text is not None and (len(text) > SHORT or text.strip(DIGITS) not in PLAIN or text < "/")
        }
        return [at for at, row in enumerate(rows) if any(get(row) in odd for get in self._numbers)] if odd else []

    def _odd_levels(self, rows: list[Any]) -> list[int]:
        sides = attrgetter(*self._sides)
        raws = [bytes(raw) for row in rows for raw in sides(row)]
        if _regular(b",".join(raws)):
            return []
        width = len(self._sides)
        return [at for at in range(len(rows)) if not _regular(b",".join(raws[at * width : at * width + width]))]

    def _fault(self, payload: bytes) -> str | None:
        try:
            row = self._one(payload)
            numbers = [(name, text) for name in self._decimals if (text := getattr(row, name)) is not None]
            for side in self._sides:
                numbers += [(side, text) for level in _levels(getattr(row, side)) for text in level]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return str(error)
        for name, text in numbers:
            if fault := unfit(name, text):
                return fault
            if name in self._positive and not Decimal(text) > 0:
                return f"{name} is not above 0: {text[:60]!r}"
        return None


validator_of = lru_cache(64)(JsonValidator)


def unfit(name: str, text: str) -> str | None:
    """Why a decimal does not fit into a column exactly; None when it does."""
    if not is_decimal(text):
        return f"{name} is no decimal number: {text[:60]!r}"
    number = Decimal(text)
    if not number:
        return None
    digits = number.as_tuple().digits
    last = len(digits) - len(bytes(digits).rstrip(b"\0"))
    exponent = number.adjusted() - len(digits) + 1 + last
    if exponent < -SCALE:
        return f"{name} has more than {SCALE} decimals: {text[:60]!r}"
    if number.adjusted() >= PRECISION - SCALE:
        return f"{name} has more than {PRECISION - SCALE} digits before the point: {text[:60]!r}"
    return None


def _regular(levels: bytes) -> bool:
    """Whether these sides of books, joined by commas, are pairs of plain, short decimals as they should be."""
    if b'""' in levels or b'"."' in levels or LONG_RUN in levels.translate(_AS_ZEROS):
        return False
    shape = levels.translate(None, DIGITS.encode()).replace(b'"."', b'""').replace(b'["",""]', b"")
    return not shape.strip(b"[],")

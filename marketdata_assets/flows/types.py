"""Column types of a flow, and how a cell of a file is written: `day: date`, or `day: {type: date, format: "%d.%m.%Y"}`.

What polars makes of a type is in `frames`, what is done to a text in `casting`, `numbers` and `times`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from marketdata_assets.config_files import Section

Kind = Literal[
    "numeric", "bigint", "integer", "text", "date", "timestamp", "timestamptz", "boolean", "double", "text[]"
]

NAMES: dict[str, Kind] = {kind: kind for kind in get_args(Kind) if kind != "numeric"}
DOUBLE_DIGITS = 16
"""A numeric of more digits is a Decimal in a frame; up to here it is a Float64, whose last digit is checked."""

_NUMERIC = re.compile(r"numeric\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)$")
_SQL: dict[Kind, str] = {
    "double": "double precision",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
}


@dataclass(frozen=True)
class ColumnType:
    """One type; `precision` and `scale` belong to numeric."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def sql(self) -> str:
        """The type as Postgres spells it."""
        if self.kind == "numeric":
            return f"numeric({self.precision},{self.scale})"
        return _SQL.get(self.kind, self.kind)

    @property
    def decimal(self) -> bool:
        """Whether a frame holds it as Decimal, since a double could lose digits."""
        return self.kind == "numeric" and self.precision > DOUBLE_DIGITS

    def __str__(self) -> str:
        return self.sql if self.kind == "numeric" else self.kind


def column_type(text: Any) -> ColumnType:
    """Read a type as users write it. ValueError names the nearest there is."""
    if isinstance(text, ColumnType):
        return text
    word = " ".join(str(text).lower().split())
    if word in NAMES:
        return ColumnType(NAMES[word])
    if match := _NUMERIC.match(word):
        precision, scale = int(match[1]), int(match[2] or 0)
        if not 1 <= precision <= 38 or scale > precision:
            raise ValueError(f"{text!r}: numeric takes 1 to 38 digits, and no more behind the point than in all")
        return ColumnType("numeric", precision, scale)
    if re.match(r"numeric\s*\(\s*\d+$", word):
        raise ValueError(f"{text!r}: inside {{ }} a comma ends the value; write 'numeric(16,4)' in quotes")
    near = get_close_matches(word.partition("(")[0], [*NAMES, "numeric"], 1, 0)[0]
    raise ValueError(f"unknown type {text!r}; did you mean {'numeric(16,4)' if near == 'numeric' else near!r}?")


_SPELLED = "|".join([*map(re.escape, NAMES), "numeric *[(] *[0-9]+ *(, *[0-9]+ *)?[)]"])

Type = Annotated[
    ColumnType,
    BeforeValidator(column_type),
    WithJsonSchema({"type": "string", "pattern": f"^({_SPELLED})$", "examples": [*NAMES, "numeric(16,4)"]}),
]

NUMBERS = ("numeric", "double", "bigint", "integer")
TIMES = ("date", "timestamp", "timestamptz")
DIRECTIVES = "YymdbBejHIMSfpPzTFDRaA"
"""Letters that may follow a % in `format`, as those of strftime."""

OWN_NUMBERS = ("thousands", "percent", "chinese_units", "currency", "parentheses", "leading_zeros")
"""Keys of a cell that say how a number is written."""

Epoch = Literal["s", "ms", "us", "ns"]
UNITS: tuple[Epoch, ...] = ("s", "ms", "us", "ns")


def _known_zone(name: str) -> str:
    """The name of a time zone. ValueError for one that does not exist."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"unknown time zone {name!r}; such as UTC, Asia/Shanghai") from None
    return name


Zone = Annotated[str, AfterValidator(_known_zone)]
"""The name of a time zone."""


class Cell(Section):
    """A type, and how its values are written where that is not the usual way.

    Numbers: `thousands` separates groups of three digits, `decimal` is the decimal point, `percent` values end in %,
    `chinese_units` may (千, 万, 百万, 千万, 亿, 万亿, and K, M, B, T). Dates and times: one of the forms in `format`,
    or a number of `epoch` units since 1970 in UTC, where some are listed, or of all with `auto`, by the first in which
    the number is a plausible time; `zone` is that of times without an offset, and of a timestamp or date that is made
    of an instant. `truncate` drops digits below a microsecond, which otherwise reject the row.

    Of numbers, `currency` may be before or behind them and `parentheses` around negative ones, and `leading_zeros`,
    which otherwise reject the row, are dropped. `excel_days` are days since 1899-12-30. `excel_text` undoes what keeps
    Excel from changing a text: `="000001"` and `'000001`.
    """

    type: Type
    format: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    epoch: Epoch | Literal["auto"] | Annotated[tuple[Epoch, ...], Field(min_length=1)] | None = None
    zone: Zone | None = None
    truncate: bool = False
    thousands: Literal[",", ".", "'", " ", "_"] | None = None
    decimal: Literal[".", ","] = "."
    percent: bool = False
    chinese_units: bool = False
    currency: Annotated[str, Field(pattern=r"^[^\s\d.,+()-]{1,3}$")] | None = None
    parentheses: bool = False
    leading_zeros: bool = False
    excel_text: bool = False
    excel_days: bool = False

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A type alone, or a section of keys."""
        full = dict(handler.resolve_ref_schema(handler(core)))
        full["properties"]["format"] = {"type": ["string", "array"], "items": {"type": "string"}}
        units = list(get_args(Epoch))
        full["properties"]["epoch"] = {
            "anyOf": [{"enum": [*units, "auto"]}, {"type": "array", "items": {"enum": units}, "minItems": 1}]
        }
        return {"anyOf": [full["properties"]["type"], full]}

    @field_validator("format", mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @field_validator("epoch", mode="before")
    @classmethod
    def _units(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("format")
    @classmethod
    def _directives(cls, forms: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for form in forms or ():
            letters = re.findall(r"%[#:.\-]?[369]?(.?)", form.replace("%%", ""))
            if not letters or any(letter not in DIRECTIVES for letter in letters):
                raise ValueError(f"{form!r} is no form of a date or time, such as %d.%m.%Y or %Y-%m-%d %H:%M:%S%.f%z")
        return forms

    @model_validator(mode="after")
    def _belongs_together(self) -> "Cell":
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        kind = self.type.kind
        of_times = [name for name in ("format", "epoch", "zone", "truncate", "excel_days") if getattr(self, name)]
        of_numbers = [name for name in OWN_NUMBERS if getattr(self, name)]
        of_numbers += ["decimal"] if self.decimal != "." else []
        if of_times and kind not in TIMES:
            yield f"{of_times[0]} belongs to {', '.join(TIMES)}, and this is {self.type}"
        if of_numbers and kind not in NUMBERS:
            yield f"{of_numbers[0]} belongs to numbers, and this is {self.type}"
        if self.format and self.epoch:
            yield "give either format or epoch"
        if self.thousands == self.decimal:
            yield f"thousands and decimal are both {self.decimal!r}"
        if self.percent and self.chinese_units:
            yield "give either percent or chinese_units"
        if kind == "timestamptz" and not self.zone and not all(map(has_offset, self.format or ())):
            yield "a form without an offset (%z) needs the zone of its times; add zone, such as Asia/Shanghai"

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """The units that a number of an epoch may be of, in the order in which they are tried."""
        if self.epoch == "auto":
            return UNITS
        return (self.epoch,) if isinstance(self.epoch, str) else self.epoch or ()

    @property
    def own_number(self) -> bool:
        """Whether numbers are written in a way that has to be undone first."""
        return (
            any(getattr(self, name) for name in (*OWN_NUMBERS[:-1], "excel_text", "excel_days")) or self.decimal != "."
        )


def has_offset(form: str) -> bool:
    """Whether the texts of a form have an offset from UTC."""
    return re.search(r"%[#:]*z", form) is not None


CellType = Annotated[
    Cell, BeforeValidator(lambda value: {"type": value} if isinstance(value, str | ColumnType) else value)
]
"""A type as users write it, alone or with how its values are written."""

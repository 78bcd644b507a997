"""How a cell of a file is written and what it becomes: `day: date`, or `day: {type: date, format: "%d.%m.%Y"}`.

What is done to a text is in `casting`, `numbers` and `times`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from marketdata_assets.config_files import Section
from marketdata_assets.flows.types import ColumnType, Type

NUMBERS = ("numeric", "double", "bigint", "integer")
TIMES = ("date", "timestamp", "timestamptz")
DIRECTIVES = "YymdbBejHIMSfpPzTFDRaA"
"""Letters that may follow a % in `format`, as those of strftime."""

OWN_NUMBERS = ("thousands", "percent", "chinese_units", "currency", "parentheses", "leading_zeros")
"""Keys of a cell that say how a number is written."""

Epoch = Literal["s", "ms", "us", "ns"]
UNITS: tuple[Epoch, ...] = ("s", "ms", "us", "ns")


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
    zone: str | None = None
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

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return None if name is None else known_zone(name)

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


def known_zone(name: str) -> str:
    """The name of a time zone. ValueError for one that does not exist."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"unknown time zone {name!r}; such as UTC, Asia/Shanghai") from None
    return name


def _section(value: Any) -> Any:
    return {"type": value} if isinstance(value, str | ColumnType) else value


CellType = Annotated[Cell, BeforeValidator(_section)]
"""A type as users write it, alone or with how its values are written."""

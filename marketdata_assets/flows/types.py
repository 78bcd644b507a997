"""Column types of a flow: as they are written, as Postgres names them. What polars makes of them is in `casting`."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, WithJsonSchema

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

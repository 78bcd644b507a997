"""What a flow expects of its table: of a column's values, and of the newest day beside the day before.

Declared below `quality` in the flow's YAML. All that is expected of one column is one asset check; the queries are in
`targets.contents`.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from marketdata_assets.config_files import Section

if TYPE_CHECKING:
    from marketdata_assets.flows.definition import Target

Value = Annotated[str, BeforeValidator(str), WithJsonSchema({"type": ["string", "number"]})]
"""As it is written in YAML, a number or date too; the column's type reads it."""


def _compiled(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Regex = Annotated[str, AfterValidator(_compiled)]


class Change(Section):
    """The newest day of the column `by` is at most `share` above or below the day before it.

    The days of a timestamptz are those of the flow's `timezone`.
    """

    by: str
    share: Annotated[float, Field(gt=0)]


class Expectation(Section):
    """Of one column. `max_rows` and `max_share` of the rows may differ, whichever is more: by default none."""

    not_null: bool = False
    min: Value | None = None
    max: Value | None = None
    one_of: list[Value] = Field(default=[])
    matches: Regex | None = None
    unique: bool = False
    increasing_by: str | None = None
    within: list[str] = Field(default=[])
    mean: Change | None = None
    max_rows: Annotated[int, Field(ge=0)] = 0
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    def of_a_value(self) -> Iterator[tuple[str, list[str], str]]:
        """What one value may not be, in SQL, with the texts that it is compared with; and what is expected.

        NULL meets none of the conditions but the first.
        """
        if self.not_null:
            yield "{} IS NULL", [], "not null"
        if self.min is not None:
            yield "{} < {}", [self.min], f"min {self.min}"
        if self.max is not None:
            yield "{} > {}", [self.max], f"max {self.max}"
        if self.one_of:
            yield "{} NOT IN ({})", self.one_of, f"one of {', '.join(self.one_of)}"
        if self.matches is not None:
            yield "{} !~ {}", [self.matches], f"matches {self.matches}"

    def allows(self, differing: int, rows: int) -> bool:
        """Whether so many of `rows` rows may differ."""
        return differing <= max(self.max_rows, self.max_share * rows)

    def __str__(self) -> str:
        declared = self.model_dump(exclude_defaults=True, exclude={"max_rows", "max_share"})
        return ", ".join(f"{name} {value}" for name, value in declared.items())


def mistakes(target: "Target", column: str, expected: Expectation) -> Iterator[tuple[tuple[str, ...], str]]:
    """What of `expected` the column cannot have: where it is, and why."""
    for field, names in (("increasing_by", [expected.increasing_by]), ("within", expected.within)):
        for name in filter(None, names):
            if name not in target.columns:
                yield (field,), f"{name!r} is no column of the target"
    if expected.within and not expected.increasing_by:
        yield ("within",), "belongs to increasing_by; name the column along which the values increase"
    kind = target.columns[column].kind
    numbers = kind in ("numeric", "bigint", "integer", "double")
    if (expected.matches is not None) and kind != "text":
        yield ("matches",), f"the column is {kind}; only text is matched"
    if expected.mean and not numbers:
        yield ("mean",), f"the column is {kind}; only numbers have a mean"
    for field, value in (("min", expected.min), ("max", expected.max)):
        if value is not None and numbers and not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", value):
            yield (field,), f"{value!r} is no number"

"""The handlers of a flow as the YAML declares them. What each does to a frame is in `handlers`."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PositiveInt,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from marketdata_assets.config_files import Section
from marketdata_assets.flows.types import CellType

NEEDS_ALL_ROWS = re.compile(
    r"\bOVER\b|\b(SUM|AVG|MIN|MAX|COUNT|FIRST|LAST|FIRST_VALUE|LAST_VALUE|STDDEV\w*|STDEV\w*|VAR\w*|MEDIAN|QUANTILE\w*|"
    r"LAG|LEAD|ROW_NUMBER|RANK|DENSE_RANK|CORR|COVAR\w*|ARRAY_AGG|STRING_AGG|LISTAGG)\s*\(",
    re.IGNORECASE,
)
"""SQL whose value in a row depends on other rows."""


DOTTED = r"\.?[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"
"""Where a function is: in a package, or with a leading dot in a file beside the flow's."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_NAMES = {"type": ["string", "array"], "items": {"type": "string"}}

Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1), WithJsonSchema({**_NAMES, "minItems": 1})]
"""One name, or a list of them."""

AnyNames = Annotated[list[str], BeforeValidator(_as_list), WithJsonSchema(_NAMES)]
"""None, one name, or a list of them."""


class HandlerConfig(Section):
    """A handler's own keys. `whole` handlers are given all rows of a file at once, others a block at a time."""

    needs_all_rows: ClassVar[bool] = False

    @property
    def sql(self) -> list[str]:
        """The SQL among its keys."""
        return []

    @property
    def whole(self) -> bool:
        return self.needs_all_rows or any(map(NEEDS_ALL_ROWS.search, self.sql))


class _Shorthand(HandlerConfig):
    """A handler whose keys are the user's own names, such as `rename: {old: new}`; they are kept in `_field`."""

    @classmethod
    def _field(cls) -> str:
        return next(iter(cls.model_fields))

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """What is written: the user's names themselves, and where there are other keys, those."""
        full = handler.resolve_ref_schema(handler(core))
        names = dict(full["properties"][cls._field()])
        said = {"title": full["title"], "description": full.get("description", "")}
        if len(cls.model_fields) == 1:
            return {**names, **said}
        return {**full, **names, **said, "type": [*names["type"], full["type"]]}

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, data: Any) -> Any:
        if isinstance(data, dict) and set(data) - set(cls.model_fields):
            return {cls._field(): data}
        return {cls._field(): data} if isinstance(data, list | str) else data


class Rename(_Shorthand):
    """`rename: {old: new}`"""

    columns: dict[str, str]


class Select(_Shorthand):
    """`select: [a, b]` keeps these columns."""

    columns: Names


class Parse(_Shorthand):
    """`parse: {column: type}`, types as those of loader.types; a text that is no such value rejects its row."""

    types: dict[str, CellType]


class DropInvalid(_Shorthand):
    """`drop_invalid: {rule: condition}`: a row for which the SQL condition does not hold goes to quarantine.

    A condition that is unknown (NULL) does not hold.
    """

    rules: dict[str, str]

    @property
    def sql(self) -> list[str]:
        return [*self.rules.values()]


class Flag(HandlerConfig):
    """Mark rows and keep them: `when` sets the boolean `column`, `flags` lists there the names that hold."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["when"]}, {"required": ["flags"]}]})

    column: str
    when: str | None = None
    flags: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _one(self) -> "Flag":
        if (self.when is None) == (not self.flags):
            raise ValueError("give either when: CONDITION, or flags: {name: CONDITION}")
        return self

    @property
    def sql(self) -> list[str]:
        return [self.when or "", *self.flags.values()]


class Sort(_Shorthand):
    """`sort: [a, b]`, or `sort: {by: [a], descending: true}`."""

    needs_all_rows = True

    by: Names
    descending: bool = False


class Derive(_Shorthand):
    """`derive: {name: SQL expression}`, each in order; a later one sees the earlier ones."""

    columns: dict[str, str]

    @property
    def sql(self) -> list[str]:
        return [*self.columns.values()]


class Grouped(HandlerConfig):
    """What is computed down the rows of each group, in the order of `order_by` (default: the order of the rows)."""

    needs_all_rows = True

    group_by: AnyNames = Field(default=[])
    order_by: AnyNames = Field(default=[])


class RunningCount(Grouped):
    """1, 2, 3 .. in the column `name`."""

    name: str


class MovingAverage(Grouped):
    """Mean of `column` over the last `windows` rows; NULL until there are so many. Columns `{column}_ma{window}`."""

    column: str
    windows: Annotated[list[PositiveInt], Field(min_length=1)]
    name: str = "{column}_ma{window}"


class Volatility(Grouped):
    """Sample standard deviation of `column` (such as returns) over the last `window` rows, times sqrt(`annual`)."""

    column: str
    window: Annotated[int, Field(ge=2)]
    name: str = "volatility_{window}"
    annual: PositiveInt | None = None


class Ema(Grouped):
    """Exponential mean with alpha = 2 / (span + 1), from the first row on; NULL until there are `span` rows."""

    column: str
    span: PositiveInt
    name: str = "{column}_ema{span}"


class Rsi(Grouped):
    """Relative strength index after Wilder (alpha = 1 / window), 0 to 100."""

    column: str
    window: PositiveInt = 14
    name: str = "rsi_{window}"


class Macd(Grouped):
    """Columns `{name}`, `{name}_signal` and `{name}_histogram`."""

    column: str
    fast: PositiveInt = 12
    slow: PositiveInt = 26
    signal: PositiveInt = 9
    name: str = "macd"


class Unpivot(HandlerConfig):
    """Columns to rows: of each row one for each column that is not kept; `name` has its name, `value` its value.

    A row without a value is left out with `drop_missing`.
    """

    keep: AnyNames = Field(default=[])
    name: str = "name"
    value: str = "value"
    drop_missing: bool = False


class Call(HandlerConfig):
    """The user's function or async function: `function(frame, **arguments) -> frame`, both DataFrames of `frame`."""

    frame: Literal["polars", "pandas"] = "polars"
    function: Annotated[str, Field(json_schema_extra={"pattern": f"^{DOTTED}$"})]
    arguments: dict[str, Any] = Field(default={})
    blocks: bool = False

    @field_validator("function")
    @classmethod
    def _dotted(cls, path: str) -> str:
        if not re.fullmatch(DOTTED, path):
            raise ValueError(f"{path!r} is no dotted path; write package.module.function or .module.function")
        return path

    @property
    def whole(self) -> bool:
        return not self.blocks


class Step(Section):
    """One entry of `handlers`: the name of a handler and its keys."""

    rename: Rename | None = None
    select: Select | None = None
    parse: Parse | None = None
    drop_invalid: DropInvalid | None = None
    flag: Flag | None = None
    sort: Sort | None = None
    derive: Derive | None = None
    running_count: RunningCount | None = None
    moving_average: MovingAverage | None = None
    volatility: Volatility | None = None
    ema: Ema | None = None
    rsi: Rsi | None = None
    macd: Macd | None = None
    unpivot: Unpivot | None = None
    call: Call | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """One handler, and no null."""
        schema = handler.resolve_ref_schema(handler(core))
        configs = {name: options["anyOf"][0] for name, options in schema["properties"].items()}
        return {**schema, "properties": configs, "minProperties": 1, "maxProperties": 1}

    @model_validator(mode="after")
    def _one(self) -> "Step":
        if len(self.model_fields_set) != 1:
            raise ValueError("one handler for each entry of the list; begin each with a dash of its own")
        if getattr(self, self.name) is None:
            raise ValueError(f"{self.name} has no keys")
        return self

    @property
    def name(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def config(self) -> HandlerConfig:
        config = getattr(self, self.name)
        assert isinstance(config, HandlerConfig)
        return config

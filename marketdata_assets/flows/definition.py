"""One flow as its YAML declares it: frozen values, and an error with file, line, field and fix for all else.

Only the file itself is opened here; whether functions and expressions exist is checked in `trial`.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from marketdata_assets import config_files
from marketdata_assets.config_files import Document, Location, Section
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.expectations import Change, Expectation, Regex, mistakes
from marketdata_assets.flows.sources import Source
from marketdata_assets.flows.steps import DOTTED, AnyNames, Call, Names, Step
from marketdata_assets.flows.types import TIMES, CellType, Type, Zone

if TYPE_CHECKING:
    from marketdata_assets.loading.rejects import RejectLimit

IDENTIFIER = r"^[a-z_][a-z0-9_]{0,62}$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
OWN_COLUMNS = ("created_at", "updated_at", "etl_unit", "etl_time")
FILE_NAME, FILE_TIME = "file name", "file time"
ORDERED = ("numeric", "bigint", "integer", "double", "date", "timestamp", "timestamptz", "text")
"""Kinds of columns that can order rows."""
COMPONENT = "marketdata_assets.components.Flow"
CRON = r"\s*\S+(\s+\S+){4}\s*"
CAPTURE = r"\{([a-z_][a-z0-9_]*)\}"
"""A part of `loader.file_name` that becomes a column."""
MONTH = r"(1[789]|20)\d\d-(0[1-9]|1[0-2])"

_TEXT = {"type": "string"}
_COLUMNS = {
    "type": ["object", "array"],
    "additionalProperties": _TEXT,
    "items": _TEXT,
    "minProperties": 1,
    "minItems": 1,
}


FileColumn = Literal["name", "folder", "line", "modified"]
Format = Literal["csv", "fixed_width", "json_lines", "json", "parquet", "excel"]
GLOBS: dict[str, list[str]] = {
    "csv": ["**/*.csv"],
    "fixed_width": ["**/*.txt"],
    "json_lines": ["**/*.jsonl"],
    "json": ["**/*.json"],
    "parquet": ["**/*.parquet"],
    "excel": ["**/*.xlsx"],
}
"""Which files of a folder are taken by default."""


class Loader(Section):
    """Which files, and how what they have becomes columns. `columns` maps a name in the header to ours.

    Without a `header`, columns are named by number from 1 on, or listed from the first to the last. `file_name` names
    parts of a file's path that become columns, `file_columns` those that are its name, folder, time or the row's line.
    `function` reads the files instead of a `format`. `members` are the names that are read of a zip; by default all
    that are no documentation. `new_columns` says what becomes of a file with columns that are neither in `columns` nor
    in `ignored_columns`, which are names or patterns: it is loaded and the columns are reported, or it fails, or they
    are added to the table as text. A file may lack columns of `optional_columns`, names or patterns too: they are NULL
    then. `quote` is around cells, and `escape` before a character that is data. No rows are: `skip_lines` before the
    header, lines that begin with `comment`, lines in which the pattern `drop` is found, the last `skip_footer` lines.
    `missing` are texts of all columns that mean NULL, or a list of them by our name of a column.
    """

    folder: str = "."
    format: Format = "csv"
    glob: Names = Field(default=GLOBS["csv"])
    members: AnyNames = Field(default=[])
    encoding: str = "utf-8"
    skip_lines: Annotated[int, Field(ge=0)] = 0
    header: bool = True
    delimiter: Annotated[str, Field(pattern=r"^[\x01-\x09\x0b\x0c\x0e-\x1e -~]{1,8}$")] = ","
    quote: Literal['"', "'", "none"] = '"'
    escape: Annotated[str, Field(pattern=r"^[!-~]$")] | None = None
    comment: Annotated[str, Field(min_length=1)] | None = None
    drop: Annotated[Regex, Field(min_length=1)] | None = None
    skip_footer: Annotated[int, Field(ge=0)] = 0
    widths: list[PositiveInt] = Field(default=[])
    sheet: str | None = None
    rows: str = ""
    function: Annotated[str, Field(pattern=f"^{DOTTED}$")] | None = None
    arguments: dict[str, Any] = Field(default={})
    file_name: str | None = None
    file_columns: dict[Identifier, FileColumn] = Field(default={})
    columns: Annotated[dict[str, str], Field(min_length=1), WithJsonSchema(_COLUMNS)]
    types: dict[str, CellType] = Field(default={})
    new_columns: Literal["report", "fail", "add"] = "report"
    ignored_columns: list[str] = Field(default=[])
    optional_columns: list[str] = Field(default=[])
    missing: list[str] | dict[str, list[str]] = Field(default=[""])
    strip: bool = True

    @model_validator(mode="before")
    @classmethod
    def _glob_of_format(cls, data: Any) -> Any:
        if isinstance(data, dict) and "glob" not in data and data.get("format") in GLOBS:
            return {**data, "glob": GLOBS[data["format"]]}
        return data

    @field_validator("columns", mode="before")
    @classmethod
    def _same_names(cls, columns: Any, info: ValidationInfo) -> Any:
        if isinstance(columns, list):
            numbered = info.data.get("header") is False
            return {str(number) if numbered else name: name for number, name in enumerate(columns, 1)}
        return {str(name): ours for name, ours in columns.items()} if isinstance(columns, dict) else columns

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"unknown encoding {encoding!r}; such as utf-8, gb18030, latin-1") from None
        return encoding

    @property
    def cells(self) -> dict[str, CellType]:
        """The types of `columns`, without those of columns that a file's place gives."""
        ours = set(self.columns.values())
        return {name: cell for name, cell in self.types.items() if name in ours}

    def missing_of(self, name: str) -> tuple[str, ...]:
        """The texts that are NULL in this one of our columns."""
        texts = self.missing.get(name, []) if isinstance(self.missing, dict) else self.missing
        return tuple(dict.fromkeys(["", *texts]))

    def is_optional(self, source: str) -> bool:
        """Whether a file may lack this one of `columns`."""
        return any(fnmatchcase(source, pattern) for pattern in self.optional_columns)

    @property
    def captures(self) -> list[str]:
        """The columns that `file_name` captures."""
        return re.findall(CAPTURE, self.file_name or "")

    @field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise ValueError("must be a folder below the data folder, without a leading / or ..")
        return folder


class Target(Section):
    """The table that the flow keeps; of `kind: parquet` a folder of that name in `folder`, one file for each unit;
    of `kind: clickhouse` a view of that name.

    `append` adds the rows of each file once; `upsert` keeps the newest row of a key; `replace` makes the rows of a
    file those it has now. `timestamps` adds created_at and updated_at.

    What is newest in mode upsert is said by `order_by`: the name of the file, its modification time, or a column.
    `removed_rows` says what becomes of rows that a file no longer has.
    """

    table: Identifier
    columns: Annotated[dict[Identifier, Type], Field(min_length=1)]
    key: list[str] = Field(default=[])
    mode: Literal["append", "upsert", "replace"] = "upsert"
    order_by: str = FILE_NAME
    removed_rows: Literal["keep", "delete"] = "keep"
    hypertable: Literal[False] | str = False
    timestamps: bool = True
    kind: Literal["postgres", "parquet", "clickhouse"] = "postgres"
    folder: Annotated[str, Field(min_length=1)] | None = None

    @property
    def place(self) -> str:
        """What is recorded of where the rows are."""
        if self.kind == "postgres":
            return self.table
        return f"{self.kind}:{self.folder}/{self.table}" if self.folder else f"{self.kind}:{self.table}"

    @property
    def replaceable(self) -> bool:
        """Whether it is known which rows a file has given, so that they can be replaced."""
        return self.kind != "postgres" or self.mode != "append"

    @property
    def order_column(self) -> str | None:
        """The column that orders rows of one key, where one does."""
        return self.order_by if self.mode == "upsert" and self.order_by not in (FILE_NAME, FILE_TIME) else None

    @property
    def by_time(self) -> bool:
        """Whether the modification time of files orders rows of one key."""
        return self.mode == "upsert" and self.order_by == FILE_TIME


class Month(Section):
    """Partitions are the months of a column, from `since` on; rows of earlier months are loaded and have none."""

    month: str
    since: Annotated[str, Field(json_schema_extra={"pattern": f"^{MONTH}$"})] = "1990-01"

    @field_validator("since")
    @classmethod
    def _a_month(cls, since: str) -> str:
        if not re.fullmatch(MONTH, since):
            raise ValueError(f"{since!r} is no month from 1700 on, such as 1985-01")
        return since


class Quality(Section):
    """How many rows of one file may be rejected before nothing of it is loaded; what is expected of the table."""

    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_rejected: Annotated[int, Field(ge=0)] = 1000
    columns: dict[str, Expectation] = Field(default={})
    rows: Change | None = None

    @property
    def limit(self) -> "RejectLimit":
        from marketdata_assets.loading.rejects import RejectLimit  # with polars, which definitions do without

        return RejectLimit(self.max_rejected_share, self.max_rejected)


def _cron(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(CRON, text):
        raise ValueError(f"{text!r} is no cron line of five fields, such as 0 18 * * 1-5")
    return text


class FlowDefinition(Section):
    """One flow."""

    name: Identifier
    description: str = ""
    owners: list[str] = Field(default=[])
    loader: Loader
    source: Source | None = None
    handlers: list[Step] = Field(default=[])
    target: Target
    partitions: Literal["none", "file"] | Month = "none"
    schedule: Annotated[str | None, BeforeValidator(_cron), Field(json_schema_extra={"pattern": f"^{CRON}$"})] = None
    timezone: Zone = "UTC"
    sensor: bool = False
    quality: Quality = Quality()
    _file: Path | None = PrivateAttr(default=None)
    _clickhouse: Callable[[], str] | None = PrivateAttr(default=None)

    @field_validator("partitions", mode="before")
    @classmethod
    def _partitions(cls, value: Any) -> Any:
        if value is None:
            return "none"
        if isinstance(value, dict) or value in ("none", "file"):
            return value
        raise ValueError(f"{value!r} is none of: none, file, {{month: COLUMN}}")

    @property
    def file(self) -> Path | None:
        """The YAML this was read from; modules of the user's functions are beside it."""
        return self._file

    @property
    def time_column(self) -> str:
        """The column that partitions the rows, or else the table; empty where none does."""
        return self.partitions.month if isinstance(self.partitions, Month) else self.target.hypertable or ""

    @property
    def takes_bytes_once(self) -> bool:
        """Whether a file with the bytes of another adds nothing: rows have no key, and nothing from the file's name."""
        named = self.loader.file_name or self.loader.file_columns
        return self.target.mode != "upsert" and not self.target.key and not named

    @property
    def clickhouse_url(self) -> str:
        """The database of its target. Raises FlowError when `at` was not called, and what the look-up raises."""
        if self._clickhouse is None:
            raise FlowError(
                f"flow {self.name}: the address of its target, of kind {self.target.kind}, is unknown; pass it with"
                " .at(...)."
            )
        return self._clickhouse()

    def at(self, clickhouse_url: Callable[[], str]) -> Self:
        """The same flow, which looks its database up when it is needed: where it is read no server has to run."""
        flow = self.model_copy()
        flow._clickhouse = clickhouse_url
        return flow

    @property
    def functions(self) -> list[str]:
        """The user's functions that make its rows."""
        calls = [step.config.function for step in self.handlers if isinstance(step.config, Call)]
        return [*([self.loader.function] if self.loader.function else []), *calls]

    @property
    def dataset(self) -> str:
        """The flow's name in the ledger and the quarantine."""
        return dataset_of(self.name)


def dataset_of(name: str) -> str:
    return f"flow:{name}"


def read(file: Path, name: str | None = None) -> FlowDefinition:
    """The flow in `file`: bare, or below `attributes:` as a component has it. Raises InvalidConfigFile.

    Without `name` in the file it is `name`, or the stem of the file, or for a defs.yaml its folder's name.
    """
    flow = _validated(document(file), name or (file.parent.name if file.stem == "defs" else file.stem))
    flow._file = file.absolute()
    return flow


def parse(text: str, file: str = "flow.yaml", name: str = "flow") -> FlowDefinition:
    """`read` of a text; `file` is for messages."""
    return _validated(_attributes(config_files.parse(text, file)), name)


def document(file: Path) -> Document:
    """The values of a flow's file with their lines."""
    return _attributes(config_files.read(file))


def _attributes(document: Document) -> Document:
    data = document.data
    below = isinstance(data, dict) and "attributes" in data and "loader" not in data
    return document.section("attributes") if below else document


def _validated(document: Document, name: str) -> FlowDefinition:
    if isinstance(document.data, dict):
        document.data = {"name": name, **document.data}
    flow = document.validate(FlowDefinition)
    problems = [
        *_of_loader(flow.loader),
        *_of_source(flow),
        *_of_new_columns(flow),
        *_of_target(flow.target),
        *_of_quality(flow.quality, flow.target),
    ]
    if isinstance(flow.partitions, Month):
        problems += _time_column(flow.target, flow.partitions.month, ("partitions", "month"))
    document.check(problems)
    return flow


def _unknown(name: str, names: Iterable[str], what: str) -> str:
    """What to say of a name that is none of `names`."""
    return f"{what}; did you mean {get_close_matches(name, names, 1, 0)[0]!r}?"


def _of_loader(loader: Loader) -> Iterator[tuple[Location, str]]:
    names = [*loader.columns.values(), *loader.captures, *loader.file_columns]
    for source, name in loader.columns.items():
        if names.count(name) > 1:
            cause = f"{name!r} is the name of two columns of the file; give each its own name"
            yield ("loader", "columns", source), cause
        if not loader.header and not re.fullmatch("[1-9][0-9]*", source):
            yield ("loader", "columns", source), "without a header a column is named by its number, from 1 on"
    for name in loader.types:
        if name not in names:
            yield ("loader", "types", name), _unknown(name, names, "no column of loader.columns")
        elif loader.file_columns.get(name) in ("line", "modified"):
            yield ("loader", "types", name), "is a bigint or a timestamptz already; take it out"
    for name in loader.missing if isinstance(loader.missing, dict) else ():
        if name not in loader.columns.values():
            yield ("loader", "missing", name), _unknown(name, loader.columns.values(), "no column of loader.columns")
    if loader.escape and loader.escape in (loader.quote, loader.delimiter):
        yield ("loader", "escape"), "is the quote or the delimiter; a doubled quote needs no escape, take it out"
    for number, pattern in enumerate(loader.optional_columns):
        if not any(fnmatchcase(source, pattern) for source in loader.columns):
            cause = _unknown(pattern, loader.columns, "no column of loader.columns")
            yield ("loader", "optional_columns", number), cause
    if loader.file_name is not None and not loader.captures:
        yield ("loader", "file_name"), "names no column; write such as {symbol}.csv"
    if (loader.format == "fixed_width") != bool(loader.widths):
        yield ("loader", "widths"), "belongs to format: fixed_width, which needs the width of each column"
    for key, formats in _KEYS_OF_FORMATS.items():
        if key in loader.model_fields_set and (loader.format not in formats or loader.function):
            yield ("loader", key), f"belongs to format: {' or '.join(formats)}; take it out"
    if loader.arguments and not loader.function:
        yield ("loader", "arguments"), "belongs to loader.function; name one, or take it out"
    if loader.function and "format" in loader.model_fields_set:
        yield ("loader", "format"), "give either a format or a function that reads the files"


def _of_source(flow: FlowDefinition) -> Iterator[tuple[Location, str]]:
    if flow.source is None:
        return
    if flow.loader.folder == ".":
        yield ("loader", "folder"), "a flow with a source needs a folder of its own for the copies; name one"
    if flow.source.api and flow.loader.format != "json":
        yield ("source", "api"), "needs loader.format: json, whose rows are those of a page"
    if flow.partitions == "file":
        yield ("partitions",), "the files of a source are not known before a run; use none or {month: COLUMN}"


def _of_new_columns(flow: FlowDefinition) -> Iterator[tuple[Location, str]]:
    dropping = any(step.select for step in flow.handlers)
    if flow.loader.new_columns == "add" and dropping:
        yield ("loader", "new_columns"), "a handler select drops columns that it does not name; take select out"
    if flow.loader.new_columns == "add" and flow.target.kind != "postgres":
        yield ("loader", "new_columns"), "add needs kind: postgres; declare report or fail, and the columns themselves"


_KEYS_OF_FORMATS = {
    **dict.fromkeys(("delimiter", "quote", "escape"), ("csv",)),
    "comment": ("csv", "fixed_width"),
    **dict.fromkeys(("drop", "skip_footer"), ("csv", "fixed_width", "excel")),
    "header": ("csv", "fixed_width", "excel"),
    "sheet": ("excel",),
    "rows": ("json",),
}


def _of_target(target: Target) -> Iterator[tuple[Location, str]]:
    for name in target.columns:
        if name in OWN_COLUMNS:
            yield ("target", "columns", name), "is a column that the flow adds itself; take it out"
    for number, name in enumerate(target.key):
        if name not in target.columns:
            yield ("target", "key", number), _unknown(name, target.columns, f"{name!r} is no column of the target")
    yield from _of_kind(target)
    yield from _of_order(target)
    if target.hypertable:
        yield from _time_column(target, target.hypertable, ("target", "hypertable"))
        if target.key and target.hypertable not in target.key:
            yield ("target", "hypertable"), f"a hypertable's key has its time column; add {target.hypertable!r} to key"


def _of_kind(target: Target) -> Iterator[tuple[Location, str]]:
    """What a kind of target needs, and what it does not have."""
    upsert = target.mode == "upsert"
    if target.kind != "parquet" and target.folder is not None:
        yield ("target", "folder"), "belongs to kind: parquet; take it out"
    if target.kind == "parquet" and target.folder is None:
        yield ("target", "folder"), "kind parquet needs the folder that gets a folder of the table's name"
    if target.kind == "parquet" and upsert:
        cause = "mode upsert needs kind: postgres; declare mode: replace, whose files have the rows of each unit"
        yield ("target", "mode"), cause
    elif upsert and not target.key:
        yield ("target", "key"), "mode upsert needs a key; name its columns, or declare mode: append or replace"
    if target.kind == "clickhouse":
        if upsert and target.removed_rows != "delete":
            cause = "kind clickhouse replaces the rows of a file as a whole; declare removed_rows: delete"
            yield ("target", "removed_rows"), cause
        if target.by_time:
            yield ("target", "order_by"), "needs kind: postgres; order by a column or by the file's name"
        for number, name in enumerate(target.key):
            if name in target.columns and target.columns[name].kind == "text[]":
                yield ("target", "key", number), f"{name!r} is a list, which ClickHouse does not sort by"
    for (kind, name), cause in _LACKED.items():
        if kind == target.kind and name in target.model_fields_set and getattr(target, name):
            yield ("target", name), f"needs kind: postgres; take it out, {cause}"


_LACKED = {
    ("parquet", "hypertable"): "a Parquet file has no chunks",
    ("parquet", "timestamps"): "a Parquet file is replaced as a whole",
    ("clickhouse", "hypertable"): "ClickHouse has none",
    ("clickhouse", "timestamps"): "the rows of a file are replaced as a whole",
}
"""Keys of a target that its kind does not have, and why."""


def _of_quality(quality: Quality, target: Target) -> Iterator[tuple[Location, str]]:
    for name, expected in quality.columns.items():
        place: Location = ("quality", "columns", name)
        if name not in target.columns:
            yield place, _unknown(name, target.columns, "is no column of the target")
        else:
            yield from (((*place, *below), cause) for below, cause in mistakes(target, name, expected))
            if expected.mean:
                yield from _time_column(target, expected.mean.by, (*place, "mean", "by"))
    if quality.rows:
        yield from _time_column(target, quality.rows.by, ("quality", "rows", "by"))


def _of_order(target: Target) -> Iterator[tuple[Location, str]]:
    for name, default in (("order_by", FILE_NAME), ("removed_rows", "keep")):
        if target.mode != "upsert" and getattr(target, name) != default:
            yield ("target", name), f"is for mode upsert; take it out, mode {target.mode} has no use for it"
    column = target.order_column
    if column is not None and column not in target.columns:
        names = [*target.columns, FILE_NAME, FILE_TIME]
        yield ("target", "order_by"), _unknown(column, names, f"{column!r} is no column of the target")
    elif column is not None and target.columns[column].kind not in ORDERED:
        yield ("target", "order_by"), f"{column!r} is {target.columns[column]}, which has no order"


def _time_column(target: Target, name: str, location: Location) -> Iterator[tuple[Location, str]]:
    if name not in target.columns:
        yield location, _unknown(name, target.columns, f"{name!r} is no column of the target")
    elif target.columns[name].kind not in TIMES:
        yield location, f"{name!r} is {target.columns[name]}; it must be {', '.join(TIMES[:-1])} or {TIMES[-1]}"


def attributes_schema() -> dict[str, Any]:
    """The JSON schema of what is below `attributes`; Dagster checks a component's file with it.

    It knows keys, types and what a value may be, not which columns there are, nor whether expressions would run.
    """
    schema = FlowDefinition.model_json_schema()
    schema["required"].remove("name")  # by default that of the folder
    schema["properties"]["partitions"]["anyOf"].append({"type": "null"})
    return schema


def schema_text() -> str:
    """The JSON schema of a whole `defs.yaml`, for editors."""
    inner = attributes_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A flow of marketdata-assets",
        "$defs": {**inner.pop("$defs"), "Flow": inner},
        "type": "object",
        "properties": {"type": {"const": COMPONENT}, "attributes": {"$ref": "#/$defs/Flow"}},
        "required": ["type", "attributes"],
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"

"""One flow as its YAML declares it: frozen values, and an error with file, line, field and fix for all else.

Only the file itself is opened here; whether functions and expressions exist is checked in `trial`.
"""

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema, field_validator

from marketdata_assets import config_files
from marketdata_assets.config_files import Document, Location, Section
from marketdata_assets.flows.cell_formats import TIMES, CellType, known_zone
from marketdata_assets.flows.expectations import Change, Expectation, change_mistakes, mistakes
from marketdata_assets.flows.steps import Names, Step
from marketdata_assets.flows.types import Type

if TYPE_CHECKING:
    from marketdata_assets.loading.rejects import RejectLimit

IDENTIFIER = r"^[a-z_][a-z0-9_]{0,62}$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
OWN_COLUMNS = ("created_at", "updated_at", "etl_unit")
COMPONENT = "marketdata_assets.components.Flow"
CRON = r"\s*\S+(\s+\S+){4}\s*"
MONTH = r"(1[789]|20)\d\d-(0[1-9]|1[0-2])"

_TEXT = {"type": "string"}
_COLUMNS = {
    "type": ["object", "array"],
    "additionalProperties": _TEXT,
    "items": _TEXT,
    "minProperties": 1,
    "minItems": 1,
}


class Loader(Section):
    """Which files, and how their text becomes columns. `columns` maps a name in the header to ours."""

    folder: str = "."
    glob: Names = Field(default=["**/*.csv"])
    encoding: str = "utf-8"
    skip_lines: Annotated[int, Field(ge=0)] = 0
    delimiter: Annotated[str, Field(pattern=r"^[ -~\t]$")] = ","
    columns: Annotated[dict[str, str], Field(min_length=1), WithJsonSchema(_COLUMNS)]
    types: dict[str, CellType] = Field(default={})
    missing: list[str] = Field(default=[""])
    strip: bool = True

    @field_validator("columns", mode="before")
    @classmethod
    def _same_names(cls, columns: Any) -> Any:
        return {name: name for name in columns} if isinstance(columns, list) else columns

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"unknown encoding {encoding!r}; such as utf-8, gb18030, latin-1") from None
        return encoding

    @field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise ValueError("must be a folder below the data folder, without a leading / or ..")
        return folder


class Target(Section):
    """The table that the flow keeps.

    `append` adds the rows of each file once; `upsert` keeps the newest row of a key; `replace` makes the rows of a
    file those it has now. `timestamps` adds created_at and updated_at.
    """

    table: Identifier
    columns: Annotated[dict[Identifier, Type], Field(min_length=1)]
    key: list[str] = Field(default=[])
    mode: Literal["append", "upsert", "replace"] = "upsert"
    hypertable: Literal[False] | str = False
    timestamps: bool = True


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
    handlers: list[Step] = Field(default=[])
    target: Target
    partitions: Literal["none", "file"] | Month = "none"
    schedule: Annotated[str | None, BeforeValidator(_cron), Field(json_schema_extra={"pattern": f"^{CRON}$"})] = None
    timezone: str = "UTC"
    sensor: bool = False
    quality: Quality = Quality()
    _file: Path | None = PrivateAttr(default=None)

    @field_validator("partitions", mode="before")
    @classmethod
    def _partitions(cls, value: Any) -> Any:
        if value is None:
            return "none"
        if isinstance(value, dict) or value in ("none", "file"):
            return value
        raise ValueError(f"{value!r} is none of: none, file, {{month: COLUMN}}")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return known_zone(name)

    @property
    def file(self) -> Path | None:
        """The YAML this was read from; modules of the user's functions are beside it."""
        return self._file

    @property
    def dataset(self) -> str:
        """The flow's name in the ledger and the quarantine."""
        return f"flow:{self.name}"


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
    problems = [*_of_loader(flow.loader), *_of_target(flow.target), *_of_quality(flow.quality, flow.target)]
    if isinstance(flow.partitions, Month):
        problems += _time_column(flow.target, flow.partitions.month, ("partitions", "month"))
    document.check(problems)
    return flow


def _of_loader(loader: Loader) -> Iterator[tuple[Location, str]]:
    names = list(loader.columns.values())
    for source, name in loader.columns.items():
        if names.count(name) > 1:
            cause = f"{name!r} is the name of two columns of the file; give each its own name"
            yield ("loader", "columns", source), cause
    for name in loader.types:
        if name not in names:
            near = get_close_matches(name, names, 1, 0)[0]
            yield ("loader", "types", name), f"no column of loader.columns; did you mean {near!r}?"


def _of_target(target: Target) -> Iterator[tuple[Location, str]]:
    for name in target.columns:
        if name in OWN_COLUMNS:
            yield ("target", "columns", name), "is a column that the flow adds itself; take it out"
    for number, name in enumerate(target.key):
        if name not in target.columns:
            near = get_close_matches(name, target.columns, 1, 0)[0]
            yield ("target", "key", number), f"{name!r} is no column of the target; did you mean {near!r}?"
    if target.mode == "upsert" and not target.key:
        yield ("target", "key"), "mode upsert needs a key; name its columns, or declare mode: append or replace"
    if target.hypertable:
        yield from _time_column(target, target.hypertable, ("target", "hypertable"))
        if target.key and target.hypertable not in target.key:
            yield ("target", "hypertable"), f"a hypertable's key has its time column; add {target.hypertable!r} to key"


def _of_quality(quality: Quality, target: Target) -> Iterator[tuple[Location, str]]:
    for name, expected in quality.columns.items():
        place: Location = ("quality", "columns", name)
        if name not in target.columns:
            near = get_close_matches(name, target.columns, 1, 0)[0]
            yield place, f"is no column of the target; did you mean {near!r}?"
        else:
            yield from (((*place, *below), cause) for below, cause in mistakes(target, name, expected))
    if quality.rows:
        yield from ((("quality", "rows", *below), cause) for below, cause in change_mistakes(target, quality.rows))


def _time_column(target: Target, name: str, location: Location) -> Iterator[tuple[Location, str]]:
    if name not in target.columns:
        near = get_close_matches(name, target.columns, 1, 0)[0]
        yield location, f"{name!r} is no column of the target; did you mean {near!r}?"
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


def file_schema() -> dict[str, Any]:
    """The JSON schema of a whole `defs.yaml`, for editors."""
    inner = attributes_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A flow of marketdata-assets",
        "$defs": {**inner.pop("$defs"), "Flow": inner},
        "type": "object",
        "properties": {"type": {"const": COMPONENT}, "attributes": {"$ref": "#/$defs/Flow"}},
        "required": ["type", "attributes"],
        "additionalProperties": False,
    }


def schema_text() -> str:
    """`file_schema` as JSON."""
    return json.dumps(file_schema(), indent=1, ensure_ascii=False) + "\n"

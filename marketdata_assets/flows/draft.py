"""The text of a new flow's definition, made of a sample of its files, with remarks on what was guessed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from marketdata_assets.flows import column_names, inference
from marketdata_assets.flows.cell_formats import TIMES, Cell
from marketdata_assets.flows.definition import GLOBS, IDENTIFIER, OWN_COLUMNS
from marketdata_assets.flows.file_columns import PACKED
from marketdata_assets.flows.inference import Guess
from marketdata_assets.flows.sample import Sample

SYMBOL_FILE = re.compile(r"[A-Za-z0-9]{1,12}([._-][A-Za-z0-9]{1,6})?")
"""A file named for what it is about, as in AAPL.csv, 600000.SH.csv and BTC-USDT.csv."""
NOT_SYMBOLS = ("data", "prices", "daily", "export", "sample", "test", "file", "table", "stocks", "bars", "trades")
SUBJECTS = ("symbol", "code", "ticker", "ts_code", "instrument", "instrument_id", "secid", "isin", "pair", "sec_code")
"""Names of columns that say what a row is about."""
ID_NAME = re.compile(r"(^|_)(id|no|seq|sequence|number|trade_id|order_id)$")
KEY_COLUMNS = 3
DEFAULTS = {"format": "csv", "encoding": "utf-8", "delimiter": ",", "skip_lines": 0, "header": True, "rows": ""}


@dataclass(frozen=True)
class Column:
    """One column: its name in the file (empty for one of the file's name), ours, and its type."""

    source: str
    name: str
    guess: Guess


@dataclass(frozen=True)
class Draft:
    """A new flow: the text of its definition, how many columns it takes, and all that is unsure."""

    text: str
    key: list[str]
    unsure: list[str]


def draft(name: str, sample: Sample, path: Path) -> Draft:
    """The flow `name` that loads files such as the sample's at `path`."""
    columns, unsure = _columns(sample)
    file_name = _file_name(sample, columns)
    if file_name:
        unsure.append(f"no column names what the rows are about, so the file's name does ({sample.unit.name})")
        columns.insert(0, Column("", "symbol", Guess(inference.guess("symbol", ["A"]).cell)))
    key = _key(sample, [column for column in columns if column.source], ["symbol"] if file_name else [])
    if not key:
        unsure.append("no columns identify a row of the sample; each file's rows are replaced when it changes")
    lines = [*_head(name, path, unsure), *_loader(name, sample, columns, file_name, path), *_target(name, columns, key)]
    remarks = [*unsure, *(f"{column.name}: {column.guess.unsure}" for column in columns if column.guess.unsure)]
    return Draft("\n".join(lines) + "\n", key, remarks)


def _columns(sample: Sample) -> tuple[list[Column], list[str]]:
    found: list[Column] = []
    unnamed: list[str] = []
    for number, source in enumerate(sample.names):
        if not source:
            continue
        name = _identifier(source, number, [column.name for column in found])
        if name == f"column_{number + 1}" and not source.isdigit():
            unnamed.append(source)
        if sample.schema is not None:
            guess = inference.of_schema(sample.schema[source])
        else:
            guess = inference.guess(f"{source} {name}", sample.column(number))
        found.append(Column(source, name, guess))
    unsure = [*sample.unsure, *([f"give names of your own to: {', '.join(unnamed)}"] if unnamed else [])]
    if not sample.rows:
        unsure.append("the sample has no rows, so all columns are text")
    if sample.keys.get("header") is False:
        unsure.append("give the columns names")
    return found, unsure


def _identifier(source: str, number: int, taken: list[str]) -> str:
    name = column_names.identifier(source)
    if name in OWN_COLUMNS or not re.fullmatch(IDENTIFIER, name):
        name = f"file_{name}" if name in OWN_COLUMNS else f"column_{number + 1}"
    return f"{name}_{number + 1}" if name in taken else name


def _file_name(sample: Sample, columns: list[Column]) -> str | None:
    """A pattern of the file's name, where no column says what the rows are about and the name may."""
    name = sample.unit.place.replace("!", "/").rpartition("/")[2]
    for packed in PACKED:
        name = name.removesuffix(packed)
    stem, _, suffix = name.rpartition(".")
    texts = any(column.guess.cell.type.kind == "text" and not column.guess.unsure for column in columns)
    named = SYMBOL_FILE.fullmatch(stem) and stem.lower() not in NOT_SYMBOLS
    return (
        f"{{symbol}}.{suffix}" if named and not texts and all(column.name != "symbol" for column in columns) else None
    )


def _key(sample: Sample, columns: list[Column], of_file: list[str]) -> list[str]:
    """The fewest columns that differ in each row: what they are about, their time, then texts and numbers of ids."""
    numbers = {column.name: sample.names.index(column.source) for column in columns}
    kinds = {column.name: column.guess.cell.type.kind for column in columns}
    able = [name for name, number in numbers.items() if not {*sample.column(number)} & {None, *inference.MISSING}]
    about = [name for name in able if name in SUBJECTS][:1] or [name for name in able if kinds[name] == "text"][:1]
    times = [name for name in able if kinds[name] in TIMES]
    texts = [name for name in able if kinds[name] == "text" and name not in about]
    ids = [name for name in able if kinds[name] == "bigint" and ID_NAME.search(name)]
    for count in range(KEY_COLUMNS):
        for picked in combinations([*times, *texts, *ids], count):
            key = [*about, *picked]
            if (times and not {*times} & {*key}) or not (key or of_file):
                continue
            if len({tuple(row[numbers[name]] for name in key) for row in sample.rows}) == len(sample.rows) > 0:
                return [*of_file, *key]
    return []


def _head(name: str, path: Path, unsure: list[str]) -> Iterator[str]:
    yield "# yaml-language-server: $schema=../flow.schema.json"
    yield f"# Made of {path.name}. Reference of all fields: docs/concepts/flows.md"
    yield f"# Rows after each step: marketdata flows preview {name}"
    if unsure:
        yield "# Please check:"
        yield from (f"# - {remark}" for remark in unsure)
    yield "type: marketdata_assets.components.Flow"
    yield ""
    yield "attributes:"
    yield f"  description: {_quoted(f'Rows of files such as {path.name}.')}"


def _loader(name: str, sample: Sample, columns: list[Column], file_name: str | None, path: Path) -> Iterator[str]:
    keys = {key: value for key, value in sample.keys.items() if value != DEFAULTS.get(key, "")}
    yield ""
    yield "  loader:"
    yield f"    folder: {name}  # below MARKETDATA_FLOWS_DATA"
    suffix = "".join(path.suffixes[-2:] if path.suffixes[-1:] in ([".gz"], [".zst"], [".zstd"]) else path.suffixes[-1:])
    if GLOBS[sample.keys["format"]] != [f"**/*{suffix}"]:
        yield f"    glob: {_quoted(f'**/*{suffix}')}"
    yield from (f"    {key}: {_quoted(value)}" for key, value in keys.items())
    if file_name:
        yield f"    file_name: {_quoted(file_name)}"
    yield "    columns:"
    for column in columns:
        if column.source:
            yield f"      {_quoted(column.source)}: {column.name}"
    present = {text for row in sample.rows for text in row if isinstance(text, str)} & {*inference.MISSING}
    if present - {""}:
        yield f"    missing: {json.dumps(sorted(present | {''}))}"
    typed = [column for column in columns if column.guess.cell.type.kind != "text" or column.guess.unsure]
    if typed:
        yield "    types:"
    for column in typed:
        remark = f"  # {column.guess.unsure}" if column.guess.unsure else ""
        yield f"      {column.name}: {_cell(column.guess.cell)}{remark}"


def _target(name: str, columns: list[Column], key: list[str]) -> Iterator[str]:
    yield ""
    yield "  target:"
    yield f"    table: {name}"
    yield "    columns:"
    yield from (f"      {column.name}: {column.guess.cell.type}" for column in columns)
    remark = "  # what differs in each row of the sample; of rows with one key the newest is kept"
    yield f"    key: [{', '.join(key)}]{remark if key else ''}"
    yield f"    mode: {'upsert' if key else 'replace'}"
    yield ""
    yield "  sensor: true  # load new and changed files automatically"


def _cell(cell: Cell) -> str:
    """A type as a flow has it."""
    given = cell.model_dump(exclude_defaults=True, exclude={"type"}, mode="json")
    if not given:
        return str(cell.type)
    kind = f'"{cell.type}"' if "," in str(cell.type) else str(cell.type)
    values = {key: value[0] if key == "format" and len(value) == 1 else value for key, value in given.items()}
    return "{" + ", ".join([f"type: {kind}", *(f"{key}: {_quoted(value)}" for key, value in values.items())]) + "}"


def _quoted(value: Any) -> str:
    """A value as YAML takes it, without quotes where it needs none."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z\u4e00-\u9fff_][\w\u4e00-\u9fff. -]*", value)
    words = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    return str(value) if plain and value.lower() not in words else json.dumps(value, ensure_ascii=False)

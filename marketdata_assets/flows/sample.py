"""The beginning of a file as texts, before anything is known of it: format, encoding, delimiter, header, rows."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from marketdata_assets.flows import excel, json_lines
from marketdata_assets.flows.definition import Format
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import FileState, Opener, Unit, units_of
from marketdata_assets.loading.text import GUESSES

BYTES = 1024 * 1024
ROWS = 10_000
FORMATS: dict[str, Format] = {
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
DELIMITERS = ",\t;|"
LINES_TRIED = 100

Row = list[str | None]


@dataclass(frozen=True)
class Sample:
    """What was read. `names` are those of the file's columns, `schema` their types where the file has any.

    `keys` are the keys of the loader that differ from its defaults, `unsure` what was guessed of them.
    """

    unit: Unit
    names: list[str]
    rows: list[Row]
    keys: dict[str, Any] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    schema: pl.Schema | None = None

    def column(self, number: int) -> list[str | None]:
        """The texts of one column."""
        return [row[number] for row in self.rows]


def read(path: Path) -> Sample:
    """The first rows of a file, or of the largest member of an archive. Raises BadFile when it has none."""
    stat = path.stat()
    file = FileState(path.name, path, stat.st_size, stat.st_mtime_ns)
    units = [unit for unit in units_of(file) if not unit.problem]
    if not units:
        raise BadFile(path.name, "it has no member that can be read")
    unit = max(units, key=lambda one: one.size)
    name = unit.name.lower().removesuffix(".gz").removesuffix(".zst")
    kind = FORMATS.get(Path(name).suffix, "csv")
    with Opener() as opener, opener.open(unit) as stream:
        match kind:
            case "parquet":
                return _of_parquet(unit, stream.read())
            case "excel":
                data = stream.read()
                return _of_workbook(unit, data) if excel.is_workbook(data) else _of_text(unit, data[:BYTES])
            case "json" | "json_lines":
                return _of_json(unit, stream.read() if kind == "json" else stream.read(BYTES), kind)
            case _:
                return _of_text(unit, stream.read(BYTES))


def _of_text(unit: Unit, raw: bytes) -> Sample:
    text, encoding, unsure = decoded(unit, raw)
    lines = text.split("\n")
    delimiter, width = _delimiter(lines)
    first = next((n for n, line in enumerate(lines) if len(_cells([line], delimiter)[0]) == width), 0)
    rows = [row for row in _cells(lines[first : first + ROWS], delimiter) if len(row) == width]
    keys: dict[str, Any] = {"format": "csv", "encoding": encoding, "delimiter": delimiter, "skip_lines": first}
    return _with_header(unit, rows, keys, unsure)


def _of_workbook(unit: Unit, data: bytes) -> Sample:
    cells = excel.every_cell(data, unit.place, None)
    rows = [list(row[1:]) for row in cells.head(ROWS).rows()]
    width = max((sum(cell is not None for cell in row) for row in rows[:LINES_TRIED]), default=0)
    first = next((n for n, row in enumerate(rows) if sum(cell is not None for cell in row) >= max(2, width - 1)), 0)
    rows = [row for row in rows[first:] if any(cell is not None for cell in row)]
    return _with_header(unit, rows, {"format": "excel", "skip_lines": first}, [])


def _with_header(unit: Unit, rows: list[Row], keys: dict[str, Any], unsure: list[str]) -> Sample:
    """Distinguish a header from a first row: its cells are different texts without digits at their beginning."""
    if not rows:
        raise BadFile(unit.place, "it has no rows")
    first = [(cell or "").strip() for cell in rows[0]]
    numeric = any(cell.lstrip("+-.")[:1].isdigit() for cell in first)
    named = len(set(first)) == len(first) and not numeric
    if named and all(first):
        return Sample(unit, first, rows[1:], keys, unsure)
    if named and sum(map(bool, first)) > len(first) // 2:
        return Sample(unit, first, rows[1:], keys, [*unsure, "a column without a name is left out"])
    numbers = [str(number) for number in range(1, len(first) + 1)]
    unsure = [*unsure, "the first line looks like a row, so the file is taken to have no header"]
    return Sample(unit, numbers, rows, {**keys, "header": False}, unsure)


def _of_json(unit: Unit, raw: bytes, kind: Format) -> Sample:
    text, encoding, unsure = decoded(unit, raw)
    keys: dict[str, Any] = {"format": kind, "encoding": encoding}
    if kind == "json":
        document = _json(unit, text)
        found = next((one for kind in TABLES for one in _places(document, (), kind)), None)
        if found is None:
            raise BadFile(unit.place, "it has no array of objects or arrays, no object of them, no columns")
        keys["rows"] = ".".join(found)
        values = json_lines.values_of(json_lines.at(document, keys["rows"])) or []
    else:
        values = [_json(unit, line) for line in text.split("\n")[:ROWS] if line.strip()]
    flat = [dict(_leaves(row, "")) for row in map(json_lines.row_of, values[:ROWS]) if row is not None]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return Sample(unit, names, [[row.get(name) for name in names] for row in flat], keys, unsure)


def _json(unit: Unit, text: str) -> Any:
    try:
        return json_lines.DECODER.decode(text)
    except msgspec.DecodeError as error:
        raise BadFile(unit.place, f"not JSON: {error}") from error


def _of_parquet(unit: Unit, raw: bytes) -> Sample:
    try:
        frame = pl.scan_parquet(io.BytesIO(raw)).head(ROWS).collect()
    except pl.exceptions.PolarsError as error:
        raise BadFile(unit.place, f"not a Parquet file that can be read: {error}") from error
    return Sample(unit, frame.columns, [list(row) for row in frame.rows()], {"format": "parquet"}, [], frame.schema)


def decoded(unit: Unit, raw: bytes) -> tuple[str, str, list[str]]:
    """Text of whole lines, its encoding, and what is unsure about that. Raises BadFile for bytes that are no text."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw[: len(raw) // 2 * 2].decode("utf-16", "ignore"), "utf-16", []
    if b"\0" in raw:
        raise BadFile(unit.place, "it is not text, nor a format that is known by its suffix")
    whole = raw[: raw.rfind(b"\n") + 1] if len(raw) == BYTES else raw
    for encoding in GUESSES:
        if encoding == "utf-16":
            continue
        try:
            text = whole.decode("utf-8-sig" if encoding == "utf-8" else encoding)
        except UnicodeDecodeError:
            continue
        unsure = [] if encoding == "utf-8" else [f"the bytes are no UTF-8; {encoding} fits"]
        return text.replace("\r\n", "\n").rstrip("\n"), encoding, unsure
    raise BadFile(unit.place, "it is no text in an encoding that is known")


def _delimiter(lines: list[str]) -> tuple[str, int]:
    """The delimiter that cuts most lines into the same number of cells, of more than one; and that number."""
    best = (0, ",", 1)
    for delimiter in DELIMITERS:
        widths = Counter(len(row) for row in _cells(lines[:LINES_TRIED], delimiter))
        width, lines_of_width = max(widths.items(), key=lambda pair: (pair[0] > 1, pair[1]), default=(1, 0))
        if width > 1 and lines_of_width > best[0]:
            best = (lines_of_width, delimiter, width)
    return best[1], best[2]


def _cells(lines: list[str], delimiter: str) -> list[Row]:
    """The cells of each line; a carriage return within one is a blank."""
    plain = (line.replace("\r", " ") for line in lines)
    return [[cell.strip() for cell in row] for row in csv.reader(plain, delimiter=delimiter)]


def _of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _of_arrays(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list) and len(value[0]) > 1


def _by_key(value: Any) -> bool:
    """Whether it is an object of objects that have the same keys."""
    rows = list(value.values()) if isinstance(value, dict) else []
    alike = len(rows) > 1 and all(isinstance(row, dict) and row for row in rows)
    return alike and all(2 * len(rows[0].keys() & row.keys()) >= len(rows[0]) for row in rows)


def _of_columns(value: Any) -> bool:
    lists = [one for one in value.values() if isinstance(one, list)] if isinstance(value, dict) else []
    return len(lists) > 1 and {len(one) for one in lists} == {max(map(len, lists))} != {0}


TABLES: tuple[Callable[[Any], bool], ...] = (_of_objects, _of_arrays, _by_key, _of_columns)
"""What may hold the rows of a document, the most usual first."""


def _places(value: Any, path: tuple[str, ...], kind: Callable[[Any], bool]) -> Iterator[tuple[str, ...]]:
    """Where a document has tables of this kind, the outermost first."""
    if kind(value):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key), kind)


def _leaves(row: dict[str, Any], prefix: str) -> Iterator[tuple[str, str | None]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
            yield prefix + key, text

"""JSON, a row on each line, or all rows in one document.

A number is kept as it is written. A key in an object within is written with a dot: `quote.last`. A row may be an array,
whose values have the keys `1`, `2` and so on. The rows of a document are one of

- an array of them: `[{"s": "A", "p": 1}]`, `[["A", 1]]`, the first of which may be names: `[["s", "p"], ["A", 1]]`
- an object of them: `{"2024-01-02": {"p": 1}}`; its keys are a column named `@key`, plain values one named `@value`
- an object of arrays of them: `{"A": [{"p": 1}], "B": [{"p": 2}]}`, with the same column of keys
- columns of equal length: `{"s": ["A"], "p": [1]}`; other members are no columns
- columns by number, as pandas writes them: `{"s": {"0": "A"}, "p": {"0": 1}}`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl

from marketdata_assets.flows import header
from marketdata_assets.flows.definition import Loader
from marketdata_assets.input_limits import MAX_DOCUMENT_VALUES, NOT_JSON
from marketdata_assets.loading import files
from marketdata_assets.loading.errors import BadFile, LoadError
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects

DECODER = msgspec.json.Decoder(float_hook=str)
NAME = re.compile(r'"[ \t\r\n]*:')
"""The end of a name in an object; within a text as often before decoding as after."""
KEY, VALUE = "@key", "@value"
"""Columns of an object of rows."""


def lines(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Iterator[pl.DataFrame]:
    """The objects of a file with one on each line, a block at a time. Raises LoadError."""
    text = header.opened(stream, unit, loader, quote="")
    found: set[str] = set()
    rows = 0
    for block in text.blocks():
        rejects.add_undecodable(block.undecodable, loader.encoding)
        objects = [*_objects(block.text.removeprefix(b"\xef\xbb\xbf"), block.first_line, loader, rejects)]
        rows += len(objects)
        yield _frame(objects, loader, rejects, found)
    _check_keys(unit.place, rows, loader, found)


def document(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Iterator[pl.DataFrame]:
    """The rows at `loader.rows` of the document. Raises LoadError."""
    objects = list[tuple[int, dict[str, Any]]]()
    for number, value in enumerate(values(stream, unit, loader), 1):
        if (row := _row(number, value, loader, rejects)) is not None:
            objects.append((number, row))
    keys: set[str] = set()
    yield _frame(objects, loader, rejects, keys)
    _check_keys(unit.place, len(objects), loader, keys)


def values(stream: HashedStream, unit: Unit, loader: Loader) -> list[Any]:
    """The rows of a document as they are there. Raises BadFile."""
    raw = files.document(stream, unit.place, "deliver JSON lines")
    if (values := raw.count(b",") + raw.count(b"[") + raw.count(b"{")) > MAX_DOCUMENT_VALUES:
        raise BadFile(
            unit.place, f"a JSON document of {values} values; the limit is {MAX_DOCUMENT_VALUES}, deliver lines"
        )
    try:
        found = values_of(at(decoded(raw.decode(loader.encoding)), loader.rows)) if raw.strip() else []
    except NOT_JSON as error:
        raise BadFile(unit.place, f"not JSON: {error}") from error
    if found is None:
        raise BadFile(unit.place, f"no rows at {loader.rows or 'its top'}; correct loader.rows")
    if found and isinstance(found[0], list) and not any(source.isdigit() for source in loader.columns):
        names, *rows = found
        if all(isinstance(name, str) for name in names) and {*header.required(loader)} <= {*names}:
            fits = len(names)  # a row of another length is left as it is, and rejected
            return [
                dict(zip(names, row, strict=True)) if isinstance(row, list) and len(row) == fits else row
                for row in rows
            ]
    return found


def decoded(text: str) -> Any:
    """A document; NaN and infinities, which JSON does not have, are texts.

    Raises DecodeError, also where an object has a name twice: of its values only the last would be left.
    """
    found = _decoded(text.removeprefix("\ufeff"))
    try:
        again = msgspec.json.encode(found).decode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise msgspec.DecodeError(str(error)) from error
    if len(NAME.findall(text)) > len(NAME.findall(again)):
        raise msgspec.DecodeError("an object has a name twice")
    return found


def _decoded(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        if not re.search(r"\b(NaN|Infinity)\b", text):
            raise msgspec.DecodeError(str(error)) from error
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def values_of(found: Any) -> list[Any] | None:
    """The rows of an array, of an object of them or of arrays of them, or of columns; None for anything else."""
    if not isinstance(found, dict):
        return found if isinstance(found, list) else None
    if by_number(found):
        columns = [*found.values()]
        return [{key: column.get(at) for key, column in found.items()} for at in columns[0]]
    if all(isinstance(value, list) and all(isinstance(row, dict) for row in value) for value in found.values()):
        return [{KEY: key, **row} for key, value in found.items() for row in value]
    if all(isinstance(value, dict) for value in found.values()):
        return [{KEY: key, **value} for key, value in found.items()]
    lists = {key: value for key, value in found.items() if isinstance(value, list)}
    if not lists:
        return [{KEY: key, VALUE: value} for key, value in found.items()]
    if len({*map(len, lists.values())}) == 1:
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return None


def by_number(found: dict[str, Any]) -> bool:
    """Whether an object has columns, each an object of its values by number."""
    columns = [value.keys() for value in found.values() if isinstance(value, dict)]
    if len(columns) < max(2, len(found)) or any(map(str.isdigit, found)):
        return False
    return [*columns[0]] == [*map(str, range(len(columns[0])))] != [] and all(one == columns[0] for one in columns)


def row_of(value: Any) -> dict[str, Any] | None:
    """A row by its keys; None for a plain value."""
    if isinstance(value, list):
        return {str(number): one for number, one in enumerate(value, 1)}
    return value if isinstance(value, dict) else None


def _row(number: int, value: Any, loader: Loader, rejects: Rejects) -> dict[str, Any] | None:
    """A row of the kind that `loader.columns` names: keys, or the places of an array."""
    row = row_of(value)
    if row is None or (isinstance(value, list) and not any(source.isdigit() for source in loader.columns)):
        rejects.rows += 1
        rejects.add(number, "not an object" if row is None else "an array, and loader.columns names keys of objects")
        return None
    return row


def at(value: Any, path: str) -> Any:
    """What a document has at a path such as `data.items`; None where it ends before."""
    if not path or not isinstance(value, dict):
        return None if path else value
    key, _, rest = path.partition(".")
    return value[path] if path in value else at(value.get(key), rest)


def _objects(text: bytes, first: int, loader: Loader, rejects: Rejects) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split(b"\n"), first):
        if not line.strip():
            continue
        try:
            row = decoded(line.decode())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            rejects.rows += 1
            rejects.add(number, f"not JSON: {error}")
            continue
        if (found := _row(number, row, loader, rejects)) is not None:
            yield number, found


def _frame(
    objects: Sequence[tuple[int, dict[str, Any]]], loader: Loader, rejects: Rejects, found: set[str]
) -> pl.DataFrame:
    """The columns that the flow takes; `found` gathers those of its keys that some object has."""
    texts: dict[str, list[str | None]] = {}
    for source in loader.columns:
        if any(source in row for _, row in objects):
            found.add(source)
            values = [row.get(source) for _, row in objects]
        else:
            values = [at(row, source) for _, row in objects]
            found.update([source] if any(value is not None for value in values) else [])
        texts[source] = [*map(text, values)]
    taken = {source.partition(".")[0] for source in loader.columns}
    rejects.undeclared |= header.undeclared({key for _, row in objects for key in row} - taken, loader)
    schema = {LINE: pl.Int64, **dict.fromkeys(texts, pl.String)}
    return pl.DataFrame({LINE: [number for number, _ in objects], **texts}, schema=schema)


def text(value: Any) -> str | None:
    """A text as it is, NULL for null, and other values as JSON writes them."""
    return value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()


def _check_keys(place: str, rows: int, loader: Loader, found: set[str]) -> None:
    if rows and (lacking := header.missing(found, loader)):
        raise LoadError(f"{place}:1: no row has {', '.join(lacking)}. {header.REMEDY}")

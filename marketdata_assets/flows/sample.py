"""The beginning of a file as texts, before anything is known of it: format, encoding, delimiter, header, rows.

An encoding that is not UTF-8 is judged by characters that texts seldom have. Candidates are the usual ones of market
data and the guess of charset-normalizer. A few bytes fit many, so the others are named with what they make of the file.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from charset_normalizer import from_bytes

from marketdata_assets.flows import excel, json_lines, shape
from marketdata_assets.flows.definition import Format
from marketdata_assets.flows.shape import Row
from marketdata_assets.loading import parquet_slices
from marketdata_assets.loading.archives import Stream
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener, Unit, document, file_at, naming_failures, units_of
from marketdata_assets.loading.text import OPEN_END, has_open_end
from marketdata_assets.loading.text_table import NO_LINES

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
    ".html": "excel",
    ".htm": "excel",
}
LINES_TRIED = 100
END_BYTES = 64 * 1024
EMPTY = r'^[ \t\r",;|]*[,;|][ \t\r",;|]*$'
"""A line of delimiters alone."""
USUAL = ("gb18030", "big5", "cp1252", "cp932", "euc_kr", "cp1251", "cp1250", "latin-1")
"""The first of those that do equally well is taken."""
COMMON: dict[str, tuple[str, int, int]] = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp932": ("shift_jis", 0x82, 0x97),
    "euc_kr": ("euc_kr", 0xB0, 0xC8),
}
"""Where an encoding has its common characters: the encoding that has these, the first and last lead byte of them."""
WESTERN = "\xa0ÄÖÜäöüßÀÂÇÉÈÊËÎÏÔÙÛàâçéèêëîïôùûœÁÍÓÚÑáíóúñ¿¡ÃÕãõÅØÆåøæ€£°·«»’–"
OTHERS = {"cp1250": WESTERN + "ĄĆĘŁŃŚŹŻąćęłńśźżČĎĚŇŘŠŤŮÝŽčďěňřšťůýžŐőŰűĂăȘșȚțŞşŢţ", "cp1251": ""}
SAMPLE_BYTES = 16 * 1024
SHOWN, LONGEST, MANY = 3, 24, 12


@dataclass(frozen=True)
class Sample:
    """What was read. `names` are those of the file's columns, `schema` their types where the file has any.

    `labels` are better names for some of them. `keys` are the keys of the loader that differ from its defaults,
    `unsure` what was guessed of them.
    """

    unit: Unit
    names: list[str]
    rows: list[Row]
    keys: dict[str, Any] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    schema: pl.Schema | None = None
    labels: dict[str, str] = field(default_factory=dict)


def read(path: Path, encoding: str | None = None) -> Sample:
    """The first rows of a file, or of the largest member of an archive. Raises BadFile when it has none.

    Without an `encoding` it is guessed. Raises LookupError for one that does not exist.
    """
    codecs.lookup(encoding or "utf-8")
    units = [unit for unit in units_of(file_at(path)) if not unit.problem]
    if not units:
        raise BadFile(path.name, "it has no member that can be read")
    unit = max(units, key=lambda one: one.size)
    name = unit.name.lower().removesuffix(".gz").removesuffix(".zst")
    kind = FORMATS.get(Path(name).suffix, "csv")
    with Opener() as opener, opener.open(unit) as stream, naming_failures(unit.place):
        match kind:
            case "parquet":
                return _of_parquet(unit, stream)
            case "excel":
                data = document(stream, unit.place, "deliver CSV")
                if excel.is_workbook(data):
                    return _of_workbook(unit, data)
                return _of_text(unit, data[:BYTES], data[BYTES:][-END_BYTES:], encoding)
            case "json":
                return _of_json(unit, document(stream, unit.place, "deliver JSON lines"), kind, encoding)
            case "json_lines":
                return _of_json(unit, stream.read(BYTES), kind, encoding)
            case _:
                return _of_text(unit, stream.read(BYTES), _end(stream), encoding)


def _end(stream: Stream) -> bytes:
    """The last bytes behind the sample."""
    end = b""
    while chunk := stream.read(BYTES):
        end = (end + chunk)[-END_BYTES:]
    return end


def _of_text(unit: Unit, raw: bytes, end: bytes, encoding: str | None) -> Sample:
    text, encoding, unsure = decoded(unit, raw, encoding)
    lines = text.split("\n")
    comment = next((mark for mark in shape.COMMENTS if _is_commented(lines, mark)), None)
    kept = ["" if comment and line.startswith(comment) else line for line in lines]
    form, remarks = shape.form(kept)
    even = [line for line in form.lines if len(line.cells) == form.width]
    if not even:
        raise BadFile(unit.place, "it has no rows")
    while len(even) > 1 and form.width > 2 and sum(map(bool, even[0].cells)) <= 1:  # a title of a sheet saved as CSV
        even = even[1:]
    first, last = even[0], even[-1]
    keys: dict[str, Any] = {"format": "csv", "encoding": encoding, **form.keys, "skip_lines": first.first}
    if comment:
        titled = any(line.strip() and not line.startswith(comment) for line in lines[: first.first])
        keys |= {"drop": shape.comments(comment, form), "skip_lines": first.first if titled else 0}
        remarks.append(f"lines that begin with {comment} and have not {form.width} cells are no rows (drop)")
    remarks += _above(lines[: keys["skip_lines"]])
    if any(re.match(EMPTY, line) for line in lines[first.first :]):
        keys["drop"] = "|".join(filter(None, (keys.get("drop"), EMPTY)))
        remarks.append("lines of delimiters alone are left out (drop)")
    if form.width == 1 and all(re.search(r"\S  +\S", line) for line in lines[first.first :] if line.strip()):
        remarks.append("each line is one cell; if its columns begin at fixed places, write format: fixed_width")
    behind = [line for line in form.lines if line.first > last.first] if not end else []
    uneven = [line for line in form.lines if first.first < line.first < last.first and len(line.cells) != form.width]
    if has_open_end(unit):
        remarks.append(OPEN_END)
    if uneven:
        example = " ".join(filter(None, uneven[0].cells))[:60]
        remarks.append(
            f"lines with another number of cells than {form.width} are rejected: {len(uneven)} of the sample, as line"
            f" {uneven[0].first + 1} ({example!r})"
        )
    tail = [line.cells for line in even[ROWS:]]
    if end and not encoding.startswith("utf-16"):
        ended = shape.form([*lines[first.first : first.first + 1], *end.decode(encoding, "replace").split("\n")[1:]])[0]
        cut = [len(line.cells) == form.width for line in ended.lines]
        last_even = len(cut) - cut[::-1].index(True) if any(cut[1:]) else len(cut)
        tail = [line.cells for line in ended.lines[1:last_even]]
        behind = ended.lines[last_even:]
    rows = [line.cells for line in even[:ROWS]]
    tail = [row for row in tail if len(row) == form.width]
    return _with_header(unit, rows, keys, [*unsure, *remarks], [line.cells for line in behind], tail)


def _above(texts: Iterable[str | None]) -> Iterator[str]:
    """A remark on lines above the header, of which nobody sees that those of another file say something else."""
    if said := next((text.strip(' \t\r",;|') for text in texts if text and text.strip(' \t\r",;|')), ""):
        yield f"{said[:60]!r} above the header is skipped, and so is what other files say there, as another unit"


def _is_commented(lines: Sequence[str], mark: str) -> bool:
    """Whether lines begin with `mark`, none of which has as many delimiters as the others: that would be the header."""
    marked = [line for line in lines if line.startswith(mark)]
    others = [line for line in lines if line.strip() and not line.startswith(mark)]
    other = others[len(others) // 2] if others else ""
    counts = {delimiter: other.count(delimiter) for delimiter in shape.DELIMITERS if delimiter in other}
    alike = [all(line.count(one) == count for one, count in counts.items()) for line in marked if counts]
    return bool(marked and others) and not any(alike)


def _of_workbook(unit: Unit, data: bytes) -> Sample:
    unsure: list[str] = []
    cells = excel.every_cell(data, unit.place, None, unsure)
    rows = [list(row[1:]) for row in cells.head(ROWS).rows()]
    width = max((sum(cell is not None for cell in row) for row in rows[:LINES_TRIED]), default=0)
    first = next((n for n, row in enumerate(rows) if sum(cell is not None for cell in row) >= max(2, width - 1)), 0)
    unsure += _above(cell for row in rows[:first] for cell in row)
    rows = [row for row in rows[first:] if any(cell is not None for cell in row)]
    return _with_header(unit, rows, {"format": "excel", "skip_lines": first}, unsure, [], [])


def _with_header(
    unit: Unit, rows: list[Row], keys: dict[str, Any], unsure: list[str], behind: Sequence[Row], tail: Sequence[Row]
) -> Sample:
    """The sample with its header found, and without lines that are no rows."""
    if not rows:
        raise BadFile(unit.place, "it has no rows")
    head = shape.header(rows)
    below = rows[1:] if head.found else rows
    again = [row for row in below if head.found and row == rows[0]][:1]  # of concatenated files
    below = [*again, *(row for row in below if row not in again)]
    kept, left_out, remarks = shape.without_totals(below, behind, tail, max(0, head.lines - 1) + len(again), keys)
    drop = [given["drop"] for given in (keys, left_out) if "drop" in given]
    keys = {**keys, **left_out, "header": head.found} | ({"drop": "|".join(drop)} if drop else {})
    return Sample(unit, head.names, kept, keys, [*unsure, *head.remarks, *remarks], labels=head.labels)


def _of_json(unit: Unit, raw: bytes, kind: Format, given: str | None) -> Sample:
    text, encoding, unsure = decoded(unit, raw, given)
    keys: dict[str, Any] = {"format": kind, "encoding": encoding}
    if kind == "json":
        lines = [line for line in text.split("\n")[:LINES_TRIED] if line.strip()]
        if len(lines) > 1 and all(re.fullmatch(r"\s*\{.*\}\s*", line) for line in lines):
            return _of_json(unit, raw[:BYTES], "json_lines", given)
        document = _json(unit, text)
        places = [one for kind in TABLES for one in _places(document, (), kind)]
        if not places:
            raise BadFile(unit.place, "it has no array of objects or arrays, no object of them, no columns")
        found, *others = places
        keys["rows"] = ".".join(found)
        values = json_lines.values_of(json_lines.at(document, keys["rows"])) or []
        if left := [".".join(one) for one in others if found and one and one[:-1] == found[:-1] and one != found]:
            unsure.append(f"rows are taken from {keys['rows']}, and none from {', '.join(left)[:100]} (rows)")
        lists = [row for row in values if isinstance(row, list)]
        if values and lists == values and all(isinstance(one, str) and shape.kind(one) == "text" for one in values[0]):
            below = [[*map(json_lines.text, row)] for row in values[1:LINES_TRIED] if len(row) == len(values[0])]
            if {*shape.kinds(below)} & {"number", "time"}:
                values = [dict(zip(values[0], row, strict=False)) for row in values[1:]]
    else:
        values = [_json(unit, line) for line in text.split("\n")[:ROWS] if line.strip()]
    flat = [dict(_leaves(row, "")) for row in map(json_lines.row_of, values[:ROWS]) if row is not None]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return Sample(unit, names, [[row.get(name) for name in names] for row in flat], keys, unsure)


def _json(unit: Unit, text: str) -> Any:
    try:
        return json_lines.decoded(text)
    except msgspec.DecodeError as error:
        raise BadFile(unit.place, f"not JSON: {error}") from error


def _of_parquet(unit: Unit, stream: Stream) -> Sample:
    with parquet_slices.on_disk(stream) as (file, size):
        frame = next(parquet_slices.slices(file, size, unit.place)).head(ROWS)
    return Sample(unit, frame.columns, [list(row) for row in frame.rows()], {"format": "parquet"}, [], frame.schema)


def decoded(unit: Unit, raw: bytes, encoding: str | None) -> tuple[str, str, list[str]]:
    """Text of whole lines, its encoding, and what is unsure about that. Raises BadFile for bytes that are no text."""
    if b"\r" in raw[:-2] and b"\n" not in raw:
        raise BadFile(unit.place, NO_LINES)
    nuls = [raw[first::2].count(0) for first in (0, 1)]
    wide = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}.get(raw[:2])
    if 4 * max(nuls) > len(raw) and 4 * min(nuls) < max(nuls) and b"\n" in raw:
        wide = wide or ("utf-16-be" if nuls[0] > nuls[1] else "utf-16-le")
    if wide and encoding is None:
        return raw[: len(raw) // 2 * 2].decode(wide, "ignore").replace("\r\n", "\n"), wide, []
    binary = sum(nuls) > 1 + len(raw) // 100 or re.search(rb"[\x01-\x08\x0e-\x1f]", raw)
    if sum(nuls) and binary and encoding is None:
        raise BadFile(unit.place, "it is not text, nor a format that is known by its suffix")
    whole = raw[: raw.rfind(b"\n") + 1] if len(raw) == BYTES else raw
    unsure: list[str] = []
    try:
        text = whole.decode({"utf-8": "utf-8-sig"}.get(encoding or "utf-8", encoding or ""))
    except UnicodeDecodeError as error:
        if encoding:
            raise BadFile(unit.place, f"it is not {encoding}: {error}") from error
        found = readings(whole)
        encoding, unsure = found[0].encoding, [remark(found)]
        text = whole.decode(encoding, "replace")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n"), encoding or "utf-8", unsure


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


def _of_lists(value: Any) -> bool:
    """Whether it is an object of arrays of objects that have the same keys."""
    lists = list(value.values()) if isinstance(value, dict) else []
    return len(lists) > 1 and all(map(_of_objects, lists)) and _by_key({str(n): one[0] for n, one in enumerate(lists)})


def _by_number(value: Any) -> bool:
    return isinstance(value, dict) and json_lines.by_number(value)


TABLES: tuple[Callable[[Any], bool], ...] = (_by_number, _of_lists, _of_objects, _of_arrays, _by_key, _of_columns)
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
            yield prefix + key, json_lines.text(value)


@dataclass(frozen=True)
class Reading:
    """What an encoding makes of some lines, and the share of its characters that are rare, from 0 to 1."""

    encoding: str
    rare: float
    example: str

    def __str__(self) -> str:
        return f'{self.encoding} ("{self.example}")'


def readings(raw: bytes) -> list[Reading]:
    """What the encodings make of `raw`, the most likely first; bytes that are no character are rare."""
    lines = b"\n".join(line for line in raw.split(b"\n") if not line.isascii())[:SAMPLE_BYTES]
    lines = lines[: lines.rfind(b"\n")] if len(lines) == SAMPLE_BYTES else lines
    detected = from_bytes(lines).best()
    names = dict.fromkeys([*USUAL, *([detected.encoding] if detected and "utf" not in detected.encoding else [])])
    found: list[Reading] = []
    for encoding in names:
        text = lines.decode(encoding, "replace")
        example = re.search(r"\w*[^\x00-\x7f\ufffd]+\w*", text)
        found.append(Reading(encoding, _rare(text, encoding), example[0][:LONGEST] if example else ""))
    return sorted(found, key=lambda reading: reading.rare)


def remark(found: list[Reading]) -> str:
    """What to say of an encoding that was taken for the first of `found`."""
    others = {one.example: one for one in reversed(found[1:]) if one.example not in ("", found[0].example)}
    also = ", ".join(map(str, [*others.values()][::-1][:SHOWN]))
    either = f", not as {also}; if one of these is right, write --encoding" if also else ""
    return f"the bytes are no UTF-8; they are read as {found[0]}{either}"


def _rare(text: str, encoding: str) -> float:
    foreign = [character for character in text if ord(character) > 0x7F]
    if encoding in COMMON:
        rare = sum(character not in _common(encoding) for character in foreign)
    elif encoding == "cp1251":
        words = re.findall(r"[^\x00-\x7f]+", text)
        rare = sum(len(word) for word in words if not re.fullmatch(r"[А-ЯЁ]?[а-яё]+|[А-ЯЁ]+|[№«»–—]", word))
    else:
        usual = OTHERS.get(encoding, WESTERN)
        runs = re.findall(r"[^\x00-\x7f]+", text)
        rare = sum(len(run) if _mixed(run) else sum(letter not in usual for letter in run) for run in runs)
        rare += sum(map(len, re.findall(r"(?<=[a-z])[À-ÖØ-Þ](?=[a-z])", text)))
    if encoding == "euc_kr" and not rare and len({*foreign}) >= MANY:
        return -0.01  # its hangul are common hanzi of GB 2312 as well, but hardly all of many hanzi are hangul
    return rare / max(1, len(foreign)) if encoding in (*COMMON, *OTHERS, "cp1252") else 0.2 + rare


def _mixed(run: str) -> bool:
    """Whether letters beyond ASCII follow each other as they do not in a word of a Latin script."""
    return len(run) > 2 or (len(run) == 2 and not (run.islower() or run.isupper()))


@cache
def _common(encoding: str) -> frozenset[str]:
    """The characters that texts in the encoding are mostly made of, with the marks of its first rows."""
    name, first, last = COMMON[encoding]
    leads = (*range(0xA1, 0xA4), *range(first, last + 1))
    characters = {bytes((lead, trail)).decode(name, "replace") for lead in leads for trail in range(0x40, 0xFF)}
    return frozenset(one for one in characters if len(one) == 1) - {"\ufffd"}

"""The text of a new flow's definition, made of a sample of its files, with remarks on what was guessed."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from marketdata_assets.flows import header, inference
from marketdata_assets.flows.definition import FILE_TIME, GLOBS, IDENTIFIER, OWN_COLUMNS, Loader
from marketdata_assets.flows.inference import Guess
from marketdata_assets.flows.reading import PACKED
from marketdata_assets.flows.sample import Sample
from marketdata_assets.flows.shape import PERIOD
from marketdata_assets.flows.types import TIMES, Cell, column_type

SYMBOL_FILE = re.compile(r"[A-Za-z0-9]{1,12}([._-][A-Za-z0-9]{1,6})?")
"""A file named for what it is about, as in AAPL.csv, 600000.SH.csv and BTC-USDT.csv."""
SYMBOL_PART = re.compile(
    r"((?:[A-Z]{2}#|[a-z]{2}|[A-Z]{2})?\d{6}(?:[._](?:SH|SZ|BJ|XSHG|XSHE))?"
    r"|[A-Z0-9]{1,10}-?(?:USDT|USDC|BUSD|USD|BTC|ETH|EUR)(?:-SWAP|_PERP)?|[A-Z]{1,5}(?:\.[A-Z]{1,3})?)"
    r"(?=[-_ .]|(?:19|20)\d\d|$)"
)
"""A part of a file's name that may be a symbol, at its beginning."""
NOT_SYMBOLS = re.compile(
    r"(data|prices?|daily|export|sample|test|file|table|stocks?|bars?|trades?|quotes?|ticks?|nav|eod|klines?|page|candles?"
    r"|history|result|output|report|orders?|positions?|holdings?|all|new|out|sheet)?[\d_ .-]*",
    re.IGNORECASE,
)
SYMBOL_UPPER = re.compile(r"(?=.*[A-Z]|\d{6})[A-Z0-9]{1,12}([._-][A-Z0-9]{1,6})?|[a-z]{2}\d{6}|[A-Z]{2}#\d{6}")
MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
YEAR, MONTH, DAY = r"(?:19|20)\d\d", "(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
DAY_PARTS = (
    (rf"(?<!\d){YEAR}([-_.]?){MONTH}\1{DAY}(?=\D|\d{{4}}(?:\d\d)?(?!\d)|$)", "%Y{0}%m{0}%d"),
    (rf"{YEAR}年\d\d?月\d\d?日", "%Y年%m月%d日"),
    (rf"{YEAR}([-_.])\d\d?\1\d\d?(?!\d)", "%Y{0}%m{0}%d"),
    (rf"(?<!\d){DAY}([-_ ]?){MONTHS}\1{YEAR}(?!\d)", "%d{0}%b{0}%Y"),
    (rf"{MONTHS}([-_ ]?){DAY}\1{YEAR}(?!\d)", "%b{0}%d{0}%Y"),
    (rf"(?<!\d){DAY}([.]){MONTH}\1{YEAR}(?!\d)", "%d{0}%m{0}%Y"),
    (rf"(?<!\d){MONTH}([-_]?){DAY}\1{YEAR}(?!\d)", "%m{0}%d{0}%Y"),
    (rf"(?<!\d){DAY}([-_]?){MONTH}\1{YEAR}(?!\d)", "%d{0}%m{0}%Y"),
    (rf"(?<!\d)[0-3]\d{MONTH}{DAY}(?![\d.])", "%y%m%d"),
)
"""What a day in a file's name looks like, and the form of it with the mark between its parts."""
MONTH_NAME = rf"(?<![A-Za-z]){MONTHS}(r?uary|ch|il|[ey]|ust|t?ember|t|ober)?"
UNSORTED = re.compile(
    rf"{MONTH_NAME}(?![A-Za-z])|(?i:{MONTH_NAME})[-_. ]?{YEAR}|[一二三四五六七八九十]+月"
    rf"|(?<!\d)(Q[1-4]|H[12]|0?[1-9]|1[0-2])[-_. ]?{YEAR}(?!\d)"
)
"""A month or quarter in a file's name that does not sort as text."""
SYMBOLS = ("symbol", "file_symbol")
"""What a file's name says that its rows are about; the second where rows have a symbol, as those of an index do."""
FILE_DAY = "file_day"
"""The day of a file's name where it orders rows that have times of their own."""
OTHER_FILES = re.compile(
    r"(?<![A-Za-z0-9])(\d+(s|m|min|h|d|w|mo)|[qhb]fq|adj|unadj|daily|weekly|monthly)(?![A-Za-z0-9])", re.IGNORECASE
)
"""What a file's name says that its rows do not: rows of other files may have the same key."""
PERIOD_PART = re.compile(
    r"(?<!\d)(?:19|20)\d\d(?:[-_]?(?:Q[1-4]|H[12]|W(?:[0-4]\d|5[0-3])|0[1-9]|1[0-2]))?(?!\d)", re.IGNORECASE
)
"""A year, or a quarter, half year, week of ISO 8601 or month of it, in a file's name."""
ID_NAME = re.compile(r"(^|_)(id|no|seq|sequence|number)$")
FINE_NAME = re.compile(r"(^|_)((trade|order|exec|deal)_?(id|no|seq)|seq|seq_no|sequence)$")
"""Names of what differs between rows of one time, such as trades."""
KEY_COLUMNS = 4


@dataclass(frozen=True)
class Column:
    """One column: its name in the file (empty for one of the file's name), ours, its type, texts that are NULL."""

    source: str | None
    name: str
    guess: Guess
    texts: list[str | None] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.guess.cell.type.kind

    @property
    def words(self) -> str:
        """What the column is called, by the file and by us."""
        return f"{self.source} {self.name}"

    @property
    def able(self) -> bool:
        """Whether it has a value in each row that may identify it: no number that is measured, no text for people."""
        if not self.texts or {*self.texts} & {None, "", *self.missing} or inference.is_prose(self.words, self.texts):
            return False
        measured = self.kind in ("numeric", "double", "boolean") or inference.mostly_fractions(self.texts)
        return self.kind in TIMES or not measured or re.search("strike|行权价", self.words, re.IGNORECASE) is not None

    @property
    def is_code(self) -> bool:
        """Whether all its values are codes of six digits, as those of stocks of the mainland."""
        coded = all(re.fullmatch("[0-9]{6}", text or "") for text in self.texts)
        return bool(self.texts) and coded and inference.CODE.search(self.words) is not None

    @property
    def may_be_about(self) -> bool:
        """Whether it may say what a row is about without a name that does: a text, but no time nor attribute."""
        words = self.words.lower()
        other = self.is_time or inference.is_clock(self.texts) or inference.TIME_NAME.search(words)
        return self.able and self.kind == "text" and not (other or inference.NOT_ABOUT.search(words))

    @property
    def is_time(self) -> bool:
        """Whether it may say when a row is: a time or a period, also the clock of a day that the file's name has."""
        named = inference.NOT_OF_A_ROW.search(self.words.lower()) is None
        return named and (self.kind in TIMES or inference.is_period(self.words, self.texts))


@dataclass(frozen=True)
class Draft:
    """A new flow: the text of its definition, its key and mode, the times of its rows, and all that is unsure.

    `types` are the columns of which the type is unsure, with the reason.
    """

    text: str
    key: list[str]
    unsure: list[str]
    mode: str = "replace"
    times: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)

    @property
    def guessed(self) -> dict[str, Any]:
        """What was guessed, for --json."""
        return {"time": self.times, "key": self.key, "mode": self.mode, "unsure_types": self.types}

    @property
    def summary(self) -> list[str]:
        """What was guessed, in three lines."""
        key = f"[{', '.join(self.key)}], mode {self.mode}" if self.key else f"none, mode {self.mode}"
        types = "; ".join(f"{name} ({reason})" for name, reason in self.types.items()) or "none is unsure"
        return [f"time:       {', '.join(self.times) or 'none'}", f"key:        {key}", f"types:      {types}"]


def draft(name: str, sample: Sample, path: Path) -> Draft:
    """The flow `name` that loads files such as the sample's at `path`."""
    columns, unsure = _columns(sample)
    file_name, of_file = _file_name(sample, columns)
    key = _key(columns, of_file)
    order, timed = "", any(column.is_time and column.able for column in columns)
    if key and timed:
        file_name, of_file = _file_name(sample, columns, orders=True)
        order = FILE_DAY if FILE_DAY in {one.name for one in of_file} else ""
        order = order or (FILE_TIME if UNSORTED.search(sample.unit.place) else "")
    if order:
        newest = (
            "has the latest day in its name" if order == FILE_DAY else "was modified last, so copies must keep times"
        )
        unsure.append(f"names as {path.stem} do not sort by time; the file counts last that {newest} (order_by)")
    if file_name:
        unsure.append(
            f"{' and '.join(column.name for column in of_file)} of a row: taken from the file's name ({file_name})"
        )
    times = [column.name for column in columns if column.able and column.is_time and key]
    if 0 < len(other_times := [one for one in times if one not in key]) < len(times):
        named = [one for one in times if one in key]
        unsure.append(f"key: {' and '.join(named)} is taken for the time of a row, not {' or '.join(other_times)}")
    folder = re.fullmatch(r"\d+(m|min|h|d)|[qhb]fq", path.parent.name)
    other = folder or (None if file_name else OTHER_FILES.search(path.stem))
    if other and key:
        key = []
        unsure.append(f"{other[0]!r} of the file's name is in no row, and rows of other files may have the same key")
    if not key:
        unsure.append(
            "no columns identify a row of the sample by what it is about and a time; each file's rows are replaced when"
            " it changes, and those of other files stay. If rows have a key, name it and write mode: upsert"
        )
    for column in columns:
        unsure += [
            f"{column.name}: {text!r} is taken for NULL ({column.texts.count(text)} of {len(column.texts)} rows)"
            for text in column.missing
        ]
    every = [*of_file, *columns]
    lines = [
        *_head(name, path, unsure),
        *_loader(name, sample, columns, file_name, of_file, path),
        *_target(name, every, key, order),
    ]
    types = {column.name: column.guess.unsure for column in every if column.guess.unsure}
    remarks = [*unsure, *(f"{name}: {reason}" for name, reason in types.items())]
    times = [column.name for column in every if column.is_time]
    return Draft("\n".join(lines) + "\n", key, remarks, "upsert" if key else "replace", times, types)


def _columns(sample: Sample) -> tuple[list[Column], list[str]]:
    found: list[Column] = []
    unnamed: list[str] = []
    unsure = [*sample.unsure]
    for number, source in enumerate(sample.names):
        texts = [row[number] for row in sample.rows]
        if sample.schema is not None:
            texts = [None if value is None else str(value) for value in texts]
        if re.fullmatch(r"(#\d+)?", source) and (number or not _is_index(texts)):
            if any(texts):
                unsure.append(f"column {number + 1} has no name and is left out")
            continue
        label = sample.labels.get(source, source)
        guess = inference.guess(f"{source} {header.identifier(label)}", texts)
        if sample.schema is not None:
            guess = inference.of_schema(f"{source} {header.identifier(label)}", sample.schema[source])
        label = label or (
            "date" if guess.cell.type.kind == "date" else "time" if guess.cell.type.kind in TIMES else "index"
        )
        name = _identifier(label, number, [column.name for column in found])
        if name == f"column_{number + 1}" and not source.isdigit():
            unnamed.append(source)
        if not source:
            unsure.append(f"column 1 has no name and is called {name}")
        missing = [] if sample.schema is not None else inference.missing(f"{source} {name}", texts)
        found.append(Column(source, name, guess, texts, missing))
    if any(column.guess.cell.decimal == "," and "." not in column.guess.unsure for column in found):
        for number, column in enumerate(found):
            if column.guess.unsure == inference.POINT:
                found[number] = replace(column, guess=inference.guess(column.words, column.texts, decimal_comma=True))
    unsure += [f"give names of your own to: {', '.join(unnamed)}"] if unnamed else []
    if not sample.rows:
        unsure.append("the sample has no rows, so all columns are text")
    if sample.keys.get("header") is False:
        unsure.append("give the columns names")
    return found, unsure


def _is_index(texts: Sequence[str | None]) -> bool:
    """Whether a first column without a name has values of its own, not the numbers of its rows."""
    numbered = [str(number) for number in range(len(texts) + 1)]
    return any(texts) and texts not in (numbered[:-1], numbered[1:])


def _identifier(source: str, number: int, taken: list[str]) -> str:
    name = header.identifier(source)
    if name in OWN_COLUMNS or not re.fullmatch(IDENTIFIER, name):
        name = f"file_{name}" if name in OWN_COLUMNS else f"y{name}" if PERIOD.match(name) else f"column_{number + 1}"
    return f"{name}_{number + 1}" if name in taken else name


def _file_name(sample: Sample, columns: list[Column], orders: bool = False) -> tuple[str | None, list[Column]]:
    """A pattern of the file's name, and the columns that it gives: what the rows are about, and their day.

    Only what no column says is taken from it, and what differs from file to file: a day that columns have is captured
    anyway. With `orders` a day that does not sort as text is a column, which orders rows of one key.
    """
    name = sample.unit.place.replace("!", "/").rpartition("/")[2]
    for packed in PACKED:
        name = name.removesuffix(packed)
    stem, dot, suffix = name.rpartition(".")
    if not stem or "{" in stem:
        return None, []
    pattern, found = stem, []
    day, form = _day(stem)
    part = day or PERIOD_PART.search(stem)
    orders = orders and day is not None and not form.startswith(("%Y", "%y"))
    given = FILE_DAY if orders else "day" if day else "period"
    if part is not None:
        pattern = f"{stem[: part.start()]}{{{given}}}{stem[part.end() :]}"
    taken = {column.name for column in columns}
    match = SYMBOL_PART.match(stem)
    if match and ((part and part.start() < match.end(1)) or (match[1].isalpha() and NOT_SYMBOLS.fullmatch(match[1]))):
        match = None
    code = re.search(r"\d{6}", match[1]) if match else None
    about = any(
        inference.is_subject(one.words) and (code is None or any(code[0] in (text or "") for text in one.texts))
        for one in columns
    )
    varying = not SYMBOL_UPPER.fullmatch(stem) and _about(columns)
    whole = SYMBOL_FILE.fullmatch(stem) and not NOT_SYMBOLS.fullmatch(stem) and part is None
    if not about and not varying and (whole or match):
        start, end = (0, len(stem)) if whole else match.span(1) if match else (0, 0)
        symbol = next(one for one in SYMBOLS if one not in taken)
        pattern = f"{{{symbol}}}" + ("" if whole else pattern[end:])
        pattern = stem[:start] + pattern
        found.append(Column(None, symbol, Guess(Cell(type=column_type("text"))), ["x"]))
    if part is not None and (orders or not any(column.is_time and column.able for column in columns)):
        kind, forms = ("date", (form,)) if day else ("text", None)
        if given not in taken:
            found.append(Column(None, given, Guess(Cell(type=column_type(kind), format=forms)), ["x"]))
    elif not found:
        return None, []
    return (f"{pattern}{dot}{suffix}", found) if found else (None, [])


def _day(stem: str) -> tuple[re.Match[str] | None, str]:
    """The day in a file's name, and its form."""
    for pattern, form in DAY_PARTS:
        if found := re.search(pattern, stem):
            return found, form.format(*found.groups())
    return None, ""


def _about(columns: list[Column]) -> list[Column]:
    """The texts that may say what rows are about without a name that does.

    Where each row has a time of its own, a text that differs from row to row, such as a signal, describes that time.
    """
    able = [one for one in columns if one.able]
    times = [one for one in able if one.is_time or (one.kind == "text" and inference.is_clock(one.texts))]
    rows = [*zip(*(one.texts for one in times), strict=True)]
    apart = len({*rows}) == len(rows) > 1
    about = [one for one in able if one.may_be_about]
    return [one for one in about if not apart or len({*one.texts}) == 1 or inference.NAMED.search(one.words)]


def _key(columns: list[Column], of_file: list[Column]) -> list[str]:
    """What the rows are about, their time, and the fewest texts and ids with which they differ in each row.

    None without a time, or without what the rows are about: rows of other files would replace them.
    """
    named = [column.name for column in of_file]
    able = [column for column in columns if column.able]
    times = [column for column in able if column.is_time]
    times.sort(key=lambda one: inference.RECORDED.search(one.words) is not None)
    fine = sorted((one for one in able if FINE_NAME.search(one.name)), key=lambda one: "trade" not in one.name)
    subjects = [one for one in columns if inference.is_subject(one.words) and one not in fine]
    subjects.sort(key=lambda one: re.search("country|region|curr|exch|market|type", one.name) is not None)
    texts = [one for one in able if one.kind == "text" and one not in (*times, *fine, *subjects)]
    about = subjects or _about(columns)
    about = [] if {*SYMBOLS} & {*named} and not subjects else [one for one in about if one in able][:1]
    if not (about or {*SYMBOLS} & {*named}) or not (times or {"day", "period"} & {*named}):
        return []
    clocks = [one for one in texts if inference.is_clock(one.texts) and all(time.kind == "date" for time in times)]
    dimensions = [one for one in able if inference.DIMENSION.search(one.words) and one not in (*about, *fine[:1])]
    dimensions = [one for one in dimensions if not one.is_time or one not in times[:1]]
    always = [*about, *dimensions, *(one for one in clocks[:1] if one not in dimensions), *fine[:1]]
    ids = [one for one in able if one.kind == "bigint" and ID_NAME.search(one.name)]
    digits = [one for one in texts if subjects and all(map(str.isdigit, filter(None, one.texts)))]
    others = [one for one in (*times, *subjects, *texts, *fine, *ids) if one in able and one not in (*always, *digits)]
    rows = len(columns[0].texts)
    for count in range(KEY_COLUMNS):
        for picked in combinations(others, count):
            key = [*about, *picked, *(one for one in always if one not in about)]
            if times and not any(one in times for one in (*picked, *always)):
                continue
            if len({*zip(*(one.texts for one in key), strict=True)} if key else {()}) == rows > 0:
                return [*named, *(one.name for one in key)]
    return []


def _head(name: str, path: Path, unsure: list[str]) -> Iterator[str]:
    yield "# yaml-language-server: $schema=../flow.schema.json"
    yield f"# Made of {path.name}. Reference of all fields: docs/flows.md"
    yield f"# Rows after each step: marketdata flows preview {name}"
    if unsure:
        yield "# Please check:"
        yield from (f"# - {remark}" for remark in unsure)
    yield "type: marketdata_assets.components.Flow"
    yield ""
    yield "attributes:"
    yield f"  description: {_quoted(f'Rows of files such as {path.name}.')}"


def _loader(
    name: str, sample: Sample, columns: list[Column], file_name: str | None, of_file: list[Column], path: Path
) -> Iterator[str]:
    keys = {key: value for key, value in sample.keys.items() if value != Loader.model_fields[key].default}
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
    yield from (f"      {_quoted(column.source)}: {column.name}" for column in columns)
    nulls = {column.name: column.missing for column in columns if column.missing}
    if nulls:
        yield "    missing:"
        yield from (f"      {name}: {json.dumps(texts, ensure_ascii=False)}" for name, texts in nulls.items())
    typed = [one for one in (*of_file, *columns) if _cell(one.guess.cell) != "text" or one.guess.unsure]
    if typed:
        yield "    types:"
    for column in typed:
        remark = f"  # {column.guess.unsure}" if column.guess.unsure else ""
        yield f"      {column.name}: {_cell(column.guess.cell)}{remark}"


def _target(name: str, columns: list[Column], key: list[str], order: str) -> Iterator[str]:
    yield ""
    yield "  target:"
    yield f"    table: {name}"
    yield "    columns:"
    yield from (f"      {column.name}: {column.guess.cell.type}" for column in columns)
    remark = "  # what differs in each row of the sample; of rows with one key the newest is kept"
    yield f"    key: [{', '.join(key)}]{remark if key else ''}"
    yield f"    mode: {'upsert' if key else 'replace'}"
    if order:
        yield f"    order_by: {order}"
    codes = [one for one in columns if one.is_code]
    if codes:
        yield ""
        yield "  quality:"
        yield "    columns:"
        remark = "  # as in the sample: one of fewer digits has lost its zeros"
        yield from (f'      {one.name}: {{matches: "^[0-9]{{6}}$"}}{remark}' for one in codes)
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

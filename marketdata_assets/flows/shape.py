"""The shape of a sample: how its lines are cut into cells, which of them are rows, and which is the header.

All that is found is a declaration of the loader and a remark for the author of the flow; nothing is dropped that is
not declared.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Any

from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.dialect import Dialect
from marketdata_assets.flows.header import each_once
from marketdata_assets.flows.inference import MISSING, is_subject, looks_like_number, looks_like_time
from marketdata_assets.loading.text_table import QUOTE
from marketdata_assets.reference.codes import canonical

DELIMITERS = (",", "\t", ";", "|", "::", "~", "^", "\x01")
COMMENTS = ("#", "//", "%")
LINES_TRIED = 200
TOTAL = re.compile(
    r"(?P<of>[^\W\d]{1,12}(?=小计|合计|总计))?"
    r"(?P<word>合\s*计|小\s*计|总\s*计|共\s*计|(grand |sub)?totals?|(?-i:[Ss]um)|平均|均值|file creation time)"
    r"(?=\s*([\d:：(（]|$))",
    re.IGNORECASE,
)
PERIOD = re.compile(r"(19|20)\d\d(-?(Q[1-4]|H[12]|0[1-9]|1[0-2]))?( \[YR(19|20)\d\d\])?", re.IGNORECASE)
START, BEHIND = r'[ \t",;|]*', r'[ \t\r]*([\d",;|:：(（]|$)'
"""What may be around the words that a line begins with."""
TIMED = "timed"
"""A trait of rows that always have a time, so that a line with one cell that is none is no row."""
ALONE = r'(?=[ \t\r",;|]*$)'
"""Behind what is the only cell of a line."""

Row = list[str | None]


@dataclass(frozen=True)
class Line:
    """A row of cells, and the lines of the sample that it is made of, from 0 on."""

    cells: Row
    first: int
    end: int


@dataclass(frozen=True)
class Form:
    """How lines are cut: keys of the loader, and the usual number of cells."""

    keys: dict[str, Any]
    width: int
    lines: list[Line]
    broken: bool = False
    """Whether a quote ends within a cell."""

    @property
    def uneven(self) -> int:
        return sum(self.broken or len(line.cells) != self.width for line in self.lines)


@dataclass(frozen=True)
class Header:
    """The names of the columns and what further lines of the header say of them; whether there is one at all."""

    found: bool
    names: list[str]
    labels: dict[str, str] = field(default_factory=dict)
    lines: int = 1
    """Lines of the header: those behind the first are no rows."""
    remarks: list[str] = field(default_factory=list)


def form(lines: Sequence[str]) -> tuple[Form, list[str]]:
    """How the lines are cut into cells, with remarks: the delimiter that cuts most into equally many, then quotes."""
    tried = lines[:LINES_TRIED]
    best = max((_cut(tried, {"delimiter": one}) for one in DELIMITERS), key=_agreeing)
    best = best if best.width > 1 else _cut(tried, {"delimiter": ","})
    best = _of_several_characters(tried, best) if best.width > 1 else _of_blanks(tried, best)
    text, remarks = "\n".join(tried), []
    opened = rf"(?m)(^|{re.escape(best.keys['delimiter'])})[ \t]*"
    others = [{"escape": "\\"}] if '\\"' in text else []
    others += [{"quote": "none"}] if '"' in text else []
    others += [{"quote": "'"}] if re.search(f"{opened}'", text) else []
    for keys in others:
        other = _cut(tried, {"delimiter": best.keys["delimiter"], **keys})
        cells = [cell or "" for line in best.lines for cell in line.cells]
        every = keys == {"quote": "'"} and all(re.fullmatch("'.+'|", cell) for cell in cells)
        swallowed = keys == {"quote": "none"} and other.uneven == best.uneven and len(other.lines) > len(best.lines)
        unopened = keys == {"quote": "none"} and not re.search(f'{opened}"', text)
        escaped = "escape" in keys and other.uneven <= best.uneven
        if other.width > 1 and (other.uneven < best.uneven or swallowed or unopened or escaped or every):
            said = ", ".join(f"{key}: {value}" for key, value in keys.items())
            remarks = [f"quotes are read by {said}, which gives rows of equally many cells"]
            best = other
    mark = best.keys["delimiter"]
    split = [one for one in best.lines if any(cell and "\n" in cell and mark in cell for cell in one.cells)]
    over = [one for one in split if one.end - one.first > 1]
    if over:
        remarks.append(
            f"line {over[0].first + 1}: a cell goes over {over[0].end - over[0].first} lines and has the delimiter in"
            " it; if its quotes are data, write quote: none"
        )
    return _of_one_width(_cut(lines, best.keys)), remarks


def _of_one_width(form: Form) -> Form:
    """The form whose header has as many cells as the rows below it, where one of both has a delimiter at its end."""
    rows = [line for line in form.lines if len(line.cells) == form.width > 1]
    before = next((line for line in form.lines if rows and line.end == rows[0].first), None)
    if before is None or abs(len(before.cells) - form.width) != 1:
        return form
    wide = max(len(before.cells), form.width)
    if wide < 3 or any(line.cells[-1] for line in (rows if wide == form.width else [before])):
        return form
    ended = [len(line.cells) == wide and not line.cells[-1] for line in form.lines]
    lines = [replace(line, cells=line.cells[:-1]) if end else line for line, end in zip(form.lines, ended, strict=True)]
    return replace(form, width=wide - 1, lines=lines)


def comments(mark: str, form: Form) -> str:
    """A pattern of lines that begin with `mark`, but not of those with as many delimiters as rows have."""
    delimiter = re.escape(form.keys["delimiter"])
    cell = rf"((?!{delimiter})[^\n])*"
    row = rf"(?!{cell}({delimiter}{cell}){{{form.width - 1}}}$)" if form.width > 1 else ""
    return f"^{re.escape(mark)}{row}"


def _agreeing(form: Form) -> int:
    return sum(line.end - line.first for line in form.lines if len(line.cells) == form.width > 1)


def _of_several_characters(lines: Sequence[str], form: Form) -> Form:
    """The form whose delimiter has what each second cell is in all rows: `||` where that is nothing."""
    between = {cell or "" for line in form.lines if len(line.cells) == form.width for cell in line.cells[1::2]}
    if form.width % 2 == 0 or form.width < 3 or len(between) != 1:
        return form
    if not re.fullmatch(r"[^\w\s.+-]{0,4}", middle := between.pop()):
        return form
    delimiter = form.keys["delimiter"] + middle + form.keys["delimiter"]
    other = _cut(lines, {"delimiter": delimiter})
    return other if other.width > 1 and other.uneven <= form.uneven else form


def _of_blanks(lines: Sequence[str], form: Form) -> Form:
    """The form whose delimiter is a blank, where that alone cuts all lines into equally many cells that are values."""
    other = _cut(lines, {"delimiter": " "})
    if other.width < 3 or other.uneven or any("  " in line.strip() for line in lines):
        return form
    return other if {*kinds([line.cells for line in other.lines])} & {"number", "time"} else form


def _cut(lines: Sequence[str], keys: dict[str, Any]) -> Form:
    loader = Loader(columns={"x": "x"}, **keys)
    dialect = Dialect(loader)
    parsed = dialect.parsed("\n".join(lines).replace("\r", " ")).split("\n")
    reader = csv.reader((line + "\n" for line in parsed), delimiter=dialect.delimiter, skipinitialspace=True)
    found: list[Line] = []
    first = 0
    for cells in reader:
        if any(cells):
            found.append(Line([dialect.cell(cell).strip() for cell in cells], first, reader.line_num))
        first = reader.line_num
    widths = Counter(len(line.cells) for line in found[:LINES_TRIED])
    width = max(widths.items(), key=lambda pair: (pair[0] > 1, pair[1]), default=(1, 0))[0]
    broken = False
    try:
        for _ in csv.reader(
            StringIO("\n".join(parsed)), delimiter=dialect.delimiter, skipinitialspace=True, strict=True
        ):
            pass
    except csv.Error:
        broken = True
    return Form(keys, width, found, broken)


def kind(cell: str | None) -> str:
    """What a cell looks like: empty, number, time or text."""
    if cell is None or cell in MISSING:
        return "empty"
    if looks_like_time(cell):
        return "time"
    return "number" if looks_like_number(cell) else "text"


def kinds(rows: Sequence[Row]) -> list[str]:
    """What most cells of each column look like; empty where all are."""
    seen = [Counter(map(kind, column)) for column in zip(*rows, strict=True)]
    return [max((name for name in count if name != "empty"), key=count.__getitem__, default="empty") for count in seen]


def header(rows: Sequence[Row]) -> Header:
    """Whether the first row names columns, which are texts where the rows have numbers or times, and what follows.

    A name that is a year, or is there twice, is one where no cell of the row is as those below.
    """
    first = [(cell or "").strip() for cell in rows[0]]
    below = rows[3:LINES_TRIED] if len(rows) > 4 else rows[1:]
    usual = kinds(below) if below else ["empty"] * len(first)
    periods = [name for name in first if PERIOD.fullmatch(name)]
    dated = len(periods) > 1 and periods in (sorted({*periods}), sorted({*periods}, reverse=True))
    names = data = 0
    for number, (cell, most) in enumerate(zip(first, usual, strict=True)):
        like = kind(cell)
        year = dated and cell in periods and not all(PERIOD.fullmatch(row[number] or "") for row in below)
        if year or (like == "text" and most in ("number", "time")):
            names += 1
        elif like != "empty" and (
            like == most != "text" or (like == "text" and cell in {row[number] for row in below})
        ):
            data += 1
    plain = len({*first}) == len(first) and not any(kind(cell) in ("number", "time") for cell in first)
    if not (names or (not data and plain and sum(map(bool, first)) > len(first) // 2)):
        said = "the first line looks like a row, so the file is taken to have no header"
        return Header(False, [str(number) for number in range(1, len(first) + 1)], lines=0, remarks=[said])
    codes = [name for name in first if canonical(name) and not name.isdigit()]
    wide = f"names that are periods ({periods[0]} to {periods[-1]})" if dated else ""
    wide = f"names that are codes ({', '.join(codes[:3])})" if len(codes) > 1 else wide
    remarks = [f"{wide}: each is a column; the handler unpivot makes a row of each"] if wide else []
    if not names and below:
        remarks.append("the first line is taken for the header; if it is a row, write header: false")
    seen, unique = Counter(first), each_once(first)
    if twice := [name for name, count in seen.items() if name and count > 1]:
        remarks.append(f"the header has {', '.join(twice)} more than once; the second is {twice[0]}#2 in columns")
    return _further(rows, unique, seen, usual, remarks)


def _further(rows: Sequence[Row], names: list[str], seen: Counter[str], usual: list[str], remarks: list[str]) -> Header:
    """The header with the lines behind its first that are texts, or nothing, where the rows have numbers or times."""
    lines, labels = 1, {}
    typed = [number for number, most in enumerate(usual) if most in ("number", "time")]
    for row in rows[1:4]:
        if (
            len(rows) < 4
            or any(kind(row[n]) == usual[n] for n in typed)
            or not any(kind(row[n]) == "text" for n in typed)
        ):
            break
        lines += 1
        given = [number for number, cell in enumerate(row) if cell]
        for number in given:
            name = names[number].partition("#")[0]
            if given == [0]:
                labels[names[number]] = row[number] or ""
            elif seen[name] > 1:
                labels[names[number]] = f"{name} {row[number]}"
    return Header(True, names, labels, lines, remarks)


def without_totals(
    rows: Sequence[Row], behind: Sequence[Row], tail: Sequence[Row], lead: int, form: Mapping[str, Any]
) -> tuple[list[Row], dict[str, Any], list[str]]:
    """The rows without the first `lead` ones, which belong to the header, and without totals and footers.

    With them come the keys of the loader that leave the other lines out, and remarks.
    `tail` are the last rows of a file that continues behind the sample, `behind` the lines at its end that are cut
    otherwise, by the keys `form`. Lines are left out by what they begin with, and none that begins as rows do: another
    file may have no footer, or values in the row that has none here.
    """
    usual, body = kinds(rows[:1000]), rows[lead:]
    totals, found = _totals([*body, *tail, *behind], usual, form)
    kept = _without(body, found)
    end = _without([*(tail or kept), *behind], found)
    whole = [row for row in (*kept, *tail) if sum(map(bool, row)) > 1]
    subjects = {trait for row in whole for trait in _traits(_text(row))}
    if any(most == "time" and all(_has_value(row[n], most) for row in whole) for n, most in enumerate(usual)):
        subjects.add(TIMED)
    footer: list[Row] = []
    while end and (len(end) > 2 or len(end[-1]) != len(usual)) and _is_footer(end[-1], whole[-LINES_TRIED:], subjects):
        footer.insert(0, end.pop())
    begin = [*(_of_header(row, subjects) for row in rows[:lead]), *(_beginning(row, subjects) for row in footer)]
    patterns = [f"^{START}({'|'.join(dict.fromkeys(begin))}){BEHIND}"] if begin else []
    keys: dict[str, Any] = {"drop": "|".join((*patterns, *totals))} if patterns or totals else {}
    remarks = [f"{lead} more lines belong to the header, as {_shown(rows[0])}, and are no rows (drop)"] if lead else []
    if totals or footer:
        remarks.append(f"lines such as {_shown([*totals.values(), *footer][0])} are no rows (drop)")
    last = end[-1] if end else []
    if len(last) != len(usual) > 0:
        cells = f"{len(last)} cells, not {len(usual)}"
        remarks.append(f"lines at the end, as {_shown(last)} with {cells}, are rejected; the file may be cut off")
    elif sum(map(bool, last)) <= 1 < len(last):
        remarks.append(f"the last row, {_shown(last)}, has one value and is loaded; if it is no row, write drop")
    if may := next((row for row in kept if any(cell and TOTAL.fullmatch(cell) for cell in row)), None):
        remarks.append(f"rows such as {_shown(may)} may be totals, and are loaded; write drop to leave them out")
    return _without(kept, footer), keys, remarks


def _totals(every: Sequence[Row], usual: Sequence[str], form: Mapping[str, Any]) -> tuple[dict[str, Row], list[Row]]:
    """Patterns of lines of totals with the first of each, and all those lines.

    A name such as Total may be that of a company, so such a line has to lack what all rows have: where it is a name of
    the sample, their time.
    """
    maybe = [(row, match) for row in every if (match := _total(row)) and _is_other(row, usual)]
    rows = [row for row in _without(every, [row for row, _ in maybe]) if len(row) == len(usual)]
    given = [n for n, most in enumerate(usual) if rows and all(_has_value(row[n], most) for row in rows)]
    names = {_words(match) for row in rows if (match := _total(row))}
    patterns: dict[str, Row] = {}
    found: list[Row] = []
    for row, match in maybe:
        even, words = len(row) == len(usual), _words(match)
        lacking = [n for n in given if even and not _has_value(row[n], usual[n])]
        if (lacking or not even) and (words not in names or any(usual[n] == "time" for n in lacking)):
            patterns.setdefault(_like(form, words, usual, lacking), row)
            found.append(row)
    return patterns, found


def _without(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    left_out = {*map(id, others)}
    return [row for row in rows if id(row) not in left_out]


def _has_value(cell: str | None, usual: str) -> bool:
    """Whether a cell has what those of its column usually have: a number or time has a digit."""
    return bool(re.search(r"\d", cell or "") if usual in ("number", "time") else cell)


def _like(form: Mapping[str, Any], words: str, usual: Sequence[str], lacking: Sequence[int]) -> str:
    """A pattern of lines that begin with `words` and have no value in the `lacking` columns of even rows.

    Without those, of lines that have another number of cells than rows.
    """
    delimiter, quote = re.escape(form.get("delimiter", ",")), form.get("quote", QUOTE).replace("none", "")
    cell = rf"((?!{delimiter})[^\n{quote}]" + (rf"|{quote}[^{quote}\n]*{quote})*" if quote else ")*")
    begins = f"^(?={START}({words}){BEHIND})"
    if not lacking:
        return rf"{begins}(?!{cell}({delimiter}{cell}){{{len(usual) - 1}}}$)"
    no_digit, blank = rf"((?!{delimiter})[^\d\n])*", rf"[ \t{quote}]*"
    without = {n: no_digit if usual[n] in ("number", "time") else blank for n in lacking}
    cells = delimiter.join(without.get(n, cell) for n in range(max(lacking) + 1))
    return rf"{begins}{cells}({delimiter}|[ \t\r]*$)"


def _text(row: Row) -> str:
    """The first cell that is not empty."""
    return next((cell for cell in row if cell), "")


def _total(row: Row) -> re.Match[str] | None:
    return TOTAL.match(_text(row))


def _words(total: re.Match[str]) -> str:
    """A pattern of the words of a total, whatever they are the total of."""
    return (r"[^\W\d]{1,12}" if total["of"] else "") + _literal(total["word"])


def _is_other(row: Row, usual: Sequence[str]) -> bool:
    """Whether a row has no value where the others have numbers or times, or another number of values, or just one."""
    typed = any(kind(cell) != most for cell, most in zip(row, usual, strict=False) if most in ("number", "time"))
    return typed or len(row) != len(usual) or sum(map(bool, row)) <= 1 < len(row)


def _is_footer(row: Row, whole: Sequence[Row], subjects: Collection[str]) -> bool:
    """Whether a last row is of another kind than `whole` ones: it begins otherwise, and has one cell or another number.

    What begins as the rows do, with a code or a day, is a row, and has no values or is cut off.
    """
    filled = min((sum(kind(cell) != "empty" for cell in one) for one in whole), default=0)
    uneven = any(len(row) != len(one) for one in whole[:1])
    return (uneven or sum(map(bool, row)) <= 1 < filled) and bool(_beginning(row, subjects))


def _traits(text: str) -> set[str]:
    """What distinguishes sentences, labels and codes: whether it is a time, and marks that are in it."""
    return {"time" if kind(text) == "time" else "code"} | {
        mark for mark in (r"\s", "[:：]", r"[^\x00-\x7f]") if re.search(mark, text)
    }


def _beginning(row: Row, subjects: Collection[str]) -> str:
    """A pattern of what such a line begins with, and no row does: its words, else its only cell, with any digits.

    Empty if it begins as rows do, whose texts have the traits of `subjects`, unless it has no delimiter or time.
    """
    text = _text(row)
    if len(row) == 1 and _traits(text) <= {*subjects}:
        return re.sub(r"\d+", r"\\d+", _literal(text)) + r"(?=[ \t\r\"]*$)"
    words = re.match(r"[^\d:：]{3,}", text)
    if words and not _traits(words[0].strip()) <= {*subjects}:
        return _literal(words[0].strip())
    other = not _traits(text) <= {*subjects} or (TIMED in subjects and kind(text) != "time")
    alone = sum(map(bool, row)) == 1 and other
    return re.sub(r"\d+", r"\\d+", _literal(text)) + ALONE if alone else ""


def _of_header(row: Row, subjects: Collection[str]) -> str:
    """A pattern of a further line of the header: all its cells, so that one with other units or indicators is a row.

    Of one that names what rows are about, as `Ticker,AAPL,AAPL`, which differs from file to file, only its first cell.
    """
    cells = [_literal(cell) for cell in row if cell]
    if is_subject(_text(row)) and not _traits(_text(row)) <= {*subjects}:
        return cells[0]
    return r"\W+".join(cells) + ALONE if cells else ""


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\ ", " ")


def _shown(row: Row) -> str:
    return repr(" ".join(filter(None, row))[:60])

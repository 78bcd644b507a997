"""What a vendor's files of minute bars look like: profiles, and which of them fits a file.

Profiles are data: `bars.yaml` has those of the package, a file of a person adds others or changes keys of these. How
the rows of a file become bars is in `sources`.
"""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BeforeValidator, Field, model_validator

from marketdata_assets import config_files
from marketdata_assets.bars.layout import COLUMNS, PRICES
from marketdata_assets.bars.reading import CLOCK, any_times, clock
from marketdata_assets.config_files import Section
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import matches
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.text_table import cells
from marketdata_assets.reference.codes import canonical, exchange
from marketdata_assets.reference.records import Label

FIRST = "classic"  # the profile of the files that are read fastest
VARIABLE = "MARKETDATA_BARS_PROFILES"
OPTIONAL = ("code", "name", "change_pct", "amplitude")
HEAD_ROWS = 5  # the header is in one of so many lines, and so many rows show whether a profile fits
DELIMITERS = (",", "\t", ";", "|")
ADJUSTMENTS = {"none": "not adjusted", "backward": "adjusted backward"}

Adjustment = Literal["forward", "backward", "none"]
Period = Literal["1m", "5m", "15m", "30m", "60m", "1d"]
Names = Annotated[list[str | int], BeforeValidator(lambda given: given if isinstance(given, list) else [given])]
"""The names that a column may have, the first that a file has counts; of files without a header its number from 1."""


class Says(Section):
    """What a word of a title, or a value of a column, says of a file."""

    adjustment: Adjustment | None = None
    period: Period | None = None


class Profile(Section):
    """One shape of files. Names of columns are compared without regard to case; "" is a column without a name."""

    about: str = ""  # what writes such files
    columns: dict[str, Names]  # by our names, and `date` where it is not in the column of the time
    optional: Sequence[str] = ()  # of these, what a file may lack, besides OPTIONAL
    also: Sequence[str] = ()  # other columns without which the profile does not fit
    files: Sequence[str] = ()  # patterns of the names of files that alone have this profile
    header: bool = True
    encodings: Sequence[str] = ("utf-8", "gb18030", "utf-16")  # the first that fits
    grouped: bool = False  # numbers may have commas between thousands, and a percent sign
    missing: Sequence[str] = ()  # texts of missing values, besides blanks
    footer: str = ""  # the beginning of a last line that is no row, after #
    bare_codes: bool = False  # six digits alone are a stock's, of the exchange that the numbering rules say
    timezone: str = CLOCK  # of times without an offset
    label: Label | None = None  # none: what MARKETDATA_BARS_LABEL says
    volume: Literal["lots", "shares"]
    amount: Literal["yuan", "thousands"] = "yuan"
    adjustment: Adjustment
    forward: str = ""  # how to have the vendor adjust prices forward
    period: Period = "1m"
    title: Mapping[str, Says] = Field(default_factory=dict)  # by words in the lines above the header
    values: Mapping[str, Mapping[str, Says]] = Field(default_factory=dict)  # by columns and their values

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = {*COLUMNS.values(), "date"}
        if unknown := sorted(self.columns.keys() - known):
            raise ValueError(f"{unknown[0]!r} is none of our columns: {', '.join(sorted(known))}")
        if missing := sorted({"time", "volume", *PRICES} - self.columns.keys()):
            raise ValueError(f"columns has no {', '.join(missing)}; name the columns of the file that have them")
        ZoneInfo(self.timezone), *map(codecs.lookup, self.encodings)
        return self


@dataclass(frozen=True)
class Shapes:
    """The profiles at hand: a person's `own` before the package's; `label` is of files whose profile has none."""

    own: Mapping[str, Profile] = field(default_factory=dict)
    label: Label = "end"


SHIPPED = Shapes()


@cache
def shipped() -> Mapping[str, Profile]:
    """The profiles of the package."""
    text = files(__package__).joinpath("bars.yaml").read_text("utf-8")
    return config_files.parse(text, "bars.yaml").validate(dict[str, Profile])


def read(file: Path | None, label: Label = "end") -> Shapes:
    """The shapes with a person's file: of a profile that the package has too, it has the keys that differ.

    Raises InvalidConfigFile.
    """
    if file is None:
        return Shapes(label=label)
    document = config_files.read(file)
    for name, given in document.data.items() if isinstance(document.data, dict) else ():
        if name in shipped() and isinstance(given, dict):
            document.data[name] = {**shipped()[name].model_dump(exclude_unset=True), **given}
    return Shapes(document.validate(dict[str, Profile]), label)


@dataclass(frozen=True)
class Table:
    """The first lines of a file: its header, the rows below, whose first is in `first_line`, and the title above."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","
    first_line: int = 2


@dataclass(frozen=True)
class Match:
    """A profile with a file, and where its columns are, by our names; where some are `missing`, it does not fit.

    A row has `width` cells. `adjustment` and `period` are what the file says, or else its profile; `said` names where.
    """

    name: str
    profile: Profile
    table: Table
    positions: Mapping[str, int]
    width: int
    missing: Sequence[str] = ()
    adjustment: str = "forward"
    period: str = "1m"
    said: Mapping[str, str] = field(default_factory=dict)

    def rejection(self) -> str:
        """Why bars of this kind may not be in the table, and what to do; empty when they may."""
        if self.period != "1m":
            return f"its bars are of {self.period}, as {self.said['period']}; the table has bars of 1m: deliver these"
        if self.adjustment == "forward":
            return ""
        ways, why = f" ({self.profile.forward})" if self.profile.forward else "", self.said["adjustment"]
        return (
            f"its prices are {ADJUSTMENTS[self.adjustment]}, as {why}; stock_1min_qfq holds prices adjusted forward:"
            f" deliver such{ways}, or put bars as traded into MARKETDATA_TICKS_DIR, which read.bars adjusts. If these"
            f" are adjusted forward, write {self.name}: {{adjustment: forward}} into the file that {VARIABLE} names"
        )


def detect(place: str, head: bytes | pl.DataFrame, name: str, shapes: Shapes) -> Match:
    """The profile that fits a file of this name, by its first bytes, or by rows of texts of a file with typed columns.

    One that a pattern of its profile names counts before others, then the one that explains the most columns, then a
    person's. Raises LoadError with the nearest one.
    """
    base = name.rpartition("/")[2]

    def rank(match: Match) -> tuple[bool, int, bool]:
        return bool(match.profile.files), len(match.positions) + len(match.profile.also), match.name in shapes.own

    tried = [
        _fit(known, one, table)
        for known, one in {**shipped(), **shapes.own}.items()
        if not one.files or matches(name, one.files) or matches(base, one.files)
        for table in _tables(head, one)
    ]
    found = [match for match in tried if not match.missing]
    best = {match.name: match for match in reversed(found) if rank(match) == max(map(rank, found))}
    if len(best) == 1:
        return next(iter(best.values()))
    remedy = f"files: [{base!r}] for one of them" if best else "a profile of it"
    nearest = max(tried, key=lambda one: (len(one.positions), -len(one.missing)), default=None)
    if best:
        cause = f"the profiles {' and '.join(best)} fit it"
    elif nearest and nearest.positions:
        missing = and_more([one or "a column without a name" for one in nearest.missing], 6)
        columns = nearest.table.delimiter.join(nearest.table.header)[:200]
        cause = f"no profile fits its columns {columns}; the nearest is {nearest.name}, without {missing}"
    else:
        cause = f"no profile fits its first line {','.join(tried[0].table.header if tried else [])[:100]!r}"
    raise LoadError(f"{place}:1: {cause}. Deliver another, or write {remedy} into the file that {VARIABLE} names.")


def _tables(head: bytes | pl.DataFrame, profile: Profile) -> Iterator[Table]:
    """What the head of a file may be as a table; columns without a header are named by their numbers."""
    if isinstance(head, pl.DataFrame):
        header = ["" if column.startswith("__index_level_") else column for column in head.columns]
        yield Table(header, [[cell or "" for cell in row] for row in head.rows()])
        return
    encoding, lines = next(((one, lines) for one in profile.encodings if (lines := _lines(head, one))), ("", []))
    for delimiter, number in product(DELIMITERS, range(min(HEAD_ROWS, len(lines)) if profile.header else 1)):
        below = lines[number + profile.header :][:HEAD_ROWS]
        if "".join(lines[number:][:1]).strip() and (
            delimiter == "," or any(delimiter in line for line in (*below, lines[number]))
        ):
            rows = [cells(line, delimiter) for line in below if line.strip()]
            header = cells(lines[number], delimiter)
            header = header if profile.header else [str(one) for one in range(1, len(header) + 1)]
            title = "\n".join(lines[:number])
            yield Table(header, rows, title, encoding, delimiter, number + profile.header + 1)


def _lines(head: bytes, encoding: str) -> list[str]:
    """The lines of a text; none when it is not in the encoding."""
    if encoding == "utf-16" and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return []
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return []
    return [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]


def _fit(name: str, profile: Profile, table: Table) -> Match:
    """How a profile fits a header, of which the names count, and the rows below, of which times and prices do."""
    names = [text.strip().lower() for text in table.header]
    places = {
        ours: [names.index(str(one).lower()) for one in theirs if str(one).lower() in names]
        for ours, theirs in profile.columns.items()
    }
    positions = {ours: found[0] for ours, found in places.items() if found}
    lacking = [ours for ours in profile.columns if ours not in {*positions, *OPTIONAL, *profile.optional}]
    missing = [str(profile.columns[ours][0]) for ours in lacking]
    missing += [one for one in profile.also if one.lower() not in names]
    missing += [f"{one} only once" for one in {names[place] for place in positions.values()} if names.count(one) > 1]
    below = [row for row in table.rows if not profile.footer or not row[0].lstrip("#").startswith(profile.footer)]
    width = len(names)
    if below and abs(len(below[0]) - width) == 1 and not (below[0] if len(below[0]) > width else names)[-1]:
        width = len(below[0])  # one of both has a delimiter at its end
    rows = [row for row in below if len(row) == width]
    if not missing and (below or not profile.header) and not _have_bars(profile, positions, rows):
        missing = ["a time and prices in its first rows"]
    match = Match(name, profile, table, positions if profile.header or not missing else {}, width, missing)
    facts = [(f"its profile {name} says", Says(adjustment=profile.adjustment, period=profile.period))]
    words = [word for word in table.title.split() if word in profile.title]
    facts += [(f"its title says {word!r}", profile.title[word]) for word in words]
    for column, values in profile.values.items():
        if column.lower() in names and rows and (value := rows[0][names.index(column.lower())]) in values:
            facts.append((f"its column {column} says {value!r}", values[value]))
    for why, says in facts:
        given = {key: value for key, value in says.model_dump().items() if value}
        match = replace(match, **given, said={**match.said, **dict.fromkeys(given, why)})
    return match


def _have_bars(profile: Profile, positions: Mapping[str, int], rows: Sequence[Sequence[str]]) -> bool:
    """Whether one of the rows has a time and prices where the profile has them."""
    if not rows or max(positions.values()) >= len(rows[0]):
        return False
    texts = {ours: pl.Series([row[place] for row in rows], dtype=pl.String) for ours, place in positions.items()}
    good = any_times(clock(texts["time"], texts.get("date")), profile.timezone).is_not_null()
    for name in PRICES:
        good &= numbers(texts[name], profile).cast(pl.Float64, strict=False).is_not_null()
    return bool(good.any() if profile.header else good[0])


def numbers(texts: pl.Series, profile: Profile) -> pl.Series:
    """Numbers as texts without what a profile allows in them."""
    return texts.str.replace_all(r",(\d{3})", "$1").str.strip_suffix("%") if profile.grouped else texts


_CODE = re.compile(
    r"(?<![0-9a-z])(?:(sh|sz|bj|shse|szse|bjse)[.#_-]?)?(\d{6})(?:[._]([a-z]{2,4}))?(?![0-9a-z])",
    re.IGNORECASE | re.ASCII,
)
_MONTH = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])")


def code_of(text: str, bare: bool) -> str | None:
    """`SHSE.600000`, `SH#600000` and what `canonical` takes as `600000.SH`; with `bare`, six digits too."""
    match = _CODE.fullmatch(text.strip())
    if not match:
        return None
    before, digits, after = match.groups()
    named = [code for one in (before, after) if one and (code := canonical(f"{digits}.{one}"))]
    found = exchange(digits) if bare and not before else None
    return named[0] if named else f"{digits}.{found}" if found else None


def code_in(name: str, bare: bool) -> str | None:
    """The code in the name of a file, or else of a folder around it: six digits that may be a month are none."""
    texts = [match[0] for part in reversed(name.split("/")) for match in _CODE.finditer(part)]
    return next(filter(None, (code_of(text, bare and not _MONTH.match(text)) for text in texts)), None)

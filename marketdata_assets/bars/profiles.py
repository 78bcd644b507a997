"""What a vendor's files of minute bars look like: profiles, and which of them fits a file.

Profiles are data: `bars.yaml` has those of the package, a file of a person adds others or changes keys of these. How
the rows of a file become bars is in `sources`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BeforeValidator, Field, field_validator, model_validator

from marketdata_assets import config_files
from marketdata_assets.bars.layout import COLUMNS, PRICES
from marketdata_assets.bars.reading import CLOCK, any_times, clock
from marketdata_assets.config_files import Document, Section
from marketdata_assets.loading.errors import BadHeader
from marketdata_assets.loading.files import matches
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.text_table import cells
from marketdata_assets.reference.codes import canonical, exchange
from marketdata_assets.reference.records import Label

OPTIONAL = ("code", "name", "change_pct", "amplitude", "date")
TITLE_LINES = 5
"""The header is in one of so many lines."""
DELIMITERS = (",", "\t", ";", "|")
VARIABLE = "MARKETDATA_BARS_PROFILES"
ADJUSTMENTS = {"none": "not adjusted", "backward": "adjusted backward"}

Adjustment = Literal["forward", "backward", "none"]
Period = Literal["1m", "5m", "15m", "30m", "60m", "1d"]
Names = Annotated[list[str | int], BeforeValidator(lambda given: given if isinstance(given, list) else [given])]
"""The names that a column may have, the first that a file has counts; of files without a header its number from 1."""


class Says(Section):
    """What a word of a title line, or a value of a column, says of a file."""

    adjustment: Adjustment | None = None
    period: Period | None = None


class Profile(Section):
    """One shape of files. Names of columns are compared without regard to case; "" is a column without a name."""

    about: str = ""
    columns: dict[str, Names]
    optional: Sequence[str] = ()
    """Columns that a file may lack, by our names, besides OPTIONAL."""
    also: Sequence[str] = ()
    """Columns of the vendor without which the profile does not fit."""
    files: Sequence[str] = ()
    """Patterns of the names of files that alone have this profile."""
    header: bool = True
    encodings: Sequence[str] = ("utf-8", "gb18030", "utf-16")
    delimiters: Sequence[str] = DELIMITERS
    grouped: bool = False
    """Whether numbers may have commas between thousands, and a percent sign."""
    missing: Sequence[str] = ()
    """Texts that mean a missing value, besides a blank one."""
    footer: str = ""
    """The beginning of a last line that is no row, after #."""
    bare_codes: bool = False
    """Whether six digits alone are a stock's: then its exchange follows from the numbering rules."""
    timezone: str = CLOCK
    """The clock of times without an offset."""
    label: Label | None = None
    """None is the one that MARKETDATA_BARS_LABEL says."""
    volume: Literal["lots", "shares"]
    amount: Literal["yuan", "thousands"] = "yuan"
    adjustment: Adjustment
    forward: str = ""
    """How to have the vendor adjust prices forward."""
    period: Period = "1m"
    title: Mapping[str, Says] = Field(default_factory=dict)
    values: Mapping[str, Mapping[str, Says]] = Field(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: dict[str, list[str | int]]) -> dict[str, list[str | int]]:
        known = {*COLUMNS.values(), "date"}
        if unknown := sorted(columns.keys() - known):
            raise ValueError(f"has {unknown[0]!r}, which is none of our columns: {', '.join(sorted(known))}")
        if missing := sorted({"time", "volume", *PRICES} - columns.keys()):
            raise ValueError(f"has no {', '.join(missing)}; name the columns of the file that have them")
        return columns

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        ZoneInfo(name)
        return name

    @field_validator("encodings")
    @classmethod
    def _known_encodings(cls, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            "".encode(name)
        return names

    @model_validator(mode="after")
    def _numbers_without_header(self) -> Self:
        if any(isinstance(one, str) == (not self.header) for names in self.columns.values() for one in names):
            raise ValueError("has names of columns without a header, or numbers of columns with one")
        return self

    @property
    def required(self) -> list[str]:
        """Our columns that a file must have."""
        return [name for name in self.columns if name not in (*OPTIONAL, *self.optional) or name == "date"]


@dataclass(frozen=True)
class Shapes:
    """The profiles at hand: a person's `own` before the package's; `label` is of files whose profile has none."""

    own: tuple[tuple[str, Profile], ...] = ()
    label: Label = "end"

    @property
    def profiles(self) -> dict[str, Profile]:
        """All by name."""
        return dict(self.own) | {name: one for name, one in shipped().items() if name not in dict(self.own)}


SHIPPED = Shapes()
FIRST = "classic"
"""The profile of the files that are read fastest."""


@cache
def shipped() -> Mapping[str, Profile]:
    """The profiles of the package."""
    text = files(__package__).joinpath("bars.yaml").read_text("utf-8")
    return _profiles(config_files.parse(text, "bars.yaml"))


def read(file: Path | None, label: Label = "end") -> Shapes:
    """The shapes with a person's file: of a profile that the package has too, it has the keys that differ.

    Raises InvalidConfigFile.
    """
    if file is None:
        return Shapes(label=label)
    document = config_files.read(file)
    shipped_data = config_files.parse(files(__package__).joinpath("bars.yaml").read_text("utf-8"), "bars.yaml").data
    if isinstance(document.data, dict):
        document.data = {
            name: {**shipped_data.get(name, {}), **given} if isinstance(given, dict) else given
            for name, given in document.data.items()
        }
    return Shapes(tuple(_profiles(document).items()), label)


def _profiles(document: Document) -> dict[str, Profile]:
    return document.validate(dict[str, Profile])


@dataclass(frozen=True)
class Match:
    """The profile of a file and where its columns are: `positions` by our names.

    `adjustment` and `period` are what the file says, or else its profile, and `said` is where. Data begin in line
    `first_line`; `width` is the number of cells of a row.
    """

    name: str
    profile: Profile
    positions: Mapping[str, int]
    header: tuple[str, ...]
    width: int
    encoding: str = "utf-8"
    delimiter: str = ","
    first_line: int = 2
    adjustment: str = "forward"
    period: str = "1m"
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def not_read(self) -> list[str]:
        """The columns that are not read."""
        return [name for number, name in enumerate(self.header) if number not in self.positions.values() and name]

    def rejection(self) -> str:
        """Why bars of this kind may not be in the table, and what to do; empty when they may."""
        if self.period != "1m":
            why = self.said["period"]
            return f"its bars are of {self.period}, as {why}; stock_1min_qfq holds bars of 1m: deliver these"
        if self.adjustment == "forward":
            return ""
        ways, why = f" ({self.profile.forward})" if self.profile.forward else "", self.said["adjustment"]
        return (
            f"its prices are {ADJUSTMENTS[self.adjustment]}, as {why}; stock_1min_qfq holds prices adjusted forward:"
            f" deliver such{ways}, or put bars as traded into MARKETDATA_TICKS_DIR, which read.bars adjusts. If these"
            f" are adjusted forward, write {self.name}: {{adjustment: forward}} into the file that {VARIABLE} names"
        )


@dataclass(frozen=True)
class Near:
    """A profile that does not fit, and the columns that are missing."""

    name: str
    missing: tuple[str, ...]
    found: int


def detect(place: str, head: bytes, name: str, shapes: Shapes) -> Match:
    """The profile that fits the first bytes of a text. Raises BadHeader with the nearest one.

    `name` is that of the file. One that is named by a pattern of its profile counts before others, a person's before
    the package's; of several the one that explains the most columns.
    """
    encodings = {one for profile in shapes.profiles.values() for one in profile.encodings}
    texts = {one: text.split("\n") for one in encodings if (text := _decoded(head, one)) is not None}
    tried: list[Match | Near] = []
    for profile_name, profile in shapes.profiles.items():
        if encoding := next((one for one in profile.encodings if one in texts), None):
            tried += _tried(profile_name, profile, texts[encoding], encoding)
    return _best(place, tried, name, shapes, next((lines[0] for lines in texts.values() if lines), ""))


def detect_table(place: str, rows: pl.DataFrame, name: str, shapes: Shapes) -> Match:
    """The profile that fits the first rows of a table of texts, as those of a Parquet file."""
    header = ["" if column.startswith("__index_level_") else column for column in rows.columns]
    data = [["" if cell is None else cell for cell in row] for row in rows.rows()]
    named = [(one, profile) for one, profile in shapes.profiles.items() if profile.header]
    tried = [_matched(profile_name, profile, header, data, "") for profile_name, profile in named]
    return _best(place, [one for one in tried if one], name, shapes, ",".join(header))


def _decoded(head: bytes, encoding: str) -> str | None:
    """The whole lines of a text; None when it is not in the encoding."""
    if encoding == "utf-16" and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    for cut in range(4):  # of a character that is cut
        try:
            return head[: len(head) - cut].decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
    return None


def _tried(name: str, profile: Profile, lines: Sequence[str], encoding: str) -> Iterator[Match | Near]:
    """A profile with each delimiter, and a header in each of the first lines."""
    for delimiter in (one for one in profile.delimiters if any(one in line for line in lines[: 2 * TITLE_LINES])):
        if not profile.header:
            data = [cells(line.rstrip("\r"), delimiter) for line in lines[:TITLE_LINES] if line.strip()]
            one = _matched(name, profile, [""] * len(data[0]) if data else [], data, "")
            if isinstance(one, Match):
                yield replace(one, encoding=encoding, delimiter=delimiter, first_line=1)
            continue
        for number, line in enumerate(lines[:TITLE_LINES]):
            header = cells(line.rstrip("\r"), delimiter)
            data = [cells(one.rstrip("\r"), delimiter) for one in lines[number + 1 :][:TITLE_LINES] if one.strip()]
            match = _matched(name, profile, header, data, "\n".join(lines[:number]))
            if isinstance(match, Near):
                yield match
            elif match:
                yield replace(match, encoding=encoding, delimiter=delimiter, first_line=number + 2)
                return


def _matched(
    name: str, profile: Profile, header: Sequence[str], data: Sequence[Sequence[str]], title: str
) -> Match | Near | None:
    """How a profile fits a header, of which the names count, and the rows below, of which the times do."""
    rows = [row for row in data if not (profile.footer and row[0].lstrip("#").startswith(profile.footer))]
    names = [text.strip().lower() for text in header]
    positions = dict[str, int]()
    for ours, theirs in profile.columns.items():
        places = [_place(one, names) for one in theirs]
        if found := [place for place in places if place is not None]:
            positions[ours] = found[0]
    also = [one for one in profile.also if one.lower() not in names]
    missing = [*(str(profile.columns[ours][0]) for ours in profile.required if ours not in positions), *also]
    if missing:
        return Near(name, tuple(missing), len(positions))
    if any(names.count(names[place]) > 1 for place in positions.values() if profile.header):
        return Near(name, tuple(f"{header[place]} only once" for place in positions.values()
                                if names.count(names[place]) > 1), 0)  # fmt: skip
    width = (
        len(rows[0]) if rows and abs(len(rows[0]) - len(header)) == 1 and not [*header, *rows[0]][-1] else len(header)
    )
    rows = [row for row in rows if len(row) == width and max(positions.values()) < width]
    if rows and not _has_bars(profile, positions, rows):
        return Near(name, ("a time and prices in its first rows",), len(positions) - 1)
    if not rows and (data or not profile.header):
        return None
    known = Match(name, profile, positions, tuple(header), width)
    facts = [(f"its profile {name} says", Says(adjustment=profile.adjustment, period=profile.period))]
    facts += [(f"its title says {word!r}", says) for word, says in profile.title.items() if word in title.split()]
    for column, values in profile.values.items():
        if column.lower() in names and rows and (value := rows[0][names.index(column.lower())]) in values:
            facts.append((f"its column {column} says {value!r}", values[value]))
    for why, says in facts:
        given = {key: value for key, value in says.model_dump().items() if value}
        known = replace(known, **given, said={**known.said, **dict.fromkeys(given, why)})
    return known


def _place(theirs: str | int, names: Sequence[str]) -> int | None:
    """Where a column is, by its name or number."""
    if isinstance(theirs, int):
        return theirs - 1 if theirs <= len(names) else None
    return names.index(theirs.lower()) if theirs.lower() in names else None


def _has_bars(profile: Profile, positions: Mapping[str, int], rows: Sequence[Sequence[str]]) -> bool:
    """Whether one of the rows has a time and prices where the profile has them."""
    texts = {ours: pl.Series([row[place] for row in rows], dtype=pl.String) for ours, place in positions.items()}
    found = any_times(clock(texts["time"], texts.get("date")), profile.timezone).is_not_null()
    for name in PRICES:
        found &= numbers(texts[name], profile).cast(pl.Float64, strict=False).is_not_null()
    return bool(found.any())


def numbers(texts: pl.Series, profile: Profile) -> pl.Series:
    """Numbers as texts without what a profile allows in them."""
    return texts.str.replace_all(r",(\d{3})", "$1").str.strip_suffix("%") if profile.grouped else texts


def _best(place: str, tried: Sequence[Match | Near], name: str, shapes: Shapes, first: str) -> Match:
    own = dict(shapes.own)

    def rank(match: Match) -> tuple[bool, bool, int]:
        return _is_named(match.profile, name), match.name in own, len(match.positions) + len(match.profile.also)

    found = [one for one in tried if isinstance(one, Match)]
    near = [one for one in tried if isinstance(one, Near)]
    found = [match for match in found if not match.profile.files or _is_named(match.profile, name)]
    best = [match for match in found if rank(match) == max(map(rank, found))]
    several = list(dict.fromkeys(match.name for match in best))
    if len(several) > 1:
        cause = f"the profiles {' and '.join(several)} fit its columns {and_more(first.split(','), 12, ', ')}"
        raise BadHeader(
            place, 1, cause, f"Write files: [{name!r}] for one of them into the file that {VARIABLE} names."
        )
    if best:
        return best[0]
    nearest = max(near, key=lambda one: (one.found, -len(one.missing)), default=None)
    if not nearest or not nearest.found:
        cause = f"no profile fits its first line {first[:100]!r}"
    else:
        missing = and_more([one or "a column without a name" for one in nearest.missing], 6, ", ")
        cause = f"no profile fits its columns {first[:200]}; the nearest is {nearest.name}, without {missing}"
    raise BadHeader(
        place, 1, cause, f"See 'marketdata bars preview', and describe it in the file that {VARIABLE} names."
    )


def _is_named(profile: Profile, name: str) -> bool:
    return bool(profile.files) and (matches(name, profile.files) or matches(name.rpartition("/")[2], profile.files))


_CODE = re.compile(
    r"(?<![0-9a-z])(?:(?P<before>sh|sz|bj|shse|szse|bjse)[.#_-]?)?(?P<digits>\d{6})(?:[._](?P<after>[a-z]{2,4}))?(?![0-9a-z])",
    re.IGNORECASE | re.ASCII,
)
_MONTH = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])")


def code_of(text: str, bare: bool) -> str | None:
    """`SHSE.600000`, `SH#600000` and what `canonical` takes as `600000.SH`; with `bare`, six digits too."""
    match = _CODE.fullmatch(text.strip())
    return _coded(match, bare) if match else None


def code_in(name: str, bare: bool) -> str | None:
    """The code in the name of a file, or else of a folder around it: six digits that may be a month are none."""
    for part in reversed(name.split("/")):
        for match in _CODE.finditer(part):
            if (match["before"] or not _MONTH.fullmatch(match["digits"])) and (code := _coded(match, bare)):
                return code
    return None


def _coded(match: re.Match[str], bare: bool) -> str | None:
    digits = match["digits"]
    for named in (match["before"], match["after"]):
        if named and (code := canonical(f"{digits}.{named}")):
            return code
    found = exchange(digits) if bare and not match["before"] else None
    return f"{digits}.{found}" if found else None

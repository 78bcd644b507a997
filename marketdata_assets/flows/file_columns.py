"""Columns that a file's place gives its rows: captures of its path, its name, folder and time, the row's line."""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import polars as pl

from marketdata_assets.flows import casting
from marketdata_assets.flows.definition import CAPTURE, Loader
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Unit
from marketdata_assets.loading.rejects import LINE, Rejects

DIGITS = {"Y": r"\d{4}", **dict.fromkeys("mdHMSy", r"\d\d")}
"""How long a part of a date is."""
PACKED = (".gz", ".zst", ".zstd")
TYPES = {"name": pl.String, "folder": pl.String, "line": pl.Int64, "modified": pl.Datetime("us", "UTC")}
"""What each of `loader.file_columns` is, without a type of the flow's."""


def added(frames: Iterable[pl.DataFrame], unit: Unit, loader: Loader) -> Iterator[pl.DataFrame]:
    """The frames of `unit` with the columns of its place. Raises BadFile when its name is not as declared."""
    same = _same_for_all_rows(unit, loader)
    lines = [name for name, what in loader.file_columns.items() if what == "line"]
    for frame in frames:
        yield frame.with_columns(*(pl.col(LINE).alias(name) for name in lines), *same)


def _same_for_all_rows(unit: Unit, loader: Loader) -> list[pl.Expr]:
    place = PurePosixPath(unit.place.replace("!", "/"))
    texts: dict[str, str] = {"name": place.name, "folder": str(place.parent) if len(place.parts) > 1 else ""}
    values = {name: texts[what] for name, what in loader.file_columns.items() if what in texts}
    if loader.file_name:
        values |= _captured(str(place), loader, loader.file_name, unit.place)
    rejects = Rejects()
    frame = pl.DataFrame({LINE: [0], **{name: [text] for name, text in values.items()}})
    frame = casting.parse(frame, {name: cell for name, cell in loader.types.items() if name in values}, rejects)
    if rejects:
        raise BadFile(unit.place, f"its name gives {rejects.reasons[0]}")
    modified = pl.lit(unit.file.modified_ns // 1000).cast(pl.Datetime("us", "UTC"))
    return [
        *(pl.lit(frame[name].first(), frame.schema[name]).alias(name) for name in values),
        *(modified.alias(name) for name, what in loader.file_columns.items() if what == "modified"),
    ]


def _captured(path: str, loader: Loader, pattern: str, place: str) -> dict[str, str]:
    """The parts of a path that the pattern names; it is compared with the end of the path, folder by folder.

    A part in a form of a date takes no more than one, so that `{symbol}_{day}` cuts AAPL_2024_01_02 before the year.
    """
    if not pattern.endswith(PACKED):
        path = path.removesuffix(next((suffix for suffix in PACKED if path.endswith(suffix)), ""))
    literal = [re.escape(part) for part in re.split(CAPTURE, pattern)[::2]]
    names = re.findall(CAPTURE, pattern)
    match = None
    for parts in ({name: _part(loader, name) for name in names}, dict.fromkeys(names, "[^/]+")):
        groups = [f"(?P<{name}>{part})" for name, part in parts.items()]
        regex = "(?:.*/)?" + "".join(text for pair in zip(literal, [*groups, ""], strict=True) for text in pair)
        match = match or re.fullmatch(regex, path)
    if match is None:
        cause = f"its name is not as loader.file_name declares ({pattern}); rename it, or correct the pattern"
        raise BadFile(place, cause)
    return match.groupdict()


def _part(loader: Loader, name: str) -> str:
    """What the column `name` may be in a path."""
    cell = loader.types.get(name)
    if cell is None or cell.format is None or not set(re.findall("%(.)", "".join(cell.format))) <= DIGITS.keys():
        return "[^/]+"
    return "|".join(re.sub("%(.)", lambda match: DIGITS[match[1]], re.escape(form)) for form in cell.format)

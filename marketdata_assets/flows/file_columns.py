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
        values |= _captured(str(place), loader.file_name, unit.place)
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


def _captured(path: str, pattern: str, place: str) -> dict[str, str]:
    """The parts of a path that the pattern names; it is compared with the end of the path, folder by folder."""
    if not pattern.endswith(PACKED):
        path = path.removesuffix(next((suffix for suffix in PACKED if path.endswith(suffix)), ""))
    literal = [re.escape(part) for part in re.split(CAPTURE, pattern)[::2]]
    names = re.findall(CAPTURE, pattern)
    groups = [f"(?P<{name}>[^/]+)" for name in names]
    regex = "(?:.*/)?" + "".join(text for pair in zip(literal, [*groups, ""], strict=True) for text in pair)
    match = re.fullmatch(regex, path)
    if match is None:
        cause = f"its name is not as loader.file_name declares ({pattern}); rename it, or correct the pattern"
        raise BadFile(place, cause)
    return match.groupdict()

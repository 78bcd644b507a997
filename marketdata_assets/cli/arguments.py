"""Names, files and folders that a command is given, checked before anything runs.

A wrong one is bad usage: the message has the nearest that exists, and the exit code is 2.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, TypeVar, get_args

import typer

from marketdata_assets.errors import did_you_mean

Name = TypeVar("Name", bound=str)

Instruments = Annotated[
    list[Path] | None,
    typer.Option(help="the venue's instrument list as its REST responds; for names that do not say what is traded"),
]


def wrong(flag: str, value: object, cause: str, known: Iterable[str]) -> typer.BadParameter:
    """The error for a value of an option or variable `flag`, with the nearest of those that exist."""
    return typer.BadParameter(f"{str(value)!r} {cause}; {did_you_mean(str(value), known)}", param_hint=flag)


def among(known: Sequence[Name], named: Iterable[str] | None, flag: str) -> list[Name]:
    """Those of `known` that are named, each once and in their order. Raises BadParameter for any other name."""
    names = list(named or ())
    for name in names:
        if name not in known:
            near = get_close_matches(name.lower(), known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}{meant}", param_hint=flag)
    return [name for name in known if name in names]


def check_market(exchange: str | None, market_type: str | None) -> None:
    """Raise BadParameter where a venue or market type that is given does not exist."""
    from marketdata_assets.exchanges import venues
    from marketdata_assets.exchanges.records import MarketType

    among(venues.known(), [exchange] if exchange else (), "--exchange")
    among(get_args(MarketType), [market_type] if market_type else (), "--market-type")


def existing_folder(folder: Path, flag: str) -> Path:
    """The folder. Raises BadParameter when it does not exist."""
    if not folder.is_dir():
        raise _missing(folder, flag, "is no folder", Path.is_dir)
    return folder


def existing_files(files: Sequence[Path], flag: str) -> Sequence[Path]:
    """The files. Raises BadParameter when one does not exist."""
    for file in files:
        if not file.is_file():
            raise _missing(file, flag, "is no file", Path.is_file)
    return files


def _missing(path: Path, flag: str, cause: str, fits: Callable[[Path], bool]) -> typer.BadParameter:
    """The error for a path. Where a folder above it is missing as well, the first of them is named."""
    at = path.absolute()
    while not at.parent.is_dir():
        at, fits = at.parent, Path.is_dir
    return wrong(flag, at, cause, [str(one) for one in at.parent.iterdir() if fits(one)])

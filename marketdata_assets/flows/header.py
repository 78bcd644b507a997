"""Which of a file's columns the flow takes: those that `loader.columns` names, each once; and which nobody declares.

Also which names columns have in tables, where nobody has given them one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.text import Text

ENCODING_REMEDY = "Set loader.encoding to {} and run the flow again."
REMEDY = (
    "Correct loader.columns or loader.skip_lines, list what files may lack in loader.optional_columns, or deliver the"
    " file again."
)


def required(loader: Loader) -> tuple[str, ...]:
    """The columns that every file has to have."""
    return tuple(name for name in loader.columns if not loader.is_optional(name))


def missing(names: Iterable[str], loader: Loader) -> list[str]:
    """The columns that every file has to have and that are not among `names`."""
    return [name for name in required(loader) if name not in names]


def numbered(names: Sequence[str], loader: Loader) -> list[str]:
    """The names, of which the second of one name is `name#2` where the flow takes it so, and likewise the next."""
    return [one if one in loader.columns else name for name, one in zip(names, each_once(names), strict=True)]


def each_once(names: Sequence[str]) -> list[str]:
    """The names, of which the second of one name is `name#2`, and likewise the next."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        seen[name] += 1
        found.append(f"{name}#{seen[name]}" if seen[name] > 1 else name)
    return found


def undeclared(names: Iterable[str], loader: Loader) -> set[str]:
    """Those of `names` that the flow neither takes nor ignores; a column without a name is none."""
    left = {name for name in names if name} - loader.columns.keys()
    ignored = _pattern(tuple(loader.ignored_columns))
    return {name for name in left if not ignored.match(name)}


@lru_cache(maxsize=100)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """What any of the patterns matches, such as `*_qfq`."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


def opened(stream: HashedStream, unit: Unit, loader: Loader, **quoting: Any) -> Text:
    """The text of a unit from its header on; `quoting` is that of `Text`."""
    text = Text(unit.place, stream, loader.encoding, ENCODING_REMEDY, **quoting)
    for _ in range(loader.skip_lines):
        text.line()
    return text


def taken(names: Sequence[str], loader: Loader, place: str, line: int = 1, *, rejects: Rejects) -> list[str]:
    """Those of `names` that the flow takes, in its order; what is nowhere declared goes to `rejects`.

    Raises LoadError when a column of the flow is not among them, or is there twice.
    """
    if lacking := missing(names, loader):
        cause = f"the header has no {', '.join(lacking)}; it has {', '.join(names)[:400]}"
        if not loader.header:
            cause = f"the row has {len(names)} columns, and loader.columns takes column {lacking[-1]}"
        raise LoadError(f"{place}:{line}: {cause}. {REMEDY}")
    if twice := [name for name in loader.columns if list(names).count(name) > 1]:
        raise LoadError(f"{place}:{line}: column {twice[0]} appears twice. Deliver the file again with one of them.")
    rejects.undeclared |= undeclared(names, loader)
    return [name for name in loader.columns if name in names]


@cache
def _known_names() -> dict[str, str]:
    """What columns of Chinese files are called here, by column_names.csv."""
    table = files(__package__).joinpath("column_names.csv").read_text("utf-8").splitlines()[1:]
    return {theirs: ours for ours, _, names in (line.partition(",") for line in table) for theirs in names.split()}


def identifier(source: str) -> str:
    """The name that follows from `source`: `LastPrice` is last_price. It may be no identifier, as that of a digit."""
    source = re.sub(r"/[^\x00-\x7f]\w*$", "", source)  # in two languages
    ours = _known_names().get(source) or _known_names().get(re.sub(r"\s*[(（].*[)）]$", "", source))
    words = ours or re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", source).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")

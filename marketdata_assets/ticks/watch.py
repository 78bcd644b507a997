"""Which symbol-months the dropped files have news of since a look; the file sensor's whole logic.

Of files that were seen only names, sizes and times are read; a new or changed one is read for its symbols and months.
A file that was taken away changes nothing: what landed from it stays.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.file_drop import File, Folder
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reports import Unit

MAX_UNITS = 20_000
"""Of so many symbol-months no further file is added to a look."""


@dataclass(frozen=True)
class Seen:
    """Symbol-months of bars and of order books to load now, and the cursor to keep.

    `waiting` are files left for later: one of them is still being written, or there are too many. `unreadable` says of
    each file that cannot be read what is wrong; while there is one nothing is given, for no load could succeed.
    """

    units: tuple[Unit, ...]
    books: tuple[Unit, ...]
    cursor: str
    waiting: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def look(
    files: Files, cursor: str | None, now_ns: int, quiet_seconds: float, months: Collection[str] | None = None
) -> Seen:
    """Compare the folder with `cursor`; only symbol-months of `months` are given, of all when that is None.

    Nothing is given while a file is younger than `quiet_seconds`: a load reads all of them.
    """
    before = json.loads(cursor) if cursor else {}
    seen, bad = set(before.get("seen", ())), dict(before.get("bad", {}))
    there = {_digest(folder, file): (folder, file) for folder, file in _all(files)}
    bad = {name: why for name, why in bad.items() if name in there}
    fresh = {name: found for name, found in there.items() if name not in seen and name not in bad}
    kept = seen & there.keys()
    if bad or any(now_ns - file.modified < quiet_seconds * 1e9 for _, file in fresh.values()):
        return _seen(set(), set(), kept, bad, [file for _, file in fresh.values()])
    units, books, waiting = set[Unit](), set[Unit](), []
    for name, (folder, file) in sorted(fresh.items(), key=lambda item: item[1][1]):
        if len(units) + len(books) >= MAX_UNITS:
            waiting.append(file)
            continue
        try:
            found = _units(files, folder, file)
        except BadFile as error:
            bad[name] = str(error)
            continue
        (books if folder is files.of_books else units).update(
            unit for unit in found if months is None or unit.month in months
        )
        kept.add(name)
    if bad:
        return _seen(set(), set(), seen & there.keys(), bad, [file for _, file in fresh.values()])
    return _seen(units, books, kept, bad, waiting)


def _seen(units: set[Unit], books: set[Unit], kept: set[str], bad: dict[str, str], waiting: list[File]) -> Seen:
    cursor = json.dumps({"seen": sorted(kept), "bad": bad}, sort_keys=True)
    names = tuple(sorted(file.path.name for file in waiting))
    return Seen(tuple(sorted(units)), tuple(sorted(books)), cursor, names, tuple(bad.values()))


def _all(files: Files) -> Iterator[tuple[Folder, File]]:
    for folder in (files.of_bars, files.of_books):
        for file in folder.files():
            yield folder, file


def _digest(folder: Folder, file: File) -> str:
    name = f"{folder.leave_out} {file.path.relative_to(folder.path)} {file.size} {file.modified}"
    return blake2b(name.encode(), digest_size=6).hexdigest()


def _units(files: Files, folder: Folder, file: File) -> set[Unit]:
    ours = files.config.symbol_mapping.ours
    return {Unit(symbol, month) for theirs, month in folder.months(file) if (symbol := ours(theirs))}

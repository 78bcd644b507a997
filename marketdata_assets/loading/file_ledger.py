"""The state of every delivered file: the same six states, one listing and one law for all watched folders.

Nothing of a folder is left out before it is counted. A domain says which files it does not take, and why, and what
its database has on record of the others; `state_of` decides. Where the records are kept is the stores' business.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from marketdata_assets.loading.files import Delivered
from marketdata_assets.loading.member_names import readable
from marketdata_assets.loading.reports import and_more
from marketdata_assets.stores.bookkeeping import Entry

FORGOTTEN = "forgotten; to load it again: marketdata {domain} forget --undo {file}"
"""Why a forgotten file is not taken."""
NAMED = 3
"""Number of files that a summary names."""


class FileState(StrEnum):
    """What is known of a delivered file."""

    WAITING = "waiting"  # may still be being written
    DUE = "due"  # new or changed, or a load of it is to be repeated
    LOADED = "loaded"
    EMPTY = "empty"  # read to its end: it has no row
    FAILED = "failed"  # the last attempt failed; nothing of it, or only an earlier content, is loaded
    NOT_TAKEN = "not taken"  # no load reads it

    @property
    def settled(self) -> bool:
        """Whether the file needs nothing. Only a folder of settled files has nothing to do."""
        return self in (FileState.LOADED, FileState.EMPTY, FileState.NOT_TAKEN)


@dataclass(frozen=True)
class FileEntry:
    """The state of one file, and what became of its rows.

    `reason` says why a file is due, failed or not taken, and what to do. Counts are rows of the content that is loaded:
    `loaded` ones are in the table now; `replaced` has those that a newer file has replaced, by the file's name;
    `left_out` are lines that are declared to be no rows, and rows that a handler has left out.
    """

    file: str
    state: FileState
    reason: str = ""
    read: int = 0
    loaded: int = 0
    rejected: int = 0
    duplicates: int = 0
    replaced: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every row that was read has exactly one fate."""
        kept = self.loaded + self.rejected + self.duplicates + self.left_out
        return self.read == kept + sum(self.replaced.values())


@dataclass(frozen=True)
class Recorded:
    """What a ledger has of a file: the `identity` that was read, and its entry."""

    identity: str
    entry: FileEntry


def state_of(found: Delivered, recorded: Recorded | None, *, not_taken: str = "", waiting: bool = False) -> FileEntry:
    """The state of one file by what a ledger has `recorded` of it.

    `not_taken` is the reason for which no load reads the file; `waiting` says that it may still be being written.
    """
    if found.problem and (not not_taken or found.is_folder):  # what is in a folder is not known
        return FileEntry(found.name, FileState.FAILED, found.problem)
    if not_taken:
        return FileEntry(found.name, FileState.NOT_TAKEN, not_taken)
    if recorded is not None and recorded.identity == found.identity:
        return recorded.entry
    if waiting:
        return FileEntry(found.name, FileState.WAITING, "it changed a moment ago and may still be being written")
    if recorded is None:
        return FileEntry(found.name, FileState.DUE, "never loaded")
    before = "its load failed" if recorded.entry.state is FileState.FAILED else "it was loaded"
    return FileEntry(found.name, FileState.DUE, f"changed since {before}")


def outcome_of(entry: Entry, name: str, reason: str = "", replaced: Mapping[str, int] | None = None) -> FileEntry:
    """What became of a file, by the `entry` that a ledger has of it as a whole; rows that were left out are duplicates.

    `reason` is what to say of a file that is loaded.
    """
    if entry.outcome == "failed":
        return FileEntry(name, FileState.FAILED, entry.error or "the last load failed")
    counts = entry.read, entry.rows, entry.rejected, entry.skipped + entry.superseded
    return FileEntry(name, FileState.LOADED if entry.read else FileState.EMPTY, reason, *counts, replaced or {})


def other_suffix(name: str, suffixes: Sequence[str], what: str) -> str:
    """Why a file whose name has none of `suffixes`, in any case, is not taken; empty where it has one.

    `what` names the data, as in `minute bars`.
    """
    if name.lower().endswith(tuple(suffixes)):
        return ""
    return f"{what} are read from files named *{', *'.join(suffixes)}: convert or rename it"


def name_in(folder: Path, file: str) -> str:
    """The name below `folder` of a delivered file that a person has given by its path; any other text as it is."""
    path = Path(file)
    for place, home in ((path, folder.absolute()), (path.resolve(), folder.resolve())):
        if place.is_relative_to(home) and ".." not in place.parts and (path.is_absolute() or place.exists()):
            return readable(place.relative_to(home).as_posix())
    return file


def with_file(file: str, reason: str) -> str:
    """A reason with the file's name, which errors begin with already."""
    return reason if reason.startswith((f"{file}:", f"{file}!")) else f"{file}: {reason}"


def counts(entries: Iterable[FileEntry]) -> dict[FileState, int]:
    """How many files are in each state, zeros included."""
    found = Counter(entry.state for entry in entries)
    return {state: found[state] for state in FileState}


def unsettled(entries: Iterable[FileEntry]) -> list[FileEntry]:
    """The files that need something: waiting, due or failed ones."""
    return [entry for entry in entries if not entry.state.settled]


def summary(entries: Sequence[FileEntry]) -> str:
    """The files in a line: `5 files: 3 loaded, 2 failed (a.csv: ...)`, or that there is none."""
    found = counts(entries)
    if not entries:
        return "no files"
    parts = []
    for state, number in found.items():
        named = [with_file(one.file, one.reason) for one in entries if one.state is state and one.reason]
        causes = and_more(named, NAMED, "; ") if state in (FileState.FAILED, FileState.NOT_TAKEN) else ""
        if number:
            parts.append(f"{number} {state}" + (f" ({causes})" if causes else ""))
    return f"{len(entries)} file{'s' if len(entries) > 1 else ''}: {', '.join(parts)}"

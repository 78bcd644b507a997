"""The state of every file of the alphas folder and of every month: files compared with marks and MongoDB's ledger.

A raw file is loaded when its alphas are in packages, by the marks beside these, and the packages in MongoDB, by its
ledger, but for the days whose documents were deleted. Nothing is written.
"""

import datetime as dt
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from marketdata_assets.alphas import file_index, layout, slices
from marketdata_assets.alphas.file_index import Listed, Pair, listed
from marketdata_assets.alphas.files import day_of, read_package
from marketdata_assets.alphas.import_modes import CODE_VERSION
from marketdata_assets.alphas.importer import Package, database_name, is_empty
from marketdata_assets.alphas.ingest import gone
from marketdata_assets.alphas.layout import KINDS, Kind, month_window
from marketdata_assets.alphas.packaging import Mark, Records, recorded
from marketdata_assets.alphas.raw_files import NoAlpha, alpha_of
from marketdata_assets.alphas.slices import Slice
from marketdata_assets.loading.file_ledger import FileEntry, FileState, Recorded, outcome_of, state_of
from marketdata_assets.loading.files import file_at
from marketdata_assets.loading.states import State, worst
from marketdata_assets.months import alpha_months
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry

T = TypeVar("T", Listed, Entry)
_EMPTY_SLICE_BYTES = len("[]")


@dataclass(frozen=True)
class AccountStatus:
    """An account's months of one asset: documents, raw files, packages or a record set. A count it has not is None.

    Raw files and packages are those of both kinds: a month is what the worse of its kinds is.
    """

    asset: str
    account: str
    states: Mapping[str, State]
    files: int | None = None
    documents: int | None = None
    rejected: int | None = None

    @property
    def outdated(self) -> tuple[str, ...]:
        """Months that are missing, stale or failed."""
        return tuple(month for month, state in self.states.items() if state.outdated)


@dataclass(frozen=True)
class MonthRows:
    """What the ledger says of one month."""

    documents: int
    rejected: int


def in_mongo(
    databases: mongo.Databases, root: Path, *, kinds: Sequence[Kind] = KINDS, exact: bool = False
) -> list[AccountStatus]:
    """The documents of every account that has files or a ledger, by kind and name.

    Unless `exact`, a package older than its last import counts as unchanged without reading it.
    """
    found: list[AccountStatus] = []
    on_disk = file_index.accounts_on_disk(root)
    for survey in surveys(databases, root, (), kinds, exact):
        if not survey.known and survey.account not in on_disk:
            continue
        entries = survey.known.values()
        rejected, name = sum(one.rejected for one in entries), database_name(survey.kind)
        documents = databases[name][survey.account].estimated_document_count()
        found.append(AccountStatus(name, survey.account, survey.months(), documents=documents, rejected=rejected))
    return found


def outdated_pairs(
    databases: mongo.Databases,
    root: Path,
    pairs: Collection[Pair] | None = None,
    kinds: Sequence[Kind] = KINDS,
    *,
    exact: bool = True,
) -> list[Pair]:
    """Of `pairs`, or of all on disk, those whose documents in MongoDB are not those of the files.

    `exact` reads the files; otherwise a package older than its last import counts as unchanged.
    """
    folders = [root / account for account in dict(pairs or ())]
    found: set[Pair] = set()
    for survey in surveys(databases, root, folders, kinds, exact):
        found |= {(survey.account, month) for month, state in survey.months().items() if state.outdated}
    return sorted(found if pairs is None else found & set(pairs))


def emptied_pairs(databases: mongo.Databases, root: Path, kind: Kind, loaded: Collection[Pair]) -> set[Pair]:
    """Of `loaded`, those of accounts whose collection is empty or dropped, but for months without an alpha."""
    database = databases[database_name(kind)]
    empty = [
        account
        for account in dict(loaded)
        if is_empty(database, account) and file_index.list_packages(root, account, kind)
    ]
    if not empty:
        return set()
    folders = [root / account for account in empty]
    found = surveys(databases, root, folders, [kind], exact=False)
    outdated = {(one.account, month) for one in found for month, state in one.months().items() if state.outdated}
    return {pair for pair in outdated & set(loaded) if pair[0] in empty}


def entries(databases: mongo.Databases, root: Path, *, exact: bool = False) -> list[FileEntry]:
    """The state of every file below the folder, by name, and what became of its alphas.

    Of a raw file those are loaded of which the package has this file's version; what an older version has besides is
    merged into the document. Unless `exact`, a package older than its last import counts as unchanged.
    """
    found: dict[str, FileEntry] = {}
    for survey in surveys(databases, root, (), KINDS, exact):
        name = database_name(survey.kind)
        found |= survey.files()
        refused: dict[str, set[int]] = {}
        loaded = {entry.unit for entry in survey.known.values() if entry.rejected and entry.outcome != "failed"}
        if loaded:
            for row in mongo_ledger.quarantined(databases[name], name, sys.maxsize):
                if row.source == survey.account and row.unit in loaded:
                    refused.setdefault(row.unit, set()).add(row.line)
        for file in survey.origins(refused):
            if file in found and (entry := found[file]).loaded:
                found[file] = replace(entry, loaded=entry.loaded - 1, rejected=entry.rejected + 1)
    return [found[name] for name in sorted(found)]


def surveys(
    databases: mongo.Databases, root: Path, folders: Iterable[Path], kinds: Iterable[Kind], exact: bool
) -> "Iterator[Survey]":
    """By kind, every account that has a folder or is in the ledger, with the files of these folders, or of all."""
    files = by_account(listed(root, *folders))
    for kind in kinds:
        database = databases[database_name(kind)]
        ledger = by_account(mongo_ledger.entries(database, database_name(kind)))
        for account in sorted({*files, *file_index.accounts_on_disk(root), *ledger}):
            entries = {one.unit: one for one in ledger.get(account, ())}
            deleted = gone(database, root, account, kind, entries, exact=exact)
            known = [one for day, one in entries.items() if day not in deleted]
            yield Survey(root, account, kind, files.get(account, ()), known, exact)


class Survey:
    """The files of one account and kind (those that are not taken are among the regular ones) and what is on record."""

    def __init__(
        self,
        root: Path,
        account: str,
        kind: Kind,
        files: Iterable[Listed],
        ledger: Iterable[Entry] = (),
        exact: bool = False,
    ) -> None:
        self.account, self.kind = account, kind
        self._source = (root, account, kind)
        self._listed = [one for one in files if one.kind == kind]
        self.known = {entry.unit: entry for entry in ledger}
        self._months = alpha_months(dt.datetime.now(dt.UTC))
        self._marks: dict[str, Records] = {}
        self._paths: dict[str, list[Path]] = {}
        for one in self._listed:
            if one.package and not one.not_taken and not one.found.problem:
                self._paths.setdefault(f"{day_of(one.file.path)}", []).append(one.file.path)
        self._imports = {
            day: _import_of(Package(account, kind, day, tuple(paths)), self.known.get(day), exact)
            for day, paths in self._paths.items()
        }

    def months(self) -> dict[str, State]:
        """The state of each month that has files or is in the ledger."""
        states: dict[str, State] = {}
        for day, entry in self.known.items():
            states[day[:7]] = worst(states.get(day[:7], State.EMPTY), State.OK if entry.rows else State.EMPTY)
        for one in self._listed:
            _worsen(states, {month: self._state(one, [month])[1] for month in self._of(one)})
        return dict(sorted(states.items()))

    def files(self) -> dict[str, FileEntry]:
        """The state of every file."""
        return {one.name: self._state(one, self._of(one))[0] for one in self._listed}

    def _state(self, one: Listed, months: Sequence[str]) -> tuple[FileEntry, State | None]:
        """A file's state in these months, and the state that it gives to them."""
        if one.package:
            return self.package(one)
        entry, state = self.raw(one, months)
        days = {day for month in months for day in self._mark(month).files[one.name].loaded} if entry.loaded else set()
        late = sorted(day for day in days if not self._is_imported(day))
        if late and entry.state is FileState.LOADED:
            reason = f"packaged, but the package of {late[0]} is not imported"
            return replace(entry, state=FileState.DUE, reason=reason), State.MISSING
        return entry, state

    def package(self, one: Listed) -> tuple[FileEntry, State | None]:
        """The state of a package by the ledger; the rows of two files of one day are counted once."""
        day = f"{day_of(one.file.path)}"
        known = self._imports.get(day)
        if known and self._paths[day][0] != one.file.path:
            known = FileEntry("", known.state, known.reason)
        recorded = Recorded(one.found.identity, replace(known, file=one.name)) if known else None
        return self._entry(one, recorded, again=day in self.known)

    def raw(self, one: Listed, months: Sequence[str]) -> tuple[FileEntry, State | None]:
        """The state of a raw file by the marks of months alone."""
        own = [self._mark(month).files.get(one.name) for month in months]
        found = [record for record in own if record]
        replaced: Counter[str] = sum((Counter(record.replaced) for record in found), Counter())
        read, loaded, rejected, duplicates = (
            sum(getattr(record, name) for record in found) for name in ("read", "packaged", "rejected", "duplicates")
        )
        error = next((record.error for record in found if record.error), "")
        state = FileState.FAILED if error else FileState.LOADED if read else FileState.EMPTY
        same = all(record and record.identity == one.found.identity for record in own)
        entry = FileEntry(one.name, state, error, read, loaded, rejected, duplicates, dict(replaced))
        recorded = Recorded(one.found.identity if same else "", entry) if found or not one.months else None
        return self._entry(one, recorded, again=any(self._mark(month).files for month in months))

    def origins(self, lines: Mapping[str, Collection[int]]) -> Iterator[str]:
        """The raw files of the alphas at these lines of packages, by day, that are in MongoDB as they are."""
        for day, numbers in lines.items():
            if day in self._imports and self._imports[day].state is FileState.LOADED:
                sources = recorded(*self._source, day[:7], Mark).sources
                for number, line in read_package(self._paths[day][0]):
                    with suppress(NoAlpha, KeyError):
                        if number in numbers:
                            yield sources[alpha_of(line, dt.datetime.now(dt.UTC)).id][0]

    def _entry(self, one: Listed, recorded: Recorded | None, *, again: bool) -> tuple[FileEntry, State | None]:
        """The entry of a file, and the state that it gives to its months; `again` says that they were loaded before."""
        reason = one.not_taken
        if one.months and not self._of(one) and not one.found.problem:
            reason = f"it is of no month from {self._months[0]} to {self._months[-1]}"
        entry = state_of(one.found, recorded, not_taken=reason)
        return entry, _STATES.get(entry.state, State.STALE if again else State.MISSING)

    def _of(self, one: Listed) -> list[str]:
        return [month for month in one.months if month in self._months]

    def _mark(self, month: str) -> Records:
        if month not in self._marks:
            self._marks[month] = recorded(*self._source, month, Records)
        return self._marks[month]

    def _is_imported(self, day: str) -> bool:
        """Whether a day's package is in MongoDB; it may have been deleted since."""
        if day in self._imports:
            return self._imports[day].state.settled
        return day in self.known and self.known[day].outcome != "failed"


def _worsen(states: dict[str, State], found: Mapping[str, State | None]) -> None:
    states |= {month: worst(states.get(month, State.EMPTY), state) for month, state in found.items() if state}


_STATES = {
    FileState.LOADED: State.OK,
    FileState.EMPTY: State.EMPTY,
    FileState.FAILED: State.FAILED,
    FileState.NOT_TAKEN: None,
}
"""What a file makes of its months; one that is due makes them missing, or stale when they were loaded before."""


def _import_of(package: Package, entry: Entry | None, exact: bool) -> FileEntry:
    """What became of a package, without a name."""
    due = ""
    if entry is None:
        due = "never loaded"
    elif entry.outcome == "failed":
        return FileEntry("", FileState.FAILED, entry.error or "the last import failed")
    elif entry.content_hash is None:
        due = "imported in part"
    elif entry.code_version != CODE_VERSION:
        due = "imported by rules that have changed"
    else:
        newest = max(file_at(path).changed_ns / 1e9 for path in package.paths)
        if (exact or newest >= entry.started.timestamp()) and package.content_hash() != entry.content_hash:
            due = "changed since it was loaded"
    if due or entry is None:
        return FileEntry("", FileState.DUE, due)
    return outcome_of(entry, "")


def by_account(items: Iterable[T]) -> dict[str, list[T]]:
    """Files, or the ledger's entries, by account."""
    found: dict[str, list[T]] = {}
    for one in items:
        found.setdefault(one.source if isinstance(one, Entry) else one.account, []).append(one)
    return found


def by_month(entries: Iterable[Entry]) -> dict[str, MonthRows]:
    """Documents and rejected lines of each month that the ledger has."""
    found: dict[str, MonthRows] = {}
    for entry in entries:
        before = found.get(entry.unit[:7], MonthRows(0, 0))
        found[entry.unit[:7]] = MonthRows(before.documents + entry.rows, before.rejected + entry.rejected)
    return found


def on_disk(root: Path, now: dt.datetime) -> list[AccountStatus]:
    """Raw files of every account that has any, then packages.

    Raw files: `missing` when no slice that was written after its end holds a part of the month; of the running month
    only what lies before its newest slice counts. `empty` months hold no alpha. Packages: `missing` when a month with
    raw files was never packaged, `stale` when its raw files have changed since.
    """
    files = {name: own for name, own in by_account(listed(root)).items() if any(one.months for one in own)}
    fetched = [_fetched(root, account, own, now) for account, own in files.items()]
    packaged = [_packaged(root, account, own) for account, own in files.items()]
    return [one for one in fetched + packaged if one.states]


def _fetched(root: Path, account: str, files: Iterable[Listed], now: dt.datetime) -> AccountStatus:
    states: dict[str, State] = {}
    raw: dict[tuple[Kind, str], list[Listed]] = {}
    for one in files:
        for month in () if one.package or one.not_taken else one.months:
            raw.setdefault((one.kind, month), []).append(one)
    for (kind, month), own in raw.items():
        pieces = [piece for one in own for piece in slices.slices_in(one)]
        archived = layout.singles_folder(root, account, kind, month).is_dir()
        state = State.EMPTY if all(one.found.size <= _EMPTY_SLICE_BYTES for one in own) else State.OK
        gaps = _has_gaps(month, pieces, now, not archived)
        states[month] = worst(states.get(month, State.EMPTY), State.MISSING if gaps else state)
    return AccountStatus("alpha_files", account, dict(sorted(states.items())), sum(map(len, raw.values())))


def _has_gaps(month: str, pieces: Sequence[Slice], now: dt.datetime, only_changed: bool) -> bool:
    """Whether a part of the month is in no finished slice; an old archive's single files, which have no windows, do."""
    whole = month_window(month)
    if not pieces:
        return only_changed
    if whole.end > now:
        whole = whole.until(max(piece.window.end for piece in pieces)) or whole
    return bool(slices.missing(whole, pieces))


def _packaged(root: Path, account: str, files: Sequence[Listed]) -> AccountStatus:
    states: dict[str, State] = {}
    packages = [one for one in files if one.package and not one.not_taken]
    for one in packages:
        states[one.months[0]] = State.OK
    of_kind = {kind: Survey(root, account, kind, files) for kind in KINDS}
    for one in files:
        if not one.package:
            _worsen(states, {month: of_kind[one.kind].raw(one, [month])[1] for month in one.months})
    return AccountStatus("alpha_packages", account, dict(sorted(states.items())), len(packages))

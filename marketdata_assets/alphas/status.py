"""The state of every month: raw files and packages on disk, and documents in MongoDB by its ledger.

Files are compared with the ledger; documents are not counted, and nothing is written.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from marketdata_assets.alphas import file_index, layout, packaging, slices
from marketdata_assets.alphas.file_index import Pair
from marketdata_assets.alphas.import_modes import CODE_VERSION
from marketdata_assets.alphas.importer import Package, database_name
from marketdata_assets.alphas.ingest import find
from marketdata_assets.alphas.layout import KINDS, Kind, month_window
from marketdata_assets.alphas.slices import Slice
from marketdata_assets.loading.states import State, worst
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry

_EMPTY_SLICE_BYTES = len("[]")


@dataclass(frozen=True)
class AccountStatus:
    """An account's alphas of one kind. `states` has every month that has files or is in the ledger."""

    account: str
    kind: Kind
    states: Mapping[str, State]
    imported: int  # months with documents
    documents: int
    rejected: int

    def count(self, state: State) -> int:
        return Counter(self.states.values())[state]

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
    """The status of every account that has files or a ledger, by kind and name.

    Unless `exact`, a package older than its last import counts as unchanged without reading it.
    """
    found: list[AccountStatus] = []
    for kind in kinds:
        ledger = by_account(mongo_ledger.entries(databases[database_name(kind)], database_name(kind)))
        for account in sorted({*file_index.accounts_on_disk(root), *ledger}):
            entries = ledger.get(account, [])
            rows = by_month(entries).values()
            status = AccountStatus(
                account,
                kind,
                month_states(root, account, kind, entries, exact=exact),
                imported=sum(row.documents > 0 for row in rows),
                documents=sum(row.documents for row in rows),
                rejected=sum(row.rejected for row in rows),
            )
            found.append(status)
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
    found: set[Pair] = set()
    wanted = None if pairs is None else file_index.months_by_account(pairs)
    for kind in kinds:
        ledger = by_account(mongo_ledger.entries(databases[database_name(kind)], database_name(kind)))
        for account in file_index.accounts_on_disk(root):
            if wanted is None or account in wanted:
                months = wanted[account] if wanted else None
                states = month_states(root, account, kind, ledger.get(account, []), months, exact=exact)
                found |= {(account, month) for month, state in states.items() if state.outdated}
    return sorted(found)


def month_states(
    root: Path,
    account: str,
    kind: Kind,
    entries: Iterable[Entry],
    months: Collection[str] | None = None,
    *,
    exact: bool = False,
) -> dict[str, State]:
    """Compare raw files with packages, and packages with the ledger: the state of each month."""
    known = {entry.unit: entry for entry in entries}
    raw, packages = file_index.raw_states(root, account, kind), file_index.package_states(root, account, kind)
    every = raw.keys() | packages.keys() | {unit[:7] for unit in known}
    wanted = sorted(every if months is None else every & set(months))
    states: dict[str, State] = dict.fromkeys(wanted, State.EMPTY)
    for unit, entry in known.items():
        if entry.rows and unit[:7] in states:
            states[unit[:7]] = State.OK
    for package in find(root, account, kind, wanted):
        state = _state(package, known.get(package.day), exact)
        states[package.month] = worst(states[package.month], state)
    for month, unpackaged in packaging.outdated_months(root, account, kind, raw).items():
        if month in states:
            states[month] = worst(states[month], unpackaged)
    return states


def by_account(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The ledger's entries by account."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.source, []).append(entry)
    return found


def by_month(entries: Iterable[Entry]) -> dict[str, MonthRows]:
    """Documents and rejected lines of each month that the ledger has."""
    found: dict[str, MonthRows] = {}
    for entry in entries:
        before = found.get(entry.unit[:7], MonthRows(0, 0))
        found[entry.unit[:7]] = MonthRows(before.documents + entry.rows, before.rejected + entry.rejected)
    return found


def _state(package: Package, entry: Entry | None, exact: bool) -> State:
    if entry is None:
        return State.MISSING
    if entry.outcome == "failed":
        return State.FAILED
    if entry.content_hash is None or entry.code_version != CODE_VERSION:
        return State.STALE  # imported in part, or by rules that have changed
    newest = max(path.stat().st_mtime for path in package.paths)
    if not exact and newest < entry.started.timestamp():
        return State.OK
    return State.OK if package.content_hash() == entry.content_hash else State.STALE


@dataclass(frozen=True)
class FolderStatus:
    """Raw files or packages of an account, both kinds together: a month is what the worse of its kinds is."""

    asset: Literal["alpha_files", "alpha_packages"]
    account: str
    states: Mapping[str, State]
    files: int


def on_disk(root: Path, now: dt.datetime) -> list[FolderStatus]:
    """Raw files of every account that has any, then packages.

    Raw files: `missing` when no slice that was written after its end holds a part of the month; of the running month
    only what lies before its newest slice counts. `empty` months hold no alpha. Packages: `missing` when a month with
    raw files was never packaged, `stale` when its raw files have changed since.
    """
    accounts = file_index.accounts_on_disk(root)
    fetched = [_fetched(root, account, now) for account in accounts]
    packaged = [_packaged(root, account) for account in accounts]
    return [one for one in fetched + packaged if one.states]


def _fetched(root: Path, account: str, now: dt.datetime) -> FolderStatus:
    states: dict[str, State] = {}
    files = 0
    for kind in KINDS:
        by_month = slices.by_month(root, account, kind)
        for month, (count, size, _) in file_index.raw_states(root, account, kind).items():
            pieces = by_month.get(month, ())
            archived = layout.singles_folder(root, account, kind, month).is_dir()
            files += count
            state = State.EMPTY if size <= count * _EMPTY_SLICE_BYTES else State.OK
            states[month] = worst(
                states.get(month, State.EMPTY), State.MISSING if _has_gaps(month, pieces, now, not archived) else state
            )
    return FolderStatus("alpha_files", account, dict(sorted(states.items())), files)


def _has_gaps(month: str, pieces: Sequence[Slice], now: dt.datetime, only_changed: bool) -> bool:
    """Whether a part of the month is in no finished slice; an old archive's single files, which have no windows, do."""
    whole = month_window(month)
    if not pieces:
        return only_changed
    if whole.end > now:
        whole = whole.until(max(piece.window.end for piece in pieces)) or whole
    return bool(slices.missing(whole, pieces))


def _packaged(root: Path, account: str) -> FolderStatus:
    states: dict[str, State] = {}
    files = 0
    for kind in KINDS:
        raw, packages = file_index.raw_states(root, account, kind), file_index.package_states(root, account, kind)
        files += sum(count for count, _, _ in packages.values())
        of_kind = dict.fromkeys(raw, State.EMPTY) | dict.fromkeys(packages, State.OK)
        of_kind |= packaging.outdated_months(root, account, kind, raw)
        for month, state in of_kind.items():
            states[month] = worst(states.get(month, State.EMPTY), state)
    return FolderStatus("alpha_packages", account, dict(sorted(states.items())), files)

"""What stands in MongoDB and what is missing, month by month: the picture behind `marketdata status` and repair.

Files on disk are held against the ledger; documents are not counted, and nothing is written.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pymongo import MongoClient

from marketdata_assets.alphas import packing, watch
from marketdata_assets.alphas.importer import Package, database_name
from marketdata_assets.alphas.ingest import find
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.watch import Pair
from marketdata_assets.stores import mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry

State = Literal["ok", "empty", "missing", "stale", "failed"]
BEHIND: tuple[State, ...] = ("missing", "stale", "failed")
_RANK: dict[State, int] = {"empty": 0, "ok": 1, "missing": 2, "stale": 3, "failed": 4}


@dataclass(frozen=True)
class AccountStatus:
    """An account's alphas of one kind. `states` has every month that has files or is in the ledger."""

    account: str
    kind: Kind
    states: Mapping[str, State]
    imported: int  # months with documents
    documents: int
    rejected: int
    last_run: str | None
    last_finished: dt.datetime | None

    def count(self, state: State) -> int:
        return Counter(self.states.values())[state]

    @property
    def behind(self) -> tuple[str, ...]:
        """Months that are missing, stale or failed."""
        return tuple(month for month, state in self.states.items() if state in BEHIND)


@dataclass(frozen=True)
class MonthRows:
    """What the ledger says of one month."""

    documents: int
    rejected: int


def overview(
    client: MongoClient[dict[str, Any]], root: Path, *, kinds: Sequence[Kind] = KINDS, exact: bool = False
) -> list[AccountStatus]:
    """The status of every account that has files or a ledger, by kind and name.

    Unless `exact`, a package older than its last import is taken for unchanged without reading it.
    """
    found: list[AccountStatus] = []
    for kind in kinds:
        ledger = by_account(mongo_ledger.entries(client[database_name(kind)], database_name(kind)))
        accounts = sorted({*watch.accounts_on_disk(root), *ledger})
        found += [account_status(root, account, kind, ledger.get(account, []), exact=exact) for account in accounts]
    return found


def behind(client: MongoClient[dict[str, Any]], root: Path, pairs: Collection[Pair] | None = None) -> list[Pair]:
    """Of `pairs`, or of all that are on disk, those that are not in MongoDB as the files have them; files are read."""
    found: set[Pair] = set()
    wanted = None if pairs is None else set(pairs)
    for kind in KINDS:
        ledger = by_account(mongo_ledger.entries(client[database_name(kind)], database_name(kind)))
        for account in watch.accounts_on_disk(root):
            months = None if wanted is None else {month for one, month in wanted if one == account}
            if months is not None and not months:
                continue
            states = month_states(root, account, kind, ledger.get(account, []), months, exact=True)
            found |= {(account, month) for month, state in states.items() if state in BEHIND}
    return sorted(found)


def account_status(
    root: Path, account: str, kind: Kind, entries: Sequence[Entry], *, exact: bool = False
) -> AccountStatus:
    """The status of one account and kind; `entries` are its ledger."""
    rows = by_month(entries)
    last = max(entries, key=lambda entry: entry.finished, default=None)
    return AccountStatus(
        account,
        kind,
        month_states(root, account, kind, entries, exact=exact),
        imported=sum(row.documents > 0 for row in rows.values()),
        documents=sum(row.documents for row in rows.values()),
        rejected=sum(row.rejected for row in rows.values()),
        last_run=last.run_id if last else None,
        last_finished=last.finished if last else None,
    )


def month_states(
    root: Path,
    account: str,
    kind: Kind,
    entries: Iterable[Entry],
    months: Collection[str] | None = None,
    *,
    exact: bool = False,
) -> dict[str, State]:
    """Hold raw files against packages, and packages against the ledger: the state of each month."""
    known = {entry.unit: entry for entry in entries}
    raw, packages = watch.raw_states(root, account, kind), watch.package_states(root, account, kind)
    every = raw.keys() | packages.keys() | {unit[:7] for unit in known}
    wanted = sorted(every if months is None else every & set(months))
    states: dict[str, State] = dict.fromkeys(wanted, "empty")
    for unit, entry in known.items():
        if entry.rows and unit[:7] in states:
            states[unit[:7]] = "ok"
    for package in find(root, account, kind, wanted):
        state = _state(package, known.get(package.day), exact)
        states[package.month] = max(states[package.month], state, key=_RANK.__getitem__)
    for month, unpackaged in packing.behind(root, account, kind, raw).items():
        if month in states:
            states[month] = max(states[month], unpackaged, key=_RANK.__getitem__)
    return states


def by_account(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The ledger's entries by account."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.source, []).append(entry)
    return found


def by_month(entries: Iterable[Entry]) -> dict[str, MonthRows]:
    """Documents and refused lines of each month that the ledger has."""
    found: dict[str, MonthRows] = {}
    for entry in entries:
        before = found.get(entry.unit[:7], MonthRows(0, 0))
        found[entry.unit[:7]] = MonthRows(before.documents + entry.rows, before.rejected + entry.rejected)
    return found


def _state(package: Package, entry: Entry | None, exact: bool) -> State:
    if entry is None:
        return "missing"
    if entry.outcome == "failed":
        return "failed"
    if entry.content_hash is None:
        return "stale"  # imported in part
    newest = max(path.stat().st_mtime for path in package.paths)
    if not exact and newest < entry.started.timestamp():
        return "ok"
    return "ok" if package.content_hash() == entry.content_hash else "stale"

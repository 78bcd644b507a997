"""Questions asked of MongoDB after an import, of the months of the run only; an answer of nothing is a pass.

Operators are those that a MongoDB and a Mongo-wire server understand alike: $unwind and $group, no path through an
array in an expression. What a finding means for a run is said in `defs.alphas.checks`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from pymongo.collection import Collection
from pymongo.database import Database

from marketdata_assets.alphas import importer
from marketdata_assets.alphas.errors import AlphasError
from marketdata_assets.alphas.importer import Package, database_name
from marketdata_assets.alphas.ingest import find
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import Document
from marketdata_assets.alphas.modes import BATCH_SIZE
from marketdata_assets.alphas.package_files import read_package
from marketdata_assets.alphas.watch import Pair
from marketdata_assets.alphas.windows import Window, month_window
from marketdata_assets.stores import mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.findings import sample_evenly

EXAMPLES = 5
MAX_REPEATED_PACKAGES = 400
REQUIRED = ("id", "type", "dateCreated", "settings")


@dataclass(frozen=True)
class Finding:
    """What a check objects to: how much, some of it, and how many months or packages were looked at."""

    count: int
    examples: tuple[dict[str, Any], ...]
    looked_at: int
    left_out: int = 0
    """Packages that were imported in part on purpose, or were too many to look at all."""

    @property
    def passed(self) -> bool:
        return self.count == 0


@dataclass(frozen=True)
class Question:
    """What a check is about: packages under `root`, and the documents of `kind` in `database`."""

    database: Database[Document]
    root: Path
    kind: Kind
    pairs: Sequence[Pair]


def every_id_landed(question: Question) -> Finding:
    """No month has fewer documents than its packages have ids; if one has, name ids that are missing."""
    missing: list[dict[str, Any]] = []
    left_out = 0
    for account, spans in _spans(question.pairs).items():
        stored = _counts(question.database[account], spans)
        known = _ledger(question, account)
        for month in sorted(month for one, month in question.pairs if one == account):
            whole, partial = _whole(find(question.root, account, question.kind, [month]), known)
            left_out += partial
            ids = {name for package in whole for name in _ids(question, package, known.get(package.day))}
            if stored.get(month, 0) < len(ids):
                absent = sorted(ids - _present(question.database[account], ids))
                missing += [{"account": account, "month": month, "id": name} for name in absent]
    return Finding(len(missing), tuple(missing[:EXAMPLES]), len(question.pairs), left_out)


def unique_ids(question: Question) -> Finding:
    """No id is there twice."""
    return _grouped(question, [{"$group": {"_id": "$id", "times": {"$sum": 1}}}])


def unique_check_names(question: Question) -> Finding:
    """No alpha has two checks of one name, as a merge that took one check for two would leave behind."""
    return _grouped(
        question,
        [
            {"$project": {"id": 1, "is.checks.name": 1}},
            {"$unwind": "$is.checks"},
            {"$group": {"_id": {"id": "$id", "check": "$is.checks.name"}, "times": {"$sum": 1}}},
        ],
    )


def required_fields(question: Question) -> Finding:
    """Every alpha has id, type, dateCreated and settings.

    Alphas without a dateCreated are in no month; they are looked for in the whole collection, by its index.
    """
    found: list[dict[str, Any]] = []
    show = dict.fromkeys(REQUIRED, 1)
    lacking = [{name: None} for name in REQUIRED if name != "dateCreated"]
    for account, spans in _spans(question.pairs).items():
        collection = question.database[account]
        queries = [{"dateCreated": None}, *({"dateCreated": _within(span), "$or": lacking} for span in spans)]
        for query in queries:
            for document in collection.find(query, show):
                absent = [name for name in REQUIRED if document.get(name) is None]
                found.append({"account": account, "id": str(document.get("id")), "lacks": ", ".join(absent)})
    return Finding(len(found), tuple(found[:EXAMPLES]), len(question.pairs))


def repeat_changes_nothing(question: Question) -> Finding:
    """Importing the packages once more would write nothing; of very many packages, an even spread is taken."""
    count = partial = 0
    packages: list[Package] = []
    for account in _spans(question.pairs):
        months = [month for one, month in question.pairs if one == account]
        whole, skipped = _whole(find(question.root, account, question.kind, months), _ledger(question, account))
        packages += whole
        partial += skipped
    looked_at = sample_evenly(packages, MAX_REPEATED_PACKAGES)
    examples: list[dict[str, Any]] = []
    for package in looked_at:
        try:
            ids = importer.pending(question.database, package, BATCH_SIZE)
        except AlphasError as error:
            ids = [str(error)]
        count += len(ids)
        examples += [{"account": package.account, "day": package.day, "id": name} for name in ids[:EXAMPLES]]
    left_out = partial + len(packages) - len(looked_at)
    return Finding(count, tuple(examples[:EXAMPLES]), len(looked_at), left_out)


def _grouped(question: Question, stages: list[dict[str, Any]]) -> Finding:
    finding = Finding(0, (), len(question.pairs))
    for account, spans in _spans(question.pairs).items():
        for span in spans:
            repeated = [{"$match": {"dateCreated": _within(span)}}, *stages, {"$match": {"times": {"$gt": 1}}}]
            for row in question.database[account].aggregate(repeated, allowDiskUse=True):
                key = row["_id"] if isinstance(row["_id"], dict) else {"id": row["_id"]}
                example = {"account": account, **{name: str(value) for name, value in key.items()}}
                examples = (*finding.examples, {**example, "times": row["times"]})[:EXAMPLES]
                finding = replace(finding, count=finding.count + 1, examples=examples)
    return finding


def _counts(collection: Collection[Document], spans: Sequence[Window]) -> dict[str, int]:
    found: dict[str, int] = {}
    key = {"year": {"$year": "$dateCreated"}, "month": {"$month": "$dateCreated"}}
    for span in spans:
        stages: list[dict[str, Any]] = [
            {"$match": {"dateCreated": _within(span)}},
            {"$group": {"_id": key, "count": {"$sum": 1}}},
        ]
        for row in collection.aggregate(stages):
            found[f"{row['_id']['year']}-{row['_id']['month']:02d}"] = row["count"]
    return found


def _present(collection: Collection[Document], ids: set[str]) -> set[str]:
    names = sorted(ids)
    found: set[str] = set()
    for at in range(0, len(names), 1000):
        batch = collection.find({"id": {"$in": names[at : at + 1000]}}, {"_id": 0, "id": 1})
        found |= {document["id"] for document in batch}
    return found


def _ids(question: Question, package: Package, entry: Entry | None) -> Iterator[str]:
    """The ids of a package without those lines that the import refused."""
    refused: set[int] = set()
    if entry is not None and entry.rejected:
        known = mongo_ledger.known(question.database, package.dataset, package.account, package.day)
        refused = {reject.line for reject in known.rejects} if known else set()
    for path in package.paths:
        for number, line in read_package(path):
            if number not in refused:
                yield _head.decode(line).id


class _Head(msgspec.Struct):
    id: str


_head = msgspec.json.Decoder(_Head)


def _ledger(question: Question, account: str) -> dict[str, Entry]:
    found = mongo_ledger.entries(question.database, database_name(question.kind), account)
    return {entry.unit: entry for entry in found}


def _whole(packages: Sequence[Package], known: dict[str, Entry]) -> tuple[list[Package], int]:
    """Packages without those that a mode took in part on purpose, and how many these are."""
    taken = [package for package in packages if not ((entry := known.get(package.day)) and entry.skipped)]
    return taken, len(packages) - len(taken)


def _spans(pairs: Sequence[Pair]) -> dict[str, list[Window]]:
    """By account, the months without a gap between them as one window: a query each."""
    found: dict[str, list[Window]] = {}
    for account, month in sorted(pairs):
        windows = found.setdefault(account, [])
        window = month_window(month)
        if windows and windows[-1].end == window.start:
            windows[-1] = Window(windows[-1].start, window.end)
        else:
            windows.append(window)
    return found


def _within(window: Window) -> dict[str, dt.datetime]:
    return {"$gte": window.start, "$lt": window.end}

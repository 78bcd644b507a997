"""Data checks of MongoDB after an import and of record sets, for the months of the run only.

Only operators that MongoDB and compatible servers share are used: $unwind and $group, no path through an array in an
expression. The severity of a finding is set in `defs.alphas.checks`.
"""

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pymongo.collection import Collection
from pymongo.database import Database

from marketdata_assets.alphas import importer
from marketdata_assets.alphas.catalogues import CATALOGUES, Name, unit_of
from marketdata_assets.alphas.catalogues import asset_name as asset_of
from marketdata_assets.alphas.fetch_catalogues import markets
from marketdata_assets.alphas.fetch_records import Choice, created, due, wanted
from marketdata_assets.alphas.file_index import Pair, months_by_account
from marketdata_assets.alphas.files import read_package
from marketdata_assets.alphas.filters import Filters
from marketdata_assets.alphas.import_modes import FieldModes, ImportOptions
from marketdata_assets.alphas.importer import Package, database_name
from marketdata_assets.alphas.ingest import find
from marketdata_assets.alphas.layout import Kind, Window, month_window, month_windows
from marketdata_assets.alphas.merge import Document
from marketdata_assets.alphas.record_sets import BY_TIME, RecordSet, asset_name
from marketdata_assets.errors import MarketDataError
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Entry, Finding, sample_evenly

MAX_REPEATED_PACKAGES = 400
REQUIRED = ("id", "type", "dateCreated", "settings")


@dataclass(frozen=True)
class Scope:
    """What is checked: the packages of `pairs` under `root`, and their documents of `kind` in `database`."""

    database: Database[Document]
    root: Path
    kind: Kind
    pairs: Sequence[Pair]
    fields: Mapping[str, FieldModes]
    """The modes of fields by account."""


def every_id_landed(scope: Scope) -> Finding:
    """No month has fewer documents than its packages have ids; missing ids are named."""
    missing: list[dict[str, Any]] = []
    left_out = 0
    for account, months in months_by_account(scope.pairs).items():
        collection, entries = scope.database[account], _ledger(scope, account)
        for month in months:
            complete, partial = _complete(find(scope.root, account, scope.kind, [month]), entries)
            left_out += partial
            ids = {name for package in complete for name in _ids(scope, package, entries.get(package.day))}
            if ids and collection.count_documents({"dateCreated": _within(month_window(month))}) < len(ids):
                absent = sorted(ids - _present(collection, ids))
                missing += [{"account": account, "month": month, "id": name} for name in absent]
    return Finding(len(missing), tuple(missing[:EXAMPLES]), len(scope.pairs), left_out)


def unique_ids(scope: Scope) -> Finding:
    """No id occurs twice."""
    return _grouped(scope, [{"$group": {"_id": "$id", "times": {"$sum": 1}}}])


def unique_check_names(scope: Scope) -> Finding:
    """No alpha has two checks of one name, which a faulty merge would leave."""
    return _grouped(
        scope,
        [
            {"$project": {"id": 1, "is.checks.name": 1}},
            {"$unwind": "$is.checks"},
            {"$group": {"_id": {"id": "$id", "check": "$is.checks.name"}, "times": {"$sum": 1}}},
        ],
    )


def required_fields(scope: Scope) -> Finding:
    """Every alpha has id, type, dateCreated and settings.

    Alphas without a dateCreated are in no month; the whole collection is searched for them, by its index.
    """
    incomplete: list[dict[str, Any]] = []
    show = dict.fromkeys(REQUIRED, 1)
    lacking = [{name: None} for name in REQUIRED if name != "dateCreated"]
    for account, months in months_by_account(scope.pairs).items():
        collection = scope.database[account]
        in_months = ({"dateCreated": _within(span), "$or": lacking} for span in month_windows(months))
        queries = [{"dateCreated": None}, *in_months]
        for query in queries:
            for document in collection.find(query, show):
                absent = [name for name in REQUIRED if document.get(name) is None]
                incomplete.append({"account": account, "id": str(document.get("id")), "lacks": ", ".join(absent)})
    return Finding(len(incomplete), tuple(incomplete[:EXAMPLES]), len(scope.pairs))


def repeat_changes_nothing(scope: Scope) -> Finding:
    """The import is idempotent: importing the packages again would write nothing. Many packages are sampled evenly."""
    count = partial = 0
    packages: list[Package] = []
    for account, months in months_by_account(scope.pairs).items():
        complete, skipped = _complete(find(scope.root, account, scope.kind, months), _ledger(scope, account))
        packages += complete
        partial += skipped
    sampled = sample_evenly(packages, MAX_REPEATED_PACKAGES)
    examples: list[dict[str, Any]] = []
    for package in sampled:
        try:
            options = ImportOptions().with_field_modes(scope.fields.get(package.account, {}))
            ids = importer.unwritten(scope.database, package, options)
        except MarketDataError as error:
            ids = [str(error)]
        count += len(ids)
        examples += [{"account": package.account, "day": package.day, "id": name} for name in ids[:EXAMPLES]]
    left_out = partial + len(packages) - len(sampled)
    return Finding(count, tuple(examples[:EXAMPLES]), len(sampled), left_out)


def catalogue_complete(databases: mongo.Databases, name: Name) -> Finding:
    """Of each account that has fetched a catalogue, every market of its alphas was, none has failed, and the stored
    entries are as many as were listed."""
    asset, checked, examples = asset_of(name), 0, list[dict[str, Any]]()
    database, entries = databases[asset], mongo_ledger.entries(databases[asset], asset)
    known = {(entry.source, entry.unit): entry for entry in entries}
    for account in sorted({entry.source for entry in entries}):
        units = markets(databases, account) if CATALOGUES[name].by_market else [{}]
        checked += len(units)
        for unit in map(unit_of, units):
            entry, stored = known.get((account, unit)), database[account].count_documents({"unit": unit})
            where = {"account": account, "market": unit}
            if entry is None or entry.outcome == "failed":
                examples.append({**where, "cause": entry.error if entry else "never fetched"})
            elif entry.outcome != "unsupported" and stored != entry.rows:
                examples.append({**where, "cause": f"{stored} of {entry.rows} entries"})
    return Finding(len(examples), tuple(examples[:EXAMPLES]), checked)


def _grouped(scope: Scope, stages: list[dict[str, Any]]) -> Finding:
    count = 0
    examples: list[dict[str, Any]] = []
    for account, months in months_by_account(scope.pairs).items():
        for span in month_windows(months):
            repeated = [{"$match": {"dateCreated": _within(span)}}, *stages, {"$match": {"times": {"$gt": 1}}}]
            for row in scope.database[account].aggregate(repeated, allowDiskUse=True):
                count += 1
                if count <= EXAMPLES:
                    key = row["_id"] if isinstance(row["_id"], dict) else {"id": row["_id"]}
                    texts = {name: str(value) for name, value in key.items()}
                    examples.append({"account": account, **texts, "times": row["times"]})
    return Finding(count, tuple(examples), len(scope.pairs))


def _present(collection: Collection[Document], ids: set[str]) -> set[str]:
    names = sorted(ids)
    present: set[str] = set()
    for at in range(0, len(names), 1000):
        batch = collection.find({"id": {"$in": names[at : at + 1000]}}, {"_id": 0, "id": 1})
        present |= {document["id"] for document in batch}
    return present


def _ids(scope: Scope, package: Package, entry: Entry | None) -> Iterator[str]:
    """The ids of a package without its rejected lines."""
    rejected: set[int] = set()
    if entry is not None and entry.rejected:
        record = mongo_ledger.read(scope.database, package.dataset, package.account, package.day)
        rejected = {reject.line for reject in record.rejects} if record else set()
    for path in package.paths:
        for number, line in read_package(path):
            if number not in rejected:
                yield _head.decode(line).id


class _Head(msgspec.Struct):
    id: str


_head = msgspec.json.Decoder(_Head)


def _ledger(scope: Scope, account: str) -> dict[str, Entry]:
    entries = mongo_ledger.entries(scope.database, database_name(scope.kind), account)
    return {entry.unit: entry for entry in entries}


def _complete(packages: Sequence[Package], entries: dict[str, Entry]) -> tuple[list[Package], int]:
    """Packages without those that a mode imported in part on purpose, and how many these are."""
    taken = [package for package in packages if not ((entry := entries.get(package.day)) and entry.skipped)]
    return taken, len(packages) - len(taken)


def _within(window: Window) -> dict[str, dt.datetime]:
    return {"$gte": window.start, "$lt": window.end}


NO_COLUMNS = "no columns with lists of values"
UNEVEN = "columns of different lengths"
UNORDERED = "its times do not ascend"
OUTSIDE = "a correlation outside of -1 to 1"


@dataclass(frozen=True)
class RecordScope:
    """What is checked: one record set of the alphas of `pairs` that match `filters`."""

    databases: mongo.Databases
    record_set: RecordSet
    pairs: Sequence[Pair]
    filters: Filters


def records_complete(scope: RecordScope) -> Finding:
    """Every alpha that matches the filters has a record set of its current version, unless the API gives it none."""
    database = scope.databases[asset_name(scope.record_set)]
    lacking: list[dict[str, Any]] = []
    left_out = 0
    for account, months in months_by_account(scope.pairs).items():
        entries = mongo_ledger.entries(database, asset_name(scope.record_set), account)
        unsupported = {one.unit for one in entries if one.outcome == "unsupported"}
        alphas = wanted(scope.databases, account, months, scope.filters)
        missing = due(scope.databases, scope.record_set, account, alphas, Choice(), dt.datetime.now(dt.UTC))
        left_out += sum(one.month in unsupported for one in missing)
        lacking += [
            {"account": account, "month": one.month, "id": one.id} for one in missing if one.month not in unsupported
        ]
    return Finding(len(lacking), tuple(lacking[:EXAMPLES]), len(scope.pairs), left_out)


def records_valid(scope: RecordScope) -> Finding:
    """Columns are equally long, times ascend without a duplicate, and correlations are between -1 and 1.

    Times of a record set with train and test rows ascend within each stage.
    """
    invalid: list[dict[str, Any]] = []
    for account, months in months_by_account(scope.pairs).items():
        stored = scope.databases[asset_name(scope.record_set)][account]
        for document in stored.find(created(months), {"columns": 1, "min": 1, "max": 1}):
            causes = _causes(document, by_time=scope.record_set in BY_TIME)
            invalid += ({"account": account, "id": document["_id"], "cause": cause} for cause in causes)
    return Finding(len(invalid), tuple(invalid[:EXAMPLES]), len(scope.pairs))


def _causes(document: Document, by_time: bool) -> Iterator[str]:
    columns = document.get("columns", {})
    if not (isinstance(columns, dict) and all(isinstance(values, list) for values in columns.values())):
        yield NO_COLUMNS
        return
    if len({len(values) for values in columns.values()}) > 1:
        yield UNEVEN
    if by_time:
        by_stage: dict[str, list[str]] = {}
        times: list[Any] = next(iter(columns.values()), [])
        for one, stage in itertools.zip_longest(times, columns.get("stage", ())):
            by_stage.setdefault(str(stage), []).append(str(one))
        if any(after <= before for own in by_stage.values() for before, after in itertools.pairwise(own)):
            yield UNORDERED
    else:
        found = [*columns.get("correlation", ()), document.get("min"), document.get("max")]
        if any(one is not None and not (isinstance(one, int | float) and -1 <= one <= 1) for one in found):
            yield OUTSIDE

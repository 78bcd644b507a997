"""Data checks of record sets in MongoDB, for the months of the run only. Reported in `defs.alphas.checks`."""

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from marketdata_assets.alphas.fetch_records import Choice, created, due, wanted
from marketdata_assets.alphas.file_index import Pair, months_by_account
from marketdata_assets.alphas.filters import Filters
from marketdata_assets.alphas.merge import Document
from marketdata_assets.alphas.record_sets import BY_TIME, RecordSet, asset_name
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding

UNEVEN = "columns of different lengths"
UNORDERED = "its times do not ascend"
OUTSIDE = "a correlation outside of -1 to 1"


@dataclass(frozen=True)
class Scope:
    """What is checked: one record set of the alphas of `pairs` that match `filters`."""

    databases: mongo.Databases
    record_set: RecordSet
    pairs: Sequence[Pair]
    filters: Filters


def records_complete(scope: Scope) -> Finding:
    """Every alpha that matches the filters has a record set of its current version, unless the API gives it none."""
    database = scope.databases[asset_name(scope.record_set)]
    lacking: list[dict[str, Any]] = []
    left_out = 0
    for account, months in months_by_account(scope.pairs).items():
        entries = mongo_ledger.entries(database, database.name, account)
        unsupported = {one.unit for one in entries if one.outcome == "unsupported"}
        alphas = wanted(scope.databases, account, months, scope.filters)
        missing = due(scope.databases, scope.record_set, account, alphas, Choice(), dt.datetime.now(dt.UTC))
        left_out += sum(one.month in unsupported for one in missing)
        lacking += [
            {"account": account, "month": one.month, "id": one.id} for one in missing if one.month not in unsupported
        ]
    return Finding(len(lacking), tuple(lacking[:EXAMPLES]), len(scope.pairs), left_out)


def records_valid(scope: Scope) -> Finding:
    """Columns are equally long, times ascend without a duplicate, and correlations are between -1 and 1."""
    invalid: list[dict[str, Any]] = []
    for account, months in months_by_account(scope.pairs).items():
        stored = scope.databases[asset_name(scope.record_set)][account]
        for document in stored.find(created(months), {"columns": 1, "min": 1, "max": 1}):
            causes = _causes(document, by_time=scope.record_set in BY_TIME)
            invalid += ({"account": account, "id": document["_id"], "cause": cause} for cause in causes)
    return Finding(len(invalid), tuple(invalid[:EXAMPLES]), len(scope.pairs))


def _causes(document: Document, by_time: bool) -> Iterator[str]:
    columns: dict[str, list[Any]] = document["columns"]
    if len({len(values) for values in columns.values()}) > 1:
        yield UNEVEN
    if by_time:
        times = [str(one) for one in next(iter(columns.values()), [])]
        if any(after <= before for before, after in itertools.pairwise(times)):
            yield UNORDERED
    else:
        found = [*columns.get("correlation", ()), document["min"], document["max"]]
        if any(one is not None and not -1 <= one <= 1 for one in found):
            yield OUTSIDE

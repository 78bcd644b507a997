"""Record sets inside the documents of alphas, as an earlier tool stored them, moved into databases of their own.

    {"id": "xVWpJpp", "recordsets": {"daily-pnl": {"schema": {..}, "records": [..], "updated_at": "2024-11-27T09:00Z"}}}

The later of two versions stays. The copy leaves the alpha's document after it was stored; what BRAIN would not send,
such as a NaN, stays there.
"""

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import bson

from marketdata_assets.alphas.fetch_records import Wanted, document_of
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.raw_files import instant
from marketdata_assets.alphas.record_sets import PATHS, RecordSet, asset_name, decode_records
from marketdata_assets.stores import mongo

FIELD = "recordsets"
_SENT = frozenset({"schema", "records", "min", "max"})
_UNDATED = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SETS: dict[str, RecordSet] = {path.removeprefix("recordsets/"): name for name, path in PATHS.items()}


@dataclass
class MoveReport:
    """What became of the embedded record sets of an account: counts by set; `left` are those that stay, and why."""

    account: str
    moved: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)  # the database has one as late
    left: dict[str, str] = field(default_factory=dict)


def move(databases: mongo.Databases, account: str) -> MoveReport:
    """Move what is embedded in an account's documents; run again after a failure, it continues.

    A record set from before the alpha's last change is of no version, so it is due. Raises StoreAway or StoreFull.
    """
    report = MoveReport(account)
    with mongo.naming_failures():
        for kind in KINDS:
            alphas = databases[database_name(kind)][account].with_options(codec_options=mongo.CODEC)
            for alpha in alphas.find({FIELD: {"$exists": True}}, ["id", "dateCreated", "dateModified", FIELD]):
                if not isinstance(alpha[FIELD], dict):
                    report.left[str(alpha.get("id"))] = f"{FIELD} is no object"
                    continue
                for name in alpha[FIELD]:
                    try:
                        _store(databases, account, kind, alpha, name, report)
                    except (ValueError, TypeError, AttributeError) as error:  # msgspec's are ValueErrors
                        report.left[f"{alpha.get('id')} {name}"] = str(error)
                        continue
                    remove(alphas, alpha, name)
                alphas.update_one({"_id": alpha["_id"], FIELD: {}}, {"$unset": {FIELD: ""}, "$inc": {"_rev": 1}})
    return report


def remove(alphas: mongo.Documents, alpha: mongo.Document, name: str) -> None:
    """Take a record set out of a document, unless it was written since `alpha` was read."""
    place = f"{FIELD}.{name}"
    unchanged = {"_id": alpha["_id"], f"{place}.updated_at": alpha[FIELD][name].get("updated_at")}
    alphas.update_one(unchanged, {"$unset": {place: ""}, "$inc": {"_rev": 1}})


def _store(
    databases: mongo.Databases, account: str, kind: Kind, alpha: mongo.Document, name: str, report: MoveReport
) -> None:
    """Store a record set unless there is one as late. Raises ValueError, TypeError, AttributeError for what is none."""
    if name not in _SETS:
        raise ValueError("no record set of this name is kept")
    embedded = alpha[FIELD][name]
    created, modified = _instant(alpha, "dateCreated"), _instant(alpha, "dateModified")
    if created is None or not isinstance(alpha.get("id"), str):
        raise ValueError("its alpha has no id or no dateCreated")
    is_object = isinstance(embedded, dict)
    answer = {key: embedded[key] for key in _SENT & embedded.keys()} if is_object else embedded
    records = decode_records(json.dumps(answer, default=_as_sent, allow_nan=False).encode())
    fetched = _instant(embedded, "updated_at") or _UNDATED
    current = modified is None or fetched >= modified
    wanted = Wanted(alpha["id"], kind, created, modified if current else None)
    target = databases[asset_name(_SETS[name])][account]
    mongo.ensure_index(target, [("dateCreated", 1)])
    document = document_of(wanted, records, fetched)
    moved = target.replace_one({"_id": wanted.id, "fetched": {"$lt": fetched}}, document).matched_count
    moved = moved or not target.update_one({"_id": wanted.id}, {"$setOnInsert": document}, upsert=True).matched_count
    (report.moved if moved else report.kept)[asset_name(_SETS[name])] += 1


def _as_sent(value: object) -> Any:
    """A value of MongoDB as BRAIN sends it: a day as text, a number as a number. Raises ValueError for any other."""
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    if isinstance(value, bson.Decimal128) and value.to_decimal().is_finite():
        return float(value.to_decimal())
    raise ValueError(
        f"{str(value)[:40]} ({type(value).__name__}) is no day and no number: correct it, or fetch the set"
    )


def _instant(document: mongo.Document, key: str) -> dt.datetime | None:
    value: Any = document.get(key)
    moment = value if isinstance(value, dt.datetime) else instant(value) if isinstance(value, str) else None
    if moment is None and value is not None:
        raise ValueError(f"{key} {value!r} is no date: make it a BSON date, or text such as 2024-11-27T09:00:00Z")
    return moment

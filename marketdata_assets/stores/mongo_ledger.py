"""The ledger and the quarantine in MongoDB, in the database whose documents they describe, written after them.

A write of documents is safe to repeat, so a crash between the two costs a repeat and no document. Collections of data
cannot have these names: an account has no hyphen.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pymongo.database import Database

from marketdata_assets.stores.bookkeeping import Entry, Quarantined, Reject
from marketdata_assets.stores.mongo import CODEC

LEDGER = "marketdata-ledger"
LOG = "marketdata-ledger-log"
QUARANTINE = "marketdata-quarantine"
MAX_RAW = 4096
DIGEST_BYTES = 16
MAX_DIGESTS = 500_000
"""More would come near the size limit of a document; such a unit is merged whole when it changes."""

Store = Database[dict[str, Any]]


@dataclass(frozen=True)
class Known:
    """What the ledger says of a unit, and the digests of those of its lines that stand in the data."""

    entry: Entry
    digests: frozenset[bytes]


def ensure(database: Store) -> None:
    """Create the indexes; safe to call at any time."""
    database[LOG].create_index([("dataset", 1), ("source", 1), ("finished", -1)])
    database[QUARANTINE].create_index([("dataset", 1), ("source", 1), ("unit", 1)])


def entries(database: Store, dataset: str, source: str) -> dict[str, Entry]:
    """The ledger of one source by unit, without digests."""
    found = database[LEDGER].with_options(codec_options=CODEC).find(_of(dataset, source), {"digests": 0})
    return {row["unit"]: _entry(row) for row in found}


def known(database: Store, dataset: str, source: str, unit: str) -> Known | None:
    """One unit with its digests."""
    row = database[LEDGER].with_options(codec_options=CODEC).find_one({"_id": _id(dataset, source, unit)})
    if row is None:
        return None
    packed = row.get("digests", b"")
    digests = frozenset(packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES))
    return Known(_entry(row), digests)


def record(database: Store, entry: Entry, digests: Iterable[bytes]) -> None:
    """Write `entry` as the unit's present state, and append it to the log of attempts."""
    kept = sorted(set(digests))
    row = _row(entry)
    packed = b"".join(kept) if len(kept) <= MAX_DIGESTS else b""
    database[LOG].insert_one(row | {})
    database[LEDGER].replace_one(
        {"_id": _id(entry.dataset, entry.source, entry.unit)}, row | {"digests": packed}, upsert=True
    )


def replace_rejects(database: Store, dataset: str, source: str, unit: str, rejects: Iterable[Reject]) -> None:
    """Make `rejects` the only ones of this unit in quarantine."""
    database[QUARANTINE].delete_many(_of(dataset, source) | {"unit": unit})
    rows = [_of(dataset, source) | {"unit": unit} | vars(reject) | {"raw": reject.raw[:MAX_RAW]} for reject in rejects]
    if rows:
        database[QUARANTINE].insert_many(rows)


def quarantined(database: Store, dataset: str, limit: int = 100) -> list[Quarantined]:
    """Up to `limit` refused documents, ordered by place."""
    found = database[QUARANTINE].find({"dataset": dataset}, {"_id": 0, "dataset": 0})
    return [Quarantined(**row) for row in found.sort([("source", 1), ("unit", 1), ("line", 1)]).limit(limit)]


def _of(dataset: str, source: str) -> dict[str, Any]:
    return {"dataset": dataset, "source": source}


def _id(dataset: str, source: str, unit: str) -> str:
    return f"{dataset}/{source}/{unit}"


def _row(entry: Entry) -> dict[str, Any]:
    return {field.name: getattr(entry, field.name) for field in fields(Entry)}


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(**{field.name: row[field.name] for field in fields(Entry)})


def now() -> dt.datetime:
    """The present, in the milliseconds that MongoDB keeps."""
    moment = dt.datetime.now(dt.UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

"""The ledger in MongoDB, in the database whose documents it describes: a document a unit, written after them.

Document writes are idempotent, so a crash between the two costs a repeated write and no document. The unit's rejected
rows and its last attempts are in the same document, so one write is atomic. No collection of data can have the name of
the ledger, as an account has no hyphen.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pymongo.database import Database

from marketdata_assets.stores import schema_version
from marketdata_assets.stores.bookkeeping import Entry, Quarantined, Reject
from marketdata_assets.stores.mongo import CODEC, ensure_index

LEDGER = "marketdata-ledger"
MAX_RAW = 2048
MAX_REJECTS = 1000
MAX_ATTEMPTS = 20
DIGEST_BYTES = 16
MAX_DIGESTS = 500_000
"""More would come near the size limit of a document; such a unit is merged completely when it changes."""

ATTEMPT = ("outcome", "attempted_hash", "error", "rows", "rejected", "run_id", "started", "finished")
"""What is kept of each of the last attempts."""

Store = Database[dict[str, Any]]


@dataclass(frozen=True)
class Record:
    """The ledger's record of a unit: its entry, the digests of its loaded lines, rejects and attempts."""

    entry: Entry
    digests: frozenset[bytes]
    rejects: tuple[Reject, ...]
    attempts: tuple[Mapping[str, Any], ...]


def ensure(database: Store) -> None:
    """Create the index; safe to call at any time. Raises TerminalError."""
    schema_version.ensure_mongo(database, LEDGER)
    ensure_index(database[LEDGER], [("dataset", 1), ("source", 1), ("unit", 1)], unique=True)


def entries(database: Store, dataset: str, source: str | None = None) -> list[Entry]:
    """The ledger of one source or of all, ordered by source and unit."""
    wanted = {"dataset": dataset} if source is None else {"dataset": dataset, "source": source}
    hidden = {"digests": 0, "rejects": 0, "attempts": 0}
    rows = database[LEDGER].with_options(codec_options=CODEC).find(wanted, hidden)
    return [_entry(row) for row in rows.sort([("source", 1), ("unit", 1)])]


def read(database: Store, dataset: str, source: str, unit: str) -> Record | None:
    """The record of one unit; None when it has none."""
    row = database[LEDGER].with_options(codec_options=CODEC).find_one({"_id": _id(dataset, source, unit)})
    if row is None:
        return None
    packed = row["digests"]
    return Record(
        _entry(row),
        frozenset(packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES)),
        tuple(Reject(**reject) for reject in row["rejects"]),
        tuple(row["attempts"]),
    )


def write(
    database: Store,
    entry: Entry,
    before: Record | None = None,
    digests: Iterable[bytes] = (),
    rejects: Sequence[Reject] = (),
    held: Mapping[str, bytes | None] | None = None,
) -> None:
    """Write `entry` as the unit's current state, keeping the last attempts of `before`.

    `held` are the documents that were rejected for good, with what was stored under their names: a fingerprint.
    """
    kept = sorted(set(digests))
    attempt = {name: getattr(entry, name) for name in ATTEMPT}
    row = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    row["digests"] = b"".join(kept) if len(kept) <= MAX_DIGESTS else b""
    row["rejects"] = [vars(reject) | {"raw": reject.raw[:MAX_RAW]} for reject in rejects[:MAX_REJECTS]]
    row["attempts"] = [*(before.attempts if before else ()), attempt][-MAX_ATTEMPTS:]
    row["held"] = list((held or {}).items())
    database[LEDGER].replace_one({"_id": _id(entry.dataset, entry.source, entry.unit)}, row, upsert=True)


def held(database: Store, dataset: str, source: str, units: Iterable[str]) -> dict[str, dict[str, bytes | None]]:
    """By unit, the documents that were rejected for good, and the fingerprints of what was stored then."""
    names = [_id(dataset, source, unit) for unit in units]
    rows = database[LEDGER].find({"_id": {"$in": names}}, {"unit": 1, "held": 1})
    return {row["unit"]: dict(row["held"]) for row in rows if row.get("held")}


def quarantined(database: Store, dataset: str, limit: int = 100) -> list[Quarantined]:
    """Up to `limit` rejected documents, ordered by place; of a unit with too many of them the first."""
    has_rejects = {"dataset": dataset, "rejects.0": {"$exists": True}}
    rows = database[LEDGER].find(has_rejects, {"source": 1, "unit": 1, "rejects": 1})
    listed: list[Quarantined] = []
    for row in rows.sort([("source", 1), ("unit", 1)]):
        listed += [Quarantined(**reject, source=row["source"], unit=row["unit"]) for reject in row["rejects"]]
        if len(listed) >= limit:
            break
    return listed[:limit]


def now() -> dt.datetime:
    """The current time, in the milliseconds that MongoDB keeps."""
    moment = dt.datetime.now(dt.UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _id(dataset: str, source: str, unit: str) -> str:
    return f"{dataset}/{source}/{unit}"


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(**{field.name: row[field.name] for field in fields(Entry)})

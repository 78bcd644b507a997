"""Documents into a MongoDB collection, batch by batch, so that writers at the same time lose nothing of each other's.

Each document has a revision that every write raises; a write names the revision it was computed from, and one that
comes too late finds nothing, is read again and computed anew. What to write is the caller's `plan`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, MongoClient, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError

from marketdata_assets.errors import TransientError
from marketdata_assets.stores.errors import StoreAway, StoreFull

STORE = "MongoDB"
SELECTION_MS = 10_000
DUPLICATE_KEY = 11000
NO_SPACE = 14031
GOING_DOWN = (91, 189, 11600, 11602, 13435, 13436, 10107)
"""Codes of a server that shuts down or has handed over; the same write may work a moment later."""
BAD_DOCUMENT = (2, 15, 52, 55, 57, 121, 10334, 17280, 17419, 17420)
"""Codes that blame the document: bad value, too deep, bad field name, against the collection's validator, too large."""
MAX_ROUNDS = 50
MAX_PATHS = 24
"""More changed paths than this are written as the whole document: cheaper for the server."""

Document = dict[str, Any]
Documents = Collection[Document]
Item = TypeVar("Item")
CODEC: CodecOptions[Document] = CodecOptions(document_class=dict, tz_aware=True)


class Contended(TransientError):
    """Other writers kept changing the same documents."""

    def __init__(self, collection: str, documents: int) -> None:
        super().__init__(
            f"{collection}: {documents} documents changed under our hands {MAX_ROUNDS} times in a row. Nothing is lost;"
            f" run the same partitions again with fewer writers."
        )


@dataclass(frozen=True, slots=True)
class Insert:
    """A document that is not there yet, as BSON without `_id`."""

    bson: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What an existing document becomes; `paths` are the dotted paths to set, None when only the whole will do."""

    document: Document
    paths: Document | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """A document that must not be written, and why."""

    reason: str


Plan = Insert | Change | Refuse | None


@dataclass
class Written:
    """What became of some documents."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    races: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Documents that the plan or the server refused, and why."""

    def add(self, other: "Written") -> None:
        self.inserted += other.inserted
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.races += other.races
        self.refused |= other.refused


@contextmanager
def naming_failures() -> Iterator[None]:
    """Turn a lost connection into StoreAway and a full disk into StoreFull; other errors pass."""
    try:
        yield
    except ConnectionFailure as error:
        raise StoreAway(STORE, str(error)) from error
    except BulkWriteError as error:
        codes = {one.get("code") for one in error.details.get("writeErrors", [])}
        codes |= {one.get("code") for one in error.details.get("writeConcernErrors", [])}
        _raise_known(codes, error)
        raise
    except OperationFailure as error:
        _raise_known({error.code}, error)
        raise


def _raise_known(codes: set[Any], error: PyMongoError) -> None:
    if NO_SPACE in codes:
        raise StoreFull(STORE, str(error)) from error
    if codes & set(GOING_DOWN):
        raise StoreAway(STORE, str(error)) from error


@contextmanager
def connect(uri: str, *, application: str = "marketdata") -> Iterator[MongoClient[Document]]:
    """A client with UTC dates, acknowledged writes that survive a kill of the server, and named failures."""
    with naming_failures():
        client: MongoClient[Document] = MongoClient(
            uri, tz_aware=True, journal=True, appname=application, serverSelectionTimeoutMS=SELECTION_MS
        )
        with client:
            yield client


def write(
    collection: Documents,
    items: Mapping[str, Item],
    plan: Callable[[Document | None, Item], Plan],
    *,
    key: str = "id",
    revision: str = "_rev",
    fresh: bool = False,
) -> Written:
    """Bring `items` (by the value of their unique `key`) into the collection, as `plan` says of the stored document.

    `plan` gets None where nothing is stored, and gives None where nothing is to be done. It may be called again when
    another writer was faster. `fresh` says that probably none is stored, which saves reading before the first write.
    """
    written = Written()
    pending = set(items)
    tried: set[str] = set()
    for number in range(MAX_ROUNDS):
        stored = {} if fresh and number == 0 else read(collection, key, pending)
        operations: dict[str, InsertOne[Any] | UpdateOne | ReplaceOne[Any]] = {}
        for name in pending:
            old = stored.get(name)
            planned = plan(old, items[name])
            if planned is None:
                written.updated += name in tried  # it landed after all, or another writer brought the same
                written.unchanged += name not in tried
            elif isinstance(planned, Refuse):
                written.refused[name] = planned.reason
            else:
                operations[name] = _operation(planned, old, key, name, revision)
        inserts = {name for name, one in operations.items() if isinstance(one, InsertOne)}
        lost, refused = _run(collection, operations, inserts)
        written.refused |= refused
        landed = operations.keys() - lost - refused.keys()
        written.inserted += len(landed & inserts)
        written.updated += len(landed - inserts)
        if not lost:
            return written
        tried |= lost
        written.races += len(lost)
        pending = lost
    raise Contended(collection.full_name, len(pending))


def read(collection: Documents, key: str, names: set[str]) -> dict[str, Document]:
    found = collection.with_options(codec_options=CODEC).find({key: {"$in": sorted(names)}}, batch_size=len(names) + 1)
    return {document[key]: document for document in found}


def _operation(
    planned: Insert | Change, old: Document | None, key: str, name: str, revision: str
) -> "InsertOne[Any] | UpdateOne | ReplaceOne[Any]":
    if isinstance(planned, Insert):
        return InsertOne(RawBSONDocument(with_bookkeeping(planned.bson, name, revision)))
    assert old is not None
    number = old.get(revision)
    same = {key: name, revision: {"$exists": False} if number is None else number}
    paths = planned.paths
    if paths is not None and len(paths) <= MAX_PATHS:
        return UpdateOne(same, {"$set": paths, "$inc": {revision: 1}})
    return ReplaceOne(same, planned.document | {"_id": old["_id"], revision: (number or 0) + 1})


def with_bookkeeping(encoded: bytes, name: str, revision: str) -> bytes:
    """Put `_id` before and the revision behind an encoded document, without decoding it."""
    text = name.encode() + b"\0"
    first = b"\x02_id\0" + len(text).to_bytes(4, "little") + text
    last = b"\x10" + revision.encode() + b"\0\x01\0\0\0\0"
    size = len(encoded) + len(first) + len(last) - 1
    return b"".join((size.to_bytes(4, "little"), first, encoded[4:-1], last))


def _run(collection: Documents, operations: Mapping[str, Any], inserts: set[str]) -> tuple[set[str], dict[str, str]]:
    """Write; name the operations that came too late, and those that the server refuses, with its reason."""
    if not operations:
        return set(), {}
    names = list(operations)
    late: set[str] = set()
    refused: dict[str, str] = {}
    try:
        matched = collection.bulk_write([operations[name] for name in names], ordered=False).matched_count
    except BulkWriteError as error:
        for one in error.details["writeErrors"]:
            if one["code"] == DUPLICATE_KEY:
                late.add(names[one["index"]])
            elif one["code"] in BAD_DOCUMENT:
                refused[names[one["index"]]] = f"MongoDB refuses it: {one['errmsg']}"
            else:
                raise
        if error.details.get("writeConcernErrors"):
            raise
        matched = error.details["nMatched"]
    updates = operations.keys() - inserts - late - refused.keys()
    if matched < len(updates):
        late |= updates  # which of them missed is not told: all are read again, and those that landed plan nothing
    return late, refused

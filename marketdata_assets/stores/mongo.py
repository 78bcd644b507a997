"""Batched compare-and-set writes to a MongoDB collection: concurrent writers never lose each other's updates.

Each document has a revision that every write increments. A write names the revision it was computed from; when another
writer was faster it matches nothing, and is read and computed again. What to write is the caller's `plan`.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import bson
import msgspec
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.dbref import DBRef
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, MongoClient, ReadPreference, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure

from marketdata_assets.backoff import delay
from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.logs import get_logger
from marketdata_assets.secret_values import hide
from marketdata_assets.server_versions import require
from marketdata_assets.stores.errors import LoginRejected, StoreAway, StoreFull

STORE = "MongoDB"
SELECTION_MS = 10_000
DUPLICATE_KEY = 11000
NO_SPACE = 14031
NO_LOGIN = (18, 8000)
GOING_DOWN = (91, 189, 11600, 11602, 13435, 13436, 10107)
"""Codes of a server that shuts down or has lost its primary role; a retry may succeed."""
BAD_DOCUMENT = (2, 14, 15, 22, 28, 40, 52, 55, 56, 57, 66, 121, 171, 10334, 16755, 17280, 17419, 17420)
"""Codes of a rejected document: bad value or type, invalid BSON, a path through a scalar, an immutable field, too deep,
bad field name, rejected by a validator or by an index of one's own, too large."""
TOO_LARGE = (10334, 17419, 17420)
FINAL = (15, 22, 52, 55, 56, 57, *TOO_LARGE)
"""Those that the document alone decides, with the stored one that it is merged with."""
MAX_BYTES = 16 * 1024 * 1024
"""MongoDB's limit for a document."""
MERGED_TOO_LARGE = "merged with what is stored, it is over MongoDB's limit of 16 MiB"
INDEX_CONFLICT = (85, 86)
CANNOT_CREATE_INDEX = 67
PLAIN = {"v", "key", "ns", "background", "unique"}
"""The options of an index that serves every query and holds every document."""
MAX_ATTEMPTS = 50
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.001, 0.1
MAX_PATHS = 24
"""More changed paths than this are written as the whole document: cheaper for the server."""

Document = dict[str, Any]
Documents = Collection[Document]
Item = TypeVar("Item")


class _PlainReference(TypeDecoder):
    """An object with `$ref` and `$id` as it is: the driver makes an object of its own of it."""

    bson_type = DBRef

    def transform_bson(self, value: DBRef) -> Document:
        return dict(value.as_doc())


CODEC: CodecOptions[Document] = CodecOptions(
    document_class=dict, tz_aware=True, type_registry=TypeRegistry([_PlainReference()])
)
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """What an existing document becomes; `paths` are the dotted paths to set, None when only the whole will do."""

    document: Document
    paths: Document | None


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a document must not be written; a `final` reason holds until the document or the stored one changes."""

    reason: str
    final: bool = False


Plan = bytes | Change | Reject | None
"""The BSON without `_id` of a document to insert, a change, a reject, or nothing to write."""


@dataclass
class Written:
    """The counts of one or more writes."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    races: int = 0
    rejected: dict[str, Reject] = field(default_factory=dict)
    """Documents that the plan or the server rejected, and why."""


@contextmanager
def naming_failures() -> Iterator[None]:
    """Turn a lost connection into StoreAway, a full disk into StoreFull, a rejected login into LoginRejected."""
    try:
        yield
    except ConnectionFailure as error:
        raise StoreAway(STORE, str(error)) from error
    except OperationFailure as error:
        codes = {error.code}
        if isinstance(error, BulkWriteError):
            failures = [*error.details.get("writeErrors", []), *error.details.get("writeConcernErrors", [])]
            codes = {failure.get("code") for failure in failures}
        if NO_SPACE in codes:
            raise StoreFull(STORE, str(error)) from error
        if codes & set(NO_LOGIN):
            raise LoginRejected(STORE, str(error)) from error
        if codes & set(GOING_DOWN):
            raise StoreAway(STORE, str(error)) from error
        raise


class Databases(Protocol):
    """The databases of a server by the project's names, such as `regular_alphas`; a client is one."""

    def __getitem__(self, name: str) -> Database[Document]: ...


@dataclass(frozen=True)
class Server:
    """A server, and the databases that have other names there: `{"regular_alphas": "wq_regular"}`."""

    uri: str = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Renamed:
    """Databases of which some have other names on the server."""

    client: MongoClient[Document]
    names: Mapping[str, str]

    def __getitem__(self, name: str) -> Database[Document]:
        return self.client[self.names.get(name, name)]


@contextmanager
def databases(server: str | Server, **options: Any) -> Iterator[Renamed]:
    """The databases of a server, whose connection is closed on leaving; `options` are those of `connect`."""
    given = Server(server) if isinstance(server, str) else server
    with connect(given.uri, **options) as client:
        yield Renamed(client, given.names)


@contextmanager
def connect(
    uri: str,
    *,
    application: str = "marketdata",
    selection_seconds: float | None = None,
    timeout_seconds: float | None = None,
) -> Iterator[MongoClient[Document]]:
    """A client with UTC dates, acknowledged writes that survive a kill of the server, and named failures.

    A server that is not found for `selection_seconds`, by default ten, or has no response for `timeout_seconds`, is
    unavailable. Raises ServerTooOld.
    """
    with naming_failures():
        client: MongoClient[Document] = MongoClient(
            hide(uri),
            tz_aware=True,
            journal=True,
            read_preference=ReadPreference.PRIMARY,  # an older document would make every write a lost race
            appname=application,
            serverSelectionTimeoutMS=SELECTION_MS if selection_seconds is None else round(selection_seconds * 1000),
            socketTimeoutMS=None if timeout_seconds is None else round(timeout_seconds * 1000),
        )
        with client:
            require(STORE, str(client.server_info().get("version", "")))
            yield client


def ensure_index(collection: Documents, keys: Sequence[tuple[str, Any]], *, unique: bool = False) -> None:
    """Create an index unless the collection has an equal one under whatever name; safe to call at any time.

    Raises TerminalError for an index that is in its way, where the server cannot create it, and for a collection that
    is capped or has an index that deletes documents.
    """
    existing = collection.index_information()
    _require_permanent(collection, existing)
    equal = (index for index in existing.values() if index["key"] == list(keys) and index.keys() <= PLAIN)
    if any(index.get("unique", False) == unique for index in equal):
        return
    try:
        collection.create_index(keys, unique=unique)
    except OperationFailure as error:
        wanted = f"{'a unique' if unique else 'an'} index on {_fields(keys)}"
        if error.code == CANNOT_CREATE_INDEX:
            raise TerminalError(
                f"{collection.full_name}: MongoDB cannot create the index on {_fields(keys)}: {error}. Nothing is"
                " written. If the collection is sharded, its shard key has to begin with that field."
            ) from error
        if error.code not in INDEX_CONFLICT:
            raise
        own_name = "_".join(f"{field}_{direction}" for field, direction in keys)
        for name, index in existing.items():
            if index["key"] == list(keys) or name == own_name:
                options = ", ".join(option for option in index if option not in PLAIN or option == "unique")
                database, _, own = collection.full_name.partition(".")
                raise TerminalError(
                    f"{collection.full_name} has the index {name} on {_fields(index['key'])}"
                    f"{f' with {options}' if options else ''}, where {wanted} is needed; nothing is written. Run"
                    f' db.getSiblingDB("{database}").getCollection("{own}").dropIndex("{name}"), create it under'
                    " another name if you need it, then run it again."
                ) from error
        raise


def _require_permanent(collection: Documents, indexes: Mapping[str, Any]) -> None:
    """Raise TerminalError for a collection of which the server deletes documents: each run would import them again."""
    database, _, name = collection.full_name.partition(".")
    server, cause, remedy = f'db.getSiblingDB("{database}")', "", ""
    if collection.options().get("capped"):
        cause, old = "is capped", f"{name}_capped"
        remedy = (
            f'{server}.getCollection("{name}").renameCollection("{old}") and'
            f' {server}.getCollection("{old}").aggregate([{{$merge: "{name}"}}])'
        )
    for index, facts in indexes.items():
        if "expireAfterSeconds" in facts:
            cause = f"has the index {index} on {_fields(facts['key'])} with expireAfterSeconds"
            remedy = f'{server}.getCollection("{name}").dropIndex("{index}")'
    if cause:
        raise TerminalError(
            f"{collection.full_name} {cause}: MongoDB deletes its documents; nothing is written. Run {remedy}, then"
            " run it again."
        )


def _fields(keys: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{field}: {direction}" for field, direction in keys)


def write(
    collection: Documents,
    items: Mapping[str, Item],
    plan: Callable[[Document | None, Item], Plan],
    *,
    key: str = "id",
    revision: str = "_rev",
    fresh: bool = False,
    sleep: Callable[[float], object] = time.sleep,
    written: Written | None = None,
) -> Written:
    """Write `items` (by the value of their unique `key`) as `plan` decides from the stored document.

    `plan` receives None where nothing is stored, and returns None where nothing has to be written. It may be called
    again when another writer was faster. `fresh` says that probably none is stored, which saves the first read. Counts
    are added to `written`, where one is given. Raises TransientError.
    """
    written = Written() if written is None else written
    pending = set(items)
    retried: set[str] = set()
    hidden: set[str] = set()
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            sleep(delay(attempt, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        stored = {} if fresh and attempt == 0 else read(collection, key, pending)
        operations: dict[str, InsertOne[Any] | UpdateOne | ReplaceOne[Any]] = {}
        for name in pending:
            old = stored.get(name)
            if old is None and name in hidden:
                written.rejected[name] = Reject(
                    f"another document, without this {key}, has it as its _id; remove that document"
                )
                continue
            if old and not isinstance(old.get(revision, 0), (int, float)):
                written.rejected[name] = Reject(
                    f"its stored {revision} is {old[revision]!r}, no number; remove that field, which another program"
                    " has written"
                )
                continue
            planned = plan(old, items[name])
            if planned is None:
                written.updated += name in retried  # it was written after all, or another writer wrote the same
                written.unchanged += name not in retried
                continue
            operation = _operation(planned, old, key, name, revision)
            if isinstance(operation, Reject):
                written.rejected[name] = operation
            else:
                operations[name] = operation
        inserts = {name for name, operation in operations.items() if isinstance(operation, InsertOne)}
        conflicting, rejected = _run(collection, operations, inserts, key)
        written.rejected |= rejected
        done = operations.keys() - conflicting - rejected.keys()
        written.inserted += len(done & inserts)
        written.updated += len(done - inserts)
        if not conflicting:
            return written
        retried |= conflicting
        hidden = conflicting & inserts - stored.keys() if attempt else hidden
        written.races += len(conflicting)
        pending = conflicting
    raise TransientError(
        f"{collection.full_name}: write conflict on {len(pending)} documents, gave up after {MAX_ATTEMPTS}"
        " retries. No document is lost; run the same partitions again with fewer concurrent writers."
    )


def usable(collection: Documents, found: Iterable[Document], form: type[msgspec.Struct]) -> Iterator[Document]:
    """The documents of this form; of the others, which another program wrote, a log line has the number and the first.

    Every reader of stored documents reads them through this, so that an odd one costs no other.
    """
    odd, first = 0, dict[str, str]()
    for document in found:
        try:
            msgspec.convert(document, form)
        except msgspec.ValidationError as error:
            odd, first = odd + 1, first or {"id": str(document.get("_id")), "reason": str(error)}
        else:
            yield document
    if odd:
        log.warning("unusable_documents", collection=collection.full_name, documents=odd, **first)


def read(collection: Documents, key: str, names: set[str]) -> dict[str, Document]:
    documents = collection.with_options(codec_options=CODEC)
    cursor = documents.find({key: {"$in": sorted(names)}}, batch_size=len(names) + 1)
    return {document[key]: document for document in cursor}


def fingerprints(collection: Documents, key: str, names: Iterable[str]) -> dict[str, bytes]:
    """The SHA-256 of the stored documents of these names, as they are stored; not of those that are not."""
    raw = collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    found = raw.find({key: {"$in": sorted(names)}})
    return {document[key]: hashlib.sha256(document.raw).digest() for document in found}


def _operation(
    planned: bytes | Change | Reject, old: Document | None, key: str, name: str, revision: str
) -> "InsertOne[Any] | UpdateOne | ReplaceOne[Any] | Reject":
    if isinstance(planned, Reject):
        return planned
    if isinstance(planned, bytes):
        return InsertOne(RawBSONDocument(with_bookkeeping(planned, name, revision)))
    assert old is not None
    number = old.get(revision)
    unchanged = {key: name, revision: {"$exists": False} if number is None else number}
    paths = planned.paths
    if paths is not None and len(paths) <= MAX_PATHS:
        return UpdateOne(unchanged, {"$set": paths, "$inc": {revision: 1}})
    whole = bson.encode(planned.document | {"_id": old["_id"], revision: (number or 0) + 1})
    return ReplaceOne(unchanged, RawBSONDocument(whole)) if len(whole) <= MAX_BYTES else Reject(MERGED_TOO_LARGE, True)


def with_bookkeeping(encoded: bytes, name: str, revision: str) -> bytes:
    """Put `_id` before and the revision behind an encoded document, without decoding it."""
    text = name.encode() + b"\0"
    first = b"\x02_id\0" + len(text).to_bytes(4, "little") + text
    last = b"\x10" + revision.encode() + b"\0\x01\0\0\0\0"
    size = len(encoded) + len(first) + len(last) - 1
    return b"".join((size.to_bytes(4, "little"), first, encoded[4:-1], last))


def _run(
    collection: Documents, operations: Mapping[str, Any], inserts: set[str], key: str
) -> tuple[set[str], dict[str, Reject]]:
    """Write; returns the operations in conflict, and those that the server rejects, with its reason."""
    if not operations:
        return set(), {}
    names = list(operations)
    conflicting: set[str] = set()
    rejected: dict[str, Reject] = {}
    try:
        matched = collection.bulk_write([operations[name] for name in names], ordered=False).matched_count
    except BulkWriteError as error:
        for failure in error.details["writeErrors"]:
            name, code = names[failure["index"]], failure["code"]
            duplicate = code == DUPLICATE_KEY
            if duplicate and failure.get("keyPattern", {}).keys() <= {key, "_id"}:
                conflicting.add(name)
            elif duplicate or code in BAD_DOCUMENT:
                merged = code in TOO_LARGE and name not in inserts
                reason = MERGED_TOO_LARGE if merged else f"MongoDB rejects it: {failure['errmsg']}"
                rejected[name] = Reject(reason, code in FINAL)
            else:
                raise
        if error.details.get("writeConcernErrors"):
            raise
        matched = error.details["nMatched"]
    updates = operations.keys() - inserts - conflicting - rejected.keys()
    if matched < len(updates):
        conflicting |= updates  # the server does not say which: all are read again, and those written plan nothing
    return conflicting, rejected

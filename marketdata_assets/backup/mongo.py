"""Collections of MongoDB, as the BSON that the server sent, one document after the other.

A database's ledger is read before its documents, so it never lists more than the backup has.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from bson import decode_file_iter
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection

from marketdata_assets.backup.errors import Differs, NotEmpty
from marketdata_assets.backup.files import Digest, Relation, chunks, writing
from marketdata_assets.progress import report
from marketdata_assets.stores.mongo import STORE, connect
from marketdata_assets.stores.mongo_ledger import LEDGER

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
BATCH = 1000
KEPT = ("key", "unique", "sparse", "expireAfterSeconds", "partialFilterExpression")
"""The options of an index that another server accepts."""


def save(uri: str, databases: Sequence[str], folder: Path) -> list[Relation]:
    """Write all collections of `databases`."""
    with connect(uri) as client:
        names = [name for database in databases for name in _collections(client, database)]
        found = []
        for done, name in enumerate(names):
            report(done, len(names), name)
            found.append(_save(_collection(client, name), name, folder, done))
    return found


def restore(uri: str, relations: Sequence[Relation], folder: Path) -> None:
    """Restore the documents and their indexes. Raises NotEmpty and Differs."""
    with connect(uri) as client:
        if full := [one.name for one in relations if _collection(client, one.name).find_one({}) is not None]:
            raise NotEmpty(STORE, full)
        # Documents before ledgers: an interrupted restore leaves no ledger that lists missing documents.
        order = sorted(relations, key=lambda one: one.name.endswith(f".{LEDGER}"))
        for done, one in enumerate(order):
            report(done, len(order), one.name)
            collection = _collection(client, one.name)
            for index in json.loads(one.made_by):
                keys = list(index.pop("key").items())
                collection.create_index(keys, **index)
            for batch in _batches(folder, one):
                collection.insert_many(batch, ordered=False)
            digest = Digest()
            for document in collection.find({}):
                digest.add(bytes(document.raw))
            if (digest.rows, digest.text) != (one.rows, one.digest):
                wanted, found = f"{one.rows} documents {one.digest}", f"{digest.rows} documents {digest.text}"
                raise Differs(STORE, one.name, wanted, found)


def _collections(client: MongoClient[dict[str, Any]], database: str) -> list[str]:
    names = client[database].list_collection_names()
    return [f"{database}.{name}" for name in sorted(names, key=lambda name: (name != LEDGER, name))]


def _collection(client: MongoClient[dict[str, Any]], name: str) -> Collection[RawBSONDocument]:
    database, _, collection = name.partition(".")
    return client[database][collection].with_options(codec_options=RAW)


def _save(collection: Collection[RawBSONDocument], name: str, folder: Path, number: int) -> Relation:
    digest = Digest()
    with writing(folder, f"mongo-{number:04d}.bson.zst") as file:
        for document in collection.find({}):
            data = bytes(document.raw)
            digest.add(data)
            file.write(data)
    indexes = [
        {option: index[option] for option in KEPT if option in index}
        for index in (json.loads(json.dumps(dict(one), default=dict)) for one in collection.list_indexes())
        if list(index["key"]) != ["_id"]
    ]
    return Relation(STORE, name, digest.rows, digest.text, [], json.dumps(indexes), [file.piece])


def _batches(folder: Path, one: Relation) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    for piece in one.pieces:
        for document in decode_file_iter(cast(IO[bytes], _Blocks(chunks(folder, piece))), RAW):
            batch.append(document)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


class _Blocks:
    """Blocks of bytes as a file that is read in order."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    def read(self, size: int) -> bytes:
        while len(self._left) < size and (block := next(self._blocks, b"")):
            self._left += block
        data, self._left = self._left[:size], self._left[size:]
        return data

"""Collections of MongoDB, as the BSON that the server sent, one document after the other.

A database's ledger is read before its documents, so it never lists more than the backup has.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

import msgspec
from bson import decode_file_iter
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from marketdata_assets.backup.files import Digest, Relation, reading, restore_each, save_each, writing
from marketdata_assets.stores.mongo import STORE, Databases, Server, databases
from marketdata_assets.stores.mongo_ledger import LEDGER

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
BATCH = 1000


class _Index(msgspec.Struct):
    """What an index keeps in a backup; not for how long documents live, which would delete what is restored."""

    key: dict[str, int | float | str]
    unique: bool = False
    sparse: bool = False


def save(server: str | Server, datasets: Sequence[str], folder: Path) -> list[Relation]:
    """Write all collections of the databases; a backup has the project's names of them."""
    with databases(server) as stored:
        names: list[str] = []
        for dataset in datasets:
            collections = stored[dataset].list_collection_names()
            ordered = sorted(collections, key=lambda name: (name != LEDGER, name))
            names += [f"{dataset}.{name}" for name in ordered]
        numbers = count()
        return save_each(names, lambda name: _save(_collection(stored, name), name, folder, next(numbers)))


def restore(server: str | Server, relations: Sequence[Relation], folder: Path) -> None:
    """Restore the documents and their indexes. Raises TerminalError."""
    with databases(server) as stored:

        def load(one: Relation) -> tuple[int, str]:
            collection = _collection(stored, one.name)
            for index in msgspec.json.decode(one.made_by, type=list[_Index]):
                options: dict[str, Any] = {name: True for name in ("unique", "sparse") if getattr(index, name)}
                keys: Any = list(index.key.items())
                collection.create_index(keys, **options)
            for batch in _batches(folder, one):
                collection.insert_many(batch, ordered=False)
            digest = Digest()
            for document in collection.find({}):
                digest.add(bytes(document.raw))
            return digest.rows, digest.text

        # Documents before ledgers: an interrupted restore leaves no ledger that lists missing documents.
        order = sorted(relations, key=lambda one: one.name.endswith(f".{LEDGER}"))
        restore_each(STORE, order, lambda name: _collection(stored, name).find_one({}) is not None, load)


def rows_of(file: IO[bytes]) -> Iterator[bytes]:
    """The documents in a file of a collection."""
    for document in decode_file_iter(file, RAW):
        yield bytes(document.raw)


def _collection(stored: Databases, name: str) -> Collection[RawBSONDocument]:
    dataset, _, collection = name.partition(".")
    return stored[dataset][collection].with_options(codec_options=RAW)


def _save(collection: Collection[RawBSONDocument], name: str, folder: Path, number: int) -> Relation:
    digest = Digest()
    with writing(folder, f"mongo-{number:04d}.bson.zst") as file:
        for document in collection.find({}):
            data = bytes(document.raw)
            digest.add(data)
            file.write(data)
    indexes = [
        {option: index[option] for option in _Index.__struct_fields__ if option in index}
        for index in (json.loads(json.dumps(dict(one), default=dict)) for one in collection.list_indexes())
        if list(index["key"]) != ["_id"]
    ]
    return Relation(STORE, name, digest.rows, digest.text, [], json.dumps(indexes), [file.piece])


def _batches(folder: Path, one: Relation) -> Iterator[list[RawBSONDocument]]:
    for piece in one.pieces:
        with reading(folder, piece) as file:
            documents = decode_file_iter(file, RAW)
            while batch := list(islice(documents, BATCH)):
                yield batch

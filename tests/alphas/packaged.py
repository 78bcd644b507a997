"""Small packages for tests of the import, and what must be stored after it."""

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.files import write
from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.ingest import Report, ingest
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.fanout import Fanout
from marketdata_assets.stores import mongo

MONTH = "2024-11"
DAY = dt.date(2024, 11, 27)
Document = dict[str, Any]


def new_account() -> str:
    """An account, and so a collection, of the test's own."""
    return f"a{uuid.uuid4().hex[:10]}"


def alpha(name: str, modified: int = 0, **fields: Any) -> Document:
    """A small alpha; `modified` counts minutes after its creation."""
    created = dt.datetime(2024, 11, 27, 4, 0)
    return {
        "id": name,
        "type": "REGULAR",
        "settings": {"region": "USA", "delay": 1},
        "dateCreated": f"{created:%Y-%m-%dT%H:%M:%S}-05:00",
        "dateSubmitted": None,
        "dateModified": f"{created + dt.timedelta(minutes=modified):%Y-%m-%dT%H:%M:%S}-05:00",
        "is": {"sharpe": 1.5, "checks": [{"name": "LOW_SHARPE", "result": "PASS"}]},
    } | fields


def package_path(root: Path, account: str, kind: Kind, day: dt.date, suffix: str = ".ndjson") -> Path:
    return layout.packages_folder(root, account, kind, f"{day:%Y-%m}") / f"{day}{suffix}"


def deliver(root: Path, account: str, *lines: Document | bytes, day: dt.date = DAY, kind: Kind = "regular") -> Path:
    """Write a package of documents, or of raw lines."""
    path = package_path(root, account, kind, day)
    write(path, [(line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines])
    return path


def run(uri: str, root: Path, account: str, mode: str = "incremental", workers: int = 1, **options: Any) -> Report:
    """Import all of November 2024."""
    force = options.pop("force", False)
    kind = options.pop("kind", "regular")
    return ingest(
        uri,
        root,
        account,
        kind,
        [MONTH],
        run_id="test",
        fanout=Fanout(workers, ("marketdata_assets.alphas.ingest",)),
        options=ImportOptions(mode=mode, **options),  # type: ignore[arg-type]
        force=force,
    )


def stored(client: MongoClient[Document], account: str, kind: Kind = "regular") -> dict[str, Document]:
    """The collection by id, without `_id`."""
    found = client[database_name(kind)][account].with_options(codec_options=mongo.CODEC).find({}, {"_id": 0})
    return {document["id"]: document for document in found}


def expected(document: Document, revision: int = 1) -> Document:
    """The document as it must be stored."""
    dates = {
        key: dt.datetime.fromisoformat(document[key]).astimezone(dt.UTC)
        for key in ("dateCreated", "dateModified", "dateSubmitted")
        if document.get(key)
    }
    return document | dates | {"_rev": revision}

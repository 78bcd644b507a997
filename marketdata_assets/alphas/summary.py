"""All alphas in MongoDB at a glance: how many by account, kind, month and region, and how Sharpe and turnover spread.

Four small fields of each document are read, as a stream; where the table is shown is decided elsewhere.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import polars as pl
from pymongo import MongoClient

from marketdata_assets.alphas.archive import instant
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import ACCOUNT, KINDS, Kind
from marketdata_assets.stores.mongo import CODEC, Document

CHUNK = 20_000
UNKNOWN = "?"
FIELDS = {"_id": 0, "settings.region": 1, "is.sharpe": 1, "is.turnover": 1, "dateCreated": 1}
KEYS = ("account", "kind", "month", "region")
FIGURES = ("sharpe", "turnover")
SCHEMA = dict.fromkeys(KEYS, pl.Categorical) | dict.fromkeys(FIGURES, pl.Float32)


def rows(client: MongoClient[Document]) -> pl.DataFrame:
    """One row an alpha: account, kind, month (UTC), region, sharpe, turnover; null where the API gave no number."""
    frames = [pl.DataFrame(schema=SCHEMA)]
    for kind in KINDS:
        database = client[database_name(kind)]
        for account in sorted(filter(ACCOUNT.fullmatch, database.list_collection_names())):
            found = database[account].with_options(codec_options=CODEC).find({}, FIELDS, batch_size=CHUNK)
            stream = (_row(account, kind, document) for document in found)
            frames += [pl.DataFrame(chunk, schema=SCHEMA, orient="row") for chunk in _chunks(stream)]
    return pl.concat(frames)


def spread(alphas: pl.DataFrame, keys: Sequence[str] = KEYS) -> pl.DataFrame:
    """Count, and median and quartiles of each figure, by `keys`, in their order."""
    quartiles = [
        pl.col(name).quantile(share, "linear").cast(pl.Float64).round(4).alias(f"{name}_{label}")
        for name in FIGURES
        for label, share in (("q1", 0.25), ("median", 0.5), ("q3", 0.75))
    ]
    grouped = alphas.group_by(keys).agg(pl.len().alias("alphas"), *quartiles)
    return grouped.with_columns(pl.col(keys).cast(pl.String)).sort(keys)


def _row(account: str, kind: Kind, document: Document) -> tuple[str, str, str, str, float | None, float | None]:
    created: Any = document.get("dateCreated")
    if isinstance(created, str):  # left by an older tool
        created = instant(created)
    month = f"{created:%Y-%m}" if isinstance(created, dt.datetime) else UNKNOWN
    region = _within(document, "settings", "region")
    sharpe, turnover = (_within(document, "is", name) for name in FIGURES)
    return account, kind, month, region if isinstance(region, str) else UNKNOWN, _number(sharpe), _number(turnover)


def _within(document: Document, outer: str, inner: str) -> Any:
    part = document.get(outer)
    return part.get(inner) if isinstance(part, dict) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _chunks(stream: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(stream, CHUNK)):
        yield chunk

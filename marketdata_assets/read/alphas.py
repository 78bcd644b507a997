"""Alphas from MongoDB as a frame: a column for each path into the document, such as `is.sharpe`.

Only these paths leave the server. Documents have no schema: what a value is decides its column's type.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import bson
import msgspec
import polars as pl
from pymongo.collection import Collection

from marketdata_assets.alphas import raw_files
from marketdata_assets.alphas.documents import DATES
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.record_sets import RECORD_SETS, RecordSet
from marketdata_assets.logs import get_logger
from marketdata_assets.read import bounds
from marketdata_assets.read.alpha_records import joined, present_accounts
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.errors import UnknownColumn, UnknownName
from marketdata_assets.read.sources import Mongo, of_mongo
from marketdata_assets.stores.mongo import CODEC

When = Literal["dateCreated", "dateModified", "dateSubmitted"]
OURS = "account"  # the one column that is not of the document: the collection
BATCH = 5_000
UTC_MS = pl.Datetime("ms", "UTC")
_SETTINGS = ("region", "universe", "neutralization")
_FIGURES = ("sharpe", "fitness", "turnover", "returns", "drawdown", "margin")
USUAL: Mapping[str, pl.DataType] = {
    **dict.fromkeys((OURS, "id", "type", "author"), pl.String()),
    **dict.fromkeys(DATES, UTC_MS),
    **dict.fromkeys(("name", "stage", "status", "grade"), pl.String()),
    **dict.fromkeys((f"settings.{name}" for name in _SETTINGS), pl.String()),
    **dict.fromkeys(("settings.delay", "settings.decay"), pl.Int64()),
    **dict.fromkeys((f"is.{name}" for name in _FIGURES), pl.Float64()),
}
"""The columns that come when none are named, with their types."""

_MISSING: Any = object()

log = get_logger(__name__)


def alphas(
    kind: Kind = "regular",
    accounts: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    by: When = "dateCreated",
    where: Mapping[str, Any] | None = None,
    columns: Sequence[str] | None = None,
    connection: Mongo | None = None,
) -> pl.DataFrame:
    """Return alphas of these accounts, by account, `by` and id.

    `accounts` None means all. Bounds select alphas whose date `by` is from `start` to before `end`; a date that is text
    in the document is in no span. `where` is a further MongoDB condition. Columns are paths into the document, such as
    `is.sharpe`; objects and lists are JSON text, dates are UTC in ms. Record sets are joined by name: `pnl.date` and
    `pnl.pnl` are lists, `self_correlation.max` is a number, `pnl.fetched` a time; null where never fetched. A value
    that is not of its column's type is null too, and a log line names it. Raises UnknownName, UnknownColumn, NaiveTime,
    BadMoment, CannotRead.

        alphas("regular", where={"is.sharpe": {"$gt": 1.25}}, columns=["id", "is.sharpe", "settings.region"])
    """
    if kind not in KINDS:
        raise UnknownName("kind of alpha", kind, KINDS)
    if by not in get_args(When):
        raise UnknownName("date of an alpha", by, get_args(When))
    wanted = list(USUAL if columns is None else columns)
    records = _record_columns(wanted)
    own = {f"{record_set}.{name}" for record_set, names in records.items() for name in names}
    paths = list(dict.fromkeys(("id", by, *(path for path in wanted if path != OURS and path not in own))))
    (_, first), (_, last) = bounds.span(start, end, lambda bound: bounds.instant(bound, "alphas"))
    span = {sign: bound for sign, bound in (("$gte", first), ("$lt", last)) if bound is not None}
    conditions = [condition for condition in ({by: span} if span else {}, dict(where or {})) if condition]
    asked = {"$and": conditions} if conditions else {}
    with of_mongo(connection) as databases:
        database = databases[database_name(kind)].with_options(codec_options=CODEC)
        names = present_accounts(database, "alphas", accounts)
        values_by_path = _values([database[name] for name in names], kind, asked, paths)
        ids = values_by_path["id"]
        frame = pl.DataFrame([_series(kind, path, values, ids) for path, values in values_by_path.items()])
        for record_set, columns_of_set in records.items():
            frame = frame.with_columns(joined(databases, record_set, columns_of_set, frame))
    return frame.sort(OURS, by, "id", nulls_last=True).select(wanted)


def _record_columns(wanted: Sequence[str]) -> dict[RecordSet, list[str]]:
    """The columns of record sets among those that are wanted."""
    found: dict[RecordSet, list[str]] = {}
    for path in wanted:
        first, dot, name = path.partition(".")
        for record_set in RECORD_SETS:
            if dot and first == record_set:
                found.setdefault(record_set, []).append(name)
    return found


def _values(
    collections: Sequence[Collection[dict[str, Any]]], kind: Kind, asked: Mapping[str, Any], paths: Sequence[str]
) -> dict[str, list[Any]]:
    """The account and the values at the paths of each document. Raises UnknownColumn for a path that none has."""
    projection = _outermost(dict.fromkeys(paths, 1) | {"_id": int("_id" in paths)})
    values_by_path: dict[str, list[Any]] = {path: [] for path in (OURS, *paths)}
    for collection in collections:
        for document in collection.find(asked, projection, batch_size=BATCH):
            values_by_path[OURS].append(collection.name)
            for path in paths:
                values_by_path[path].append(_at(document, path.split(".")))
    for path in paths if values_by_path[OURS] else ():
        if path not in USUAL and all(value is _MISSING for value in values_by_path[path]):
            some = next((one for collection in collections if (one := collection.find_one(asked))), {})
            raise UnknownColumn(f"{kind} alphas", path, sorted({*USUAL, *_paths(some)}))
    return values_by_path


def _outermost(projection: Mapping[str, Any]) -> dict[str, Any]:
    """Without paths below another path: MongoDB rejects both in one projection."""
    parts = {path: path.split(".") for path in projection}
    return {
        path: shown
        for path, shown in projection.items()
        if not any(".".join(parts[path][:count]) in projection for count in range(1, len(parts[path])))
    }


def _at(document: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            return _MISSING
        document = document[key]
    return document


def _paths(document: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


def _series(kind: str, path: str, values: list[Any], ids: list[Any]) -> pl.Series:
    """A column, of the type that it usually has, else of the one that holds all or most of its values.

    A value of another type costs its own cell alone: it is null, and a log line names it.
    """
    plain = [_plain(path, None if value is _MISSING else value) for value in values]
    dtype = USUAL.get(path) or _type_of(Counter(type(value) for value in plain if value is not None))
    fits = _FITTING[dtype]
    odd = [row for row, value in enumerate(plain) if value is not None and type(value) not in fits]
    if odd:
        first = {"alpha": ids[odd[0]], "value": str(plain[odd[0]])[:40]}
        log.warning("odd_values", of=f"{kind} alphas", column=path, wanted=str(dtype), values=len(odd), **first)
    for row in odd:
        plain[row] = None
    return pl.Series(path, plain, dtype=dtype)


def _plain(path: str, value: Any) -> Any:
    """A value without the driver's types: its 64-bit integers are a class of their own."""
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value, enc_hook=_json).decode()
    if path in DATES and isinstance(value, str):  # left by an older tool
        return raw_files.instant(value) or value
    if isinstance(value, bson.Int64):
        return int(value)
    return float(str(value)) if isinstance(value, bson.Decimal128) else value


def _json(value: Any) -> Any:
    """What JSON has for a value that it does not know: numbers stay numbers, other things are text."""
    if isinstance(value, bson.Int64):
        return int(value)
    if isinstance(value, bson.Decimal128) and value.to_decimal().is_finite():
        return msgspec.Raw(str(value).encode())
    return str(value)


def _type_of(types: "Counter[type]") -> pl.DataType:
    """The type that holds all values, else the one that most have."""
    wanted = set(types)
    for dtype, fitting in _FITTING.items():
        if wanted <= set(fitting):
            return dtype
    return _type_of(Counter({max(types, key=types.__getitem__): 1})) if len(types) > 1 else pl.Null()


_FITTING: Mapping[pl.DataType, tuple[type, ...]] = {
    pl.Null(): (),
    pl.Boolean(): (bool,),
    pl.Int64(): (int,),
    pl.Float64(): (float, int),
    pl.String(): (str,),
    UTC_MS: (dt.datetime,),
}

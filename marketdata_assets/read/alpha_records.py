"""Record sets of alphas from MongoDB as frames: PnL, turnover, Sharpe, yearly figures, correlations.

Joined to alphas they are columns of lists (see `alphas`); here they are rows.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import bson
import msgspec
import polars as pl
from pymongo.database import Database

from marketdata_assets.alphas.layout import ACCOUNT, KINDS, Kind
from marketdata_assets.alphas.record_sets import RECORD_SETS, RecordSet, asset_name
from marketdata_assets.logs import get_logger
from marketdata_assets.read.columnar import several
from marketdata_assets.read.errors import NothingLoaded, UnknownColumn, UnknownName
from marketdata_assets.read.sources import Mongo, of_mongo
from marketdata_assets.stores.mongo import CODEC, Databases, usable

BATCH = 5_000
log = get_logger(__name__)
SINGLE: Mapping[str, pl.DataType] = {"min": pl.Float64(), "max": pl.Float64(), "fetched": pl.Datetime("ms", "UTC")}
"""What a record set has beside its columns: the bounds of a correlation, and when it was fetched."""

_TYPES: Mapping[str, pl.DataType] = {
    "date": pl.Date(),
    "year": pl.Int64(),
    "integer": pl.Int64(),
    "string": pl.String(),
}
"""By the API's name of a type; every other one is a number."""


def alpha_records(
    record_set: RecordSet = "pnl",
    ids: str | Sequence[str] | None = None,
    accounts: str | Sequence[str] | None = None,
    *,
    kind: Kind | None = None,
    connection: Mongo | None = None,
) -> pl.DataFrame:
    """Return a record set of alphas, a row per record: account, alpha, and the columns under the API's names.

    By account and alpha, the records of an alpha in the API's order. Ids, accounts and kind None mean all. Dates are
    dates, years are integers, PnL is in USD and cumulative. Raises UnknownName, NothingLoaded, CannotRead.

        read.alpha_records("yearly_stats", ids=["xVWpJpp"]).select("year", "sharpe", "turnover")
    """
    if record_set not in RECORD_SETS:
        raise UnknownName("record set of alphas", record_set, RECORD_SETS)
    if kind not in (None, *KINDS):
        raise UnknownName("kind of alpha", str(kind), KINDS)
    with of_mongo(connection) as databases:
        stored = asset_name(record_set)
        if not present_accounts(databases[stored], stored, None):
            raise NothingLoaded(stored)
        names = present_accounts(databases[stored], stored, accounts)
        documents = [
            (name, one)
            for name in names
            for one in documents_of(databases, record_set, name, several(ids), kind, form=_Rows)
        ]
    types = {name: given for _, one in documents for name, given in one["types"].items()}
    lengths = [len(next(iter(one["columns"].values()), [])) for _, one in documents]
    columns = {
        "account": _repeated((name for name, _ in documents), lengths),
        "alpha": _repeated((one["_id"] for _, one in documents), lengths),
    }
    for name, given in types.items():
        values = chain.from_iterable(
            one["columns"].get(name, [None] * length) for (_, one), length in zip(documents, lengths, strict=True)
        )
        columns[name] = _typed(record_set, name, list(values), given)
    return pl.DataFrame(columns)


def joined(databases: Databases, record_set: RecordSet, names: Sequence[str], alphas: pl.DataFrame) -> list[pl.Series]:
    """For each of `alphas` (account, id), what its record set has under `names`: a list for a column, else one value.

    Null where it was never fetched. Raises UnknownColumn for a column that no record set has.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for (account,), group in alphas.partition_by("account", as_dict=True).items():
        for one in documents_of(databases, record_set, account, group["id"].to_list(), names=names):
            found[account, one["_id"]] = one
    types: dict[str, str] = {name: given for one in found.values() for name, given in one["types"].items()}
    rows = [found.get(key) for key in alphas.select("account", "id").iter_rows()]
    return [_joined(record_set, name, rows, types) for name in names]


def _joined(
    record_set: RecordSet, name: str, rows: Sequence[dict[str, Any] | None], types: Mapping[str, str]
) -> pl.Series:
    path = f"{record_set}.{name}"
    if name in SINGLE:
        return pl.Series(path, [row and row.get(name) for row in rows], dtype=SINGLE[name])
    if name not in types and any(rows):
        raise UnknownColumn(f"record set {record_set}", path, [f"{record_set}.{one}" for one in (*types, *SINGLE)])
    lists = [row["columns"].get(name) if row else None for row in rows]
    given = types.get(name, name)
    flat = _typed(record_set, name, list(chain.from_iterable(one or () for one in lists)), given)
    parts = list(_slices(flat, [None if one is None else len(one) for one in lists]))
    return pl.Series(path, parts, dtype=pl.List(flat.dtype))


def _slices(values: pl.Series, lengths: Iterable[int | None]) -> Iterator[pl.Series | None]:
    start = 0
    for length in lengths:
        yield None if length is None else values.slice(start, length)
        start += length or 0


def present_accounts(database: Database[Any], what: str, accounts: str | Sequence[str] | None) -> list[str]:
    """The accounts that have a collection, or those that are named. Raises UnknownName for one that has none."""
    there = sorted(filter(ACCOUNT.fullmatch, database.list_collection_names()))
    names = there if accounts is None else several(accounts) or []
    for name in names:
        if name not in there:
            raise UnknownName(f"account with {what}", name, there)
    return names


class _Records(msgspec.Struct):
    columns: dict[str, list[Any]]
    types: dict[str, str]
    min: float | None = None
    max: float | None = None
    fetched: dt.datetime | None = None


class _Rows(_Records):
    def __post_init__(self) -> None:
        if len({len(values) for values in self.columns.values()}) > 1:
            raise ValueError("columns of different lengths")


def documents_of(
    databases: Databases,
    record_set: RecordSet,
    account: str,
    ids: Sequence[str] | None,
    kind: Kind | None = None,
    names: Sequence[str] | None = None,
    form: type[_Records] = _Records,
) -> Iterator[dict[str, Any]]:
    """The documents by id, with all columns or those of `names`; ids are queried in batches."""
    shown = None if names is None else dict.fromkeys((*SINGLE, "types", *(f"columns.{name}" for name in names)), 1)
    collection = databases[asset_name(record_set)][account].with_options(codec_options=CODEC)
    of_kind = {} if kind is None else {"kind": kind}
    wanted = None if ids is None else sorted({*filter(None, ids)})
    starts = range(0, len(wanted or ()), BATCH)
    conditions = [{}] if wanted is None else [{"_id": {"$in": wanted[at : at + BATCH]}} for at in starts]
    found = (collection.find({**of_kind, **one}, shown).sort("_id", 1) for one in conditions)
    yield from usable(collection, chain.from_iterable(found), form)


def _repeated(values: Iterable[str], lengths: Sequence[int]) -> pl.Series:
    every = [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
    return pl.Series(every, dtype=pl.String)


def _typed(record_set: RecordSet, name: str, values: list[Any], given: str) -> pl.Series:
    """A column of the type that the API says; a value of another is null, and a log line names the first."""
    dtype = _TYPES.get(given) or pl.Float64()
    convert = _CONVERT.get(dtype, float)
    try:
        return pl.Series(name, [None if value is None else convert(value) for value in values], dtype=dtype)
    except (ValueError, TypeError, OverflowError):
        cells = [_cell(convert, value) for value in values]
        odd = [value for value, cell in zip(values, cells, strict=True) if cell is None and value is not None]
        if odd:
            first = {"values": len(odd), "value": str(odd[0])[:40]}
            log.warning("odd_values", of=asset_name(record_set), column=name, wanted=given or "number", **first)
        return pl.Series(name, cells, dtype=dtype)


def _cell(convert: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dt.datetime):
        value = value.date().isoformat()
    if isinstance(value, bson.Decimal128):
        value = value.to_decimal()
    try:
        return None if value is None else convert(value)
    except (ValueError, TypeError, OverflowError):
        return None


_CONVERT: Mapping[pl.DataType, Callable[[Any], Any]] = {
    pl.Date(): dt.date.fromisoformat,
    pl.Int64(): int,
    pl.String(): str,
}

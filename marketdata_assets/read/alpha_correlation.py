"""Self-correlation and correlation with a pool of alphas, from the PnL in MongoDB: nothing is requested."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from marketdata_assets.alphas.correlation import LEAST_DAYS, YEARS, Strongest, daily_returns, strongest
from marketdata_assets.alphas.filters import EVERY, SUBMITTED, Filters
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.record_sets import asset_name
from marketdata_assets.loading.reports import and_more
from marketdata_assets.read.alpha_records import documents_of, present_accounts
from marketdata_assets.read.columnar import several
from marketdata_assets.read.errors import NothingLoaded, UnknownName
from marketdata_assets.read.sources import Mongo, of_mongo
from marketdata_assets.stores.mongo import CODEC, Databases, usable

SCHEMA: Mapping[str, pl.DataType] = {
    **dict.fromkeys(("account", "alpha", "region"), pl.String()),
    **dict.fromkeys(("pool", "compared"), pl.Int64()),
    **dict.fromkeys(("min", "max"), pl.Float64()),
    "others": pl.List(pl.String()),
    "correlations": pl.List(pl.Float64()),
    "days": pl.List(pl.Int64()),
    "note": pl.String(),
}
NOT_FETCHED = "PnL is not in MongoDB, run marketdata alphas records --set pnl"
ALONE = "the pool has no other alpha{}"
NAMED = 5


def alpha_correlations(
    ids: str | Sequence[str] | None = None,
    accounts: str | Sequence[str] | None = None,
    *,
    filters: Filters = EVERY,
    pool: Filters = SUBMITTED,
    any_region: bool = False,
    years: int = YEARS,
    top: int = 5,
    least_days: int = LEAST_DAYS,
    connection: Mongo | None = None,
) -> pl.DataFrame:
    """Return how alphas correlate with those of `pool`, from stored PnL: a row per alpha, by account and `max`.

    Alphas are those that match `filters`, or of these the `ids`. The pool is of the same account and region, by default
    the submitted alphas; `filters.POWER_POOL_ALPHAS` are those of the power pool. `pool` counts its other alphas, of
    which `min` and `max` are of all that are `compared`; `others`, `correlations` and `days`, the common days, list the
    `top` strongest. `note` counts and names those that are left out, and says why. Returns are differences of PnL
    between known days, of the last `years`. Raises UnknownName, NothingLoaded, CannotRead.

        read.alpha_correlations(accounts="lk", filters=Filters(status=("UNSUBMITTED",))).filter(pl.col("max") < 0.7)
    """
    chosen = several(ids)
    rows: list[tuple[Any, ...]] = []
    known: set[str] = set()
    with of_mongo(connection) as databases:
        stored = asset_name("pnl")
        if not present_accounts(databases[stored], stored, None):
            raise NothingLoaded(stored)
        for account in present_accounts(databases[stored], stored, accounts):
            wanted, others = (_regions(databases, account, one, any_region) for one in (filters, pool))
            known |= wanted.keys()
            if chosen is not None:
                wanted = {name: region for name, region in wanted.items() if name in chosen}
            for region in sorted(set(wanted.values())):
                own = [name for name, of_one in wanted.items() if of_one == region]
                found = [name for name, of_one in others.items() if of_one == region]
                rows += (
                    (account, *row) for row in _rows(databases, account, region, own, found, years, top, least_days)
                )
    frame = pl.DataFrame(rows, schema=dict(SCHEMA), orient="row")
    if unknown := [name for name in chosen or () if name not in known]:
        raise UnknownName("alpha that matches in MongoDB", unknown[0], known)
    return frame.sort("account", "max", "alpha", descending=[False, True, False], nulls_last=True)


class _Alpha(msgspec.Struct):
    id: str
    settings: dict[str, Any] | None = None


def _regions(databases: Databases, account: str, filters: Filters, any_region: bool) -> dict[str, str]:
    """The region of each alpha that matches."""
    found: dict[str, str] = {}
    for kind in filters.kinds:
        documents = databases[database_name(kind)][account].with_options(codec_options=CODEC)
        matching = documents.find(filters.condition(), {"id": 1, "settings.region": 1}).sort("id", 1)
        for one in usable(documents, matching, _Alpha):
            found[one["id"]] = "" if any_region else str((one.get("settings") or {}).get("region") or "")
    return found


def _rows(
    databases: Databases,
    account: str,
    region: str,
    own: Sequence[str],
    pool: Sequence[str],
    years: int,
    top: int,
    least_days: int,
) -> Iterator[tuple[Any, ...]]:
    documents = documents_of(databases, "pnl", account, sorted({*own, *pool}), names=("date", "pnl"))
    series = ((one["_id"], one["columns"].get("date", []), one["columns"].get("pnl", [])) for one in documents)
    returns = daily_returns(series, years)
    known = set(returns.ids)
    within = set(pool)
    sizes = {name: len(pool) - (name in within) for name in own}
    for name in own:
        if name not in known:
            found = Strongest(name, 0, None, None)
            yield _row(region, sizes[name], found, returns.left_out.get(name, NOT_FETCHED))
    ours, theirs = returns.of(own), returns.of(pool)
    unusable = {name: returns.left_out.get(name, NOT_FETCHED) for name in pool if name not in known}
    causes = _causes(unusable)
    for one in strongest(ours, ours if ours.ids == theirs.ids else theirs, top, least_days):
        note = None if sizes[one.id] else ALONE.format(region and " of its region")
        if count := len(unusable) + len(one.left_out):
            why = "; ".join(filter(None, (causes, _causes(one.left_out))))
            note = f"{count:,} alphas of the pool are left out: {why}"
        yield _row(region, sizes[one.id], one, note)


def _causes(left_out: Mapping[str, str]) -> str:
    """Each cause and the first of its alphas."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, cause in left_out.items():
        names[cause].append(name)
    return and_more([f"{cause}: {and_more(alphas, NAMED)}" for cause, alphas in names.items()], NAMED, "; ")


def _row(region: str, size: int, one: Strongest, note: str | None) -> tuple[Any, ...]:
    found = [list(values) for values in (one.others, one.correlations, one.days)]
    return (one.id, region or None, size, one.compared, one.least, one.greatest, *found, note)

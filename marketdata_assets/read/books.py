"""Order books of an instrument at given instants, rebuilt by ClickHouse from snapshots and updates.

Which records make a book is the business of `chains`. What cannot be proved from them is not given out.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import cache, partial
from itertools import groupby
from typing import Any

import polars as pl

from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.schema import ORDERBOOKS
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.chains import SNAPSHOT_LATE_NS, Chain, Standing, Whole
from marketdata_assets.read.exchanges import about, own_names, present
from marketdata_assets.read.proofs import AHEAD_NS, BookMarket, proven, whole_books
from marketdata_assets.read.sources import ClickHouse, of_clickhouse

DAY_NS = 86_400_000_000_000
BY_NUMBER = "if(whole, 0, (id - {base_id:Int64}) * 65536 + level)"
BY_TIME = "(NOT whole, at, id, ts_recv, level)"
"""What orders the levels that made a book: the ids of changes, which are fast, where they are known to ascend."""

DECIMAL = pl.Decimal(38, 18)
SIDE = pl.List(pl.Struct({"price": DECIMAL, "size": DECIMAL}))
UTC_NS = pl.Datetime("ns", "UTC")
SCHEMA = {
    "at": UTC_NS,
    "known": pl.Boolean(),
    "why": pl.String(),
    "time": UTC_NS,
    "until": UTC_NS,
    "last_id": pl.Int64(),
    "unit": pl.String(),
    "bids": SIDE,
    "asks": SIDE,
}


def books(
    exchange: Exchange,
    market_type: MarketType,
    instrument: str,
    at: Moment | int | Iterable[Moment | int],
    *,
    depth: int | None = None,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return the order book at each instant, one row per instant, by time.

    `at` is one instant or several, by the venue's clock; a whole number is nanoseconds since 1970. `depth` limits the
    levels of each side. Columns: at, known, why, time, until, last_id, unit (of sizes), bids and asks (lists of price
    and size, best first). The book is the one after the update of `time` and `last_id`, and valid `until` the next
    update, which is null where none followed while the stream was alive. Where an update is missing, or no later
    record shows that the stream continued, `known` is false, `why` has the reason, and there are no levels. Raises
    UnknownName, AmbiguousName, NaiveTime, BadMoment, NothingLoaded, CannotRead.

        books("binance", "spot", "BTCUSDT", "2025-01-05T12:00:00+00:00", depth=10)
    """
    instants = sorted({_nanoseconds(moment) for moment in ([at] if isinstance(at, (str, int, dt.date)) else at)})
    about(ORDERBOOKS.name, exchange, market_type, instrument, None, None)  # raises where a name is wrong
    if not instants:
        return pl.DataFrame(schema=SCHEMA)
    with of_clickhouse(connection) as client:
        one = about(ORDERBOOKS.name, exchange, market_type, None, None, None)
        if not present(client, ORDERBOOKS.name, one, [instrument]):
            [instrument] = own_names(client, ORDERBOOKS.name, one, [instrument])
        market = BookMarket(client, exchange, market_type, instrument)
        oldest = cache(partial(_oldest, market))
        wholes = whole_books(market, instants, oldest)
        found = proven(market, wholes, instants)
        if others := [instant for instant in instants if instant not in found]:
            chain = _chain(market, others, oldest(), wholes)
            found |= {instant: chain.at_instant(instant) for instant in others}
        standing = [(instant, found[instant]) for instant in instants]
        rows: list[dict[str, Any]] = []
        for _, group in groupby(standing, lambda pair: (pair[1].base, pair[1].first, pair[1].proven)):
            rows += _rebuilt(market, list(group), depth)
    return pl.DataFrame(rows, schema=SCHEMA)


def _oldest(market: BookMarket) -> int:
    """The time of the oldest record of the instrument, ns."""
    where = about(ORDERBOOKS.name, market.exchange, market.market_type, market.instrument, None, None)
    sql = f"SELECT toUnixTimestamp64Nano(min(time)) AS oldest FROM {ORDERBOOKS.name} WHERE {where}"
    return int(columnar.ask(market.client, ORDERBOOKS.name, sql, where.values)["oldest"].item())


def _chain(market: BookMarket, instants: Sequence[int], oldest: int, wholes: Sequence[Whole]) -> Chain:
    """All records that the books of these instants hang on: ever more back, until there is a snapshot."""
    before = [whole.at for whole in wholes if whole.at <= instants[0]]
    back = instants[0] - before[-1] + 2 * SNAPSHOT_LATE_NS if before else DAY_NS
    end = instants[-1] + AHEAD_NS
    while True:
        first = max(instants[0] - back, oldest)
        records = market.ask("book_records", first, end)
        # Gaps are read after the records, so that one recorded in between is not overlooked.
        chain = Chain(records, market.gaps(), from_beginning=first <= oldest)
        if first <= oldest or not any(map(chain.begins_before, instants)):
            return chain
        back *= 2


def _rebuilt(market: BookMarket, group: Sequence[tuple[int, Standing]], depth: int | None) -> list[dict[str, Any]]:
    """The rows of instants whose books have the same snapshot below them."""
    base = group[0][1].base
    if base is None:
        return [{"at": instant, "known": False, "why": standing.why} for instant, standing in group]
    first = group[0][1].first
    instants = [instant for instant, _ in group]
    begin = base.at if first is None else first.at
    levels = market.ask(
        "book_levels",
        min(base.at, begin),
        max(base.at, instants[-1]) + 1,
        texts={"place": BY_NUMBER if group[0][1].proven else BY_TIME},
        base_at=base.at,
        base_id=base.last_id or 0,
        base_content=base.content,
        from_at=begin,
        from_id=0 if first is None else first.last_id or 0,
        steps=[0, *instants[:-1]],
        last=-1 if first is None else instants[-1],
    )
    steps = dict(levels.partition_by("step", as_dict=True, include_key=False))
    rows, book = [], pl.DataFrame(schema={"bid": levels["bid"].dtype, "price": DECIMAL, "size": DECIMAL})
    for before, (instant, standing) in zip([0, *instants], group, strict=False):
        changed = steps.get((before,))
        if changed is not None:
            book = pl.concat([book, changed.select(book.columns)]).unique(["bid", "price"], keep="last")
            book = book.filter(pl.col("size") > 0)
        rows.append(_row(instant, standing, book, depth))
    return rows


def _row(instant: int, standing: Standing, book: pl.DataFrame, depth: int | None) -> dict[str, Any]:
    assert standing.base is not None
    bids = book.filter(pl.col("bid") == 1).sort("price", descending=True)
    asks = book.filter(pl.col("bid") == 0).sort("price")
    if bids.height and asks.height and bids["price"][0] >= asks["price"][0]:
        return {"at": instant, "known": False, "why": "the records contradict one another: bids and asks cross"}
    last = standing.last
    return {
        "at": instant,
        "known": True,
        "time": standing.base.at if last is None else last.at,
        "until": standing.until,
        "last_id": standing.base.last_id if last is None or last.last_id is None else last.last_id,
        "unit": standing.base.unit,
        "bids": bids.select("price", "size")[:depth].to_dicts(),
        "asks": asks.select("price", "size")[:depth].to_dicts(),
    }


def _nanoseconds(moment: Moment | int) -> int:
    return moment if isinstance(moment, int) else bounds.nanoseconds(moment, ORDERBOOKS.name)

"""Order books of an instrument at given instants, rebuilt by ClickHouse from snapshots and updates.

Which records make a book is the business of `chains`. What cannot be proved from them is not given out.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from marketdata_assets.exchanges.records import Exchange, Gap, MarketType
from marketdata_assets.exchanges.tables.gaps import is_candle_gap, is_trade_gap
from marketdata_assets.exchanges.tables.schema import FINAL_SETTINGS, GAPS, ORDERBOOKS
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.chains import Chain, Standing
from marketdata_assets.read.exchanges import about, check_instruments
from marketdata_assets.read.sources import of_clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.read.sources import ClickHouse

DAY_NS = 86_400_000_000_000
AHEAD_NS = 3_600_000_000_000  # so long after the last instant, a record may show that nothing is missing before it
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


@dataclass(frozen=True)
class _Market:
    client: "Client"
    exchange: Exchange
    market_type: MarketType
    instrument: str

    def ask(self, sql: str, first: int, end: int, **more: Any) -> pl.DataFrame:
        """The answer to one of our statements about a span in ns."""
        values = {"exchange": self.exchange, "market_type": self.market_type, "instrument": self.instrument}
        statement = files(__package__).joinpath(f"sql/{sql}.sql").read_text("utf-8")
        span = {"first": _text(first), "end": _text(end)}
        return columnar.ask(self.client, ORDERBOOKS.name, statement, values | span | more)


def books(
    exchange: Exchange,
    market_type: MarketType,
    instrument: str,
    at: Moment | int | Iterable[Moment | int],
    *,
    depth: int | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Return the order book at each instant, one row per instant, by time.

    `at` is one instant or several, by the venue's clock; a whole number is nanoseconds since 1970. `depth` limits the
    levels of each side. Columns: at, known, why, time, until, last_id, unit (of sizes), bids and asks (lists of price
    and size, best first). The book is the one after the update of `time` and `last_id`, and valid `until` the next
    update, which is null where none followed. Where an update is missing, `known` is false, `why` has the reason, and
    there are no levels. Raises UnknownName, NaiveTime, BadMoment, NothingLoaded, CannotRead.

        books("binance", "spot", "BTCUSDT", "2025-01-05T12:00:00+00:00", depth=10)
    """
    instants = sorted({_nanoseconds(moment) for moment in ([at] if isinstance(at, (str, int, dt.date)) else at)})
    about(ORDERBOOKS.name, exchange, market_type, instrument, None, None)  # raises where a name is wrong
    if not instants:
        return pl.DataFrame(schema=SCHEMA)
    with of_clickhouse(connection) as client:
        market = _Market(client, exchange, market_type, instrument)
        chain = _chain(market, instants)
        standing = [(instant, chain.at_instant(instant)) for instant in instants]
        rows: list[dict[str, Any]] = []
        for _, group in groupby(standing, lambda pair: (pair[1].base, pair[1].first is None)):
            rows += _rebuilt(market, chain, list(group), depth)
    return pl.DataFrame(rows, schema=SCHEMA)


def _chain(market: _Market, instants: Sequence[int]) -> Chain:
    """All records that the books of these instants hang on: ever more days back, until there is a snapshot."""
    where = about(ORDERBOOKS.name, market.exchange, market.market_type, market.instrument, None, None)
    sql = f"SELECT toUnixTimestamp64Nano(min(time)) AS oldest FROM {ORDERBOOKS.name} WHERE {where}"
    oldest = int(columnar.ask(market.client, ORDERBOOKS.name, sql, where.values)["oldest"].item())
    if not oldest:
        check_instruments(
            market.client, ORDERBOOKS.name, pl.DataFrame(), market.exchange, market.market_type, market.instrument
        )
    back, end = DAY_NS, instants[-1] + AHEAD_NS
    while True:
        first = max(instants[0] - back, oldest)
        records = market.ask("book_records", first, end)
        # Gaps are read after the records, so that one recorded in between is not overlooked.
        chain = Chain(records, _gaps(market), from_beginning=first <= oldest)
        if first <= oldest or not any(map(chain.begins_before, instants)):
            return chain
        back *= 2


def _gaps(market: _Market) -> list[Gap]:
    """The gaps of the instrument's books, healed ones too."""
    where = about(GAPS.name, market.exchange, market.market_type, market.instrument, None, None)
    found = columnar.read(market.client, GAPS.name, GAPS.columns, where, ("time",), final=FINAL_SETTINGS)
    gaps = [msgspec.convert(row, Gap) for row in found.with_columns(type=pl.lit("gap")).iter_rows(named=True)]
    return [gap for gap in gaps if not (is_trade_gap(gap) or is_candle_gap(gap))]


def _rebuilt(
    market: _Market, chain: Chain, group: Sequence[tuple[int, Standing]], depth: int | None
) -> list[dict[str, Any]]:
    """The rows of instants whose books have the same snapshot below them."""
    base = group[0][1].base
    if base is None:
        return [{"at": instant, "known": False, "why": standing.why} for instant, standing in group]
    first = group[0][1].first
    instants = [instant for instant, _ in group]
    begin = base.at if first is None else int(chain.at[first])
    levels = market.ask(
        "book_levels",
        min(base.at, begin),
        max(base.at, instants[-1]) + 1,
        base_at=base.at,
        base_content=base.content,
        from_at=begin,
        from_id=0 if first is None else int(chain.last_id[first]),
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
        rows.append(_row(chain, instant, standing, book, depth))
    return rows


def _row(chain: Chain, instant: int, standing: Standing, book: pl.DataFrame, depth: int | None) -> dict[str, Any]:
    assert standing.base is not None
    bids = book.filter(pl.col("bid") == 1).sort("price", descending=True)
    asks = book.filter(pl.col("bid") == 0).sort("price")
    if bids.height and asks.height and bids["price"][0] >= asks["price"][0]:
        return {"at": instant, "known": False, "why": "the records contradict one another: bids and asks cross"}
    last = standing.last
    return {
        "at": instant,
        "known": True,
        "time": standing.base.at if last is None else int(chain.at[last]),
        "until": standing.until,
        "last_id": standing.base.last_id if last is None or not chain.numbered else int(chain.last_id[last]),
        "unit": standing.base.unit,
        "bids": bids.select("price", "size")[:depth].to_dicts(),
        "asks": asks.select("price", "size")[:depth].to_dicts(),
    }


def _nanoseconds(moment: Moment | int) -> int:
    return moment if isinstance(moment, int) else bounds.nanoseconds(bounds.instant(moment, ORDERBOOKS.name))


def _text(nanoseconds: int) -> str:
    """A time as ClickHouse reads it, with all its digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}.{rest:09d}"

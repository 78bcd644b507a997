"""Gaps of trades and candles closed from the venues' histories: what is missing is fetched and inserted, then the gap
is healed.

One of trades is healed only when the history knows all trades that stand around it, and has every number in it where
the venue numbers its trades. What cannot be closed stays open with the reason. Of order books no venue has a history.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.exchanges.history_clients import HistoryClient, HistoryHosts, kline_interval, open_history
from marketdata_assets.exchanges.records import Exchange, Gap, Kline, Liquidation, MarketType, Trade
from marketdata_assets.exchanges.rest_history import Window
from marketdata_assets.exchanges.tables import gaps
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS, is_candle_gap, is_trade_gap
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.exchanges.tables.schema import FINAL_SETTINGS
from marketdata_assets.exchanges.tables.trade_matching import Span, StoredTrade, joined, match, numbers_lacking
from marketdata_assets.progress import report
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SETTLED_NS = 600_000_000_000
"""So long after a gap trades around it may still be on their way into the tables."""

CHUNK_NS = 3_600_000_000_000
"""Of a long gap so much is fetched at a time."""

MINUTE_NS = 60_000_000_000

NO_HISTORY = "the venues keep no history of this stream; a book is whole again when it begins anew"
NOT_ASKED = "the venue was not asked"

Outcome = Literal["healed before", "healed", "open"]


@dataclass(frozen=True)
class GapResult:
    """What is known of a gap, how many trades were added for it, and why it stays open."""

    gap: Gap
    outcome: Outcome
    trades: int = 0
    why: str = ""


@dataclass(frozen=True)
class DayGaps:
    """The gaps that began on a UTC day, in order of time; `recorded` are those that only numbers showed."""

    day: dt.date
    gaps: tuple[GapResult, ...]
    recorded: int
    seconds: float

    def count(self, outcome: Outcome) -> int:
        return sum(one.outcome == outcome for one in self.gaps)

    @property
    def trades(self) -> int:
        """Trades that were added."""
        return sum(one.trades for one in self.gaps)


def close(
    client: "Client",
    day: dt.date,
    hosts: HistoryHosts | None,
    *,
    clock: Callable[[], int] = time.time_ns,
    settled_ns: int = SETTLED_NS,
) -> DayGaps:
    """Put on record what the numbers of a day's trades show, close what can be closed, and tell of all gaps.

    Without `hosts` nobody is asked. Trouble with one gap or venue leaves the others alone. Raises what stores raise.
    """
    began = time.monotonic()
    found = gaps.unrecorded_gaps(client, day)
    insert_records(client, found)
    standing = gaps.of_day(client, day)
    work = _Work(client, hosts, clock, settled_ns)
    told = {id(gap): GapResult(gap, "healed before") for gap in standing if gap.healed_at is not None}
    waiting = [gap for gap in standing if gap.healed_at is None]
    told |= {id(one.gap): one for one in asyncio.run(work.all(waiting))}
    return DayGaps(day, tuple(told[id(gap)] for gap in standing), len(found), time.monotonic() - began)


@dataclass(frozen=True)
class _Work:
    client: "Client"
    hosts: HistoryHosts | None
    clock: Callable[[], int]
    settled_ns: int

    async def all(self, waiting: Sequence[Gap]) -> list[GapResult]:
        told: list[GapResult] = []
        for (exchange, market_type), some in groupby(sorted(waiting, key=_market), key=_market):
            told += await self._of_market(exchange, market_type, list(some))
        return told

    async def _of_market(self, exchange: Exchange, market_type: MarketType, some: Sequence[Gap]) -> list[GapResult]:
        told = {id(gap): GapResult(gap, "open", why=why) for gap in some if (why := self._not_now(gap))}
        asked = [gap for gap in some if id(gap) not in told]
        if asked and self.hosts is not None:
            async with open_history(self.hosts, exchange, market_type) as history:
                away = await _listed(history)
                for number, gap in enumerate(asked):
                    report(number, len(asked), gaps.line(gap))
                    one = GapResult(gap, "open", why=away) if away else await self._one(history, gap)
                    told[id(gap)] = one
        return [told[id(gap)] for gap in some]

    def _not_now(self, gap: Gap) -> str:
        """Why a gap is not tried at all."""
        if not (is_trade_gap(gap) or is_candle_gap(gap)):
            return NO_HISTORY
        if gap.ts_to + self.settled_ns > self.clock():
            return "it is too young: trades around it may still be on their way"
        return NOT_ASKED if self.hosts is None else ""

    async def _one(self, history: HistoryClient, gap: Gap) -> GapResult:
        added, objections = 0, list[str]()
        try:
            if is_candle_gap(gap):
                objections += await self._candles(history, gap)
            else:
                numbers: list[Span] = []
                for window in _windows(gap):
                    part = await self._part(history, gap, window)
                    added += part.added
                    objections += part.objections
                    numbers = joined([*numbers, *part.numbers])
                objections += filter(None, [numbers_lacking(gap, numbers)])
        except TransientError as error:
            return GapResult(gap, "open", added, str(error))
        except MarketDataError as error:
            return GapResult(gap, "open", added, f"the history cannot be used: {error}")
        if objections:
            return GapResult(gap, "open", added, "; ".join(dict.fromkeys(objections)))
        healed = replace(gap, healed_at=self.clock())
        insert_records(self.client, [healed])
        return GapResult(gap, "healed", added)

    async def _candles(self, history: HistoryClient, gap: Gap) -> list[str]:
        """Fetch and add the candles that begin or end in a gap, none that is under way; what speaks against it."""
        interval = kline_interval(gap.exchange, gap.stream)
        if interval is None:
            return [f"{gap.stream} is no stream of candles that is known"]
        window = Window(gap.ts_from // MINUTE_NS * MINUTE_NS, gap.ts_to)
        found = [record async for page in history.klines(gap.instrument, interval, window) for record in page.records]
        over = [one for one in found if isinstance(one, Kline) and one.close_time <= self.clock()]
        insert_records(self.client, over)
        return [] if over else [f"the history has no closed candle of {interval} there"]

    async def _part(self, history: HistoryClient, gap: Gap, window: Window) -> "_Part":
        """Fetch and add what is missing of a window."""
        records = [record async for page in history.trades(gap.instrument, window) for record in page.records]
        trades = [record for record in records if isinstance(record, Trade)]
        matched = match(gap, _standing(self.client, gap, window), trades)
        objections = [
            f"the venue itself has no trades between {one.last_id} and {one.next_id}"
            for one in records
            if isinstance(one, Gap)
        ]
        objections += matched.objections
        if matched.doubtful:
            return _Part(0, objections, matched.numbers)
        ids = {one.trade_id for one in matched.missing}
        forced = [
            one
            for one in records
            if isinstance(one, Liquidation) and (one.liquidation_id or "").rpartition("-")[0] in ids
        ]
        insert_records(self.client, [*matched.missing, *forced])
        return _Part(len(matched.missing), objections, matched.numbers)


@dataclass(frozen=True)
class _Part:
    """How many trades a window added, what speaks against believing it, and which numbers are there."""

    added: int
    objections: list[str]
    numbers: list[Span]


async def _listed(history: HistoryClient) -> str:
    """Ask for the list of instruments; why there is none."""
    try:
        await history.listed()
    except MarketDataError as error:
        return str(error)
    return ""


def _market(gap: Gap) -> tuple[Exchange, MarketType]:
    return gap.exchange, gap.market_type


def _windows(gap: Gap) -> Iterator[Window]:
    """The span of a gap with some room, in parts."""
    start, end = gap.ts_from - CLOCKS_DIFFER_NS, gap.ts_to + CLOCKS_DIFFER_NS
    for first in range(max(0, start), end, CHUNK_NS):
        yield Window(first, min(first + CHUNK_NS, end))


def _standing(client: "Client", gap: Gap, window: Window) -> list[StoredTrade]:
    final = ", ".join(f"{name} = {value}" for name, value in FINAL_SETTINGS.items())
    sql = f"""
        SELECT trade_id, toUnixTimestamp64Nano(time) AS moment, price, ifNull(contracts, ifNull(size, 0)) AS amount,
            toString(side) AS said, first_id, last_id
        FROM exchange_trades FINAL
        WHERE exchange = {{exchange:String}} AND market_type = {{market_type:String}}
            AND instrument = {{instrument:String}} AND time >= fromUnixTimestamp64Nano({{first:Int64}}, 'UTC')
            AND time < fromUnixTimestamp64Nano({{end:Int64}}, 'UTC')
        ORDER BY moment, trade_id SETTINGS {final}"""
    about = {"exchange": gap.exchange, "market_type": gap.market_type, "instrument": gap.instrument}
    rows = clickhouse.read(client, sql, about | {"first": window.start, "end": window.end}).iter_rows()
    return [StoredTrade(*row) for row in rows]

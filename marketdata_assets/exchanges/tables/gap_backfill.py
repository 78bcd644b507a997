"""Gaps of trades and candles, backfilled from the venues' REST history: missing rows are inserted, then the gap closed.

A gap of trades is closed only when the history has every stored trade around it and, where the venue numbers its
trades, every number in it; without a history where another recorder has brought all its numbers. A gap that cannot be
closed stays open with the reason. No venue has a history of books.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Literal

from msgspec.structs import replace

from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import ExchangesError
from marketdata_assets.exchanges.history_clients import HistoryHosts, open_history
from marketdata_assets.exchanges.records import Exchange, Gap, Kline, Liquidation, MarketType, Trade
from marketdata_assets.exchanges.rest_history import Window
from marketdata_assets.exchanges.tables import gaps
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS, is_candle_gap, is_trade_gap
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.exchanges.tables.schema import sql
from marketdata_assets.exchanges.tables.trade_matching import (
    Span,
    StoredTrade,
    match_trades,
    merge_spans,
    missing_numbers,
)
from marketdata_assets.exchanges.venue_history import VenueHistory
from marketdata_assets.logs import get_logger
from marketdata_assets.progress import report
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

SETTLED_NS = 600_000_000_000  # so long after a gap, trades around it may still be on their way into the tables
CHUNK_NS = 3_600_000_000_000  # a long gap is fetched in parts of this length
MINUTE_NS = 60_000_000_000

NO_HISTORY = "no venue keeps a history of this stream; a book is complete again after its next snapshot"
NO_MARKET_HISTORY = "the venue keeps no public history of this market"
NOT_REQUESTED = "the venue's history was not requested"

Outcome = Literal["healed before", "healed", "open"]

log = get_logger(__name__)


@dataclass(frozen=True)
class GapResult:
    """A gap, how many trades were added for it, and why it stays open."""

    gap: Gap
    outcome: Outcome
    trades: int = 0
    why: str = ""


@dataclass(frozen=True)
class DayGaps:
    """The gaps that began on a UTC day, by time; `recorded` are those found only by sequence numbers."""

    day: dt.date
    gaps: tuple[GapResult, ...]
    recorded: int
    seconds: float

    def count(self, outcome: Outcome) -> int:
        return sum(result.outcome == outcome for result in self.gaps)

    @property
    def trades(self) -> int:
        """Trades that were added."""
        return sum(result.trades for result in self.gaps)


def backfill_gaps(
    client: Client,
    day: dt.date,
    hosts: HistoryHosts | None,
    *,
    clock: Callable[[], int] = time.time_ns,
    settled_ns: int = SETTLED_NS,
) -> DayGaps:
    """Record the sequence gaps of a day's trades, and close the open gaps that began on it.

    Without `hosts` no history is requested. Idempotent. An error of one gap or venue does not stop the others. Raises
    what ClickHouse raises.
    """
    began = time.monotonic()
    unrecorded = gaps.unrecorded_gaps(client, day)
    insert_records(client, unrecorded)
    of_day = gaps.of_day(client, day)
    backfill = _Backfill(client, hosts, clock, settled_ns)
    results = {id(gap): GapResult(gap, "healed before") for gap in of_day if gap.healed_at is not None}
    open_gaps = [gap for gap in of_day if gap.healed_at is None]
    results |= {id(result.gap): result for result in asyncio.run(backfill.run(open_gaps))}
    return DayGaps(day, tuple(results[id(gap)] for gap in of_day), len(unrecorded), time.monotonic() - began)


@dataclass(frozen=True)
class _Backfill:
    client: Client
    hosts: HistoryHosts | None
    clock: Callable[[], int]
    settled_ns: int

    async def run(self, open_gaps: Sequence[Gap]) -> list[GapResult]:
        whole = [gap for gap in open_gaps if self._has_all_numbers(gap)]
        insert_records(self.client, [replace(gap, healed_at=self.clock()) for gap in whole])
        results = [GapResult(gap, "healed") for gap in whole]
        done = {*whole}
        open_gaps = [gap for gap in open_gaps if gap not in done]
        market = attrgetter("exchange", "market_type")
        for (exchange, market_type), of_market in groupby(sorted(open_gaps, key=market), key=market):
            gaps_there = list(of_market)
            try:
                results += await self._run_market(exchange, market_type, gaps_there)
            except ExchangesError as error:  # as of a venue whose package is not installed here
                results += [GapResult(gap, "open", why=str(error)) for gap in gaps_there]
        return results

    def _has_all_numbers(self, gap: Gap) -> bool:
        """Whether every number between the ends of a gap of trades is stored."""
        if not is_trade_gap(gap) or gap.last_id is None or gap.next_id is None:
            return False
        about = {"exchange": gap.exchange, "market_type": gap.market_type, "instrument": gap.instrument}
        span = {"first": max(0, gap.ts_from - CLOCKS_DIFFER_NS), "end": gap.ts_to + CLOCKS_DIFFER_NS}
        parameters = {**about, **span, "stream": gap.stream, "numbered": gaps.numbered()}
        spans = merge_spans([*clickhouse.read(self.client, sql("stored_numbers"), parameters).iter_rows()])
        return any(first <= gap.last_id + 1 and last >= gap.next_id - 1 for first, last in spans)

    async def _run_market(
        self, exchange: Exchange, market_type: MarketType, of_market: Sequence[Gap]
    ) -> list[GapResult]:
        results = {id(gap): GapResult(gap, "open", why=why) for gap in of_market if (why := self._not_now(gap))}
        due = [gap for gap in of_market if id(gap) not in results]
        if due and self.hosts is not None:
            async with open_history(self.hosts, exchange, market_type) as history:
                unavailable = ""
                try:
                    await history.listed(gap.instrument for gap in due)
                except MarketDataError as error:
                    unavailable = str(error)
                for number, gap in enumerate(due):
                    report(number, len(due), gaps.line(gap))
                    result = GapResult(gap, "open", why=unavailable) if unavailable else await self._close(history, gap)
                    results[id(gap)] = result
                    facts = {"venue": exchange, "instrument": gap.instrument, "stream": gap.stream}
                    if result.outcome == "healed":
                        log.info("gap_closed", **facts, trades=result.trades)
                    else:
                        log.warning("gap_stays_open", **facts, trades=result.trades, reason=result.why)
        return [results[id(gap)] for gap in of_market]

    def _not_now(self, gap: Gap) -> str:
        """Why no attempt is made to close a gap; empty when one is."""
        if not (is_trade_gap(gap) or is_candle_gap(gap)):
            return NO_HISTORY
        market = venues.find(gap.exchange).markets.get(gap.market_type)
        if market and not market.history:
            return NO_MARKET_HISTORY
        if gap.ts_to + self.settled_ns > self.clock():
            return f"younger than {self.settled_ns // MINUTE_NS} minutes: trades around it may not be loaded yet"
        return NOT_REQUESTED if self.hosts is None else ""

    async def _close(self, history: VenueHistory, gap: Gap) -> GapResult:
        added, objections = 0, list[str]()
        try:
            if is_candle_gap(gap):
                objections += await self._add_candles(history, gap)
            else:
                numbers: list[Span] = []
                start, end = gap.ts_from - CLOCKS_DIFFER_NS, gap.ts_to + CLOCKS_DIFFER_NS
                for first in range(max(0, start), end, CHUNK_NS):
                    window = Window(first, min(first + CHUNK_NS, end))
                    trades, against, more = await self._add_trades(history, gap, window)
                    added += trades
                    objections += against
                    numbers = merge_spans([*numbers, *more])
                objections += filter(None, [missing_numbers(gap, numbers)])
        except TransientError as error:
            return GapResult(gap, "open", added, str(error))
        except MarketDataError as error:
            return GapResult(gap, "open", added, f"the history cannot be used: {error}")
        if objections:
            return GapResult(gap, "open", added, "; ".join(dict.fromkeys(objections)))
        insert_records(self.client, [replace(gap, healed_at=self.clock())])
        return GapResult(gap, "healed", added)

    async def _add_candles(self, history: VenueHistory, gap: Gap) -> list[str]:
        """Fetch and insert the closed candles that touch a gap; objections to closing it."""
        interval = venues.find(gap.exchange).interval_of(gap.stream)
        if interval is None:
            return [f"{gap.stream} is not a known stream of candles"]
        window = Window(gap.ts_from // MINUTE_NS * MINUTE_NS, gap.ts_to)
        records = [record async for page in history.klines(gap.instrument, interval, window) for record in page.records]
        closed = [record for record in records if isinstance(record, Kline) and record.close_time <= self.clock()]
        insert_records(self.client, closed)
        if closed or not (records or await self._has_trades(history, gap.instrument, window)):
            return []  # without a trade there is no candle, as of an option that was just listed
        return [f"the history has no closed candle of {interval} there"]

    async def _has_trades(self, history: VenueHistory, instrument: str, window: Window) -> bool:
        pages = history.trades(instrument, window)
        return any([isinstance(record, Trade) async for page in pages for record in page.records])

    async def _add_trades(self, history: VenueHistory, gap: Gap, window: Window) -> tuple[int, list[str], list[Span]]:
        """Insert the missing trades of a window: how many, objections to closing, and numbers stored or fetched."""
        records = [record async for page in history.trades(gap.instrument, window) for record in page.records]
        trades = [record for record in records if isinstance(record, Trade)]
        about = {"exchange": gap.exchange, "market_type": gap.market_type, "instrument": gap.instrument}
        span = {"first": window.start, "end": window.end}
        rows = clickhouse.read(self.client, sql("stored_trades"), about | span).iter_rows()
        match = match_trades(gap, [StoredTrade(*row) for row in rows], trades)
        objections = [
            f"the venue itself has no trades between {record.last_id} and {record.next_id}"
            for record in records
            if isinstance(record, Gap)
        ]
        objections += match.objections
        if match.objections:
            return 0, objections, match.numbers
        ids = {trade.trade_id for trade in match.missing}
        liquidations = [
            record
            for record in records
            if isinstance(record, Liquidation) and (record.liquidation_id or "").rpartition("-")[0] in ids
        ]
        insert_records(self.client, [*match.missing, *liquidations])
        return len(match.missing), objections, match.numbers

"""Hyperliquid's history over REST: candles, funding, the last trades, and what is listed now.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
All requests are one path with a JSON body. The venue keeps the last 5000 candles of an interval, and of trades the last
ten: there is no older history of them over REST.
"""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TypeVar

import msgspec

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.errors import BadPage
from marketdata_assets.exchanges.hyperliquid import parse
from marketdata_assets.exchanges.hyperliquid.feed import LISTS, Parse
from marketdata_assets.exchanges.hyperliquid.wire import VENUE
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import FundingRate, Kline, Trade
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    FetchedPage,
    Page,
    Row,
    Window,
    as_bad_page,
    milliseconds,
    rows_at,
    walk,
)
from marketdata_assets.exchanges.wire import MS

T = TypeVar("T", Kline, Trade, FundingRate)

URL = "https://api.hyperliquid.xyz"
PATH = "/info"
WEIGHT_PER_MINUTE = 1200.0  # by address
WEIGHT = 20.0  # of a request, and one more for each so many rows of the answer
CANDLES, CANDLES_OF_A_WEIGHT = 499, 60  # a page; an answer has 500 rows at most, and the first may begin before
KEPT_CANDLES = 5000  # of an interval
RATES, ROWS_OF_A_WEIGHT = 250, 20  # a page, half of the most rows of an answer
HOUR = 3_600_000 * MS

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000, "M": 28 * 86_400_000}  # a month at least


def limits(budgets: BudgetPlace, host: str = "api.hyperliquid.xyz") -> Limits:
    """The rate limit of Hyperliquid, shared by all processes that use these budgets."""
    return Limits(Budget(budgets, host, 60.0, WEIGHT_PER_MINUTE))


def body_of(params: Mapping[str, str | int]) -> bytes:
    """The body of a request: its type, and of candles everything else in `req`."""
    if params.get("type") != "candleSnapshot":
        return msgspec.json.encode(params)
    about = {name: value for name, value in params.items() if name != "type"}
    return msgspec.json.encode({"type": params["type"], "req": about})


class HyperliquidHistory:
    """Histories of single instruments, oldest first. Windows are half-open, of ns; a stored cursor resumes one.

    The last candle of a window that reaches into the present is not closed yet.
    """

    def __init__(self, client: Rest, instruments: Instruments) -> None:
        self.instruments = instruments
        self._client = client

    async def listed(self) -> list[Instrument]:
        """All instruments that are traded now; they are taken into `instruments` too."""
        listed: list[Instrument] = []
        for request, read in LISTS.items():
            listed += read((await self._client.get(PATH, {"type": request}, cost=WEIGHT)).raw)
        self.instruments.add(listed)
        return listed

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window. ValueError for an interval that Hyperliquid does not have.

        BadPage for a window that begins before the last 5000, which are all that the venue has.
        """
        if interval not in parse.INTERVALS:
            raise ValueError(f"interval {interval!r}: Hyperliquid has {', '.join(parse.INTERVALS)}")
        return walk(f"{VENUE} klines {interval} {instrument}", where, partial(self._candles, instrument, interval))

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades. BadPage for a window that begins before the last ten, which are all that the venue has."""
        return walk(f"{VENUE} trades {instrument}", where, partial(self._trades, instrument))

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was paid in the window."""
        return walk(f"{VENUE} funding {instrument}", where, partial(self._funding, instrument))

    async def _candles(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        length = int(interval[:-1]) * _UNITS[interval[-1]] * MS
        reached = min(cursor.at + CANDLES * length, cursor.end)
        cost = WEIGHT + CANDLES / CANDLES_OF_A_WEIGHT
        about = {"type": "candleSnapshot", "coin": instrument, "interval": interval}
        answer = await self._between(cursor, reached, cost, about)
        oldest = (answer.ts_recv // length - KEPT_CANDLES) * length if answer else 0
        if cursor.at < oldest:
            cause = f"the venue has only the last {KEPT_CANDLES} candles of {interval}, since {oldest // MS} ms"
            raise BadPage(cursor.about, f"{cause}, and the window begins before")
        candles = self._read(cursor, answer, parse.past_candles, Kline)
        # A candle that was open when the span begins belongs to another page.
        return FetchedPage([row for row in rows_at(candles, "open_time") if row.time >= cursor.at], False, reached)

    async def _funding(self, instrument: str, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + RATES * HOUR, cursor.end)
        cost = WEIGHT + RATES / ROWS_OF_A_WEIGHT
        about = {"type": "fundingHistory", "coin": instrument}
        answer = await self._between(cursor, reached, cost, about)
        rates = self._read(cursor, answer, parse.paid_rates, FundingRate)
        return FetchedPage(rows_at(rates, "funding_time"), False, reached)

    async def _trades(self, instrument: str, cursor: Cursor) -> FetchedPage:
        answer = await self._client.get(PATH, {"type": "recentTrades", "coin": instrument}, cost=WEIGHT + 1)
        trades = self._read(cursor, answer, parse.recent_trades, Trade)
        rows = [Row(trade.ts_event or 0, trade.trade_id, (trade,)) for trade in reversed(trades)]
        # The oldest may be the rest of a block: only what is newer is known to be whole.
        if not rows or rows[0].time >= cursor.start:
            since = f"since {rows[0].time // MS} ms" if rows else "and it sent none"
            cause = f"the venue has only its last {len(rows)} trades, {since}, and the window begins before"
            raise BadPage(cursor.about, cause)
        return FetchedPage([row for row in rows if cursor.start <= row.time < cursor.end], True)

    async def _between(self, cursor: Cursor, end: int, cost: float, about: Mapping[str, str]) -> Answer | None:
        """The answer from the cursor up to `end`; both bounds of a request are inclusive, and milliseconds."""
        span = milliseconds(cursor.at, end)
        if span is None:
            return None
        params: dict[str, str | int] = {**about, "startTime": span[0], "endTime": span[1]}
        return await self._client.get(PATH, params, cost=cost)

    def _read(self, cursor: Cursor, answer: Answer | None, parser: Parse, kind: type[T]) -> list[T]:
        if answer is None:
            return []
        with as_bad_page(cursor.about):
            made = parser(answer.raw, answer.ts_recv, self.instruments.__getitem__)
        return [record for record in made if isinstance(record, kind)]

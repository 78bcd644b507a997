"""Binance's history over REST: candles, trades, funding, open interest, and the list of what is traded."""

from collections.abc import AsyncIterator
from functools import partial
from typing import TypeVar

import msgspec

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.binance import rest as answers
from marketdata_assets.exchanges.binance.instruments import (
    NS,
    VENUE,
    ExchangeInfo,
    InstrumentContexts,
    instruments,
)
from marketdata_assets.exchanges.binance.session import MARKETS
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import FundingRate, Kline, MarketType, OpenInterest, Trade
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    FetchedPage,
    Page,
    Row,
    Window,
    as_bad_page,
    milliseconds,
    numbered_page,
    rows_at,
    walk,
)

ROWS = 1000  # the most rows of candles, trades and funding rates in one answer, on all markets
PAST_INTEREST = 500  # the most rows of past open interest; it reaches back 30 days

FUNDING_LANE, STATISTICS_LANE = "funding", "statistics"

SECOND = 1000 * NS
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
LONGEST_SPAN = 200 * DAY  # COIN-M answers about so long a time at most

INTERVALS = {
    "1s": SECOND,
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    **{f"{count}d": count * DAY for count in (1, 3)},
    "1w": 7 * DAY,
    "1M": 28 * DAY,  # the shortest
}
"""Of candles. 1s is for spot alone. https://developers.binance.com/docs/binance-spot-api-docs/enums"""

PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")  # of past open interest

WEIGHTS: dict[MarketType, dict[str, int]] = {
    "spot": {"klines": 2, "aggTrades": 4, "exchangeInfo": 20},
    "linear": {"klines": 5, "aggTrades": 20, "exchangeInfo": 1},
    "inverse": {"klines": 5, "aggTrades": 20, "exchangeInfo": 1},
    "option": {"klines": 1, "exchangeInfo": 1},
}
"""What requests of ROWS rows cost; all others cost 1.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api
"""


Query = dict[str, str | int]
T = TypeVar("T", Kline, Trade, FundingRate, OpenInterest)


def limits(budgets: BudgetPlace, market_type: MarketType) -> Limits:
    """The rate limits of a pool of hosts, shared by all processes that use these budgets."""
    market = MARKETS[market_type]
    lanes = {
        FUNDING_LANE: Budget(budgets, f"{market.pool}.{FUNDING_LANE}", 300.0, 500),
        STATISTICS_LANE: Budget(budgets, f"{market.pool}.{STATISTICS_LANE}", 300.0, 1000),
    }
    return Limits(Budget(budgets, market.pool, 60.0, market.weight_per_minute), lanes)


class BinanceHistory:
    """Histories of single instruments of one market, oldest first. Windows are half-open, of ns; a stored cursor goes
    on with one.

    The last candle of a window that reaches into the present is not closed yet.
    """

    def __init__(self, client: Rest, market_type: MarketType) -> None:
        self.market_type = market_type
        self.instruments = Instruments(VENUE)
        self._client = client
        self._known = InstrumentContexts(self.instruments)
        self._path = MARKETS[market_type].path

    async def listed(self) -> list[Instrument]:
        """All instruments of the market; they are taken into `instruments` too."""
        answer = await self._get(f"{self._path}/exchangeInfo")
        with as_bad_page(f"{VENUE} instruments"):
            listed = instruments(self.market_type, msgspec.json.decode(answer.raw, type=ExchangeInfo)).instruments
        self.instruments.add(listed)
        self._known.clear()
        return listed

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window."""
        fetch = partial(self._klines, instrument, interval, INTERVALS[interval])
        return walk(f"{VENUE} klines {interval} {instrument}", where, fetch)

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Aggregate trades: one for each order and price. A break in the venue's numbering becomes a Gap."""
        return walk(f"{VENUE} trades {instrument}", where, partial(self._trades, instrument))

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Rates that were paid in the window."""
        return walk(f"{VENUE} funding {instrument}", where, partial(self._funding, instrument))

    def past_open_interest(self, instrument: str, period: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was open at every full period of the window, as far as the venue keeps it."""
        if period not in PERIODS:
            raise ValueError(f"{period!r} is none of {', '.join(PERIODS)}")
        fetch = partial(self._past_interest, instrument, period)
        return walk(f"{VENUE} open interest {period} {instrument}", where, fetch)

    async def _klines(self, instrument: str, interval: str, length: int, cursor: Cursor) -> FetchedPage:
        longest = LONGEST_SPAN if self.market_type == "inverse" else ROWS * length
        reached = min(cursor.at + min(ROWS * length, longest), cursor.end)
        query: Query = {"symbol": instrument, "interval": interval, "limit": ROWS}
        candles = await self._between(cursor, reached, f"{self._path}/klines", Kline, query)
        return FetchedPage(rows_at(candles, "open_time"), False, reached)

    async def _trades(self, instrument: str, cursor: Cursor) -> FetchedPage:
        """Pages go by time until the first trade, one hour each as the venue requires, and then by number."""
        path = f"{self._path}/aggTrades"
        reached = min(cursor.at + HOUR, cursor.end)
        if cursor.number is None:
            trades = await self._between(cursor, reached, path, Trade, {"symbol": instrument, "limit": ROWS})
            if not trades:
                return FetchedPage((), False, reached)
        elif milliseconds(cursor.at, reached):
            trades = await self._read(cursor.about, Trade, path, symbol=instrument, fromId=cursor.number, limit=ROWS)
        else:
            return FetchedPage((), False, reached)
        rows = [Row(trade.ts_event or 0, trade.trade_id, (trade,)) for trade in trades]
        more = cursor.number is None or len(rows) >= ROWS
        return numbered_page(cursor, "aggTrades", self.instruments[instrument], rows, more=more)

    async def _funding(self, instrument: str, cursor: Cursor) -> FetchedPage:
        query: Query = {"symbol": instrument, "limit": ROWS}
        path = f"{self._path}/fundingRate"
        rates = await self._between(cursor, cursor.end, path, FundingRate, query, lane=FUNDING_LANE)
        return FetchedPage(rows_at(rates, "funding_time"), len(rates) < ROWS)

    async def _past_interest(self, instrument: str, period: str, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + PAST_INTEREST * INTERVALS[period], cursor.end)
        query: Query = {"symbol": instrument}
        if self.market_type == "inverse":  # by pair and kind of contract, which do not identify a dated future
            pair, _, kind = instrument.partition("_")
            if kind != "PERP":
                raise ValueError(f"{instrument}: Binance keeps open interest of COIN-M perpetuals by name, of no other")
            query = {"pair": pair, "contractType": "PERPETUAL"}
        query |= {"period": period, "limit": PAST_INTEREST}
        path = "/futures/data/openInterestHist"
        interest = await self._between(cursor, reached, path, OpenInterest, query, lane=STATISTICS_LANE)
        return FetchedPage(rows_at(interest, "ts_event"), False, reached)

    async def _between(
        self, cursor: Cursor, end: int, path: str, kind: type[T], query: Query, *, lane: str = ""
    ) -> list[T]:
        """The records from the cursor up to `end`; both bounds of a request are inclusive, and milliseconds."""
        span = milliseconds(cursor.at, end)
        if span is None:
            return []
        return await self._read(cursor.about, kind, path, lane=lane, **query, startTime=span[0], endTime=span[1])

    async def _get(self, path: str, *, lane: str = "", **params: str | int) -> Answer:
        cost = WEIGHTS[self.market_type].get(path.rpartition("/")[2], 1)
        return await self._client.get(path, params, lane=lane, cost=cost)

    async def _read(self, about: str, kind: type[T], path: str, *, lane: str = "", **params: str | int) -> list[T]:
        answer = await self._get(path, lane=lane, **params)
        with as_bad_page(about):
            records = answers.records(answers.asked(path, params), answer.raw, self._known, answer.ts_recv)
        return [record for record in records if isinstance(record, kind)]

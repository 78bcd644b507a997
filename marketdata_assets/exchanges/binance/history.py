"""Binance's history over REST: candles, trades, funding, open interest, and the list of what is traded."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.binance import rest as answers
from marketdata_assets.exchanges.binance.instrument_context import NS, InstrumentContexts
from marketdata_assets.exchanges.binance.instruments import VENUE, BinanceInstruments, ExchangeInfo, instruments
from marketdata_assets.exchanges.binance.session import MARKETS
from marketdata_assets.exchanges.errors import BadCursor, BadPage, ExchangesError
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Kline, MarketType, OpenInterest, Trade
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    FetchedPage,
    NumberedRow,
    Page,
    Row,
    Window,
    numbered_rows,
    walk,
)

ROWS = 1000
"""The most rows of candles, trades and funding rates in one answer, on all markets."""

PAST_INTEREST = 500
"""The most rows of past open interest; it reaches back 30 days."""

FUNDING_LANE, STATISTICS_LANE = "funding", "statistics"

SECOND = 1000 * NS
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
LONGEST_SPAN = 200 * DAY
"""COIN-M answers about so long a time at most."""

INTERVALS = {
    "1s": SECOND,
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    **{f"{count}d": count * DAY for count in (1, 3)},
    "1w": 7 * DAY,
    "1M": 28 * DAY,  # the shortest
}
"""Of candles. 1s is for spot alone. https://developers.binance.com/docs/binance-spot-api-docs/enums"""

PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
"""Of past open interest."""

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

_UNREADABLE = (msgspec.MsgspecError, ExchangesError, ValueError, ArithmeticError, RecursionError)


def limits(folder: Path, market_type: MarketType) -> Limits:
    """How often a host may be asked, by all processes that share the folder."""
    market = MARKETS[market_type]
    host = market.rest.removeprefix("https://")
    lanes = {
        FUNDING_LANE: Budget(folder, f"{host}.{FUNDING_LANE}", 300.0, 500),
        STATISTICS_LANE: Budget(folder, f"{host}.{STATISTICS_LANE}", 300.0, 1000),
    }
    return Limits(Budget(folder, host, 60.0, market.weight_per_minute), lanes)


def rest(folder: Path, market_type: MarketType) -> Rest:
    """A client of the REST host of a market."""
    return Rest(VENUE, MARKETS[market_type].rest, limits(folder, market_type), answers.failure)


class BinanceHistory:
    """Histories of single instruments of one market, oldest first. Windows are half-open, of ns; a stored cursor goes
    on with one.

    The last candle of a window that reaches into the present is not closed yet.
    """

    def __init__(self, client: Rest, market_type: MarketType, known: Instruments | None = None) -> None:
        self.market_type = market_type
        self.instruments = BinanceInstruments(market_type, known)
        self._client = client
        self._known = InstrumentContexts(self.instruments)
        self._path = MARKETS[market_type].path

    async def listed(self) -> list[Instrument]:
        """All instruments of the market; they are taken into `instruments` too."""
        answer = await self._get(f"{self._path}/exchangeInfo")
        try:
            found = list(instruments(self.market_type, msgspec.json.decode(answer.raw, type=ExchangeInfo)))
        except _UNREADABLE as error:
            raise BadPage(f"{VENUE} instruments", f"{error}") from error
        self.instruments.add(found)
        self._known.clear()
        return found

    async def open_interest(self, instrument: str) -> list[AnyRecord]:
        """What is open now."""
        answer = await self._get(f"{self._path}/openInterest", symbol=instrument)
        return self._read(f"{VENUE} open interest {instrument}", answer)

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window."""
        length = INTERVALS[interval]
        cursor = Cursor.begin(f"{VENUE} klines {interval} {instrument}", where)
        return walk(cursor, partial(self._klines, instrument, interval, length))

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades, those of one order at one price together. A hole in the venue's own numbering becomes a Gap."""
        cursor = Cursor.begin(f"{VENUE} trades {instrument}", where)
        return walk(cursor, partial(self._trades, instrument))

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Rates that were paid in the window."""
        cursor = Cursor.begin(f"{VENUE} funding {instrument}", where)
        return walk(cursor, partial(self._funding, instrument))

    def past_open_interest(self, instrument: str, period: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was open at every full period of the window, as far as the venue keeps it."""
        if period not in PERIODS:
            raise ValueError(f"{period!r} is none of {', '.join(PERIODS)}")
        cursor = Cursor.begin(f"{VENUE} open interest {period} {instrument}", where)
        return walk(cursor, partial(self._past_interest, instrument, period))

    async def _klines(self, instrument: str, interval: str, length: int, cursor: Cursor) -> FetchedPage:
        longest = LONGEST_SPAN if self.market_type == "inverse" else ROWS * length
        reached = min(cursor.at + min(ROWS * length, longest), cursor.end)
        if _between_two_milliseconds(cursor.at, reached):
            return FetchedPage((), False, reached)
        path = f"{self._path}/klines"
        answer = await self._span(path, cursor.at, reached, symbol=instrument, interval=interval, limit=ROWS)
        made = [one for one in self._read(cursor.about, answer) if isinstance(one, Kline)]
        return FetchedPage([Row(one.open_time, str(one.open_time), (one,)) for one in made], False, reached)

    async def _trades(self, instrument: str, cursor: Cursor) -> FetchedPage:
        """Pages go by time until the first trade, hour by hour as the venue resync_requests it, and then by number."""
        if cursor.token and not cursor.token.isdecimal():
            raise BadCursor(cursor.about, f"{cursor.token!r} is no number of a trade")
        path = f"{self._path}/aggTrades"
        reached = min(cursor.at + HOUR, cursor.end)
        if _between_two_milliseconds(cursor.at, reached):
            return FetchedPage((), False, reached)
        if cursor.token is None:
            answer = await self._span(path, cursor.at, reached, symbol=instrument, limit=ROWS)
        else:
            answer = await self._get(path, symbol=instrument, fromId=cursor.token, limit=ROWS)
        made = [one for one in self._read(cursor.about, answer) if isinstance(one, Trade)]
        if cursor.token is None and not made:
            return FetchedPage((), False, reached)
        found = [NumberedRow(int(one.trade_id), one.ts_event or 0, (one,)) for one in made]
        inside = [one for one in found if one.time < cursor.end]
        rows = numbered_rows(cursor, "aggTrades", self.instruments[instrument], inside)
        by_number = cursor.token is not None
        done = len(inside) < len(found) or (by_number and len(found) < ROWS)
        token = str(inside[-1].number + 1) if inside else cursor.token
        return FetchedPage(rows, done, token=token)

    async def _funding(self, instrument: str, cursor: Cursor) -> FetchedPage:
        if _between_two_milliseconds(cursor.at, cursor.end):
            return FetchedPage((), True)
        path = f"{self._path}/fundingRate"
        answer = await self._span(path, cursor.at, cursor.end, lane=FUNDING_LANE, symbol=instrument, limit=ROWS)
        made = [one for one in self._read(cursor.about, answer) if isinstance(one, FundingRate)]
        rows = [Row(one.funding_time or 0, str(one.funding_time), (one,)) for one in made]
        return FetchedPage(rows, len(rows) < ROWS)

    async def _past_interest(self, instrument: str, period: str, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + PAST_INTEREST * INTERVALS[period], cursor.end)
        if _between_two_milliseconds(cursor.at, reached):
            return FetchedPage((), False, reached)
        about = self._pair(instrument) if self.market_type == "inverse" else {"symbol": instrument}
        path = "/futures/data/openInterestHist"
        answer = await self._span(
            path, cursor.at, reached, lane=STATISTICS_LANE, **about, period=period, limit=PAST_INTEREST
        )
        made = [one for one in self._read(cursor.about, answer) if isinstance(one, OpenInterest)]
        return FetchedPage([Row(one.ts_event or 0, str(one.ts_event), (one,)) for one in made], False, reached)

    def _pair(self, instrument: str) -> dict[str, str | int]:
        """COIN-M keeps open interest by pair and kind of contract; of dated futures the answer does not say which."""
        pair, _, kind = instrument.partition("_")
        if kind != "PERP":
            raise ValueError(f"{instrument}: Binance keeps open interest of COIN-M perpetuals by name, of no other")
        return {"pair": pair, "contractType": "PERPETUAL"}

    async def _span(self, path: str, start: int, end: int, *, lane: str = "", **params: str | int) -> Answer:
        """Ask for what is from `start` up to `end`; both bounds of Binance's are inside, and milliseconds."""
        return await self._get(path, lane=lane, **params, startTime=_up(start), endTime=(end - 1) // NS)

    async def _get(self, path: str, *, lane: str = "", **params: str | int) -> Answer:
        cost = WEIGHTS[self.market_type].get(path.rpartition("/")[2], 1)
        return await self._client.get(path, params, lane=lane, cost=cost)

    def _read(self, about: str, answer: Answer) -> list[AnyRecord]:
        try:
            return answers.records(answers.asked(answer.url), answer.raw, self._known, answer.ts_recv)
        except _UNREADABLE as error:
            raise BadPage(about, f"{error}") from error


def _up(moment: int) -> int:
    """The first millisecond that is not before it."""
    return -(-moment // NS)


def _between_two_milliseconds(start: int, end: int) -> bool:
    """Whether nothing can have happened in the span: Binance's moments are milliseconds."""
    return _up(start) > (end - 1) // NS

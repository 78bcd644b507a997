"""Deribit's history over REST: candles, trades, funding, and what is open and traded now."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.deribit import rest as answers
from marketdata_assets.exchanges.deribit.instruments import parse_instruments
from marketdata_assets.exchanges.deribit.parse import INTERVALS, MINUTE, InstrumentContext
from marketdata_assets.exchanges.deribit.rest import error_of
from marketdata_assets.exchanges.deribit.session import LIST_SECONDS, REST
from marketdata_assets.exchanges.deribit.wire import MS, VENUE
from marketdata_assets.exchanges.errors import BadCursor, BadPage, ExchangesError
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Kline
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage, Page, Row, Window, numbered_rows, walk

T = TypeVar("T", Kline, FundingRate)

PUBLIC_REQUESTS_PER_SECOND = 10.0  # by address and not documented; half of what an account has
CANDLES = 1000  # a page, well below where charts are cut
TRADES = 1000  # the most that an answer has
FUNDING_HOURS = 500  # a page, below the month where answers are cut
HOUR = 60 * MINUTE
LISTS = "instruments"

_UNREADABLE = (msgspec.MsgspecError, ExchangesError, ValueError, ArithmeticError, RecursionError)
_RESOLUTIONS = {name: (resolution, minutes) for resolution, (name, minutes) in INTERVALS.items()}


def limits(folder: Path, host: str = "www.deribit.com") -> Limits:
    """How often Deribit may be asked, by all processes that share the folder."""
    lists = Budget(folder, f"{host}.{LISTS}", LIST_SECONDS, 1)
    return Limits(Budget(folder, host, 1.0, PUBLIC_REQUESTS_PER_SECOND), {LISTS: lists})


def rest(folder: Path, url: str = REST) -> Rest:
    """A client of Deribit's REST host."""
    return Rest(VENUE, url, limits(folder), error_of)


class DeribitHistory:
    """Histories of single instruments, oldest first. Windows are half-open, of ns; a stored cursor goes on with one.

    The last candle of a window that reaches into the present is not closed yet.
    """

    def __init__(self, client: Rest, instruments: Instruments) -> None:
        self.instruments = instruments
        self._client = client

    async def listed(self, currency: str = "any") -> list[Instrument]:
        """All instruments that are traded now; they are taken into `instruments` too."""
        answer = await self._client.get(
            "/public/get_instruments", {"currency": currency, "expired": "false"}, lane=LISTS
        )
        found = parse_instruments(answer.raw)
        self.instruments.add(found)
        return found

    async def open_interest(self, instrument: str) -> list[AnyRecord]:
        """Ticker, funding rate and open interest as they are now; Deribit keeps no history of open interest."""
        params = {"instrument_name": instrument}
        answer = await self._client.get("/public/get_book_summary_by_instrument", params)
        try:
            return answers.summary(answer.url, answer.raw, self._find, answer.ts_recv)
        except _UNREADABLE as error:
            raise BadPage(f"{VENUE} open interest {instrument}", f"{error}") from error

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window. ValueError for an interval that Deribit does not have."""
        if interval not in _RESOLUTIONS:
            raise ValueError(f"interval {interval!r}: Deribit has {', '.join(_RESOLUTIONS)}")
        resolution, minutes = _RESOLUTIONS[interval]
        cursor = Cursor.begin(f"{VENUE} klines {interval} {instrument}", where)
        return walk(cursor, partial(self._candles, instrument, resolution, minutes * MINUTE))

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades, and the forced orders among them. A hole in the venue's own numbering becomes a Gap."""
        cursor = Cursor.begin(f"{VENUE} trades {instrument}", where)
        return walk(cursor, partial(self._trades, instrument))

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was paid, for every hour that ends in the window."""
        cursor = Cursor.begin(f"{VENUE} funding {instrument}", where)
        return walk(cursor, partial(self._funding, instrument))

    async def _candles(self, instrument: str, resolution: str, length: int, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + CANDLES * length, cursor.end)
        if _between_two_milliseconds(cursor.at, reached):
            return FetchedPage((), False, reached)
        answer = await self._span("get_tradingview_chart_data", instrument, cursor.at, reached, resolution=resolution)
        rows = [
            Row(one.open_time, str(one.open_time), (one,)) for one in self._read(cursor, answer, answers.chart, Kline)
        ]
        # the candle that was under way at the beginning of the span is another page's
        return FetchedPage([one for one in rows if not cursor.at - length < one.time < cursor.at], False, reached)

    async def _funding(self, instrument: str, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + FUNDING_HOURS * HOUR, cursor.end)
        if _between_two_milliseconds(cursor.at, reached):
            return FetchedPage((), False, reached)
        answer = await self._span("get_funding_rate_history", instrument, cursor.at, reached)
        made = self._read(cursor, answer, answers.funding, FundingRate)
        rows = [Row(one.funding_time or 0, str(one.funding_time), (one,)) for one in made]
        return FetchedPage(sorted(rows, key=lambda row: row.time), False, reached)

    async def _trades(self, instrument: str, cursor: Cursor) -> FetchedPage:
        """The first page goes by time, the others by the number that trades of an instrument have."""
        if cursor.token and not cursor.token.isdecimal():
            raise BadCursor(cursor.about, f"{cursor.token!r} is no number of a trade")
        if _between_two_milliseconds(cursor.at, cursor.end):
            return FetchedPage((), True)
        if cursor.token is None:
            answer = await self._span(
                "get_last_trades_by_instrument_and_time",
                instrument,
                cursor.at,
                cursor.end,
                count=TRADES,
                sorting="asc",
            )
        else:
            params: dict[str, str | int] = {"instrument_name": instrument}
            params |= {"start_seq": cursor.token, "count": TRADES, "sorting": "asc"}
            answer = await self._client.get("/public/get_last_trades_by_instrument", params)
        try:
            numbered, more = answers.numbered_trades(answer.raw, self._find, answer.ts_recv)
        except _UNREADABLE as error:
            raise BadPage(cursor.about, f"{error}") from error
        inside = [one for one in numbered if one.time < cursor.end]
        rows = numbered_rows(cursor, "trades", self.instruments[instrument], inside)
        done = not more or len(inside) < len(numbered)
        token = str(inside[-1].number + 1) if inside else cursor.token
        return FetchedPage(rows, done, token=token)

    async def _span(self, method: str, instrument: str, start: int, end: int, **more: str | int) -> Answer:
        """Ask for what is from `start` up to `end`; both bounds of Deribit's are inside, and milliseconds."""
        span = {"start_timestamp": _up(start), "end_timestamp": (end - 1) // MS}
        return await self._client.get(f"/public/{method}", {"instrument_name": instrument, **span, **more})

    def _read(self, cursor: Cursor, answer: Answer, parse: answers.Parse, kind: type[T]) -> list[T]:
        try:
            made = parse(answer.url, answer.raw, self._find, answer.ts_recv)
        except _UNREADABLE as error:
            raise BadPage(cursor.about, f"{error}") from error
        return [one for one in made if isinstance(one, kind)]

    def _find(self, name: str) -> InstrumentContext:
        return InstrumentContext.of(self.instruments[name])


def _up(moment: int) -> int:
    """The first millisecond that is not before it."""
    return -(-moment // MS)


def _between_two_milliseconds(start: int, end: int) -> bool:
    """Whether nothing can have happened in the span: Deribit's moments are milliseconds."""
    return _up(start) > (end - 1) // MS

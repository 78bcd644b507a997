"""Deribit's history over REST: candles, trades, funding, and what is open and traded now."""

from collections.abc import AsyncIterator
from functools import partial
from typing import TypeVar

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.deribit import rest as answers
from marketdata_assets.exchanges.deribit.instruments import parse_instruments
from marketdata_assets.exchanges.deribit.parse import INTERVALS, MINUTE, InstrumentContext
from marketdata_assets.exchanges.deribit.session import LIST_SECONDS
from marketdata_assets.exchanges.deribit.wire import VENUE
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import FundingRate, Kline
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    FetchedPage,
    Page,
    Window,
    as_bad_page,
    milliseconds,
    numbered_page,
    rows_at,
    walk,
    word_of,
)

T = TypeVar("T", Kline, FundingRate)

PUBLIC_REQUESTS_PER_SECOND = 10.0  # by address and not documented; half of what an account has
CANDLES = 1000  # a page, well below where charts are cut
TRADES = 1000  # the most that an answer has
FUNDING_HOURS = 500  # a page, below the month where answers are cut
HOUR = 60 * MINUTE
LISTS = "instruments"
TRADES_PATH = "/public/get_last_trades_by_instrument"

_RESOLUTIONS = {name: (resolution, minutes) for resolution, (name, minutes) in INTERVALS.items()}


def limits(budgets: BudgetPlace, host: str = "www.deribit.com") -> Limits:
    """The rate limits of Deribit, shared by all processes that use these budgets."""
    lists = Budget(budgets, f"{host}.{LISTS}", LIST_SECONDS, 1)
    return Limits(Budget(budgets, host, 1.0, PUBLIC_REQUESTS_PER_SECOND), {LISTS: lists})


class DeribitHistory:
    """Histories of single instruments, oldest first. Windows are half-open, of ns; a stored cursor resumes one.

    The last candle of a window that reaches into the present is not closed yet.
    """

    def __init__(self, client: Rest, instruments: Instruments) -> None:
        self.instruments = instruments
        self._client = client

    async def listed(self, currency: str = "any") -> list[Instrument]:
        """All instruments that are traded now; they are taken into `instruments` too."""
        params = {"currency": currency, "expired": "false"}
        answer = await self._client.get("/public/get_instruments", params, lane=LISTS)
        instruments = parse_instruments(answer.raw).instruments
        self.instruments.add(instruments)
        return instruments

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window. ValueError for an interval that Deribit does not have."""
        resolution, minutes = word_of("Deribit", interval, _RESOLUTIONS)
        fetch = partial(self._candles, instrument, resolution, minutes * MINUTE)
        return walk(f"{VENUE} klines {interval} {instrument}", where, fetch)

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades, and the forced orders among them. A hole in the venue's own numbering becomes a Gap."""
        return walk(f"{VENUE} trades {instrument}", where, partial(self._trades, instrument))

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was paid, for every hour that ends in the window."""
        return walk(f"{VENUE} funding {instrument}", where, partial(self._funding, instrument))

    async def _candles(self, instrument: str, resolution: str, length: int, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + CANDLES * length, cursor.end)
        method = "get_tradingview_chart_data", answers.chart, Kline
        candles = await self._between(cursor, reached, *method, instrument, resolution=resolution)
        # A candle that was open when the span begins belongs to another page.
        rows = [row for row in rows_at(candles, "open_time") if not cursor.at - length < row.time < cursor.at]
        return FetchedPage(rows, False, reached)

    async def _funding(self, instrument: str, cursor: Cursor) -> FetchedPage:
        reached = min(cursor.at + FUNDING_HOURS * HOUR, cursor.end)
        method = "get_funding_rate_history", answers.funding, FundingRate
        rates = await self._between(cursor, reached, *method, instrument)
        rows = sorted(rows_at(rates, "funding_time"), key=lambda row: row.time)
        return FetchedPage(rows, False, reached)

    async def _trades(self, instrument: str, cursor: Cursor) -> FetchedPage:
        """The first page is selected by time, the others by the sequence number within the instrument."""
        number, span = cursor.number, milliseconds(cursor.at, cursor.end)
        if span is None:
            return FetchedPage((), True)
        params: dict[str, str | int] = {"instrument_name": instrument, "count": TRADES, "sorting": "asc"}
        if number is None:
            path, params = f"{TRADES_PATH}_and_time", params | {"start_timestamp": span[0], "end_timestamp": span[1]}
        else:
            path, params = TRADES_PATH, params | {"start_seq": number}
        answer = await self._client.get(path, params)
        with as_bad_page(cursor.about):
            rows, more = answers.numbered_trades(answer.raw, self._find, answer.ts_recv)
        return numbered_page(cursor, "trades", self.instruments[instrument], rows, more=more)

    async def _between(
        self, cursor: Cursor, end: int, method: str, parse: answers.Parse, kind: type[T], name: str, **more: str
    ) -> list[T]:
        """The records from the cursor up to `end`; both bounds of a request are inclusive, and milliseconds."""
        span = milliseconds(cursor.at, end)
        if span is None:
            return []
        params: dict[str, str | int] = {"instrument_name": name, **more}
        params |= {"start_timestamp": span[0], "end_timestamp": span[1]}
        answer = await self._client.get(f"/public/{method}", params)
        with as_bad_page(cursor.about):
            records = parse(params, answer.raw, self._find, answer.ts_recv)
        return [record for record in records if isinstance(record, kind)]

    def _find(self, name: str) -> InstrumentContext:
        return InstrumentContext(self.instruments[name])

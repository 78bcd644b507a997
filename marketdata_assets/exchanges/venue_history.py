"""The REST history of one market: its instruments, and page after page of trades, candles, funding and open interest.

Answers are read by the market's feed, as any other answer. Which paths a venue has and how they page is in its module
`history`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from marketdata_assets.exchanges.errors import HistoryRefused
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import FundingRate, Kline, Liquidation, OpenInterest, Outcome, Trade
from marketdata_assets.exchanges.rest import Answer, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    FetchedPage,
    Page,
    Row,
    Window,
    as_bad_page,
    milliseconds,
    walk,
)
from marketdata_assets.exchanges.venue_adapter import Request, VenueAdapter, request_list

FetchNext = Callable[[str, str, Cursor], Awaitable[FetchedPage]]
"""The next page of an instrument, at an interval or a period; without one, the second argument is empty."""

Historic = type[Trade] | type[Kline] | type[FundingRate] | type[OpenInterest]
BOUNDS = "startTime", "endTime"  # parameters of a span of milliseconds, both included


class VenueHistory(ABC):
    """Histories of single instruments. Windows are half-open, of ns; a stored cursor resumes one.

    The last candle of a window that reaches into the present is not closed yet. Call `listed` before requesting an
    instrument. Each request raises UnknownInstrument for one that is not listed.
    """

    newest_first: ClassVar[bool] = False
    intervals: ClassVar[Mapping[str, Any]]  # of candles, with what the venue calls them or how long they are
    periods: ClassVar[Mapping[str, Any]] = {}  # of open interest

    def __init__(self, client: Rest, adapter: VenueAdapter) -> None:
        self._client, self._adapter, self._feed = client, adapter, adapter.feed()
        self.market_type, self.instruments = adapter.market_type, self._feed.instruments

    async def listed(self, symbols: Iterable[str] = ()) -> list[Instrument]:
        """All instruments of the market's lists, those that `symbols` name too; they are taken into `instruments`."""

        async def ask(request: Request) -> bytes:
            answer = await self._get(request)
            self._outcomes(f"{self._adapter.exchange} instruments", answer)
            return answer.raw

        await request_list(self._adapter, self.instruments, ask, symbols)
        return [one for name, one in self.instruments.known.items() if name in self.instruments.listed]

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window. ValueError for an interval that the venue does not have."""
        self._check("interval", interval, self.intervals)
        return self._walk("klines", instrument, interval, where, self._klines)

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades, in the form of the venue's history, with the forced orders in them. A hole in its numbering is a Gap.

        BadPage where the venue has only the last trades, and they do not reach back to the window.
        """
        return self._walk("trades", instrument, "", where, self._trades)

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Rates that were paid in the window."""
        return self._walk("funding", instrument, "", where, self._funding)

    def past_open_interest(self, instrument: str, period: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was open at every full period of the window, as far as the venue keeps it. ValueError for a period that
        it does not have, HistoryRefused where it keeps none."""
        if self.periods:
            self._check("period", period, self.periods)
        return self._walk("open interest", instrument, period, where, self._past_interest)

    @abstractmethod
    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage: ...

    @abstractmethod
    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage: ...

    async def _funding(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        raise HistoryRefused(f"{cursor.about}: the venue has no such history")

    async def _past_interest(self, instrument: str, period: str, cursor: Cursor) -> FetchedPage:
        raise HistoryRefused(f"{cursor.about}: the venue has no such history")

    def _check(self, what: str, word: str, words: Mapping[str, Any]) -> None:
        if word not in words:
            raise ValueError(f"{what} {word!r}: {self._adapter.exchange} has {', '.join(words)}")

    def _walk(
        self, kind: str, instrument: str, word: str, where: Window | Cursor, fetch: FetchNext
    ) -> AsyncIterator[Page]:
        name = self.instruments[instrument].name
        about = " ".join(filter(None, (self._adapter.exchange, kind, word, name)))
        return walk(about, where, partial(fetch, name, word), newest_first=self.newest_first)

    async def _get(self, request: Request) -> Answer:
        return await self._client.get(request.path, request.params, lane=request.lane, cost=request.cost)

    def _outcomes(self, about: str, answer: Answer) -> list[Outcome]:
        with as_bad_page(about):
            return self._feed.read_answer(answer.url, answer.raw, answer.ts_recv)

    def _read(self, cursor: Cursor, answer: Answer, kind: Historic) -> list[Row]:
        """One row for each record of a kind in an answer. Raises BadPage."""
        rows: list[Row] = []
        for outcome in self._outcomes(cursor.about, answer):
            if isinstance(outcome, kind):
                rows.append(Row(*_place(outcome), (outcome,)))
            elif isinstance(outcome, Liquidation) and rows:  # forced orders follow their trade
                rows[-1] = replace(rows[-1], records=(*rows[-1].records, outcome))
        return rows

    async def _rows(self, cursor: Cursor, kind: Historic, request: Request) -> list[Row]:
        return self._read(cursor, await self._get(request), kind)

    async def _span(
        self, cursor: Cursor, length: int, kind: Historic, request: Request, bounds: tuple[str, str] = BOUNDS
    ) -> FetchedPage:
        """The page of so many ns from the cursor on, of a history whose oldest rows come first."""
        reached = min(cursor.at + length, cursor.end)
        bounded = between(request, cursor.at, reached, bounds)
        rows = await self._rows(cursor, kind, bounded) if bounded else []
        return FetchedPage(rows, False, reached)


def between(request: Request, start: int, end: int, bounds: tuple[str, str] = BOUNDS) -> Request | None:
    """The request for a half-open span of ns; None when no millisecond lies in it."""
    span = milliseconds(start, end)
    return replace(request, params={**request.params, **dict(zip(bounds, span, strict=True))}) if span else None


def _place(record: Trade | Kline | FundingRate | OpenInterest) -> tuple[int, str]:
    """The time of a record in its history (ns), and what distinguishes it from others of the same time."""
    if isinstance(record, Trade):
        number = record.trade_id if record.sequence is None else str(record.sequence)
        return record.ts_event or 0, number
    if isinstance(record, Kline):
        time: int | None = record.open_time
    elif isinstance(record, FundingRate):  # several may be paid at one time
        return record.funding_time or 0, f"{record.funding_time or 0} {record.rate}"
    else:
        time = record.ts_event
    return time or 0, str(time or 0)

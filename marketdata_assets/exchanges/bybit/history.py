"""Bybit's history over REST: candles, funding, open interest, the last trades, and what is listed now.

All lists come newest first. Of trades Bybit has only the last ones: 60 of a spot pair, 1000 of a contract. Older ones
are in the daily files at https://public.bybit.com, which are not read here.
https://bybit-exchange.github.io/docs/v5/rate-limit, https://bybit-exchange.github.io/docs/v5/error
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import msgspec

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.bybit import parse
from marketdata_assets.exchanges.bybit.instruments import decode_listed, instruments
from marketdata_assets.exchanges.bybit.wire import VENUE, Status
from marketdata_assets.exchanges.errors import BadPage
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import FundingRate, Kline, MarketType, OpenInterest, Parser, Trade, VenueError
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    FetchedPage,
    Page,
    Row,
    Window,
    as_bad_page,
    rows_at,
    walk,
    word_of,
)
from marketdata_assets.exchanges.wire import MS
from marketdata_assets.input_limits import NOT_JSON

T = TypeVar("T", Kline, Trade, FundingRate, OpenInterest)

URL = "https://api.bybit.com"
API = "/v5/market/"

SECONDS, REQUESTS = 5.0, 500
"""So many requests in so many seconds, by address. Bybit allows 600 and advises against the very edge."""

TOO_MANY = frozenset({429, 10006, 10018})
BANNED_MS = 600_000  # at least so long does Bybit answer 403 to an address that sent too much

_status = msgspec.json.Decoder(Status).decode


def limits(budgets: BudgetPlace, host: str = "api.bybit.com") -> Limits:
    """The rate limit of Bybit, shared by all processes that use these budgets."""
    return Limits(Budget(budgets, host, SECONDS, REQUESTS))


def error_of(raw: bytes) -> VenueError | None:
    """What a response says is wrong; null as well when it cannot be read."""
    if b"access too frequent" in raw[:200]:  # not JSON
        return VenueError(403, "access too frequent", True, time.time_ns() // 1_000_000 + BANNED_MS)
    try:
        status = _status(raw)
    except NOT_JSON:
        return None
    if not status.ret_code:
        return None
    return VenueError(status.ret_code, status.ret_msg, status.ret_code in TOO_MANY)


@dataclass(frozen=True)
class ByTime(Generic[T]):
    """A path that goes by time: `first` and `last` are its parameters for a span of milliseconds, both included."""

    path: str
    first: str
    last: str
    limit: int  # the most rows of an answer
    kind: type[T]
    field: str  # the time of a row


KLINES = ByTime("kline", "start", "end", 1000, Kline, "open_time")
FUNDING = ByTime("funding/history", "startTime", "endTime", 200, FundingRate, "funding_time")
INTEREST = ByTime("open-interest", "startTime", "endTime", 200, OpenInterest, "ts_event")

LISTED = 1000  # the most instruments of an answer
TRADES: dict[MarketType, int] = {"spot": 60, "linear": 1000, "inverse": 1000}  # all that Bybit still has

PERIODS = {"5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "4h": "4h", "1d": "1d"}
"""Bybit's word for a period of open interest. https://bybit-exchange.github.io/docs/v5/enum#intervaltime"""


class BybitHistory:
    """Histories of single instruments, newest first. Windows are half-open, of ns; a stored cursor resumes one."""

    def __init__(self, client: Rest, instruments: Instruments, market_type: MarketType) -> None:
        self.instruments = instruments
        self._client, self._market_type = client, market_type

    async def listed(self) -> list[Instrument]:
        """All instruments of the market that are traded now; they are taken into `instruments` too."""
        listed: list[Instrument] = []
        cursor: dict[str, str] = {}
        while True:
            answer = await self._get("instruments-info", limit=LISTED, **cursor)
            with as_bad_page(f"{VENUE} instruments"):
                page = decode_listed(answer.raw).result
                listed += instruments(page.list).instruments
            if not page.next_cursor or not page.list:
                self.instruments.add(listed)
                return listed
            cursor = {"cursor": page.next_cursor}

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window. ValueError for an interval that Bybit does not have."""
        word, parser = (
            word_of("Bybit", interval, parse.INTERVALS),
            parse.past_candles(self.instruments[instrument], interval),
        )
        return self._walk(f"klines {interval} {instrument}", where, KLINES, parser, symbol=instrument, interval=word)

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades, as far as Bybit still has them. BadPage when they do not reach back to the window."""
        return walk(f"{VENUE} trades {instrument}", where, partial(self._trades, instrument), newest_first=True)

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was paid in the window."""
        parser = parse.past_funding(self.instruments[instrument])
        return self._walk(f"funding {instrument}", where, FUNDING, parser, symbol=instrument)

    def past_open_interest(self, instrument: str, period: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Open interest of the window, so often. ValueError for a period that Bybit does not have."""
        word, parser = word_of("Bybit", period, PERIODS), parse.past_open_interest(self.instruments[instrument])
        what = f"open interest {period} {instrument}"
        return self._walk(what, where, INTEREST, parser, symbol=instrument, intervalTime=word)

    async def _trades(self, instrument: str, cursor: Cursor) -> FetchedPage:
        """The one page that there is."""
        limit, parser = TRADES[self._market_type], parse.past_trades(self.instruments[instrument])
        answer = await self._get("recent-trade", symbol=instrument, limit=limit)
        rows = [Row(one.ts_event or 0, one.trade_id, (one,)) for one in _read(cursor.about, answer, parser, Trade)]
        if len(rows) >= limit and rows[-1].time >= cursor.start:
            raise BadPage(cursor.about, f"Bybit has the last {len(rows)} trades only, which do not reach back so far")
        return FetchedPage([row for row in rows if cursor.start <= row.time < cursor.end], done=True)

    def _walk(
        self, what: str, where: Window | Cursor, kind: ByTime[T], parser: Parser, **query: str
    ) -> AsyncIterator[Page]:
        async def fetch(cursor: Cursor) -> FetchedPage:
            span = {kind.first: -(-cursor.start // MS), kind.last: cursor.at // MS}
            if span[kind.first] > span[kind.last]:
                return FetchedPage([], done=True)
            answer = await self._get(kind.path, **query, **span, limit=kind.limit)
            rows = rows_at(_read(cursor.about, answer, parser, kind.kind), kind.field)
            return FetchedPage(rows, done=not rows, reached=rows[-1].time - 1 if rows else None)

        return walk(f"{VENUE} {what}", where, fetch, newest_first=True)

    async def _get(self, path: str, **params: str | int) -> Answer:
        return await self._client.get(API + path, {"category": self._market_type, **params})


def _read(about: str, answer: Answer, parser: Parser, kind: type[T]) -> Sequence[T]:
    with as_bad_page(about):
        return [record for record in parser(answer.raw, answer.ts_recv, 0) if isinstance(record, kind)]

"""Bybit's history over REST: candles, funding, open interest and the last trades.

All lists come newest first. Of trades Bybit has only the last ones: 60 of a spot pair, 1000 of a contract. Older ones
are in the daily files at https://public.bybit.com, which are not read here.
https://bybit-exchange.github.io/docs/v5/rate-limit, https://bybit-exchange.github.io/docs/v5/error
"""

import time

import msgspec

from marketdata_assets.exchanges.bybit import parse
from marketdata_assets.exchanges.bybit.wire import Status
from marketdata_assets.exchanges.errors import BadPage
from marketdata_assets.exchanges.records import FundingRate, Kline, MarketType, OpenInterest, Trade, VenueError
from marketdata_assets.exchanges.rest import limits_of
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import BOUNDS, Historic, VenueHistory, between
from marketdata_assets.exchanges.wire import decoded

URL = "https://api.bybit.com"
API = "/v5/market/"

limits = limits_of("api.bybit.com", 500, 5.0)
"""By address. Bybit allows 600 and advises against the very edge."""

TOO_MANY = frozenset({429, 10006, 10018})
BANNED_MS = 600_000  # at least so long does Bybit answer 403 to an address that sent too much

_status = msgspec.json.Decoder(Status).decode


def error_of(raw: bytes) -> VenueError | None:
    """What a response says is wrong; null as well when it cannot be read."""
    if b"access too frequent" in raw[:200]:  # not JSON
        return VenueError(403, "access too frequent", True, time.time_ns() // 1_000_000 + BANNED_MS)
    status = decoded(_status, raw)
    if not status or not status.ret_code:
        return None
    return VenueError(status.ret_code, status.ret_msg, status.ret_code in TOO_MANY)


LISTED = 1000  # the most instruments of an answer
TRADES: dict[MarketType, int] = {"spot": 60, "linear": 1000, "inverse": 1000}  # all that Bybit still has

PERIODS = {"5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "4h": "4h", "1d": "1d"}
"""Bybit's word for a period of open interest. https://bybit-exchange.github.io/docs/v5/enum#intervaltime"""


class BybitHistory(VenueHistory):
    """Histories of Bybit."""

    newest_first = True
    intervals, periods = parse.INTERVALS, PERIODS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        request = self._request("kline", symbol=instrument, interval=parse.INTERVALS[interval], limit=1000)
        return await self._before(cursor, Kline, request, ("start", "end"))

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """The one page that there is."""
        limit = TRADES[self.market_type]
        rows = await self._rows(cursor, Trade, self._request("recent-trade", symbol=instrument, limit=limit))
        if len(rows) >= limit and rows[-1].time >= cursor.start:
            raise BadPage(cursor.about, f"Bybit has the last {len(rows)} trades only, which do not reach back so far")
        return FetchedPage([row for row in rows if cursor.start <= row.time < cursor.end], done=True)

    async def _funding(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        return await self._before(cursor, FundingRate, self._request("funding/history", symbol=instrument, limit=200))

    async def _past_interest(self, instrument: str, period: str, cursor: Cursor) -> FetchedPage:
        request = self._request("open-interest", symbol=instrument, intervalTime=PERIODS[period], limit=200)
        return await self._before(cursor, OpenInterest, request)

    async def _before(
        self, cursor: Cursor, kind: Historic, request: Request, bounds: tuple[str, str] = BOUNDS
    ) -> FetchedPage:
        """The newest rows of the window up to the cursor."""
        bounded = between(request, cursor.start, cursor.at + 1, bounds)
        rows = await self._rows(cursor, kind, bounded) if bounded else []
        return FetchedPage(rows, done=not rows, reached=rows[-1].time - 1 if rows else None)

    def _request(self, path: str, **params: str | int) -> Request:
        return Request(API + path, {"category": self.market_type, **params})

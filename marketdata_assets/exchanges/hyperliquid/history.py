"""Hyperliquid's history over REST: candles, funding and the last trades.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
All requests are one path with a JSON body. The venue keeps the last 5000 candles of an interval, and of trades the last
ten: there is no older history of them over REST.
"""

from collections.abc import Mapping

import msgspec

from marketdata_assets.exchanges.errors import BadPage
from marketdata_assets.exchanges.hyperliquid import parse
from marketdata_assets.exchanges.records import FundingRate, Kline, Trade
from marketdata_assets.exchanges.rest import limits_of
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import VenueHistory, between
from marketdata_assets.exchanges.wire import MS

URL = "https://api.hyperliquid.xyz"
PATH = "/info"
limits = limits_of("api.hyperliquid.xyz", 1200.0, 60.0)  # weight, by address
WEIGHT = 20.0  # of a request, and one more for each so many rows of the answer
CANDLES, CANDLES_OF_A_WEIGHT = 499, 60  # a page; an answer has 500 rows at most, and the first may begin before
KEPT_CANDLES = 5000  # of an interval
RATES, ROWS_OF_A_WEIGHT = 250, 20  # a page, half of the most rows of an answer
HOUR = 3_600_000 * MS

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000, "M": 28 * 86_400_000}  # a month at least
LENGTHS = {interval: int(interval[:-1]) * _UNITS[interval[-1]] * MS for interval in parse.INTERVALS}


def body_of(params: Mapping[str, str | int]) -> bytes:
    """The body of a request: its type, and of candles everything else in `req`."""
    if params.get("type") != "candleSnapshot":
        return msgspec.json.encode(params)
    about = {name: value for name, value in params.items() if name != "type"}
    return msgspec.json.encode({"type": params["type"], "req": about})


class HyperliquidHistory(VenueHistory):
    """Histories of Hyperliquid."""

    intervals = LENGTHS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        """BadPage for a window that begins before the last 5000, which are all that the venue has."""
        length, cost = LENGTHS[interval], WEIGHT + CANDLES / CANDLES_OF_A_WEIGHT
        reached = min(cursor.at + CANDLES * length, cursor.end)
        bounded = between(_request("candleSnapshot", instrument, cost, interval=interval), cursor.at, reached)
        if bounded is None:
            return FetchedPage((), False, reached)
        answer = await self._get(bounded)
        oldest = (answer.ts_recv // length - KEPT_CANDLES) * length
        if cursor.at < oldest:
            cause = f"the venue has only the last {KEPT_CANDLES} candles of {interval}, since {oldest // MS} ms"
            raise BadPage(cursor.about, f"{cause}, and the window begins before")
        # A candle that was open when the span begins belongs to another page.
        return FetchedPage([row for row in self._read(cursor, answer, Kline) if row.time >= cursor.at], False, reached)

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """BadPage for a window that begins before the last ten, which are all that the venue has."""
        rows = (await self._rows(cursor, Trade, _request("recentTrades", instrument, WEIGHT + 1)))[::-1]
        # The oldest may be the rest of a block: only what is newer is known to be whole.
        if not rows or rows[0].time >= cursor.start:
            since = f"since {rows[0].time // MS} ms" if rows else "and it sent none"
            cause = f"the venue has only its last {len(rows)} trades, {since}, and the window begins before"
            raise BadPage(cursor.about, cause)
        return FetchedPage([row for row in rows if cursor.start <= row.time < cursor.end], True)

    async def _funding(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        request = _request("fundingHistory", instrument, WEIGHT + RATES / ROWS_OF_A_WEIGHT)
        return await self._span(cursor, RATES * HOUR, FundingRate, request)


def _request(what: str, coin: str, cost: float, **more: str) -> Request:
    return Request(PATH, {"type": what, "coin": coin, **more}, cost=cost)

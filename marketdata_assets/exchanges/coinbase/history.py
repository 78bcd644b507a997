"""Coinbase's history over REST: candles and trades, of all time.

https://docs.cdp.coinbase.com/exchange/rest-api/pagination, https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
Lists come newest first. Pages of trades go by number, `after` which are the older ones: where a window ends among them
is found by bisection.
"""

from datetime import UTC, datetime

from marketdata_assets.exchanges.coinbase.parse import INTERVALS
from marketdata_assets.exchanges.records import Kline, Trade
from marketdata_assets.exchanges.rest import limits_of
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage, Row
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import VenueHistory
from marketdata_assets.exchanges.wire import NS

URL = "https://api.exchange.coinbase.com"
limits = limits_of("api.exchange.coinbase.com", 10.0)  # requests a second, by address
CANDLES, TRADES = 300, 1000  # the most of an answer


class CoinbaseHistory(VenueHistory):
    """Histories of Coinbase."""

    newest_first = True
    intervals = INTERVALS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        length = INTERVALS[interval] * NS
        last = cursor.at // length * length
        first = max(last - (CANDLES - 1) * length, -(-cursor.start // length) * length)
        if first > last:
            return FetchedPage((), done=True)
        span = {"start": _time(first), "end": _time(last)}
        request = Request(f"/products/{instrument}/candles", {"granularity": INTERVALS[interval], **span})
        rows = await self._rows(cursor, Kline, request)
        return FetchedPage([row for row in rows if first <= row.time <= last], done=False, reached=first - 1)

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        number = cursor.number
        if number is None:
            number = await self._number_at_end(instrument, cursor)
        rows = await self._older(instrument, cursor, number)
        inside = [row for row in rows if row.time >= cursor.start]
        done = not inside or len(inside) < len(rows)
        return FetchedPage(inside, done, token=rows[-1].key if rows else None)

    async def _number_at_end(self, instrument: str, cursor: Cursor) -> int:
        """The number of the first trade that is not before the window's end."""
        newest = await self._older(instrument, cursor, None, 1)
        if not newest or newest[0].time < cursor.end:
            return int(newest[0].key) + 1 if newest else 1
        before, high, step = 0, int(newest[0].key), TRADES
        while high - before > 1:
            middle = max(high - step, (before + high) // 2)  # windows are rather new than old
            rows = await self._older(instrument, cursor, middle + 1, 1)
            if rows and rows[0].time >= cursor.end:
                high, step = int(rows[0].key), 2 * step
            else:
                before = middle
        return high

    async def _older(self, instrument: str, cursor: Cursor, number: int | None, limit: int = TRADES) -> list[Row]:
        after = {} if number is None else {"after": number}
        request = Request(f"/products/{instrument}/trades", {"limit": limit, **after})
        return await self._rows(cursor, Trade, request)


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // NS, UTC):%Y-%m-%dT%H:%M:%SZ}"

"""Kraken's history over REST: candles and trades.

https://docs.kraken.com/api-reference/market-data/get-recent-trades, https://docs.kraken.com/api-reference/market-data/get-ohlc-data
https://support.kraken.com/articles/206548367-what-are-the-api-rate-limits-
Lists come oldest first. Kraken keeps all trades since the listing, and the last 720 candles of an interval.
"""

from marketdata_assets.exchanges.errors import BadPage
from marketdata_assets.exchanges.kraken.instruments import rest_name
from marketdata_assets.exchanges.kraken.parse import INTERVALS, MICRO, MINUTE
from marketdata_assets.exchanges.records import Kline, Trade
from marketdata_assets.exchanges.rest import limits_of
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage, numbered_page
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import VenueHistory
from marketdata_assets.exchanges.wire import NS

URL = "https://api.kraken.com"
API = "/0/public/"
limits = limits_of("api.kraken.com", 1.0)  # requests a second, by address; of these two lists by pair too
KEPT_CANDLES = 720  # of an interval
TRADES = 1000  # the most of an answer


class KrakenHistory(VenueHistory):
    """Histories of Kraken."""

    intervals = INTERVALS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        """BadPage for a window that begins before the last 720, which are all that the venue has."""
        minutes = INTERVALS[interval]
        request = self._request("OHLC", instrument, cursor.at // NS, interval=minutes)
        rows = await self._rows(cursor, Kline, request)
        if len(rows) >= KEPT_CANDLES and rows[0].time - minutes * MINUTE >= cursor.at:
            cause = f"the venue has only the last {KEPT_CANDLES} candles of {interval}, since {rows[0].time // NS} s"
            raise BadPage(cursor.about, f"{cause}, and the window begins before")
        return FetchedPage([row for row in rows if cursor.at <= row.time < cursor.end], done=True)

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """A page begins with the moment of the last row again: others may share it."""
        token = cursor.number or 0
        rows = await self._rows(cursor, Trade, self._request("Trades", instrument, cursor.at, count=TRADES))
        new = [row for row in rows if row.time >= cursor.start and int(row.key) >= token]
        more = bool(new) or len(rows) >= TRADES
        return numbered_page(cursor, "trade", self.instruments[instrument], new, more=more)

    def _request(self, path: str, instrument: str, since: int, **more: int) -> Request:
        """Rows from a moment on: `since` excludes its own, so that it is one before."""
        unit = MICRO if path == "Trades" else 1
        pair = rest_name(self.instruments[instrument])
        return Request(API + path, {"pair": pair, "since": max(since - unit, 0), **more})

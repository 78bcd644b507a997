"""OKX's history over REST: candles, trades, funding and open interest.

All lists come newest first, and `after` asks for what is older than a time or a trade. OKX keeps trades and funding of
three months, and 1440 rows of open interest.
"""

from marketdata_assets.exchanges.records import FundingRate, Kline, OpenInterest, Trade
from marketdata_assets.exchanges.rest import limits_of
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import Historic, VenueHistory
from marketdata_assets.exchanges.wire import MS

URL = "https://www.okx.com"
API = "/api/v5/"
PAGE = 100  # the most rows of an answer, of the least generous of these lists

PER_2_SECONDS = {
    "market/history-candles": 20,
    "market/history-trades": 20,
    "public/funding-rate-history": 10,
    "public/open-interest": 20,
    "public/instruments": 20,
    "public/underlying": 20,
    "rubik/stat/contracts/open-interest-history": 10,
}
"""Requests, by address, as the documentation says of each path."""

BARS = {
    **{text: text for text in ("1s", "1m", "3m", "5m", "15m", "30m")},
    **{f"{hours}h": f"{hours}H" for hours in (1, 2, 4)},
    **{f"{hours}h": f"{hours}Hutc" for hours in (6, 12)},
    **{f"{days}d": f"{days}Dutc" for days in (1, 2, 3)},
    "1w": "1Wutc",
    "1M": "1Mutc",
    "3M": "3Mutc",
}
"""OKX's word for an interval; of its days, which begin at UTC+8 or at UTC, the ones that other venues have too."""

PERIODS = {name: bar for name, bar in BARS.items() if name[-1] in "mhd" and name not in ("1m", "3m")}


limits = limits_of(
    "www.okx.com", sum(PER_2_SECONDS.values()), 2.0, {path: (most, 2.0) for path, most in PER_2_SECONDS.items()}
)


class OkxHistory(VenueHistory):
    """Histories of OKX."""

    newest_first = True
    intervals, periods = BARS, PERIODS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        query = {"instId": instrument, "bar": BARS[interval], "after": _after(cursor)}
        return await self._older(cursor, Kline, "market/history-candles", query)

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """The first page goes by time, the others by the number of the trade that came last."""
        number = cursor.number
        by = {"type": "2", "after": _after(cursor)} if number is None else {"type": "1", "after": str(number)}
        return await self._older(cursor, Trade, "market/history-trades", {"instId": instrument, **by})

    async def _funding(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        query = {"instId": instrument, "after": _after(cursor)}
        return await self._older(cursor, FundingRate, "public/funding-rate-history", query)

    async def _past_interest(self, instrument: str, period: str, cursor: Cursor) -> FetchedPage:
        query = {"instId": instrument, "period": PERIODS[period], "end": _after(cursor)}
        return await self._older(cursor, OpenInterest, "rubik/stat/contracts/open-interest-history", query)

    async def _older(self, cursor: Cursor, kind: Historic, path: str, query: dict[str, str]) -> FetchedPage:
        """The rows of an answer that are in the window; what is older than it, or nothing new at all, is the end."""
        rows = await self._rows(cursor, kind, Request(API + path, {**query, "limit": str(PAGE)}, path))
        new = [row for row in rows if row.time != cursor.at or row.key not in cursor.seen]
        inside = [row for row in new if row.time >= cursor.start]
        token = rows[-1].key if rows and kind is Trade else None
        return FetchedPage(inside, done=not inside or len(inside) < len(new), token=token)


def _after(cursor: Cursor) -> str:
    """The millisecond behind the cursor: OKX answers with what is older than that."""
    return str(cursor.at // MS + 1)

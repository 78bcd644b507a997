"""Deribit's history over REST: candles, trades and funding."""

from dataclasses import replace

from marketdata_assets.exchanges.deribit import rest as answers
from marketdata_assets.exchanges.deribit.parse import INTERVALS, MINUTE
from marketdata_assets.exchanges.records import FundingRate, Kline, Trade
from marketdata_assets.exchanges.rest import limits_of
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage, numbered_page
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import VenueHistory, between

URL = "https://www.deribit.com/api/v2"
PUBLIC_REQUESTS_PER_SECOND = 10.0  # by address and not documented; half of what an account has
CANDLES = 1000  # a page, well below where charts are cut
TRADES = 1000  # the most that an answer has
FUNDING_HOURS = 500  # a page, below the month where answers are cut
HOUR = 60 * MINUTE
LISTS, LIST_SECONDS = "instruments", 1.0  # between two lists

DERIBIT_BOUNDS = "start_timestamp", "end_timestamp"

_RESOLUTIONS = {name: (resolution, minutes) for resolution, (name, minutes) in INTERVALS.items()}


limits = limits_of("www.deribit.com", PUBLIC_REQUESTS_PER_SECOND, lanes={LISTS: (1, LIST_SECONDS)})


class DeribitHistory(VenueHistory):
    """Histories of Deribit."""

    intervals = _RESOLUTIONS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        resolution, minutes = _RESOLUTIONS[interval]
        length = minutes * MINUTE
        request = _request("get_tradingview_chart_data", instrument, resolution=resolution)
        page = await self._span(cursor, CANDLES * length, Kline, request, DERIBIT_BOUNDS)
        # A candle that was open when the span begins belongs to another page.
        return replace(page, rows=[row for row in page.rows if not cursor.at - length < row.time < cursor.at])

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """The first page is selected by time, the others by the sequence number within the instrument."""
        number = cursor.number
        method = "get_last_trades_by_instrument"
        query: dict[str, str | int] = {"count": TRADES, "sorting": "asc"}
        timed = between(_request(f"{method}_and_time", instrument, **query), cursor.at, cursor.end, DERIBIT_BOUNDS)
        if timed is None:
            return FetchedPage((), True)
        numbered = _request(method, instrument, **query, start_seq=number or 0)
        answer = await self._get(timed if number is None else numbered)
        rows = self._read(cursor, answer, Trade)
        more = answers.has_more(answer.raw)
        return numbered_page(cursor, "trades", self.instruments[instrument], rows, more=more)

    async def _funding(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """What was paid, for every hour that ends in the window."""
        request = _request("get_funding_rate_history", instrument)
        page = await self._span(cursor, FUNDING_HOURS * HOUR, FundingRate, request, DERIBIT_BOUNDS)
        return replace(page, rows=sorted(page.rows, key=lambda row: row.time))


def _request(method: str, instrument: str, **params: str | int) -> Request:
    return Request(f"/public/{method}", {"instrument_name": instrument, **params})

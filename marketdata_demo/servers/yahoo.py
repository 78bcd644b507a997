"""A server on loopback that behaves like Yahoo's v8 chart, with its reach, its null bars and its plain-text 429."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from marketdata_demo.servers.loopback import ProviderServer, json_answer

HOURS = ((90, 210), (300, 420))  # minutes after 00:00 UTC: 09:30-11:30 and 13:00-15:00 in Shanghai


class YahooServer(ProviderServer):
    """`now` is its clock; `nulls` are epoch seconds whose bar is null; `holes` are days without bars.

    `currencies` are those of symbols that are not quoted in CNY.
    """

    def __init__(self, symbols: Sequence[str] = ("600000.SS",), *, now: dt.datetime, **limits: Any) -> None:
        super().__init__(**limits)
        self.symbols, self.now = list(symbols), now
        self.nulls: set[int] = set()
        self.holes: set[dt.date] = set()
        self.extra: list[int] = []
        self.events: dict[str, object] = {}
        self.currencies: dict[str, str] = {}

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return web.Response(status=429, text="Too Many Requests")

    def error(self, status: int, code: str, description: str) -> web.StreamResponse:
        return json_answer({"chart": {"result": None, "error": {"code": code, "description": description}}}, status)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        symbol, query = unquote(request.path.rpartition("/")[2]), request.query
        if symbol not in self.symbols:
            return self.error(404, "Not Found", "No data found, symbol may be delisted")
        if query["interval"] != "1m":
            return self._result(symbol, query["interval"], [])
        start, end = int(query["period1"]), int(query["period2"])
        if end - start > 7 * 86400:
            return self._unavailable(start, end, "Only 8 days worth of 1m granularity data are allowed to be fetched.")
        if start < (self.now - dt.timedelta(days=30)).timestamp():
            return self._unavailable(start, end, "The requested range must be within the last 30 days.")
        times = [
            second for second in range(start - start % 60, end, 60) if second >= start and self.is_open(symbol, second)
        ]
        return self._result(symbol, "1m", sorted([*times, *(one for one in self.extra if start <= one < end)]))

    def is_open(self, symbol: str, second: int) -> bool:
        """Whether there is a bar of the minute that starts then."""
        day = dt.datetime.fromtimestamp(second, dt.UTC)
        if second >= self.now.timestamp() or day.weekday() > 4 or day.date() in self.holes:
            return False
        return any(first <= day.hour * 60 + day.minute < last for first, last in HOURS)

    def _unavailable(self, start: int, end: int, why: str) -> web.StreamResponse:
        said = f"1m data not available for startTime={start} and endTime={end}. {why}"
        return self.error(422, "Unprocessable Entity", said)

    def _result(self, symbol: str, interval: str, times: list[int]) -> web.StreamResponse:
        meta = {
            "currency": self.currencies.get(symbol, "CNY"),
            "symbol": symbol,
            "gmtoffset": 28800,
            "dataGranularity": interval,
        }
        result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [{}]}}
        if times:
            price = [None if time in self.nulls else 10.0 + time % 3600 / 36000 for time in times]
            volume = [None if time in self.nulls else time % 7 * 100 for time in times]
            result["timestamp"] = times
            quote = {"open": price, "high": price, "low": price, "close": price, "volume": volume}
            result["indicators"] = {"quote": [quote]}
        if self.events:
            result["events"] = self.events
        return json_answer({"chart": {"result": [result], "error": None}})

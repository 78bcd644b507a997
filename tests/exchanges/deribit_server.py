"""A server on loopback that behaves like Deribit's REST host: both bounds inside, its page sizes, its errors."""

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from deribit_messages import FUNDING, LISTED, SUMMARY, trade

from marketdata_demo.servers.loopback import ProviderServer, json_answer

MINUTE = 60_000
HOUR = 60 * MINUTE


@dataclass(frozen=True)
class Happened:
    """One trade of the server: when, ms, and its number."""

    ts: int
    number: int


class DeribitServer(ProviderServer):
    """`trades` are in order. `largest_page` is how many of them an answer has at most, `candles` how many candles."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.hours: list[int] = []  # ms
        self.first_candle = 0  # ms
        self.now = 10**13
        self.largest_page, self.candles = 1000, 1000

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return self.error(400, 10028, "too_many_requests")

    def error(self, status: int, code: int, message: str) -> web.StreamResponse:
        return json_answer({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "testnet": False}, status)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        name = request.query.get("instrument_name", "")
        if name and not any(one["instrument_name"] == name for one in LISTED):
            return self.error(400, 13020, "instrument_not_found")
        made = getattr(self, method)(request.query)
        return web.Response(text=json.dumps({"jsonrpc": "2.0", "result": made, "usIn": 1, "usOut": 2}))

    def get_instruments(self, query: Any) -> Any:
        return LISTED

    def get_book_summary_by_instrument(self, query: Any) -> Any:
        return [SUMMARY | {"instrument_name": query["instrument_name"]}]

    def get_last_trades_by_instrument_and_time(self, query: Any) -> Any:
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        return self._some(query, [one for one in self.trades if first <= one.ts <= last])

    def get_last_trades_by_instrument(self, query: Any) -> Any:
        return self._some(query, [one for one in self.trades if one.number >= int(query["start_seq"])])

    def _some(self, query: Any, found: list[Happened]) -> Any:
        assert query["sorting"] == "asc"
        assert int(query["count"]) <= 1000
        page = found[: min(int(query["count"]), self.largest_page)]
        name = query["instrument_name"]
        rows = [
            trade(instrument_name=name, timestamp=one.ts, trade_seq=one.number, trade_id=f"ABC-{one.number}")
            for one in page
        ]
        return {"trades": rows, "has_more": len(page) < len(found)}

    def get_tradingview_chart_data(self, query: Any) -> Any:
        length = 24 * HOUR if query["resolution"] == "1D" else int(query["resolution"]) * MINUTE
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        ticks = [
            tick
            for tick in range(first - first % length, last + 1, length)  # the one under way at the start is there too
            if self.first_candle <= tick <= self.now
        ]
        ticks = ticks[-self.candles :]
        columns = {name: [100.5] * len(ticks) for name in ("open", "high", "low", "close", "volume", "cost")}
        return {"status": "ok" if ticks else "no_data", "ticks": ticks, **columns}

    def get_funding_rate_history(self, query: Any) -> Any:
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        found = [FUNDING | {"timestamp": hour} for hour in self.hours if first <= hour <= last]
        return list(reversed(found))[:744]

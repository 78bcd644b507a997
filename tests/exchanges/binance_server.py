"""A server on loopback that behaves like Binance's REST hosts: bounds inside, its page sizes, weights and errors."""

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from marketdata_demo.servers.loopback import ProviderServer, json_answer

MINUTE = 60_000
HOUR = 60 * MINUTE
NAMES = ("ABCUSDT", "ABCUSD_PERP")
WEIGHTS = {"klines": 5, "aggTrades": 20}


@dataclass(frozen=True)
class Happened:
    """One trade of the server: when, ms, and its number."""

    ts: int
    number: int


class BinanceServer(ProviderServer):
    """`trades` are in order; `paid` and `kept` are the moments, ms, of funding and of past open interest."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.paid: list[int] = []
        self.kept: list[int] = []
        self.first_candle, self.now = 0, 9 * 10**12
        self.status = 429

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        message = "Too many requests; current limit is 2400 request weight per 1 MINUTE."
        answer = json_answer({"code": -1003, "msg": message}, self.status)
        answer.headers["Retry-After"] = "1"
        return answer

    def cost(self, request: web.Request) -> int:
        return WEIGHTS.get(request.path.rpartition("/")[2], 1)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("symbol", NAMES[0]) not in NAMES:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        if "fromId" in request.query and "startTime" in request.query:
            return json_answer({"code": -1106, "msg": "Parameter 'fromId' sent when not required."}, 400)
        made = getattr(self, request.path.rpartition("/")[2])(request.query)
        return web.Response(text=json.dumps(made))

    def exchangeInfo(self, query: Any) -> Any:  # noqa: N802
        listed = {"baseAsset": "ABC", "contractSize": 10}
        quotes = zip(NAMES, ("USDT", "USD"), strict=True)
        return {"symbols": [listed | {"symbol": name, "quoteAsset": quote} for name, quote in quotes]}

    def openInterest(self, query: Any) -> Any:  # noqa: N802
        return {"symbol": query["symbol"], "openInterest": "12.5", "time": self.now}

    def klines(self, query: Any) -> Any:
        length = {"1m": MINUTE, "1d": 24 * HOUR}[query["interval"]]
        first, last = int(query["startTime"]), int(query["endTime"])
        times = [
            at for at in range(-(-first // length) * length, last + 1, length) if self.first_candle <= at <= self.now
        ]
        assert last - first < 200 * 24 * HOUR or query["symbol"] == NAMES[0]
        return [[at, "1", "3", "1", "2", "5", at + length - 1, "10", 4, "2", "4", "0"] for at in _page(query, times)]

    def aggTrades(self, query: Any) -> Any:  # noqa: N802
        if "fromId" in query:
            found = [one for one in self.trades if one.number >= int(query["fromId"])]
        else:
            first, last = int(query["startTime"]), int(query["endTime"])
            assert last - first < HOUR
            found = [one for one in self.trades if first <= one.ts <= last]
        return [
            {"a": one.number, "p": "1.5", "q": "2", "f": one.number, "l": one.number, "T": one.ts, "m": True}
            for one in _page(query, found)
        ]

    def fundingRate(self, query: Any) -> Any:  # noqa: N802
        first, last = int(query["startTime"]), int(query["endTime"])
        found = _page(query, [at for at in self.paid if first <= at <= last])
        return [
            {"symbol": query["symbol"], "fundingTime": at, "fundingRate": "0.0001", "markPrice": ""} for at in found
        ]

    def openInterestHist(self, query: Any) -> Any:  # noqa: N802
        first, last = int(query["startTime"]), int(query["endTime"])
        times = [at for at in self.kept if first <= at <= last][-int(query["limit"]) :]
        about = {key: query[key] for key in ("symbol", "pair", "contractType") if key in query}
        return [about | {"sumOpenInterest": "7", "sumOpenInterestValue": "9.5", "timestamp": at} for at in times]


def _page(query: Any, found: list[Any]) -> list[Any]:
    assert int(query["limit"]) <= 1000
    return found[: int(query["limit"])]

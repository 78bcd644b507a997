"""A server on loopback that behaves like OKX: newest first, `after` excluded, its page sizes, its errors."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from marketdata_demo.servers.loopback import ProviderServer, json_answer

API = "/api/v5/"
PAGE = 100
LENGTHS = {"1m": 60_000, "1H": 3_600_000, "1Dutc": 86_400_000}
SPOT = {"instType": "SPOT", "instId": "ABC-USDT", "baseCcy": "ABC", "quoteCcy": "USDT"}
SWAP = {
    "instType": "SWAP",
    "instId": "ABC-USD-SWAP",
    "uly": "ABC-USD",
    "ctType": "inverse",
    "ctVal": "10",
    "ctMult": "1",
    "ctValCcy": "USD",
}
OPTION = {**SWAP, "instType": "OPTION", "instId": "ABC-USD-250328-60-C", "ctType": "", "ctVal": "1", "ctValCcy": "ABC"}
LISTED = [SPOT, SWAP, OPTION]


@dataclass(frozen=True)
class Happened:
    """One trade of the server: when, ms, and its number."""

    ts: int
    number: int


class OkxServer(ProviderServer):
    """`trades` are in order, `hours` are when something was paid, ms. `page` is how many rows an answer has at most."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.hours: list[int] = []
        self.first_candle, self.now = 0, 10**13
        self.page = PAGE

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return json_answer({"code": "50011", "msg": "Too Many Requests", "data": []}, 429)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        name = query.get("instId")
        if name is not None and name not in {one["instId"] for one in LISTED}:
            return json_answer({"code": "51001", "msg": "Instrument ID does not exist", "data": []})
        path = request.path.removeprefix(API)
        rows = getattr(self, path.rpartition("/")[2].replace("-", "_"))(query)
        if "limit" in query:
            assert int(query["limit"]) <= PAGE
            rows = rows[: min(int(query["limit"]), self.page)]
        return json_answer({"code": "0", "msg": "", "data": rows})

    def underlying(self, query: Any) -> Any:
        return [["ABC-USD"]]

    def instruments(self, query: Any) -> Any:
        kind, family = query["instType"], query.get("instFamily")
        assert (kind == "OPTION") == (family is not None)
        return [one for one in LISTED if one["instType"] == kind and family in (None, one.get("uly"))]

    def open_interest(self, query: Any) -> Any:
        return [{"instId": query["instId"], "oi": "200", "oiCcy": "500", "ts": "1700000000000"}]

    def history_candles(self, query: Any) -> Any:
        length, after = LENGTHS[query["bar"]], int(query["after"])
        last = (min(after, self.now) - 1) // length * length
        starts = range(last, max(self.first_candle, last - 3 * PAGE * length) - 1, -length)
        return [[str(start), "4", "5", "3", "4", "100", "10", "40", "1"] for start in starts]

    def history_trades(self, query: Any) -> Any:
        after = int(query["after"])
        by_time = {"1": False, "2": True}[query["type"]]
        older = [one for one in self.trades if (one.ts if by_time else one.number) < after]
        name = query["instId"]
        fixed = {"instId": name, "px": "4.2", "sz": "3", "side": "buy"}
        return [{**fixed, "tradeId": str(one.number), "ts": str(one.ts)} for one in reversed(older)]

    def funding_rate_history(self, query: Any) -> Any:
        fixed = {"instId": query["instId"], "fundingRate": "0.0002", "realizedRate": "0.0001"}
        return [{**fixed, "fundingTime": str(hour)} for hour in self._older(int(query["after"]))]

    def open_interest_history(self, query: Any) -> Any:
        assert query["period"] == "1H"
        return [[str(hour), "200", "500", "2100"] for hour in self._older(int(query["end"]))]

    def _older(self, after: int) -> list[int]:
        return [hour for hour in reversed(self.hours) if hour < after]

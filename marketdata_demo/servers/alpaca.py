"""A server on loopback that behaves like Alpaca's market data API: keys, the delay of free accounts, hours before and
after the session, and its errors."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from marketdata_demo.servers.loopback import ProviderServer, json_answer

KEYS = ("canary-key-id", "canary-secret-key")
NEW_YORK = ZoneInfo("America/New_York")
OPENS, CLOSES = 4 * 60, 20 * 60  # minutes of the day with the hours before and after the session
DELAY = dt.timedelta(minutes=15)


class AlpacaServer(ProviderServer):
    """Has a bar of every minute from 04:00 to 20:00 of weekdays; `now` is its clock, `holes` are days without bars."""

    def __init__(self, symbols: Sequence[str] = ("AAPL",), *, now: dt.datetime, **limits: Any) -> None:
        super().__init__(**limits)
        self.symbols, self.now = list(symbols), now
        self.keys = KEYS
        self.free = True  # whether the account may not have the last 15 minutes
        self.holes: set[dt.date] = set()
        self.extra: list[dict[str, object]] = []  # bars that every answer has too

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return self.error(429, "too many requests.")

    def error(self, status: int, message: str) -> web.StreamResponse:
        return json_answer({"message": message}, status)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query, headers = request.query, request.headers
        if (headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")) != self.keys:
            return self.error(403, "forbidden.")
        symbol = query["symbols"]
        if not symbol.replace(".", "").isalpha():
            return self.error(400, f"invalid symbol: {symbol}")
        start, end = (dt.datetime.fromisoformat(query[name]) for name in ("start", "end"))
        if self.free and query["feed"] == "sip" and end > self.now - DELAY:
            return self.error(403, "subscription does not permit querying recent SIP data")
        minutes = range(int((end - start).total_seconds()) // 60 + 1)
        times = [moment for minute in minutes if self.has(moment := start + dt.timedelta(minutes=minute))]
        bars = [bar(moment) for moment in times if symbol in self.symbols] + self.extra
        limit = int(query["limit"])
        token = "more" if len(bars) > limit else None
        return json_answer(
            {"bars": {symbol: bars[:limit]} if bars else {}, "next_page_token": token, "currency": "USD"}
        )

    def has(self, moment: dt.datetime) -> bool:
        local = moment.astimezone(NEW_YORK)
        traded = local.weekday() < 5 and local.date() not in self.holes and moment < self.now
        return traded and OPENS <= local.hour * 60 + local.minute < CLOSES


def bar(moment: dt.datetime) -> dict[str, object]:
    price = 200 + moment.minute / 100
    numbers = {"o": price, "h": price + 0.5, "l": price - 0.5, "c": price, "v": 100 * (moment.minute + 1), "n": 7}
    return {"t": f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}", **numbers, "vw": price}

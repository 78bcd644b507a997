"""A server on loopback that behaves like Tushare: rows cut at the cap, newest first, fields in its own order."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from aiohttp import web

from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_demo.servers.loopback import ProviderServer, json_answer

TOKEN = "canary-token"
RATE = "抱歉，您访问接口({})频率超限({}次/{})，权限的具体详情访问：https://tushare.pro/document/1?doc_id=108。"
PERIODS = {"minute": "分钟", "hour": "小时", "day": "天"}
ADDRESSES = "您的IP数量超限，最大数量为{}个！"
DENIED = "抱歉，您没有接口({})访问权限，权限的具体详情访问：https://tushare.pro/document/1?doc_id=108。"

MORNING = [dt.time(number // 60, number % 60) for number in range(9 * 60 + 30, 11 * 60 + 31)]
AFTERNOON = [dt.time(number // 60, number % 60) for number in range(13 * 60 + 1, 15 * 60 + 1)]
LABELS = [*MORNING, *AFTERNOON]

DAILY = [
    "close",
    "turnover_rate",
    "turnover_rate_f",
    "volume_ratio",
    "pe",
    "pe_ttm",
    "pb",
    "ps",
    "ps_ttm",
    "dv_ratio",
    "dv_ttm",
    "total_share",
    "float_share",
    "free_share",
    "total_mv",
    "circ_mv",
]

REFERENCE = {
    "namechange": ("ts_code", "name", "start_date", "end_date", "change_reason"),
    "bse_mapping": ("name", "o_code", "n_code", "list_date"),
    "suspend_d": ("ts_code", "trade_date", "suspend_timing", "suspend_type"),
    "stk_limit": ("trade_date", "ts_code", "up_limit", "down_limit"),
}
"""Interfaces that have no row unless a test gives them some."""


def minute_rows(symbol: str, day: dt.date) -> list[list[Any]]:
    """The 241 bars of a day, oldest first, in the order ts_code, trade_time, close, open, high, low, vol, amount."""
    return [[symbol, *row] for row in _minutes_of(day)]


@cache
def _minutes_of(day: dt.date) -> list[tuple[Any, ...]]:
    """The same for every symbol."""
    rows: list[tuple[Any, ...]] = []
    for number, label in enumerate(LABELS):
        price = round(10 + (day.toordinal() % 50) / 100 + number / 1000, 3)
        volume = 0.0 if number == 239 else 100.0 * (number + 1)
        stamp = f"{day} {label:%H:%M:%S}"
        rows.append((stamp, price, price, price + 0.01, price - 0.01, volume, round(volume * price, 2)))
    return rows


class TushareServer(ProviderServer):
    """Has bars of working days; `denied` interfaces need a permission; symbols that are not known have no rows."""

    def __init__(self, symbols: Sequence[str] = ("600000.SH",), *, cap: int = 8000, **limits: Any) -> None:
        super().__init__(**limits)
        self.symbols, self.cap = list(symbols), cap
        self.tokens = [TOKEN]
        self.by_token: Counter[str] = Counter()
        self.denied: set[str] = set()
        self.rejected: dict[str, tuple[int, str]] = {}  # token -> code and text that it gets for any request
        self.suspended: set[dt.date] = set()
        self.without: set[str] = set()  # columns that are missing from answers
        self.more = True  # whether has_more is told
        self.odd: dict[str, list[Any]] = {}  # trade_time -> the row that is sent instead
        self.closed: set[dt.date] = set()  # more holidays of trade_cal, which announces days up to `announced`
        self.announced = dt.date.max
        self.tables: dict[str, tuple[list[str], list[list[Any]]]] = {
            name: (list(fields), []) for name, fields in REFERENCE.items()
        }

    async def line(self, request: web.Request) -> str:
        body = await request.json()
        return f"{body['api_name']} {body['params']}"

    def too_many(self, limit: str) -> web.StreamResponse:
        return self.error(40203, RATE.format(self.lines[-1].partition(" ")[0], self.limits[limit][0], PERIODS[limit]))

    def error(self, code: int, message: str) -> web.StreamResponse:
        return json_answer({"code": code, "msg": message, "message": message, "data": None})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, params = body["api_name"], body["params"]
        self.by_token[body["token"]] += 1
        if body["token"] in self.rejected:
            return self.error(*self.rejected[body["token"]])
        if body["token"] not in self.tokens:
            return self.error(40101, "您的token不对，请确认。")
        if name in self.denied:
            return self.error(40203, DENIED.format(name))
        if name == "stk_mins":
            fields, rows = self._minutes(params)
        elif name == "trade_cal":
            fields, rows = self._calendar(params)
        elif name in self.tables:
            fields, rows = self.tables[name]
            index = {field: number for number, field in enumerate(fields)}
            wanted = {key: value for key, value in params.items() if key in index}
            rows = [row for row in rows if all(row[index[key]] == value for key, value in wanted.items())]
        else:
            return self.error(40001, f"请指定正确的接口名 {name}")
        asked = body["fields"].split(",")
        kept = [number for number, field in enumerate(fields) if field in asked and field not in self.without]
        rows = rows[int(params.get("offset", 0)) :]
        items = [[row[number] for number in kept] for row in rows[: self.cap]]
        data: dict[str, object] = {"fields": [fields[number] for number in kept], "items": items, "count": 0}
        if self.more:
            data["has_more"] = len(rows) > self.cap
        return json_answer({"request_id": "0", "code": 0, "msg": "", "data": data})

    def _minutes(self, params: dict[str, str]) -> tuple[list[str], list[list[Any]]]:
        fields = ["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"]
        assert params["freq"] == "1min"
        first, last = (dt.datetime.fromisoformat(params[key]) for key in ("start_date", "end_date"))
        rows: list[list[Any]] = []
        day = last.date()
        while day >= first.date():
            if day.weekday() < 5 and day not in self.suspended and params["ts_code"] in self.symbols:
                rows += reversed(minute_rows(params["ts_code"], day))
            day -= dt.timedelta(days=1)
        inside = [row for row in rows if str(first) <= row[1] <= str(last)]
        return fields, [self.odd.get(row[1], row) for row in inside]

    def _calendar(self, params: dict[str, str]) -> tuple[list[str], list[list[Any]]]:
        first, last = (dt.date.fromisoformat(params[key]) for key in ("start_date", "end_date"))
        days = [last - dt.timedelta(days=number) for number in range((last - first).days + 1)]
        trading = set(ashares().trading_days(Days(first, last))) - self.closed
        rows = [[params["exchange"], f"{day:%Y%m%d}", int(day in trading)] for day in days if day <= self.announced]
        return ["exchange", "cal_date", "is_open"], rows

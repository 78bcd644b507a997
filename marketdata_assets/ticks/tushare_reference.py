"""Tushare's interfaces of reference data, as `reference.load` takes them: one request for all stocks, or for a day.

An answer that was cut, by `has_more` or by its round number of rows, is continued with `offset`. The caps that Tushare
publishes are between 2000 and 10000 rows; a day of `stk_limit`, which has funds too, is over its cap of 5800.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Self

import polars as pl

from marketdata_assets.reference.codes import board_of, lot_of
from marketdata_assets.reference.errors import NotOffered
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import (
    CODE_CHANGES,
    INSTRUMENTS,
    NAME_HISTORY,
    PRICE_LIMITS,
    SUSPENSIONS,
    TRADING_CALENDAR,
    DailyName,
)
from marketdata_assets.ticks.errors import BadResponse, NoPermission
from marketdata_assets.ticks.tushare import Answer, Tushare, one_a_day

BEIJING_CHANGE = dt.date(2025, 10, 9)
"""The day on which all stocks of Beijing listed before got codes that begin with 920; `bse_mapping` does not say it."""
_STATUSES = {"L": "listed", "D": "delisted", "P": "paused"}
_OPEN = {0: False, 1: True, "0": False, "1": True}


class TushareReference:
    """One account's reference data; a method raises what the account raises, and NotOffered without the permission."""

    def __init__(self, account: Tushare) -> None:
        self.name = account.name
        self._account, self._ours = account, account.config.symbol_mapping.ours
        self._daily: dict[DailyName, Callable[[dt.date], Any]] = {
            "suspensions": self._suspensions,
            "adjust_factors": self._adjust_factors,
            "price_limits": self._price_limits,
        }

    async def __aenter__(self) -> Self:
        await self._account.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._account.__aexit__(*error)

    async def trading_calendar(self, days: Days) -> pl.DataFrame:
        """The days that the Shanghai exchange has announced, as open or closed.

        {"fields": ["exchange", "cal_date", "is_open"], "items": [["SSE", "20270101", 0]]}
        """
        params = {"exchange": "SSE", "start_date": f"{days.first:%Y%m%d}", "end_date": f"{days.last:%Y%m%d}"}
        answer = await self._ask("trading_calendar", "trade_cal", params, ("cal_date", "is_open"), str(days))
        said = answer.columns["is_open"]
        if odd := [value for value in said if value not in _OPEN]:
            raise BadResponse(answer.place, f"is_open must be 0 or 1, was {odd[0]!r}")
        columns = {"date": answer.days("cal_date"), "open": [_OPEN[value] for value in said]}
        return pl.DataFrame(columns, TRADING_CALENDAR.values).unique("date").sort("date")

    async def instruments(self) -> pl.DataFrame:
        """All stocks of the three exchanges, those that are delisted or paused too."""
        columns, rows = ("ts_code", "name", "list_date", "delist_date"), []
        for exchange, (code, status) in product(("SSE", "SZSE", "BSE"), _STATUSES.items()):
            params = {"exchange": exchange, "list_status": code}
            answer = await self._account.all_rows("stock_basic", params, columns, f"{exchange} {code}")
            names = (str(name or "") for name in answer.columns["name"])
            days = answer.days_or_null("list_date"), answer.days_or_null("delist_date")
            for symbol, *facts in zip(self._symbols(answer, "ts_code"), names, *days, strict=True):
                if symbol:
                    board = board_of(symbol)
                    rows.append((symbol, *facts, status, board, lot_of(board)))
        return pl.DataFrame(rows, INSTRUMENTS.values, orient="row").unique("symbol", keep="last").sort("symbol")

    async def name_history(self) -> pl.DataFrame:
        """The names that stocks had; of two rows that begin on a day, the one with an end.

        {"fields": ["ts_code", "name", "start_date", "end_date", "change_reason"],
         "items": [["600848.SH", "上海临港", "20151118", null, "改名"]]}
        """
        fields = ("ts_code", "name", "start_date", "end_date", "change_reason")
        answer = await self._ask("name_history", "namechange", {}, fields, "of all stocks")
        frame = pl.DataFrame(
            {
                "symbol": self._symbols(answer, "ts_code"),
                "name": [str(name or "") for name in answer.columns["name"]],
                "first": answer.days_or_null("start_date"),
                "last": answer.days_or_null("end_date"),
                "reason": [str(reason or "") for reason in answer.columns["change_reason"]],
            },
            NAME_HISTORY.values,
        ).drop_nulls(["symbol", "first"])
        keys = list(NAME_HISTORY.keys)
        return frame.sort(*keys, "last", "name", nulls_last=True).unique(keys, keep="first", maintain_order=True)

    async def code_changes(self) -> pl.DataFrame:
        """The stocks of Beijing that got codes of 920.

        {"fields": ["name", "o_code", "n_code", "list_date"], "items": [["...", "430017.BJ", "920017.BJ", "20230531"]]}
        """
        answer = await self._ask("code_changes", "bse_mapping", {}, ("o_code", "n_code"), "of Beijing")
        columns = {"old": self._symbols(answer, "o_code"), "new": self._symbols(answer, "n_code")}
        frame = (
            pl.DataFrame(columns, {"old": pl.String, "new": pl.String})
            .drop_nulls()
            .with_columns(date=pl.lit(BEIJING_CHANGE))
        )
        changed = frame.filter(pl.col("old") != pl.col("new")).unique("old", keep="first")
        return changed.select(CODE_CHANGES.values.names()).sort("old")

    async def day(self, table: DailyName, day: dt.date) -> pl.DataFrame:
        """The rows of all stocks on one day."""
        rows: pl.DataFrame = await self._daily[table](day)
        return rows

    async def _suspensions(self, day: dt.date) -> pl.DataFrame:
        """A row for each span of a day, in which the timing is null for the whole day.

        {"fields": ["ts_code", "trade_date", "suspend_timing"], "items": [["000004.SZ", "20260302", "09:30-10:00"]]}
        """
        params = {"suspend_type": "S"}
        answer = await self._day("suspensions", "suspend_d", day, ("suspend_timing",), params)
        timing = [str(value or "").replace(" ", "") for value in answer.columns["suspend_timing"]]
        frame = answer.keys(self._ours).with_columns(timing=pl.Series(timing, dtype=pl.String).str.split(","))
        rows = frame.drop_nulls("symbol").explode("timing").unique()
        return rows.select(SUSPENSIONS.values.names()).sort(SUSPENSIONS.keys)

    async def _adjust_factors(self, day: dt.date) -> pl.DataFrame:
        """{"fields": ["ts_code", "trade_date", "adj_factor"], "items": [["600000.SH", "20260302", 16.2471]]}"""
        answer = await self._day("adjust_factors", "adj_factor", day, ("adj_factor",))
        factors = answer.numbers("adj_factor")
        if odd := [factor for factor in factors if factor is None or not 0 < factor < float("inf")]:
            raise BadResponse(answer.place, f"adj_factor must be above 0, was {odd[0]}")
        return one_a_day(answer.keys(self._ours).with_columns(factors), answer.place)

    async def _price_limits(self, day: dt.date) -> pl.DataFrame:
        """{"fields": ["ts_code", "trade_date", "up_limit", "down_limit"], "items": [["000001.SZ", "20190625", 15.06,
        12.32]]}; a stock without limits, as in its first days, has no row."""
        answer = await self._day("price_limits", "stk_limit", day, ("up_limit", "down_limit"))
        limits = [answer.numbers("up_limit").alias("up"), answer.numbers("down_limit").alias("down")]
        rows = answer.keys(self._ours).with_columns(limits).drop_nulls(["up", "down"])
        return one_a_day(rows.select(PRICE_LIMITS.values.names()), answer.place)

    async def _day(
        self, table: str, interface: str, day: dt.date, columns: Sequence[str], params: dict[str, str] | None = None
    ) -> Answer:
        wanted = {"trade_date": f"{day:%Y%m%d}", **(params or {})}
        answer = await self._ask(table, interface, wanted, ("ts_code", "trade_date", *columns), str(day))
        if others := set(answer.days("trade_date")) - {day}:
            raise BadResponse(answer.place, f"it has rows of {min(others)}")
        return answer

    async def _ask(
        self, table: str, interface: str, params: dict[str, str], columns: tuple[str, ...], what: str
    ) -> Answer:
        try:
            return await self._account.all_rows(interface, params, columns, what)
        except NoPermission as error:
            raise NotOffered(self.name, table, str(error)) from error

    def _symbols(self, answer: Answer, column: str) -> list[str | None]:
        return [self._ours(str(code)) for code in answer.columns[column]]

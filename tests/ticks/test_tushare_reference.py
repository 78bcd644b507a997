"""Tushare's reference data: what is parsed of it, how a cut answer is continued, and what is no answer."""

import datetime as dt
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from marketdata_assets.reference.errors import NotOffered
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.errors import BadResponse
from marketdata_assets.ticks.tushare_reference import BEIJING_CHANGE, TushareReference
from marketdata_demo.servers.tushare import TushareServer
from tests.ticks.tick_clients import Clients

T = TypeVar("T")
DAY = dt.date(2019, 6, 25)
Ask = Callable[[Callable[[TushareReference], Coroutine[Any, Any, T]]], T]


@pytest.fixture
def ask(clients: Clients, tushare_server: TushareServer) -> Ask[Any]:
    return lambda body: clients.with_tushare(tushare_server, lambda account: body(TushareReference(account)))


def test_announced_days_are_open_or_closed_and_the_rest_is_unknown(
    ask: Ask[Any], tushare_server: TushareServer
) -> None:
    tushare_server.closed, tushare_server.announced = {dt.date(2027, 1, 1)}, dt.date(2027, 1, 4)
    found = ask(lambda source: source.trading_calendar(Days(dt.date(2026, 12, 31), dt.date(2027, 1, 10))))
    assert found.rows() == [
        (dt.date(2026, 12, 31), True),
        *((dt.date(2027, 1, number), False) for number in (1, 2, 3)),
        (dt.date(2027, 1, 4), True),
    ]


def test_recorded_limits(ask: Ask[Any], tushare_server: TushareServer, fixtures: Path) -> None:
    recorded = json.loads((fixtures / "tushare/stk_limit/stk_limit_20190625_excerpt.json").read_text())["data"]
    tushare_server.tables["stk_limit"] = (recorded["fields"], recorded["items"])
    found = ask(lambda source: source.day("price_limits", DAY))
    assert found.height == len(recorded["items"])
    assert found.row(0) == ("000001.SZ", DAY, 15.06, 12.32)


def test_suspensions_factors_names_and_code_changes(ask: Ask[Any], tushare_server: TushareServer) -> None:
    tushare_server.tables |= {
        "suspend_d": (
            ["ts_code", "trade_date", "suspend_timing", "suspend_type"],
            [
                ["000002.SZ", "20190625", None, "S"],
                ["000004.SZ", "20190625", "09:30-10:00,13:00-14:00", "S"],
                ["000005.SZ", "20190625", None, "R"],
                ["000006.HK", "20190625", None, "S"],
            ],
        ),
        "adj_factor": (["ts_code", "trade_date", "adj_factor"], [["600000.SH", "20190625", 9.5]]),
        "namechange": (
            ["ts_code", "name", "start_date", "end_date", "change_reason"],
            [
                ["600848.SH", "old", "20010101", "20151117", "x"],
                ["600848.SH", "new", "20151118", None, "x"],
                ["600848.SH", "new", "20151118", None, "x"],
            ],
        ),
        "bse_mapping": (["name", "o_code", "n_code", "list_date"], [["a", "430017.BJ", "920017.BJ", "20230531"]]),
    }
    assert ask(lambda source: source.day("suspensions", DAY)).rows() == [
        ("000002.SZ", DAY, ""),
        ("000004.SZ", DAY, "09:30-10:00"),
        ("000004.SZ", DAY, "13:00-14:00"),
    ]
    assert ask(lambda source: source.day("adjust_factors", DAY)).rows() == [("600000.SH", DAY, 9.5)]
    assert ask(lambda source: source.code_changes()).rows() == [("430017.BJ", "920017.BJ", BEIJING_CHANGE)]
    assert [row[1:4] for row in ask(lambda source: source.name_history()).rows()] == [
        ("old", dt.date(2001, 1, 1), dt.date(2015, 11, 17)),
        ("new", dt.date(2015, 11, 18), None),
    ]


@pytest.mark.parametrize("more", [True, False], ids=["has_more", "a round number of rows"])
def test_cut_answer_is_continued(ask: Ask[Any], tushare_server: TushareServer, more: bool) -> None:
    rows = [["20190625", f"{number:06}.SZ", 11.0, 9.0] for number in range(2500)]
    tushare_server.tables["stk_limit"] = (["trade_date", "ts_code", "up_limit", "down_limit"], rows)
    tushare_server.cap, tushare_server.more = 1000, more
    assert ask(lambda source: source.day("price_limits", DAY)).height == 2500
    assert tushare_server.requests == 3


@pytest.mark.parametrize(
    ("table", "interface", "rows", "cause"),
    [
        (
            "price_limits",
            "stk_limit",
            [["20190625", "a.SZ", 1.0, 2.0], ["20190625", "a.SZ", 1.0, 3.0]],
            "two different",
        ),
        ("price_limits", "stk_limit", [["20190625", "000001.SZ", "x", 2.0]], "numbers"),
    ],
)
def test_what_is_no_answer(
    ask: Ask[Any], tushare_server: TushareServer, table: Any, interface: str, rows: list[list[Any]], cause: str
) -> None:
    tushare_server.tables[interface] = (tushare_server.tables[interface][0], rows)
    with pytest.raises(BadResponse, match=cause):
        ask(lambda source: source.day(table, DAY))


def test_missing_permission_is_named_with_the_remedy(ask: Ask[Any], tushare_server: TushareServer) -> None:
    tushare_server.denied = {"stk_limit"}
    with pytest.raises(NotOffered, match=r"price_limits.*MARKETDATA_REFERENCE_DIR"):
        ask(lambda source: source.day("price_limits", DAY))

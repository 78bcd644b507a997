"""Several providers for one symbol: who is asked, who answers, and what is said of the others."""

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.errors import NoPermission
from marketdata_assets.ticks.fallback import Answer, Fallback, Provider, in_order
from marketdata_assets.ticks.files import Files
from marketdata_demo.servers.tushare import DENIED, TushareServer
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.tick_clients import JUNE, SYMBOL, Clients, files_config, tushare_config, yahoo_config
from tests.ticks.tick_rows import weekdays

Ask = Callable[..., Answer]
HEADER = "symbol,ts,open,high,low,close,volume\n"


@pytest.fixture
def ask(clients: Clients, tushare_server: TushareServer, yahoo_server: YahooServer, tmp_path: Path) -> Ask:
    (tmp_path / "dropped").mkdir()

    def asked(symbol: str = SYMBOL, days: Days = JUNE, **configs: Any) -> Answer:
        async def main() -> Answer:
            tushare = clients.tushare(
                tushare_server, config=configs.get("tushare"), token=configs.get("token", "canary-token")
            )
            yahoo = clients.yahoo(yahoo_server, config=configs.get("yahoo"))
            files = Files(tmp_path / "dropped", files_config())
            async with tushare, yahoo:
                providers = tuple(in_order([files, yahoo, tushare], "tick_data"))
                return await Fallback(providers, weekdays, lambda provider, *what: provider.bars(*what)).rows(
                    symbol, days
                )

        return asyncio.run(main())

    return asked


def test_the_first_by_priority_answers_alone(ask: Ask, yahoo_server: YahooServer) -> None:
    answer = ask()
    assert (answer.outcome, answer.provider, answer.tried, yahoo_server.requests) == ("ok", "tushare", (), 0)
    turned = ask(tushare=tushare_config(priority=9))
    assert (turned.outcome, turned.provider) == ("ok", "yahoo")
    assert turned.delivery
    assert set(turned.delivery.rows["provider"]) == {"yahoo"}


def test_disabled_and_unsupporting_providers_are_not_asked(ask: Ask, tushare_server: TushareServer) -> None:
    assert ask(tushare=tushare_config(enabled=False)).provider == "yahoo"
    assert ask(tushare=tushare_config(supports=frozenset({"factors"}))).provider == "yahoo"
    assert tushare_server.requests == 0


def test_tables_have_their_own_order(clients: Clients, tushare_server: TushareServer, tmp_path: Path) -> None:
    files, tushare = Files(tmp_path, files_config()), clients.tushare(tushare_server)
    providers: list[Provider] = [files, tushare]
    assert in_order(providers, "tick_data") == [tushare, files]
    assert in_order(providers, "factors") == [tushare]
    assert in_order(providers, "order_book") == [files]


def test_the_next_one_answers_and_the_reason_is_kept(ask: Ask, tushare_server: TushareServer) -> None:
    tushare_server.denied = {"stk_mins"}
    answer = ask()
    assert (answer.outcome, answer.provider) == ("ok", "yahoo")
    assert [type(one.error) for one in answer.tried] == [NoPermission]
    assert answer.why.startswith("tushare failed: tushare stk_mins: this account has no permission")
    assert DENIED.format("stk_mins") in answer.why
    assert ask(token=None).why.startswith("tushare unsupported: tushare needs a token")


def test_a_month_without_a_trading_day_is_empty_without_a_request(ask: Ask, tushare_server: TushareServer) -> None:
    weekend = Days(dt.date(2025, 6, 7), dt.date(2025, 6, 8))
    answer = ask(days=weekend)
    assert (answer.outcome, answer.provider, tushare_server.requests) == ("empty", None, 0)
    assert "no trading day in 2025-06-07..2025-06-08" in answer.why


def test_a_suspended_stock_is_empty_when_all_who_know_say_so(
    ask: Ask, tushare_server: TushareServer, yahoo_server: YahooServer
) -> None:
    tushare_server.suspended = yahoo_server.holes = {*JUNE}
    answer = ask()
    assert (answer.outcome, [one.provider for one in answer.tried]) == ("empty", ["tushare", "yahoo", "files"])
    yahoo_server.symbols = []
    assert ask().outcome == "empty"


def test_an_outage_is_no_emptiness(ask: Ask, tushare_server: TushareServer, yahoo_server: YahooServer) -> None:
    tushare_server.suspended = yahoo_server.holes = {*JUNE}
    tushare_server.fail(503, 4)
    answer = ask()
    assert (answer.outcome, answer.delivery) == ("failed", None)
    assert "no successful response in 4 attempts" in answer.why
    assert ask().outcome == "empty"


def test_nobody_reaches_is_unsupported(ask: Ask, tushare_server: TushareServer) -> None:
    foreign = ask("AAPL.DE")
    assert (foreign.outcome, len(foreign.tried), tushare_server.requests) == ("unsupported", 3, 0)
    assert "the symbol mapping of yahoo has no rule for AAPL.DE" in foreign.why
    tushare_server.denied = {"stk_mins"}
    old = ask(days=Days.month("2025-03"), yahoo=yahoo_config())
    assert [one.outcome for one in old.tried] == ["failed", "unsupported", "empty"]
    assert old.outcome == "empty"


def test_files_answer_where_the_web_cannot(ask: Ask, tushare_server: TushareServer, tmp_path: Path) -> None:
    (tmp_path / "dropped" / "a.csv").write_text(HEADER + f"{SYMBOL},2025-03-03 09:31:00,1,1,1,1,100\n")
    tushare_server.denied = {"stk_mins"}
    answer = ask(days=Days.month("2025-03"))
    assert (answer.outcome, answer.provider) == ("ok", "files")
    assert [one.provider for one in answer.tried] == ["tushare", "yahoo"]

"""Providers that go away, choke or refuse in the middle of a load: who fails, who is asked how often, what lands."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.errors import TransientError
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.circuit_breaker import OUTAGE_AFTER, CircuitBreaker
from marketdata_assets.ticks.errors import ProviderUnavailable
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.providers_file import FilesProvider, Network
from marketdata_assets.ticks.records import Delivery
from marketdata_demo.servers.tushare import DENIED, TOKEN
from tests.ticks.tick_clients import JUNE, SYMBOL, files_config, tushare_config
from tests.ticks.tick_loads import Loader, assert_exact, codes, good_units, landed, told, units

QUICK = tushare_config(network=Network(timeout=60.0, max_retries=0, backoff=0.01))


class Script:
    """A provider that answers as it is told, and counts."""

    name, label = "script", "end"
    config: FilesProvider = tushare_config()

    def __init__(self, answer: Callable[[str, int], Exception | None]) -> None:
        self._answer = answer
        self.asked: list[str] = []
        self.most = self._busy = 0

    async def bars(self, symbol: str, days: Days) -> Delivery:
        self.asked.append(symbol)
        number = len(self.asked)
        self._busy += 1
        self.most = max(self.most, self._busy)
        await asyncio.sleep(0)
        self._busy -= 1
        error = self._answer(symbol, number)
        if error:
            raise error
        return Delivery.without("script", symbol, days, "end", "empty", "nothing")


def ask_all(script: Script, symbols: list[str], at_once: int = 8, **options: Any) -> dict[str, Exception | None]:
    """Request all symbols through a circuit breaker, some at a time; the error of each."""
    breaker = CircuitBreaker(script.name, **options)
    ends: dict[str, Exception | None] = {}
    todo = list(reversed(symbols))

    async def take() -> None:
        while todo:
            symbol = todo.pop()
            try:
                await breaker.call(symbol, partial(script.bars, symbol, JUNE))
                ends[symbol] = None
            except Exception as error:
                ends[symbol] = error

    async def main() -> None:
        await asyncio.gather(*(take() for _ in range(at_once)))

    asyncio.run(asyncio.wait_for(main(), 30))
    return ends


def away(*_: object) -> Exception:
    return ProviderUnavailable("script", 4, "503")


def test_an_outage_that_lasts_costs_a_few_questions_and_not_one_for_each_symbol() -> None:
    script = Script(away)
    ends = ask_all(script, codes(500), patience=0.0, pause=60.0)
    assert len(script.asked) == OUTAGE_AFTER
    assert [type(ends[symbol]) for symbol in script.asked] == [ProviderUnavailable] * OUTAGE_AFTER
    resting = [error for error in ends.values() if type(error) is TransientError]
    assert len(resting) == 500 - OUTAGE_AFTER
    assert "script: no request was sent for" in str(resting[0])
    assert "503" in str(resting[0])


def test_a_short_outage_fails_only_those_it_hit() -> None:
    script = Script(lambda _, number: away() if 20 <= number < 30 else None)
    ends = ask_all(script, codes(200), patience=30.0, pause=0.001)
    failed = [symbol for symbol, error in ends.items() if error]
    assert 0 < len(failed) <= 10
    assert {type(error) for error in ends.values() if error} == {ProviderUnavailable}
    assert len(script.asked) == 200
    assert script.most == 8  # again, when it was over


def test_one_symbol_probes_while_the_others_wait() -> None:
    script = Script(lambda _, number: away() if number < 6 else None)
    ends = ask_all(script, codes(50), patience=30.0, pause=0.001)
    assert sum(error is not None for error in ends.values()) == 5
    script = Script(lambda *_: None)
    ask_all(script, codes(3), at_once=3, patience=0.0)
    assert script.most == 2  # the first alone, then two


def test_a_provider_that_goes_away_half_way_and_a_rerun(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(30)
    undisturbed = symbols[:]
    loader.server.fail(503, 10_000, where=symbols[12])
    for symbol in symbols[13:]:
        loader.server.fail(503, 10_000, where=symbol)
    report = loader(units(symbols), tushare={"config": QUICK}, workers=2, pause=600.0)
    failed = [unit.symbol for unit in report.failed]
    assert failed == symbols[12:]
    assert_exact(loader.client, symbols[:12])
    asked = [line for line in loader.server.lines if any(symbol in line for symbol in failed)]
    assert len(asked) <= OUTAGE_AFTER + 4  # those under way, and not one for each
    assert "no request was sent for" in (report.failed[-1].error or "")
    loader.server.no_more_faults()
    again = loader(units(symbols))
    assert (again.failed, again.requests) == ((), 18)
    assert_exact(loader.client, undisturbed)


@pytest.mark.slow
def test_a_short_outage_costs_few_symbols_and_the_rest_land(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(16)
    loader.server.fail(503, 6, where="")
    report = loader(units(symbols), tushare={"config": QUICK}, workers=2, patience=60.0, pause=0.01)
    assert 0 < len(report.failed) <= 6
    assert_exact(loader.client, [unit.symbol for unit in good_units(report)])
    assert loader(units(symbols)).failed == ()
    assert_exact(loader.client, symbols)


@pytest.mark.parametrize("kind", ["token", "none", "permission"])
def test_a_refused_account_is_asked_once_for_all_symbols(loader: Loader, kind: str) -> None:
    if kind == "permission":
        loader.server.denied = {"stk_mins"}
    token = {"token": "wrong", "none": None, "permission": TOKEN}[kind]
    report = loader(units(codes(200)), tushare={"token": token}, workers=20)
    assert loader.server.requests == (0 if kind == "none" else 1)
    assert set(told(report).values()) == {"unsupported" if kind == "none" else "failed"}
    said = {"token": "rejects the token", "none": "needs a token", "permission": DENIED.format("stk_mins")}[kind]
    assert all(said in (unit.error or unit.note) for unit in report.units)
    assert landed(loader.client).is_empty()
    assert TOKEN not in str(report)


def test_429_storms_are_sat_out_with_fewer_requests_at_a_time(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(30)
    limits_seen: list[Any] = []
    made = loader.clients.tushare

    def watched(*arguments: Any, **options: Any) -> Any:
        client = made(*arguments, **options)
        through = client.set_concurrency_limit
        client.set_concurrency_limit = lambda limit: (limits_seen.append(limit), through(limit))
        return client

    loader.clients.tushare = watched  # type: ignore[method-assign]
    loader.server.fail(429, 12, where=symbols[20], retry="0")
    config = tushare_config(network=Network(timeout=2.0, max_retries=20, backoff=0.01))
    report = loader(units(symbols), tushare={"config": config}, workers=8)
    assert report.failed == ()
    assert limits_seen[0].halvings >= 3
    assert_exact(loader.client, symbols)


def facts(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    return [vars(record)["facts"] for record in caplog.records if getattr(record, "event", None) == event]


@pytest.mark.usefixtures("all_log_lines")
def test_outages_retries_and_fallbacks_are_log_lines_without_the_token(
    loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "marketdata_assets")
    tushare_server = loader.server
    (tmp_path / "dropped").mkdir()
    row = f"{SYMBOL},2025-06-03 09:31:00,1,1,1,1,100\n"
    (tmp_path / "dropped" / "a.csv").write_text(f"symbol,ts,open,high,low,close,volume\n{row}")
    loader.others = [lambda: Files(tmp_path / "dropped", files_config())]
    tushare_server.fail(429, 2, retry="0")
    tushare_server.fail(503, 1000)
    config = tushare_config(network=Network(timeout=10.0, max_retries=1, backoff=0.01))
    loader(units(codes(5)), tushare={"config": config}, workers=1)
    first = facts(caplog, "request_failed")[0]
    assert {"server": tushare_server.url, "attempt": 1, "attempts": 2}.items() <= first.items()
    assert facts(caplog, "concurrency_reduced")[0]["provider"] == "tushare"
    assert facts(caplog, "provider_failed")[0]["symbol"] == codes(1)[0]
    assert {fact["provider"] for fact in facts(caplog, "provider_fallback")} == {"files"}
    [opened, *_] = facts(caplog, "circuit_opened")
    assert (opened["provider"], opened["misses"]) == ("tushare", 3)
    assert TOKEN not in caplog.text


@pytest.mark.usefixtures("all_log_lines")
def test_the_end_of_an_outage_is_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "marketdata_assets")
    breaker = CircuitBreaker("tushare", patience=60.0, pause=0.0)
    answers: list[Exception | None] = [ProviderUnavailable("bars", 1, "503")] * 3 + [None]

    async def request() -> None:
        error = answers.pop(0)
        if error:
            raise error

    async def main() -> None:
        for _ in range(4):
            with suppress(ProviderUnavailable):
                await breaker.call(SYMBOL, request)

    asyncio.run(main())
    assert [fact["provider"] for fact in facts(caplog, "circuit_closed")] == ["tushare"]

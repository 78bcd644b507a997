"""Log lines of a load: retries, outages and fallbacks with their facts, and without the token."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from tick_clients import SYMBOL, Clients, files_config, tushare_config
from tick_loads import Loader, codes, units

from marketdata_assets.ticks import tables
from marketdata_assets.ticks.circuit_breaker import CircuitBreaker
from marketdata_assets.ticks.errors import ProviderUnavailable
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.providers_file import Network
from marketdata_demo.servers.tushare import TOKEN, TushareServer


def facts(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    return [vars(record)["facts"] for record in caplog.records if getattr(record, "event", None) == event]


@pytest.mark.usefixtures("all_log_lines")
def test_outages_retries_and_fallbacks_are_log_lines_without_the_token(
    clickhouse_client: Client,
    clients: Clients,
    tushare_server: TushareServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "marketdata_assets")
    tables.ensure(clickhouse_client)
    loader = Loader(clickhouse_client, clients, tushare_server)
    (tmp_path / "dropped").mkdir()
    row = f"{SYMBOL},2025-06-03 09:31:00,1,1,1,1,100\n"
    (tmp_path / "dropped" / "a.csv").write_text(f"symbol,ts,open,high,low,close,volume\n{row}")
    loader.others = [lambda: Files(tmp_path / "dropped", files_config())]
    tushare_server.fail(429, 2, retry="0")
    tushare_server.fail(503, 1000)
    config = tushare_config(network=Network(timeout=10.0, max_retries=1, backoff=0.01))
    loader(units(codes(5)), tushare={"config": config}, workers=1)
    assert {"server": tushare_server.url, "attempt": 1, "attempts": 2}.items() <= facts(caplog, "request_failed")[
        0
    ].items()
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
                await breaker.call("bars", SYMBOL, request)

    asyncio.run(main())
    assert [fact["provider"] for fact in facts(caplog, "circuit_closed")] == ["tushare"]

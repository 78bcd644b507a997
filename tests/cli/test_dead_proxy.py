"""Proxies in the environment that nobody serves: the local stack and loads of files work all the same."""

import datetime as dt
from pathlib import Path

import pytest

from marketdata_assets.local.stack import LocalStack
from marketdata_demo import sample_bars
from tests.cli.commands import answer, apart
from tests.databases import fresh_postgres

DEAD = "http://127.0.0.1:1"
PROXIES = {"HTTP_PROXY": DEAD, "HTTPS_PROXY": DEAD, "ALL_PROXY": "socks5://127.0.0.1:1"}
PROXIES |= {name.lower(): value for name, value in PROXIES.items()} | {"NO_PROXY": "", "no_proxy": ""}


def test_servers_of_the_local_stack_are_reached_past_a_dead_proxy(running: LocalStack) -> None:
    found = answer(apart(running.settings.root, "doctor", "--json", **PROXIES))
    assert {server["store"]: server["ok"] for server in found["servers"]} == dict.fromkeys(
        ("Postgres", "MongoDB", "ClickHouse", "NATS"), True
    )


@pytest.mark.slow
def test_files_are_loaded_past_a_dead_proxy(running: LocalStack, tmp_path: Path) -> None:
    sample_bars.write_year(tmp_path / "bars", 2024, sample_bars.STOCKS[:1], until=dt.date(2024, 1, 3))
    with fresh_postgres(str(running.endpoints.postgres_dsn)) as database:
        variables = PROXIES | {"MARKETDATA_POSTGRES_DSN": database, "MARKETDATA_BARS_DIR": str(tmp_path / "bars")}
        loaded = answer(apart(running.settings.root, "ingest", "bars", "--months", "2024-01", "--json", **variables))
    assert (loaded["success"], loaded["bars"]["rows"]) == (True, 2 * 241)

"""A stack of its own for the benchmarks of Dagster's grid, with a simulated provider in another process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketdata_assets.cli.instance import environment
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The part of a run's configuration that keeps its log off the screen."""

PROVIDERS = """
tushare:
  enabled: true
  priority: 1
  supports: [tick_data, factors]
  rate_limits: {requests_per_minute: 1000000, requests_per_hour: 100000000}
  network: {timeout: 30, max_retries: 1, backoff: 0.01}
  quality: {min_price: 0.01, max_price: 10000, max_volume: 1.0e+9, max_return: 0.31}
  symbol_mapping: {suffixes: {SH: SH, SZ: SZ, BJ: BJ}, symbols: {}}
  session: {timezone: Asia/Shanghai, hours: ["09:30-11:30", "13:00-15:00"]}
"""


@dataclass(frozen=True)
class TicksStack:
    clickhouse: str
    """URL of the tables."""
    dagster: str
    """DSN of Dagster's storage."""


@contextmanager
def ticks_stack(provider: str, months: int) -> Iterator[TicksStack]:
    """Databases and a provider for loads of the last `months`, named by the environment of this process.

    `provider` is a module that prints the URL of its server and serves until its input ends.
    """
    from marketdata_demo.servers.tushare import TOKEN

    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _served(provider) as url:
        home = Path(folder)
        (home / "providers.yaml").write_text(PROVIDERS)
        settings = Settings(home=home / "stack", postgres_dsn=None, clickhouse_url=None)
        with LocalStack(settings, services=("postgres", "clickhouse")) as stack:
            os.environ.update(environment(settings, stack.endpoints))
            os.environ |= {"MARKETDATA_PROVIDERS": str(home / "providers.yaml"), "MARKETDATA_TUSHARE_URL": url}
            os.environ |= {"TUSHARE_TOKEN": TOKEN, "MARKETDATA_TICKS_MONTHS": str(months)}
            yield TicksStack(str(stack.endpoints.clickhouse_url), str(stack.endpoints.dagster_pg))


@contextmanager
def _served(module: str) -> Iterator[str]:
    """The URL of a server in a process of its own."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()


def ledger_columns(client: "Client") -> list[str]:
    """The columns of the ledger of loads, in the order of the table."""
    sql = "SELECT name FROM system.columns WHERE table = 'marketdata_ledger_rows' AND database = currentDatabase()"
    names: list[str] = clickhouse.read(client, sql)["name"].to_list()
    return names

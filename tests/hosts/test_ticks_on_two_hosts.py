"""Two hosts load ticks with one token; one of them dies, and nothing is lost, loaded twice, or requested too fast."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import tables
from marketdata_assets.ticks.tables import TICK_DATA
from marketdata_demo.hosts import Host, Network, network
from marketdata_demo.servers.tushare import LABELS, TOKEN, TushareServer

PER_MINUTE = 600
HALF, ALL = 12, 24
"""How many symbols a host loads, and both."""
LOADER = Path(__file__).with_name("load_ticks.py")
MONTH = "2025-06"
ROWS = len(LABELS) * sum(day.weekday() < 5 for day in Days.month(MONTH))
LONGEST = 300.0
"""Seconds that a load may need on a busy machine."""


@dataclass(frozen=True)
class Site:
    """Two hosts, the servers that both reach, and the environment of their processes."""

    net: Network
    tushare: TushareServer
    client: Client
    dsn: str
    environment: Mapping[str, str]
    home: Path

    def load(self, host: Host, first: int, end: int) -> "subprocess.Popen[str]":
        """Start a load of symbols on a host, which shares no folder with the other."""
        home = {"MARKETDATA_HOME": str(self.home / host.name)}
        command = [sys.executable, str(LOADER), str(first), str(end), MONTH]
        return host.start(command, {**self.environment, **home})

    def committed(self) -> set[str]:
        """The symbols whose month is in the table, by the ledger."""
        entries = ledger.entries(self.client, TICK_DATA.name)
        return {entry.source for entry in entries if entry.outcome == "ok" and not entry.pending}

    def asked(self) -> Counter[str]:
        """How often the bars of each symbol were requested."""
        return Counter(line.partition("'ts_code': '")[2].partition("'")[0] for line in list(self.tushare.lines))


def symbols(first: int, end: int) -> set[str]:
    return {f"{600000 + number}.SH" for number in range(first, end)}


@pytest.fixture
def site(tmp_path: Path, dsn: str, clickhouse_url: str, clickhouse_client: Client) -> Iterator[Site]:
    tables.ensure(clickhouse_client)
    providers = tmp_path / "providers.yaml"
    shipped = Path(tables.__file__).with_name("providers.yaml").read_text("utf-8")
    providers.write_text(shipped.replace("requests_per_minute: 200,", f"requests_per_minute: {PER_MINUTE},"), "utf-8")
    with TushareServer(sorted(symbols(0, 1000)), minute=PER_MINUTE) as tushare, network() as net:
        clickhouse = urlsplit(clickhouse_url).port
        assert clickhouse
        net.publish(tushare.port, clickhouse, int(conninfo_to_dict(dsn)["port"] or 5432))
        for host in net.hosts:  # clients accept these two, without TLS and with this name, on loopback only
            host.forward(tushare.port, net.address)
            host.forward(clickhouse, net.address)
        environment = {
            **os.environ,
            "MARKETDATA_POSTGRES_DSN": make_conninfo(dsn, host=net.address),
            "MARKETDATA_CLICKHOUSE_URL": clickhouse_url,
            "MARKETDATA_TUSHARE_URL": tushare.url,
            "MARKETDATA_PROVIDERS": str(providers),
            "MARKETDATA_BUDGETS": "database",
            "TUSHARE_TOKEN": TOKEN,
        }
        yield Site(net, tushare, clickhouse_client, dsn, environment, tmp_path)


def wait_for_some(site: Site, wanted: set[str], process: "subprocess.Popen[str]") -> set[str]:
    """The committed symbols, once some of `wanted` are among them, but not all."""
    ends = time.monotonic() + LONGEST
    while len(site.committed() & wanted) < 5:
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.05)
    return site.committed()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_a_host_dies_and_no_unit_is_lost_or_loaded_twice(site: Site, how: str) -> None:
    dying, living = site.net.hosts
    first, second = site.load(dying, 0, HALF), site.load(living, HALF, ALL)
    before = wait_for_some(site, symbols(0, HALF), first)
    if how == "killed":
        dying.kill()
    else:
        dying.cut()
    assert second.wait(LONGEST) == 0
    assert symbols(HALF, ALL) <= site.committed()

    assert site.load(living, 0, ALL).wait(LONGEST) == 0  # as a retry of what the dead host had not finished
    assert site.committed() == symbols(0, ALL)
    counted = "SELECT symbol, count() AS rows, uniqExact(ts) AS minutes FROM tick_data GROUP BY symbol"
    assert {row[0]: row[1:] for row in site.client.query(counted).result_rows} == dict.fromkeys(
        symbols(0, ALL), (ROWS, ROWS)
    )
    asked = site.asked()
    assert {asked[symbol] for symbol in before | symbols(HALF, ALL)} == {1}
    assert {asked[symbol] for symbol in symbols(0, HALF)} <= {1, 2}
    assert site.tushare.overruns == 0
    with psycopg.connect(site.dsn) as connection:  # nobody holds a turn in advance, least of all the dead
        ahead = "SELECT max(turn) <= clock_timestamp() + interval '0.2 s' FROM request_budgets"
        assert connection.execute(ahead).fetchone() == (True,)

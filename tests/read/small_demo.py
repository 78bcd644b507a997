"""What the demo loads, a few days of it, by the library alone: something in each table that a notebook reads."""

import datetime as dt
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from marketdata_assets.alphas import ingest as import_alphas
from marketdata_assets.alphas import packaging
from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.fetch_records import fetch_records
from marketdata_assets.alphas.record_sets import RECORD_SETS
from marketdata_assets.bars import ingest as load_bars
from marketdata_assets.bars import kline
from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.tables import captures, ohlcv
from marketdata_assets.exchanges.tables import schema as exchange_tables
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import discovery
from marketdata_assets.flows.run import run_flow
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import factors, load, providers_file, tables
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reports import Unit
from marketdata_demo import sample_alphas, sample_bars, sample_flows, sample_ticks
from marketdata_demo.servers import brain
from marketdata_demo.venues import captures as sample_captures
from marketdata_demo.venues.market import Plan

NOW = dt.datetime(2025, 2, 3, 12, tzinfo=dt.UTC)
MONTH = "2025-01"
RUN = "small demo"


@dataclass(frozen=True)
class Servers:
    """Where everything is loaded."""

    postgres: str
    mongo: str
    clickhouse: str

    def environment(self) -> dict[str, str]:
        names = {"MARKETDATA_POSTGRES_DSN": self.postgres, "MARKETDATA_MONGO_URI": self.mongo}
        return names | {"MARKETDATA_CLICKHOUSE_URL": self.clickhouse}


def fill(servers: Servers, folder: Path) -> None:
    """Load a little of each domain."""
    fill_postgres(servers.postgres, folder)
    fill_mongo(servers.mongo, folder / "alphas")
    with clickhouse.connect(servers.clickhouse) as client:
        stocks = sample_ticks.STOCKS[:2]
        written = sample_ticks.write(folder / "ticks", folder / "symbols.csv", NOW.date(), stocks=stocks, months=1)
        tables.ensure(client)
        section = providers_file.shipped().files
        assert section
        units = [Unit(symbol, MONTH) for symbol in written.symbols]
        for loader in (load.load, partial(load.load, table=tables.ORDER_BOOK), factors.compute):
            loader(client, [Files(folder / "ticks", section)], units, run_id=RUN, now=NOW)  # type: ignore[operator]
        captured = sample_captures.write(folder / "captures", Plan(dt.datetime(2025, 1, 5, 23, 55, tzinfo=dt.UTC), 10))
        exchange_tables.ensure(client)
        captures.load_captures(client, captured.files, run_id=RUN)
        for day in ohlcv.days_with_trades(client):
            ohlcv.compute(client, day, run_id=RUN, now=NOW)


def fill_postgres(dsn: str, folder: Path) -> None:
    """Bars of some days, the K-line of their month, daily prices of three stocks."""
    sample_bars.write_year(folder / "bars", 2025, until=dt.date(2025, 1, 3))
    load_bars.ingest(dsn, folder / "bars", [MONTH], run_id=RUN, fanout=Fanout(1))
    kline.refresh(dsn, [MONTH])
    sample_flows.write(folder / "flows" / "stock_daily", 3, NOW.date(), days=40)
    [flow] = [one.flow for one in discovery.shipped() if one.name == "stock_daily"]
    assert flow
    run_flow(flow, dsn, folder / "flows", run_id=RUN, fanout=Fanout(1))


def fill_mongo(uri: str, folder: Path) -> None:
    """A month of alphas of one account, with their record sets."""
    sample_alphas.write_archive(folder, "sample", [MONTH], regular=60, superalphas=3)
    packaging.package_months(folder, [("sample", MONTH)], Fanout(1))
    import_alphas.ingest(uri, folder, "sample", "regular", [MONTH], run_id=RUN, fanout=Fanout(1))
    with brain.of_archive(folder, ["sample"]) as server:

        def client_of(account: str) -> BrainClient:
            credentials = Credentials(f"{account}@example.com", brain.SAMPLE_PASSWORD)
            budget = Budget(folder, account, 1.0, 5000)
            return BrainClient(account, credentials, server.url, sessions=folder, budget=budget)

        for record_set in RECORD_SETS:
            fetch_records(uri, record_set, [("sample", MONTH)], client_of, run_id=RUN, now=NOW)

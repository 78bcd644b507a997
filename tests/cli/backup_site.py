"""Databases of all three stores with rows of every domain, to be backed up, destroyed and restored."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pymongo import MongoClient

from marketdata_assets.alphas import packaging
from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import import_accounts
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
from marketdata_assets.bars import kline
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.cli.instance import dagster_instance
from marketdata_assets.exchanges.tables import ohlcv, schema
from marketdata_assets.exchanges.tables.captures import captures_in, load_captures
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import definition, run
from marketdata_assets.local.postgres import dagster_environment
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from tests.cli.commands import answer, environment, marketdata, only
from tests.databases import CREATE, DROP, change

ALPHA_MONTHS = ("2024-10", "2024-11")
ALPHA_DATABASES = (*(f"{kind}_alphas" for kind in KINDS), *map(asset_name, RECORD_SETS))
ALPHA_DATABASES += ("brain_operators", "brain_data_sets", "brain_data_fields")


@dataclass
class Site:
    """Databases of its own on the running stack, a data folder, and what is loaded from it."""

    home: Path
    servers: LocalStack
    name: str

    @property
    def dsn(self) -> str:
        return make_conninfo(str(self.servers.endpoints.postgres_dsn), dbname=self.name)

    @property
    def clickhouse(self) -> str:
        return f"{str(self.servers.endpoints.clickhouse_url).rpartition('/')[0]}/{self.name}"

    @property
    def mongo(self) -> str:
        return str(self.servers.endpoints.mongo_uri)

    @property
    def dagster(self) -> str:
        return make_conninfo(self.dsn, dbname=f"{self.name}_dagster")

    def make(self) -> None:
        for name in (self.name, f"{self.name}_dagster"):
            change(str(self.servers.endpoints.postgres_dsn), CREATE, name)
        with clickhouse.connect(str(self.servers.endpoints.clickhouse_url)) as client:
            client.command(f"CREATE DATABASE {self.name} ENGINE = Atomic")

    def destroy(self) -> None:
        for name in (self.name, f"{self.name}_dagster"):
            change(str(self.servers.endpoints.postgres_dsn), DROP, name)
        with clickhouse.connect(str(self.servers.endpoints.clickhouse_url)) as client:
            client.command(f"DROP DATABASE {self.name} SYNC")
        with MongoClient[dict[str, Any]](self.mongo) as client:
            for name in ALPHA_DATABASES:
                client.drop_database(name)

    def run(self, *arguments: str, **variables: object) -> Any:
        known = {
            "MARKETDATA_POSTGRES_DSN": self.dsn,
            "MARKETDATA_CLICKHOUSE_URL": self.clickhouse,
            "MARKETDATA_MONGO_URI": self.mongo,
            "MARKETDATA_FLOWS_DIR": self.home / "flows",
            "MARKETDATA_EXCHANGE_DAYS": 3650,
        } | self.dagster_variables()
        return marketdata(self.home, *arguments, **(known | variables))

    def dagster_variables(self) -> dict[str, str]:
        found = dagster_environment(str(self.servers.endpoints.dagster_pg))
        return found | {"DAGSTER_PG_DB": f"{self.name}_dagster"}

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with only(environment(self.home, **self.dagster_variables())), dagster_instance(Settings()) as instance:
            yield instance

    def counts(self) -> dict[str, int]:
        """The rows of every table of Postgres and ClickHouse but those in which a restore itself is on record."""
        with psycopg.connect(self.dsn) as connection:
            listed = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall()
            count = "SELECT count(*) FROM {}"
            found = {
                name: int(connection.execute(sql.SQL(count).format(sql.Identifier(name))).fetchone()[0])  # type: ignore[index]
                for (name,) in listed
            }
        with clickhouse.connect(self.clickhouse) as client:
            tables = client.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()")
            for name, engine in tables.result_rows:
                if "View" not in engine and not name.startswith("marketdata_ledger"):
                    newest = "FINAL" if "Replacing" in engine else ""
                    found[name] = int(client.command(f"SELECT count() FROM {name} {newest}"))  # type: ignore[arg-type]
        return found

    def status(self) -> list[dict[str, Any]]:
        said = self.run("status", "--json")
        assert said.returncode == 0, said.stderr
        found = answer(said)["assets"]
        assert isinstance(found, list)
        return found

    def load(self) -> dict[str, int]:
        """Bring all that lies in the folder into the databases; how much was written, by domain."""
        loaded = ingest(self.dsn, self.home / "bars", ["2014-03", "2014-04"], run_id="x", fanout=Fanout(1))
        kline.refresh(self.dsn, ["2014-03", "2014-04"])
        flow = definition.read(self.home / "flows" / "mine" / "defs.yaml")
        flowed = run.run_flow(flow, self.dsn, self.home / "flows_data", run_id="x", fanout=Fanout(1))
        pairs = [("lk", month) for month in ALPHA_MONTHS]
        packaging.package_months(self.home / "alphas", pairs, Fanout(1))
        imported = [
            import_accounts(
                self.mongo,
                self.home / "alphas",
                kind,
                pairs,
                run_id="x",
                fanout=Fanout(1),
                fields={},
                options=ImportOptions("incremental"),
            )
            for kind in KINDS
        ]
        with clickhouse.connect(self.clickhouse) as client:
            schema.ensure(client)
            clickhouse_ledger.ensure(client)
            captured = load_captures(client, captures_in(self.home / "captures"))
            days = [day for day, state in ohlcv.states(client, ohlcv.days_with_trades(client)).items() if state != "ok"]
            for day in days:
                ohlcv.compute(client, day, run_id="x", now=dt.datetime.now(dt.UTC))
        return {
            "bars": loaded.rows,
            "flows": flowed.rows,
            "alphas": sum(one.total("read") - one.total("skipped") for one in imported),
            "captures": sum(one.outcome != "unchanged" for one in captured.units),
            "days": len(days),
        }

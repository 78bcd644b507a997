"""Nothing is written into tables of another version, in any of the three databases; `create-tables` says so as well."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from clickhouse_connect.driver.client import Client
from psycopg.conninfo import conninfo_to_dict
from pymongo import MongoClient

from marketdata_assets.errors import TerminalError
from marketdata_assets.exchanges.tables import schema as exchanges
from marketdata_assets.stores import clickhouse_ledger, ledger, mongo_ledger
from marketdata_assets.stores.clickhouse import connect, read
from tests.cli.commands import PROGRAMS, apart, marketdata

PROJECT = Path(__file__).parents[2]
DATABASE = "versioned_alphas"
REMEDY = r"Nothing was written\. Name an empty database and load into it, or install the version"
Mongo = MongoClient[dict[str, Any]]


@pytest.fixture
def mongo(mongo_client: Mongo) -> Iterator[Mongo]:
    mongo_client.drop_database(DATABASE)
    yield mongo_client
    mongo_client.drop_database(DATABASE)


def ensure_postgres(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        ledger.ensure(connection)


def relations(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        return {name for (name,) in connection.execute(query)}


def tables(client: Client) -> set[str]:
    return set(read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"])


def test_postgres_of_another_version_is_refused(dsn: str) -> None:
    for _ in range(2):
        ensure_postgres(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE OR REPLACE VIEW marketdata_schema_version AS SELECT 7 AS version")
        connection.execute("DROP TABLE marketdata_quarantine")
    before = relations(dsn)
    with pytest.raises(TerminalError, match=rf"^Postgres \w+ has .* schema version 7; .* has 1\. {REMEDY}"):
        ensure_postgres(dsn)
    assert relations(dsn) == before


def test_postgres_with_a_ledger_of_no_version_is_refused(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE marketdata_ledger (something text)")
    with pytest.raises(TerminalError, match="no schema version"):
        ensure_postgres(dsn)
    assert relations(dsn) == {"marketdata_ledger"}


@pytest.mark.parametrize("ensure", [clickhouse_ledger.ensure, exchanges.ensure])
def test_clickhouse_of_another_version_is_refused(clickhouse_client: Client, ensure: Callable[[Client], None]) -> None:
    clickhouse_client.command("CREATE VIEW marketdata_schema_version AS SELECT 7 AS version")
    before = tables(clickhouse_client)
    with pytest.raises(TerminalError, match=rf"^ClickHouse \w+ has .* schema version 7; .* has 1\. {REMEDY}"):
        ensure(clickhouse_client)
    assert tables(clickhouse_client) == before


@pytest.mark.parametrize("table", ["marketdata_ledger_rows", "exchange_trades"])
def test_clickhouse_with_tables_of_no_version_is_refused(clickhouse_client: Client, table: str) -> None:
    clickhouse_client.command(f"CREATE TABLE {table} (something String) ENGINE = Memory")
    before = tables(clickhouse_client)
    with pytest.raises(TerminalError, match="no schema version"):
        exchanges.ensure(clickhouse_client)
    assert tables(clickhouse_client) == before


@pytest.mark.slow
def test_first_loads_at_once_record_one_version(dsn: str, clickhouse_url: str, clickhouse_client: Client) -> None:
    together = threading.Barrier(4)

    def load(number: int) -> None:
        with connect(clickhouse_url) as client:
            together.wait(60)
            (exchanges.ensure if number % 2 else clickhouse_ledger.ensure)(client)
            ensure_postgres(dsn)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, range(4)))
    assert read(clickhouse_client, "SELECT toInt64(version) AS n FROM marketdata_schema_version")["n"].to_list() == [1]


def test_mongo_of_another_version_or_of_none_is_refused(mongo: Mongo) -> None:
    database = mongo[DATABASE]
    for _ in range(2):
        mongo_ledger.ensure(database)
    database["marketdata-schema-version"].update_one({}, {"$set": {"number": 7}})
    with pytest.raises(TerminalError, match=rf"^MongoDB {DATABASE} has .* schema version 7; .* has 1\. {REMEDY}"):
        mongo_ledger.ensure(database)
    database["marketdata-schema-version"].drop()
    with pytest.raises(TerminalError, match="no schema version"):
        mongo_ledger.ensure(database)
    assert database.list_collection_names() == ["marketdata-ledger"]


def test_command_names_the_database_of_another_version(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE VIEW marketdata_schema_version AS SELECT 7 AS version")
    refused = marketdata(tmp_path, "create-tables", MARKETDATA_POSTGRES_DSN=dsn)
    assert (refused.returncode, "schema version 7" in refused.stderr) == (1, True), refused.stderr
    assert relations(dsn) == {"marketdata_schema_version"}


@pytest.mark.slow
def test_service_creates_the_tables_of_a_new_installation_and_once_more(
    dsn: str, mongo_uri: str, clickhouse_url: str, tmp_path: Path
) -> None:
    """The command of the compose file, with Dagster's storage in the same database."""
    found = conninfo_to_dict(dsn)
    storage = {"HOST": "host", "PORT": "port", "DB": "dbname", "USER": "user"}
    variables = {f"DAGSTER_PG_{name}": str(found[key]) for name, key in storage.items()} | {
        "DAGSTER_PG_PASSWORD": str(found.get("password", "trust")),
        "MARKETDATA_POSTGRES_DSN": dsn,
        "MARKETDATA_MONGO_URI": mongo_uri,
        "MARKETDATA_CLICKHOUSE_URL": clickhouse_url,
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
    }
    command = yaml.safe_load((PROJECT / "docker" / "compose.yaml").read_text())["services"]["migrate"]["command"]
    for _ in range(2):
        done = apart(tmp_path, "exec", *command, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the tables are there: Postgres, ClickHouse" in done.stdout
    assert relations(dsn) > {"alembic_version", "stock_1min_qfq", "marketdata_ledger", "marketdata_flow_units"}
    with connect(clickhouse_url) as client:
        assert tables(client) > {"tick_data", "exchange_trades", "marketdata_ledger"}

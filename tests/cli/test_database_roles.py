"""Commands as the roles of the compose file: one owns its database, one reads it; neither can do more."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import clickhouse_connect
import psycopg
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from marketdata_assets import read
from marketdata_assets.bars import kline
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.stores.clickhouse import connect
from marketdata_demo import sample_bars
from tests.cli.commands import answer, marketdata
from tests.databases import fresh_clickhouse, fresh_postgres
from tests.postgres_roles import make_roles

FLOW = """\
type: marketdata_assets.components.CsvFlow
attributes:
  loader: {folder: prices, columns: [symbol, day, close], types: {day: date, close: double}}
  target: {table: prices, columns: {symbol: text, day: date, close: double}, mode: replace}
"""


@dataclass(frozen=True)
class Roles:
    """The database of a superuser, and two ways into it."""

    superuser: str
    writer: str
    reader: str


def made(database: str, folder: Path) -> Iterator[Roles]:
    """The roles, as the image makes them when its data folder is new; dropped with their database."""
    names = {name: f"{name}_{uuid.uuid4().hex[:8]}" for name in ("writer", "reader")}
    variables = {name.upper(): role for name, role in names.items()}
    for name, role in names.items():
        (folder / name).write_text(f"pass'word of {role}")
        variables[f"{name.upper()}_PASSWORD_FILE"] = str(folder / name)
    make_roles(database, variables)
    login = {name: make_conninfo(database, user=role, password=f"pass'word of {role}") for name, role in names.items()}
    yield Roles(database, **login)
    with psycopg.connect(database, autocommit=True) as connection:
        for role in map(sql.Identifier, names.values()):
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture
def roles(running: LocalStack, tmp_path: Path) -> Iterator[Roles]:
    with fresh_postgres(str(running.endpoints.postgres_dsn)) as database:
        yield from made(database, tmp_path)


@pytest.fixture
def dagster_roles(running: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    with fresh_postgres(str(running.endpoints.postgres_dsn)) as database:
        yield from made(database, tmp_path_factory.mktemp("dagster"))


def deliver(folder: Path) -> None:
    frame = sample_bars.stock_year("sz000001", "样本地产", [dt.date(2014, 3, 3), dt.date(2014, 3, 4)], 7)
    (folder / "bars").mkdir(parents=True)
    (folder / "bars" / "sz000001_2014.csv").write_bytes(sample_bars.csv_bytes(frame))
    (folder / "flows" / "prices").mkdir(parents=True)
    (folder / "flows" / "prices" / "defs.yaml").write_text(FLOW)
    (folder / "flows_data" / "prices").mkdir(parents=True)
    (folder / "flows_data" / "prices" / "a.csv").write_text("symbol,day,close\nA,2026-01-05,1.5\n")


def variables(folder: Path, dsn: str, dagster: str) -> dict[str, object]:
    found = conninfo_to_dict(dagster)
    names = {"HOST": "host", "PORT": "port", "DB": "dbname", "USER": "user", "PASSWORD": "password"}
    return {
        "MARKETDATA_POSTGRES_DSN": dsn,
        "MARKETDATA_BARS_DIR": folder / "bars",
        "MARKETDATA_FLOWS_DIR": folder / "flows",
        "MARKETDATA_FLOWS_DATA": folder / "flows_data",
        "MARKETDATA_WORKERS": 1,
        **{f"DAGSTER_PG_{name}": found[key] for name, key in names.items()},
    }


@pytest.mark.slow
def test_loads_tables_and_backups_need_no_superuser_and_readers_see_all(
    roles: Roles, dagster_roles: Roles, home: Path
) -> None:
    deliver(home)
    writer = variables(home, roles.writer, dagster_roles.writer)
    reader = variables(home, roles.reader, dagster_roles.reader)
    for command in (
        ("ingest", "bars"),
        ("flows", "run", "prices"),
        ("kline", "rebuild"),
        ("create-tables",),
        ("backup", str(home / "backup"), "--store", "postgres", "--store", "dagster"),
    ):
        run = marketdata(home, *command, **writer)
        assert run.returncode == 0, (command, run.stdout, run.stderr)
    status = answer(marketdata(home, "status", "--json", **writer))
    rows = {row["asset"]: row["rows"] for row in status["assets"]}
    assert (rows["stock_1min_qfq"], rows["stock_monthly_kline"], rows["prices"]) == (482, 1, 1)
    assert answer(marketdata(home, "status", "--json", **reader)) == status
    assert read.minute_bars(connection=roles.reader).height == 482
    assert marketdata(home, "quarantine", "show", "bars", **reader).returncode == 0
    metrics = marketdata(home, "metrics", "--once", **reader)
    assert metrics.returncode == 0, metrics.stderr
    for part in ("bars", "flows", "runs", "assets", "servers"):
        assert f'marketdata_scrape_success{{look="{part}"}} 1.0' in metrics.stdout, metrics.stderr


@pytest.mark.slow
def test_readers_of_databases_without_any_load_see_that_there_is_nothing(
    roles: Roles, dagster_roles: Roles, home: Path, running: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_clickhouse(str(running.endpoints.clickhouse_url).rpartition("/")[0]) as url:
        clickhouse = {"MARKETDATA_CLICKHOUSE_URL": url}
        (home / "bars").mkdir()
        writer = variables(home, roles.writer, dagster_roles.writer) | clickhouse
        for command in (("create-tables",), ("metrics", "--once")):  # the second one creates Dagster's own tables
            run = marketdata(home, *command, **writer)
            assert run.returncode == 0, run.stderr
        get_client = partial(clickhouse_connect.get_client, settings={"readonly": 2})
        monkeypatch.setattr(clickhouse_connect, "get_client", get_client)
        with pytest.raises(DatabaseError, match="READONLY"), connect(url) as client:
            assert client.command("EXISTS exchange_trades") == client.command("EXISTS tick_data") == 1
            client.command("CREATE TABLE another (one Int8) ENGINE = Memory")
        reader = variables(home, roles.reader, dagster_roles.reader) | clickhouse
        status = marketdata(home, "status", "--json", **reader)
        assert status.returncode == 0, status.stderr
        assert {row["asset"] for row in answer(status)["assets"]} >= {"stock_1min_qfq"}
        metrics = marketdata(home, "metrics", "--once", **reader)
        looks = [one for one in metrics.stdout.splitlines() if one.startswith("marketdata_scrape_success{")]
        assert len(looks) >= 8
        assert 'marketdata_server_up{server="ClickHouse"} 1.0' in metrics.stdout
        assert [one for one in looks if not one.endswith(" 1.0")] == [], metrics.stderr


FORBIDDEN_TO_BOTH = (
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/of_a_role'",
    "SELECT pg_read_file('pg_hba.conf')",
    "CREATE ROLE another",
    "CREATE DATABASE another",
    "ALTER SYSTEM SET fsync = off",
    "SELECT rolpassword FROM pg_authid",
)
FORBIDDEN_TO_READERS = (
    "INSERT INTO given VALUES (2)",
    "UPDATE given SET one = 2",
    "DELETE FROM given",
    "TRUNCATE given",
    "DROP TABLE given",
    "ALTER TABLE given ADD COLUMN two int",
    "CREATE TABLE mine (one int)",
    "CREATE SCHEMA mine",
)


def test_what_is_forbidden_is_refused(roles: Roles) -> None:
    with psycopg.connect(roles.writer, autocommit=True) as connection:
        connection.execute("CREATE TABLE given (one int)")
        connection.execute("INSERT INTO given VALUES (1)")
        for statement in FORBIDDEN_TO_BOTH:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    with psycopg.connect(roles.reader, autocommit=True) as connection:
        assert connection.execute("SELECT one FROM given").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO given VALUES (2)")
        connection.execute("SET default_transaction_read_only = off")
        for statement in (*FORBIDDEN_TO_BOTH, *FORBIDDEN_TO_READERS):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_role_without_a_grant_cannot_connect(roles: Roles) -> None:
    stranger = f"stranger_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(roles.superuser, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(stranger)))
    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(roles.superuser, user=stranger, password="x"))
    finally:
        with psycopg.connect(roles.superuser, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(stranger)))


@pytest.fixture
def timescale_roles(timescale_dsn: str, tmp_path: Path) -> Iterator[Roles]:
    yield from made(timescale_dsn, tmp_path)


def test_hypertables_compression_and_policies_need_no_superuser(timescale_roles: Roles, tmp_path: Path) -> None:
    with psycopg.connect(timescale_roles.superuser, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")  # as the image does
    deliver(tmp_path)
    ingest(timescale_roles.writer, tmp_path / "bars", ["2014-03"], run_id="r", fanout=Fanout(1))
    kline.refresh(timescale_roles.writer, ["2014-03"], rebuild=True)
    assert read.monthly_kline(connection=timescale_roles.reader).height == 1
    assert read.minute_bars(connection=timescale_roles.reader).height == 482

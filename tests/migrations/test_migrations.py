"""Tables of an earlier version become those of this one, and nothing is loaded into any other."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml
from clickhouse_connect.driver.client import Client
from commands import PROGRAMS, apart, marketdata
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pymongo import MongoClient

from marketdata_assets.alphas import ingest
from marketdata_assets.bars import schema as bars
from marketdata_assets.exchanges.tables import schema as exchanges
from marketdata_assets.flows import storage
from marketdata_assets.reconciliation import reconcile
from marketdata_assets.reference import tables as reference
from marketdata_assets.stores import clickhouse_ledger, ledger, migrations, mongo_ledger
from marketdata_assets.stores.clickhouse import connect, read
from marketdata_assets.stores.migrations import (
    SchemaTooNew,
    SchemaTooOld,
    Step,
    StepChanged,
    TableBusy,
    clickhouse,
    mongo,
    postgres,
)
from marketdata_assets.ticks import tables as ticks

PROJECT = Path(__file__).parents[2]
EARLIER = Path(__file__).parent / "earlier"
DATABASE = "migrated_alphas"
Mongo = MongoClient[dict[str, Any]]


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of steps in place of the package's."""
    monkeypatch.setattr(migrations, "STEPS", tmp_path / "steps")
    for store in ("postgres", "clickhouse", "mongo"):
        (tmp_path / "steps" / store).mkdir(parents=True)
    return tmp_path / "steps"


def write(steps: Path, name: str, text: str) -> Path:
    path = steps / name
    path.write_text(text)
    return path


def add_column(steps: Path, number: int = 1, column: str = "note") -> Path:
    text = "-- Table: marketdata_ledger\nALTER TABLE marketdata_ledger ADD COLUMN IF NOT EXISTS {} text;\n"
    return write(steps, f"postgres/{number:04d}_{column}.sql", text.format(column))


def ensure_postgres(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        bars.ensure(connection)
        storage.ensure_books(connection)
        reconcile.ensure(connection)


def ensure_clickhouse(client: Client) -> None:
    exchanges.ensure(client)
    clickhouse_ledger.ensure(client)
    reference.ensure(client)
    ticks.ensure(client)


def catalog_of_postgres(dsn: str) -> set[tuple[Any, ...]]:
    """Columns, constraints and indexes of all tables; a column that was added later has another position."""
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            """SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                      pg_get_expr(adbin, adrelid)
               FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef
               ON adrelid = attrelid AND adnum = attnum
               WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped"""
        ).fetchall()
        constraints = connection.execute(
            """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
               WHERE connamespace = 'public'::regnamespace"""
        ).fetchall()
        indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'").fetchall()
        return {*columns, *constraints, *indexes}


def catalog_of_clickhouse(client: Client) -> set[tuple[Any, ...]]:
    """Columns in their order, engines and keys of all tables, and the text of views."""
    columns = read(
        client,
        """SELECT table, name, type, default_kind, default_expression, compression_codec, toInt64(position) AS place
           FROM system.columns WHERE database = currentDatabase()""",
    ).iter_rows()
    tables = read(
        client,
        """SELECT name, engine_full, sorting_key, partition_key, primary_key,
                  if(create_table_query LIKE '%VIEW%', replaceAll(create_table_query, database, ''), '') AS view
           FROM system.tables WHERE database = currentDatabase()""",
    ).iter_rows()
    return {*columns, *tables}


def indexes_of_mongo(client: Mongo, account: str) -> dict[str, Any]:
    database = client[DATABASE]
    return {name: database[name].index_information() for name in (account, mongo_ledger.LEDGER)}


@pytest.fixture
def database_of_mongo(mongo_client: Mongo) -> Iterator[Mongo]:
    mongo_client.drop_database(DATABASE)
    yield mongo_client
    mongo_client.drop_database(DATABASE)


def test_postgres_of_an_earlier_version_becomes_as_a_new_one(plain_dsn: str) -> None:
    dsn = plain_dsn
    ensure_postgres(dsn)
    fresh = catalog_of_postgres(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute((EARLIER / "postgres.sql").read_bytes())
    assert catalog_of_postgres(dsn) < fresh
    postgres.migrate(dsn)
    ensure_postgres(dsn)
    assert catalog_of_postgres(dsn) == fresh, "a changed table needs a step in stores/migrations/steps/postgres"


def test_clickhouse_of_an_earlier_version_becomes_as_a_new_one(clickhouse_url: str, clickhouse_client: Client) -> None:
    ensure_clickhouse(clickhouse_client)
    fresh = catalog_of_clickhouse(clickhouse_client)
    for name in read(clickhouse_client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"]:
        clickhouse_client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    for statement in (EARLIER / "clickhouse.sql").read_text().split(";\n"):
        if statement.strip():
            clickhouse_client.command(statement)
    with pytest.raises(SchemaTooOld, match=r'0001 slice_states.*"marketdata migrate"'):
        clickhouse_ledger.ensure(clickhouse_client)
    assert [step.label for step in clickhouse.pending(clickhouse_url)] == ["0001 slice_states"]
    clickhouse.migrate(clickhouse_url)
    ensure_clickhouse(clickhouse_client)
    found = catalog_of_clickhouse(clickhouse_client)
    assert found == fresh, "a changed table needs a step in stores/migrations/steps/clickhouse"


def test_mongo_of_an_earlier_version_becomes_as_a_new_one(mongo_uri: str, database_of_mongo: Mongo) -> None:
    """The earlier version had these indexes of an account."""
    database = database_of_mongo[DATABASE]
    database["earlier"].create_index("id", unique=True)
    for keys in ([("dateCreated", 1)], [("dateModified", -1)], [("settings.region", 1), ("is.sharpe", -1)]):
        database["earlier"].create_index(keys)
    mongo.migrate(mongo_uri, DATABASE)
    ingest.prepare(database, "earlier")
    ingest.prepare(database, "new")
    fresh = indexes_of_mongo(database_of_mongo, "new")["new"]
    assert indexes_of_mongo(database_of_mongo, "earlier")["earlier"] == fresh


@pytest.mark.usefixtures("steps")
def test_every_step_of_the_package_is_numbered_without_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    known = {store: migrations.steps_of(store) for store in ("postgres", "clickhouse", "mongo")}
    assert known["clickhouse"]
    assert all([step.number for step in found] == [*range(1, len(found) + 1)] for found in known.values())


def test_loads_name_the_command_until_the_added_column_is_there(dsn: str, steps: Path) -> None:
    ensure_postgres(dsn)
    add_column(steps)
    with psycopg.connect(dsn) as connection, pytest.raises(SchemaTooOld, match=r'0001 note.*"marketdata migrate"'):
        ledger.ensure(connection)
    assert [step.label for step in postgres.migrate(dsn)] == ["0001 note"]
    with psycopg.connect(dsn) as connection:
        ledger.ensure(connection)
        assert "note" in storage.columns_of(connection, "marketdata_ledger")
    assert not postgres.migrate(dsn)


def test_collector_is_held_up_by_steps_of_its_own_tables_only(clickhouse_client: Client, steps: Path) -> None:
    ensure_clickhouse(clickhouse_client)
    write(steps, "clickhouse/0001_books.sql", "-- Table: marketdata_ledger_rows\nSELECT 1\n")
    exchanges.ensure(clickhouse_client)
    with pytest.raises(SchemaTooOld, match="0001 books"):
        clickhouse_ledger.ensure(clickhouse_client)
    write(steps, "clickhouse/0002_trades.sql", "-- Table: exchange_trades\nSELECT 1\n")
    with pytest.raises(SchemaTooOld, match=r"without 0002 trades\. Nothing"):
        exchanges.ensure(clickhouse_client)


def test_new_database_has_all_steps_on_record_without_running_them(
    dsn: str, clickhouse_client: Client, database_of_mongo: Mongo, steps: Path
) -> None:
    add_column(steps)
    write(steps, "clickhouse/0001_never.sql", "-- Table: marketdata_ledger_rows\nSELECT throwIf(1)\n")
    write(steps, "mongo/0001_never.yaml", "# Table: accounts\n- {unknown: COLLECTION}\n")
    ensure_postgres(dsn)
    ensure_clickhouse(clickhouse_client)
    mongo_ledger.ensure(database_of_mongo[DATABASE])
    for _ in range(2):
        ensure_postgres(dsn)
        ensure_clickhouse(clickhouse_client)
        ingest.prepare(database_of_mongo[DATABASE], "new")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT number, name FROM marketdata_schema").fetchall() == [(1, "note")]


def test_steps_run_for_every_account_and_once(mongo_uri: str, database_of_mongo: Mongo, steps: Path) -> None:
    database = database_of_mongo[DATABASE]
    for account in ("one", "two"):
        ingest.prepare(database, account)
    index = "{createIndexes: COLLECTION, indexes: [{key: {grade: 1}, name: grade_1}]}"
    write(steps, "mongo/0001_grade.yaml", f"# Table: accounts\n- {index}\n")
    with pytest.raises(SchemaTooOld, match="0001 grade"):
        ingest.prepare(database, "one")
    assert [step.name for step in mongo.migrate(mongo_uri, DATABASE)] == ["grade"]
    assert all("grade_1" in database[account].index_information() for account in ("one", "two"))
    assert "grade_1" not in database[mongo_ledger.LEDGER].index_information()
    assert not mongo.migrate(mongo_uri, DATABASE)
    ingest.prepare(database, "one")


def test_database_of_a_newer_version_and_an_edited_step_are_refused(
    dsn: str, clickhouse_url: str, mongo_uri: str, database_of_mongo: Mongo, steps: Path
) -> None:
    """In all three; what would be written is not."""
    clickhouse_text = "-- Table: nothing\nSELECT 1\n"
    files = [
        add_column(steps),
        write(steps, "clickhouse/0001_one.sql", clickhouse_text),
        write(steps, "mongo/0001_one.yaml", "# Table: accounts\n[]\n"),
    ]

    def ensure_each() -> Iterator[Any]:
        with psycopg.connect(dsn) as connection:
            yield lambda: ledger.ensure(connection)
        with connect(clickhouse_url) as client:
            yield lambda: clickhouse_ledger.ensure(client)
        yield lambda: mongo_ledger.ensure(database_of_mongo[DATABASE])
        yield lambda: postgres.migrate(dsn)
        yield lambda: clickhouse.migrate(clickhouse_url)
        yield lambda: mongo.migrate(mongo_uri, DATABASE)

    for ensure in ensure_each():
        ensure()
    for file in files:
        file.write_text(file.read_text() + "\n")
    for ensure in ensure_each():
        with pytest.raises(StepChanged, match="0001"):
            ensure()
    for file in files:
        file.unlink()
    for ensure in ensure_each():
        with pytest.raises(SchemaTooNew, match=r"0001 \w+; this version knows steps up to 0000"):
            ensure()


def test_step_that_fails_is_not_on_record_and_the_ones_before_are_kept(dsn: str, steps: Path) -> None:
    ensure_postgres(dsn)
    add_column(steps)
    broken = write(
        steps, "postgres/0002_broken.sql", "-- Table: marketdata_ledger\nSELECT 1; SELECT no_such_function();\n"
    )
    with pytest.raises(psycopg.errors.UndefinedFunction):
        postgres.migrate(dsn)
    assert [step.label for step in postgres.pending(dsn)] == ["0002 broken"]
    broken.write_text("-- Table: marketdata_ledger\nSELECT 1;\n")
    assert [step.label for step in postgres.migrate(dsn)] == ["0002 broken"]


def test_migration_waits_for_a_load_and_gives_way_to_others(
    dsn: str, steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the step pauses, the load that it has waited for commits, and another one is not blocked."""
    ensure_postgres(dsn)
    add_column(steps)
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT", "50ms")
    insert = "INSERT INTO marketdata_flow_tables VALUES (%s, 'x', 'append')"
    paused = []
    with psycopg.connect(dsn) as load:
        load.execute("LOCK TABLE marketdata_ledger IN ROW EXCLUSIVE MODE")

        def pause(seconds: float) -> None:
            paused.append(seconds)
            with psycopg.connect(dsn, options="-c lock_timeout=30s") as other:
                ledger_rows = other.execute("SELECT count(*) FROM marketdata_ledger").fetchone()
                other.execute(insert, [f"during {len(paused)}"])
                assert ledger_rows == (0,)
            load.commit()

        monkeypatch.setattr(postgres, "time", SimpleNamespace(sleep=pause))
        assert [step.label for step in postgres.migrate(dsn)] == ["0001 note"]
    assert paused
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM marketdata_flow_tables").fetchone() == (len(paused),)


def test_table_in_use_for_too_long_is_named(dsn: str, steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_postgres(dsn)
    add_column(steps)
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(postgres, "ATTEMPTS", 2)
    monkeypatch.setattr(postgres, "PAUSE_SECONDS", 0)
    with psycopg.connect(dsn) as load:
        load.execute("LOCK TABLE marketdata_ledger IN ROW EXCLUSIVE MODE")
        with pytest.raises(TableBusy, match="marketdata_ledger was in use"):
            postgres.migrate(dsn)


def test_rows_written_while_steps_run_are_all_there(
    dsn: str, clickhouse_url: str, clickhouse_client: Client, steps: Path
) -> None:
    ensure_postgres(dsn)
    clickhouse_client.command("CREATE TABLE loaded (id Int64) ENGINE = MergeTree ORDER BY id")
    for number in range(1, 11):
        text = "-- Table: loaded\nALTER TABLE loaded ADD COLUMN IF NOT EXISTS c{} String DEFAULT 'x';\n"
        write(steps, f"clickhouse/{number:04d}_c.sql", text.format(number))
        add_column(steps, number, f"c{number}")
    stop, begun, written = threading.Event(), threading.Event(), [0]

    def load() -> None:
        with psycopg.connect(dsn) as connection, connect(clickhouse_url) as client:
            while not stop.is_set() or not written[0]:
                values = [f"{written[0]}"]
                connection.execute("INSERT INTO marketdata_flow_tables VALUES (%s, 'x', 'append')", values)
                connection.execute("LOCK TABLE marketdata_ledger IN ROW EXCLUSIVE MODE")
                connection.commit()
                client.insert("loaded", [[written[0]]], column_names=["id"])
                written[0] += 1
                begun.set()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert begun.wait(120)
        assert len(clickhouse.migrate(clickhouse_url)) == 10
        assert len(postgres.migrate(dsn)) == 10
    finally:
        stop.set()
        thread.join()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM marketdata_flow_tables").fetchone() == (written[0],)
    [found] = read(clickhouse_client, "SELECT toInt64(uniqExact(id)) AS n FROM loaded WHERE c10 = 'x'")["n"]
    assert found == written[0]


def test_command_shows_then_runs_what_is_pending(dsn: str, tmp_path: Path, steps: Path) -> None:
    ensure_postgres(dsn)
    add_column(steps)
    named = {"MARKETDATA_POSTGRES_DSN": make_conninfo(dsn)}
    shown = marketdata(tmp_path, "migrate", "--dry-run", "--json", **named)
    assert (shown.returncode, '"state": "pending"' in shown.stdout) == (0, True), shown.stderr
    assert len(postgres.pending(dsn)) == 1
    done = marketdata(tmp_path, "migrate", **named)
    assert (done.returncode, "0001 note" in done.stdout) == (0, True), done.stderr
    assert not postgres.pending(dsn)
    again = marketdata(tmp_path, "migrate", **named)
    assert "no step is pending in Postgres" in again.stdout


def test_checksum_is_of_the_text() -> None:
    assert Step(1, "a", "t", "one").checksum != Step(1, "a", "t", "two").checksum


def test_service_that_migrates_a_new_installation_and_one_again(
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
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)

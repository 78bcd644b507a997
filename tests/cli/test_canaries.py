"""Planted passwords and tokens turn up nowhere: not printed, logged, stored, shown in the UI or among processes."""

import dataclasses
import datetime as dt
import http.client
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from pymongo import MongoClient

from marketdata_assets.cli.instance import environment as found_by_dagster
from marketdata_assets.local import password
from marketdata_assets.local.process import free_port
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse
from marketdata_demo import sample_bars
from marketdata_demo.servers.brain import BrainServer
from marketdata_demo.servers.tushare import TushareServer
from tests.cli.commands import PROGRAMS, environment, marketdata, stack_on, until
from tests.ticks.unlimited import UNLIMITED

CANARY = "canary8f3e71"
"""The beginning of every planted secret; nothing else has it."""

SERVERS = ("postgres", "mongo", "clickhouse", "nats")

NOBODY = "127.0.0.1:9"
"""No server listens there."""

GONE = {
    "MARKETDATA_POSTGRES_DSN": f"postgresql://me:{CANARY}away@{NOBODY}/db",
    "MARKETDATA_CLICKHOUSE_URL": f"http://me:{CANARY}away@{NOBODY}/db",
    "MARKETDATA_MONGO_URI": f"mongodb://me:{CANARY}away@{NOBODY}/?serverSelectionTimeoutMS=200",
}
ADDRESSES = {
    "MARKETDATA_BRAIN_URL": f"http://me:{CANARY}base@{NOBODY}",
    "MARKETDATA_TUSHARE_URL": f"http://me:{CANARY}base@{NOBODY}",
    "MARKETDATA_YAHOO_URL": f"http://{NOBODY}/?token={CANARY}base",
    "MARKETDATA_ALPACA_URL": f"http://me:{CANARY}base@{NOBODY}",
    "APCA_API_KEY_ID": f"{CANARY}keyid",
    "APCA_API_SECRET_KEY": f"{CANARY}key",
    "MARKETDATA_BUDGETS": f"postgresql://me:{CANARY}budgets@{NOBODY}/db",
    "MARKETDATA_CODE_URL": f"http://me:{CANARY}code@{NOBODY}",
    "MARKETDATA_RAY_ADDRESS": f"ray://me:{CANARY}ray@{NOBODY}",
    "HTTPS_PROXY": f"http://me:{CANARY}proxy@{NOBODY}",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}aws",
    "AWS_SESSION_TOKEN": f"{CANARY}session",
}
"""Servers that are away, and addresses that lead nowhere, each with a password: for some commands alone."""

QUESTIONS = (
    "{ instance { info } }",
    """{ allTopLevelResourceDetailsOrError(repositorySelector:
         {repositoryName: "__repository__", repositoryLocationName: "marketdata_assets"}) {
         ... on ResourceDetailsList { results { name configuredValues { key value } configFields { name } } }
         ... on PythonError { message } } }""",
    "{ assetNodes { assetKey { path } description metadataEntries { label description } } }",
    "{ runsOrError { ... on Runs { results { runConfigYaml tags { key value } } } ... on PythonError { message } } }",
)


FLOW = """\
type: marketdata_assets.components.Flow
attributes:
  loader: {folder: leaky, glob: "*.csv", columns: {a: a}}
  handlers: [{call: {function: .handlers.leak}}]
  target: {table: leaky, mode: append, columns: {a: text}}
"""
HANDLERS = """\
import base64, os, urllib.parse

def leak(frame):
    found = " ".join(value for value in os.environ.values() if "canary8f3e71" in value)
    print("printed")
    token = base64.b64encode(os.environ["TUSHARE_TOKEN"].encode())
    raise RuntimeError(f"{found} {urllib.parse.quote(found, '')} {token}")
"""
BASE64 = "Y2FuYXJ5OGYzZTcx"  # of the canary


@dataclass(frozen=True)
class Planted:
    """A running stack, APIs that refuse us, and a secret in every place that takes one."""

    stack: LocalStack
    folder: Path
    variables: dict[str, object]

    def run(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        return marketdata(self.stack.settings.root, *arguments, **(self.variables | variables))


@pytest.fixture(scope="module")
def own() -> Iterator[LocalStack]:
    """A stack of its own, where no other test sees what fails here; its passwords are canaries, Dagster's included."""
    home = Path(tempfile.mkdtemp(prefix="md-"))
    for name in SERVERS:
        (home / name).mkdir()
        password.file(home / name).write_text(f"{CANARY}{name}")
    with stack_on(home) as stack:
        yield stack
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def planted(own: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("planted")
    found = own.endpoints
    assert all(CANARY in str(url) for url in dataclasses.asdict(found).values())
    (folder / "accounts.json").write_text(json.dumps([{"user_key": "lk"}]))
    credentials = folder / "credentials.json"
    credentials.write_text(json.dumps({"lk": {"email": f"{CANARY}mail@example.com", "password": f"{CANARY}brain"}}))
    credentials.chmod(0o600)
    (folder / "providers.yaml").write_text(UNLIMITED)
    (folder / "bars").mkdir()
    (folder / "alphas").mkdir()
    sample_bars.write_year(folder / "bars", 2024, sample_bars.STOCKS[:1], dt.date(2024, 1, 31))
    (folder / "bars" / "2023_1min.zip").write_bytes(b"PK\x03\x04 cut off")
    flow = folder / "flows" / "leaky"
    flow.mkdir(parents=True)
    (flow / "defs.yaml").write_text(FLOW)
    (flow / "handlers.py").write_text(HANDLERS)
    (folder / "flows_data" / "leaky").mkdir(parents=True)
    (folder / "flows_data" / "leaky" / "x.csv").write_text("a\n1\n")
    secret = folder / "smtp"
    secret.write_text(f"smtp://me:{CANARY}smtp@{NOBODY}")
    collector = folder / "collector.yaml"
    collector.write_text(f"redis_url: redis://:{CANARY}other@{NOBODY}/0\n")
    collector.chmod(0o600)
    with BrainServer() as brain, TushareServer(()) as tushare:
        variables = {
            "MARKETDATA_POSTGRES_DSN": found.postgres_dsn,
            "MARKETDATA_CLICKHOUSE_URL": found.clickhouse_url,
            "MARKETDATA_NATS_URL": f"nats://me:{CANARY}nats@{NOBODY}",
            "MARKETDATA_REDIS_URL": f"redis://:{CANARY}redis@{NOBODY}/0",
            "MARKETDATA_COLLECTOR_TOKEN": f"{CANARY}token",
            "MARKETDATA_ALERT_WEBHOOK": f"http://{NOBODY}/{CANARY}webhook",
            "MARKETDATA_HEARTBEAT_URL": f"http://{NOBODY}/{CANARY}heartbeat",
            "MARKETDATA_UI_TOKEN": f"{CANARY}ui",
            "MARKETDATA_ALERT_SMTP_FILE": secret,
            "MARKETDATA_COLLECTOR_SECRETS": collector,
            "MARKETDATA_ALERT_MAIL": "a@example.com,b@example.com",
            "MARKETDATA_BRAIN_EMAIL_OTHER": f"{CANARY}other@example.com",
            "MARKETDATA_BRAIN_PASSWORD_OTHER": f"{CANARY}'other",
            "MARKETDATA_FLOWS_DIR": folder / "flows",
            "MARKETDATA_FLOWS_DATA": folder / "flows_data",
            "HTTPS_PROXY": "",
            "MARKETDATA_BARS_DIR": folder / "bars",
            "MARKETDATA_ALPHAS_DIR": folder / "alphas",
            "MARKETDATA_BRAIN_URL": brain.url,
            "MARKETDATA_BRAIN_ACCOUNTS": folder / "accounts.json",
            "MARKETDATA_BRAIN_CREDENTIALS": credentials,
            "MARKETDATA_TUSHARE_URL": tushare.url,
            "MARKETDATA_YAHOO_URL": tushare.url,
            "MARKETDATA_PROVIDERS": folder / "providers.yaml",
            "TUSHARE_TOKEN": f"{CANARY}tushare",
        }
        yield Planted(own, folder, variables)


@dataclass(frozen=True)
class Ended:
    """How commands ended, and the command lines of all processes meanwhile."""

    runs: dict[str, subprocess.CompletedProcess[str]]
    processes: set[str]


@contextmanager
def listed_processes() -> Iterator[set[str]]:
    """The command lines of all our children, looked at again and again."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                try:
                    seen.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_every_setting_that_may_hold_a_secret_is_planted(planted: Planted) -> None:
    """By the settings themselves: a new address, token or file of secrets has to be planted here."""

    def holds(value: object) -> bool:
        return CANARY in (value.read_text() if isinstance(value, Path) and value.is_file() else str(value))

    given = [name for some in (planted.variables, GONE, ADDRESSES) for name, value in some.items() if holds(value)]
    known = {name.removeprefix("MARKETDATA_").removesuffix("_FILE").lower() for name in given}
    wanted = re.compile("_(dsn|ur[il]|token|secrets|credentials|address|webhook|smtp)$|budgets$")
    assert {name for name in Settings.model_fields if wanted.search(name)} <= known


@pytest.fixture(scope="module")
def ended(planted: Planted) -> Ended:
    with listed_processes() as commands:
        runs = {
            "bars": planted.run("ingest", "bars", "--months", "2023-12:2024-01", MARKETDATA_WORKERS=2),
            "alphas": planted.run("alphas", "fetch", "--months", "2024-11"),
            "symbols": planted.run("symbols", "refresh"),
            "status": planted.run("status"),
            "doctor": planted.run("doctor"),
            "no servers": planted.run("ingest", "bars", "--months", "2024-01", **GONE),
            "status of nothing": planted.run("status", "--json", **GONE),
            "doctor of nothing": planted.run("doctor", "--json", **GONE),
            "collector": planted.run("collect", "check"),
            "flow": planted.run("flows", "run", "leaky"),
            "flow as JSON": planted.run("flows", "run", "leaky", "--json"),
            "try": planted.run("flows", "check", "leaky"),
            "status as JSON": planted.run("status", "--json"),
            "doctor as JSON": planted.run("doctor", "--json"),
            "quarantine": planted.run("quarantine", "show", "leaky", "--json"),
            "metrics": planted.run("metrics", "--once"),
            "accounts": planted.run("alphas", "accounts", "--json"),
            "unknown": planted.run("status", MARKETDATA_WORKERS=f"postgresql://me:{CANARY}@h/db"),
            "other addresses": planted.run("doctor", **ADDRESSES),
            "other addresses of alphas": planted.run("alphas", "fetch", "--months", "2024-11", **ADDRESSES),
            "other addresses of symbols": planted.run("symbols", "refresh", **ADDRESSES),
            "on Ray": planted.run("ingest", "bars", "--months", "2024-01", **ADDRESSES),
            "JSON log": planted.run("ingest", "bars", "--months", "2024-01", **GONE, MARKETDATA_LOG_FORMAT="json"),
        }
    return Ended(runs, commands)


def test_no_command_prints_a_secret_or_shows_one_in_the_list_of_processes(ended: Ended) -> None:
    for name in ("bars", "alphas", "symbols", "no servers", "status of nothing", "flow"):
        assert ended.runs[name].returncode == 1, (name, ended.runs[name].stdout, ended.runs[name].stderr)
    told = {name: run.stdout + run.stderr for name, run in ended.runs.items()}
    assert [name for name, text in told.items() if CANARY in text or BASE64 in text or "Traceback" in text] == []
    assert "RuntimeError: " in told["flow"]
    assert "***" in told["flow as JSON"]
    assert "2023_1min.zip" in told["bars"]
    assert [command for command in ended.processes if CANARY in command] == []


@pytest.mark.usefixtures("ended")
def test_no_file_and_no_table_keeps_a_secret(planted: Planted, tmp_path: Path) -> None:
    root = planted.stack.settings.root
    known = {*SERVERS, "stack.json"}  # files of the servers, which are asked below, and the addresses with passwords
    files = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] not in known]
    assert files
    assert [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []
    found = planted.stack.endpoints
    assert found.postgres_dsn
    assert found.dagster_pg
    assert in_postgres(found.postgres_dsn) == []
    assert in_postgres(found.dagster_pg) == []
    assert in_clickhouse(str(found.clickhouse_url)) == []
    assert in_mongo(str(found.mongo_uri)) == []
    assert planted.run("backup", str(tmp_path / "backup")).returncode == 0
    assert CANARY not in (tmp_path / "backup" / "manifest.json").read_text()


@pytest.mark.slow
def test_no_run_config_puts_a_secret_into_an_event(planted: Planted, tmp_path: Path) -> None:
    """Whoever starts the run: the command of Dagster, and whatever makes a run, as the launchpad and backfills do."""
    flow = {"ops": {"leaky": {"config": {"data_dir": {"env": "TUSHARE_TOKEN"}}}}}
    settings = planted.stack.settings
    variables = found_by_dagster(settings, planted.stack.endpoints) | planted.variables
    (tmp_path / "config.yaml").write_text(json.dumps(flow))
    job = ["-m", "marketdata_assets.definitions", "-j", "flow_leaky", "--config", str(tmp_path / "config.yaml")]
    for way in ("execute", "launch"):
        command = [PROGRAMS / "dagster", "job", way, *job]
        known, root = environment(settings.root, **variables), settings.root
        ended = subprocess.run(command, env=known, cwd=root, capture_output=True, text=True)
        assert ended.returncode != 0, ended.stdout
        assert "takes a value from the environment" in ended.stdout + ended.stderr
        assert CANARY not in ended.stdout + ended.stderr
    assert in_postgres(str(planted.stack.endpoints.dagster_pg)) == []


def test_the_market_page_and_the_login_show_no_other_secret(planted: Planted) -> None:
    root = planted.stack.settings.root
    port = free_port()
    command = [PROGRAMS / "marketdata", "web", "--port", str(port)]
    gone = {"MARKETDATA_CLICKHOUSE_URL": f"http://me:{CANARY}away@{NOBODY}/db"}
    variables = planted.variables | gone
    with subprocess.Popen(command, env=environment(root, **variables), cwd=root, stderr=subprocess.PIPE) as served:
        assert served.stderr is not None
        try:
            link = served.stderr.readline().decode()
            assert link == f"market page at http://127.0.0.1:{port}/?token={CANARY}ui\n"
            login = {"Authorization": f"Bearer {CANARY}ui"}
            until(lambda: asked_page(port, "/", login), 60)
            pages = [
                "/",
                "/api/servers/clickhouse",
                "/api/servers/postgres",
                "/api/status/bars",
                "/api/quality/postgres",
            ]
            answers = {path: asked_page(port, path, login) for path in pages}
            refused = asked_page(port, "/", {})
        finally:
            served.terminate()
        assert CANARY not in served.stderr.read().decode()
    assert "ClickHouse" in (answers["/api/servers/clickhouse"] or "")
    assert [path for path, text in answers.items() if text is None or CANARY in text] == []
    assert refused is not None
    assert CANARY not in refused


def asked_page(port: int, path: str, headers: dict[str, str]) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().read().decode()
    except OSError:
        return None
    finally:
        connection.close()


def in_postgres(dsn: str) -> list[str]:
    """The tables that have a canary in some row."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'"
        ).fetchall()
        assert rows
        question = "SELECT 1 FROM {} AS t WHERE t::text LIKE {} LIMIT 1"
        return [
            table
            for schema, table in rows
            if connection.execute(
                sql.SQL(question).format(sql.Identifier(schema, table), sql.Literal(f"%{CANARY}%"))
            ).fetchone()
        ]


def in_clickhouse(url: str) -> list[str]:
    with clickhouse.connect(url) as client:
        names = clickhouse.read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"]
        return [
            name
            for name in names
            if client.command(f"SELECT count() FROM `{name}` WHERE toString(tuple(*)) LIKE '%{CANARY}%'")
        ]


def in_mongo(uri: str) -> list[str]:
    with MongoClient[dict[str, Any]](uri) as client:
        return [
            f"{database}.{name}"
            for database in client.list_database_names()
            if database not in ("admin", "config", "local")
            for name in client[database].list_collection_names()
            if any(CANARY in str(document) for document in client[database][name].find())
        ]


def test_the_ui_answers_without_a_secret(planted: Planted) -> None:
    port = free_port()
    root = planted.stack.settings.root
    variables = planted.variables | found_by_dagster(planted.stack.settings, planted.stack.endpoints)
    variables |= {name: planted.variables[name] for name in planted.variables}
    assert variables["DAGSTER_PG_HOST"]
    assert CANARY in str(variables["DAGSTER_PG_PASSWORD"])
    command = [PROGRAMS / "marketdata", "ui", "--no-login", "--port", str(port)]
    with (
        (planted.folder / "webserver.log").open("wb") as log,
        subprocess.Popen(command, env=environment(root, **variables), cwd=root, stdout=log, stderr=log) as webserver,
    ):
        try:
            until(lambda: asked(port, "{ version }"), 90)
            answers = [asked(port, question) or "" for question in QUESTIONS]
            commands = [" ".join(one.cmdline()) for one in psutil.Process(webserver.pid).children(recursive=True)]
        finally:
            webserver.terminate()
    assert all('"data"' in answer and '"errors"' not in answer for answer in answers), answers
    assert '"postgres"' in answers[1]
    assert [answer for answer in answers if CANARY in answer] == []
    assert [command for command in commands if CANARY in command] == []
    assert CANARY not in (planted.folder / "webserver.log").read_text()


def asked(port: int, question: str) -> str | None:
    """What GraphQL answers; nothing while nobody is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/graphql", json.dumps({"query": question}), {"Content-Type": "application/json"})
        return connection.getresponse().read().decode()
    except OSError:
        return None
    finally:
        connection.close()

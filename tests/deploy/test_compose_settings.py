"""What our services are told: every variable is read, every address is another service, every command exists."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.collector import config
from marketdata_assets.collector.config import Variables
from marketdata_assets.secret_values import SUFFIX
from marketdata_assets.settings import MONGO_DATASETS, CollectorSettings, Settings
from tests.deploy.compose_file import (
    DOCKER,
    OURS,
    PACKAGE,
    SECRETS,
    compose,
    example,
    mounted_secrets,
    prepared,
    services,
)
from tests.deploy.readers import known, refuses_what_it_does_not_know

ADDRESSES = ("postgres_dsn", "mongo_uri", "clickhouse_url", "nats_url", "redis_url")
PORTS = {"timescaledb": 5432, "mongodb": 27017, "clickhouse": 8123, "nats": 4222, "redis": 6379}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("docker"))


@pytest.fixture
def told(request: pytest.FixtureRequest, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service's name, in whose environment the test is; its secrets are those that prepare.sh made."""
    name = str(request.param)
    for variable in (*Settings.model_fields, *Variables.model_fields):
        for prefix in ("MARKETDATA_", ""):
            monkeypatch.delenv(f"{prefix}{variable}".upper(), raising=False)
    for variable, value in services()[name]["environment"].items():
        monkeypatch.setenv(variable, value.replace(SECRETS, f"{secrets}/"))
    yield name


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_somebody_reads_and_dagster_gets_its_storage(name: str) -> None:
    given = services()[name]["environment"]
    assert {variable.removesuffix(SUFFIX) for variable in given} <= known()
    if name in ("collector", "drain"):
        return
    database = services()[given["DAGSTER_PG_HOST"]]["environment"]
    assert given["DAGSTER_PG_PORT"] == "5432"
    assert database["POSTGRES_DB"] == given["DAGSTER_PG_DB"]
    role = "READER" if name in ("metrics", "web") else "WRITER"
    for part in ("", "_PASSWORD_FILE"):
        assert database[f"{role}{part}"] == given[f"DAGSTER_PG_{part.removeprefix('_') or 'USER'}"]


def test_every_variable_over_the_collectors_file_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values = example() | {"ENABLE_BINANCE": "false", "ENABLE_HYPERLIQUID": "true"}
    given = compose(values)["services"]["collector"]["environment"]
    assert {name.upper() for name in Variables.model_fields} - given.keys() == {"NATS_URL"}, "which a secret has"
    for name in Variables.model_fields:
        monkeypatch.setenv(name.upper(), given.get(name.upper(), ""))
    found = config.read(None, config.environment())
    assert {name: venue.enabled for name, venue in found.exchanges.items()} == {
        "binance": False, "okx": True, "deribit": True, "hyperliquid": True,
    }  # fmt: skip


@pytest.mark.parametrize("told", ("code", "metrics", "collector"), indirect=True)
def test_addresses_are_services_on_a_network_of_both_with_the_servers_passwords(told: str, secrets: Path) -> None:
    settings = Settings()
    found = {field: getattr(settings, field) for field in ADDRESSES if getattr(settings, field)}
    assert found.keys() == {
        field for field in ADDRESSES if f"MARKETDATA_{field.upper()}{SUFFIX}" in services()[told]["environment"]
    }
    for field, address in found.items():
        parts = urlsplit(address)
        assert parts.hostname is not None
        other = services()[parts.hostname]
        assert set(other["networks"]) & set(services()[told]["networks"]), field
        assert parts.port == PORTS[parts.hostname]
        server, role = field.partition("_")[0], "_reader" if told == "metrics" else ""
        assert parts.password == (secrets / f"{server}{role}_password").read_text()
        if field != "redis_url":
            assert parts.username == ("reader" if told == "metrics" else "marketdata")


@pytest.mark.parametrize("told", ("code",), indirect=True)
def test_databases_are_those_that_the_servers_make_and_folders_are_mounted(told: str) -> None:
    settings, server = Settings(), services()["timescaledb"]["environment"]
    dsn = conninfo_to_dict(settings.postgres_dsn or "")
    assert (dsn["user"], dsn["dbname"]) == (server["WRITER"], server["POSTGRES_DB"])
    assert server["POSTGRES_USER"] not in (server["WRITER"], server["READER"])
    assert "<default_database>marketdata<" in (DOCKER / "clickhouse" / "server.xml").read_text()
    assert urlsplit(settings.clickhouse_url or "").path == "/marketdata"
    targets = [volume.split(":")[1] for volume in services()[told]["volumes"]]
    for folder in ("bars", "alphas", "ticks", "flows", "flows_data", "captures", "brain", "budgets"):
        path = getattr(settings, f"{folder}_folder")
        assert any(path.is_relative_to(target) for target in targets), folder


@pytest.mark.parametrize("told", ("collector",), indirect=True)
def test_collector_listens_to_all_has_a_token_and_shares_budgets_with_the_history(told: str, secrets: Path) -> None:
    overrides, token = CollectorSettings(), Settings().collector_token
    assert (overrides.http_host, overrides.http_port, overrides.redis_cache) == ("0.0.0.0", 8080, True)
    assert overrides.symbols is None, "what is empty is as the file of the collector says"
    assert token is not None
    assert token.get_secret_value() == (secrets / "collector_token").read_text()
    for name in (told, "code"):
        assert "home:/data" in services()[name]["volumes"]
        assert services()[name]["environment"]["MARKETDATA_HOME"] == "/data"


def test_metrics_and_the_market_page_read_only_and_the_viewer_has_a_token_of_its_own(secrets: Path) -> None:
    metrics, web, viewer, webserver = (services()[name] for name in ("metrics", "web", "viewer", "webserver"))
    assert {volume for volume in metrics["volumes"] if not volume.endswith(":ro")} == set()
    for one in (metrics, web):
        assert not {secret for secret in mounted_secrets(one) if "reader" not in secret}
    assert web["environment"]["MARKETDATA_HOME"] == webserver["environment"]["MARKETDATA_HOME"], "the same login"
    assert "--read-only" in viewer["command"]
    assert "--read-only" not in webserver["command"]
    token = viewer["environment"]["MARKETDATA_UI_TOKEN_FILE"].removeprefix(SECRETS)
    assert (secrets / token).read_text()
    assert token not in mounted_secrets(webserver)


def test_users_of_mongodb_reach_the_databases_of_alphas_alone() -> None:
    script = (DOCKER / "mongo" / "setup.js").read_text()
    listed = re.search(r"const DATABASES = \[(.*?)\];", script, re.DOTALL)
    assert listed
    assert set(re.findall(r'"(\w+)"', listed[1])) == set(MONGO_DATASETS)
    roles = re.findall(r'\["(\w+)", "(\w+)", "(\w+)"\]', script)
    assert roles == [("marketdata", "mongo_password", "readWrite"), ("reader", "mongo_reader_password", "read")]
    assert "AnyDatabase" not in script


def commands() -> Iterator[tuple[str, list[str]]]:
    for name in OURS:
        yield name, services()[name]["command"]
        test = services()[name]["healthcheck"]["test"]
        if test[1] in ("dagster", "marketdata"):
            yield f"{name}, health", test[1:]
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if line.startswith("CMD")]
    yield "image", yaml.safe_load(lines[-1].removeprefix("CMD "))


@pytest.mark.parametrize("command", [command for _, command in commands()], ids=[name for name, _ in commands()])
def test_command_exists_with_its_options(command: list[str]) -> None:
    refuses_what_it_does_not_know(command[2:] if command[:2] == ["marketdata", "exec"] else command)


@pytest.mark.parametrize("name", ["collector", pytest.param("drain", marks=pytest.mark.slow)])
def test_services_without_dagster_start_through_the_entrypoint_of_the_image(name: str, tmp_path: Path) -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    service, programs = services()[name], Path(sys.executable).parent
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "MARKETDATA_HOME": str(tmp_path)}
    assert not [one for one in service["environment"] if one.startswith("DAGSTER_")]
    command = [*yaml.safe_load(entry), *service["command"], "--help"]
    said = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "--help" in said.stdout
    dagster = [*yaml.safe_load(entry), "dagster", "--version"]
    refused = subprocess.run(dagster, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode != 0, "a command of Dagster needs its storage"


def test_workspaces_lead_to_the_same_location() -> None:
    (local,) = location_origins_from_yaml_paths([str(PACKAGE / "workspace.yaml")])
    (at,) = location_origins_from_yaml_paths([str(DOCKER / "workspace.yaml")])
    assert isinstance(at, GrpcServerCodeLocationOrigin)
    assert local.location_name == at.location_name == "marketdata_assets"
    command = services()["code"]["command"]
    assert at.host in services()
    assert str(at.port) == command[command.index("--port") + 1]
    assert command[:2] == ["marketdata", "code-server"], "which serves the definitions of the package"

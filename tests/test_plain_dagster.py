"""Dagster's own commands in a clone: they find workspace.yaml and dagster.yaml, and leave nothing that git sees."""

import datetime as dt
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import dagster as dg
import httpx
import psycopg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test
from dagster_postgres import PostgresRunStorage
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.dagster_storage import LOGS, POSTGRES
from marketdata_assets.errors import TerminalError
from marketdata_assets.local.process import free_port
from marketdata_demo import sample_bars
from tests.deploy.test_code_server import kill_all, until

PROJECT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with what is changed here, and not committed yet."""
    folder = tmp_path / "clone"
    git("clone", "-q", str(PROJECT), str(folder), cwd=tmp_path)
    changes = git("diff", "HEAD", "--binary", cwd=PROJECT)
    if changes:
        subprocess.run(["git", "apply", "--index"], cwd=folder, input=changes.encode(), check=True)
        git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "work", cwd=folder)
    return folder


def git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, capture_output=True, check=True, text=True).stdout


def variables(**given: str) -> dict[str, str]:
    ours = ("MARKETDATA_", "DAGSTER_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | given


def begin(clone: Path, *command: str, **given: str) -> subprocess.CompletedProcess[str]:
    program = [str(BIN / command[0]), *command[1:]]
    given = {"PYTHONPATH": str(clone), "PATH": f"{BIN}:{os.environ['PATH']}", **given}
    return subprocess.run(program, cwd=clone, env=variables(**given), capture_output=True, text=True, timeout=300)


def run(clone: Path, *command: str, **given: str) -> str:
    ended = begin(clone, *command, **given)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert "Traceback" not in said
    assert git("status", "--porcelain", cwd=clone) == "", "untracked files"
    return said


@pytest.mark.slow
def test_definitions_are_valid_in_the_workspace_file(clone: Path) -> None:
    assert "All code locations passed validation" in run(
        clone, "dagster", "definitions", "validate", "-w", "workspace.yaml"
    )


@pytest.mark.parametrize("program", ["dagster dev", pytest.param("dg dev", marks=pytest.mark.slow)])
def test_dev_serves_the_assets(program: str, clone: Path) -> None:
    port = free_port()
    name, *words = program.split()
    command = [str(BIN / name), *words, "--port", str(port)]
    environment = variables(PYTHONPATH=str(clone), PATH=f"{BIN}:{os.environ['PATH']}")
    with (clone.parent / "dev.log").open("wb") as log:
        dev = subprocess.Popen(command, cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: dev.poll() is not None or len(assets(port)) > 40)
        assert dev.poll() is None, (clone.parent / "dev.log").read_text()
        assert git("status", "--porcelain", cwd=clone) == ""
    finally:
        kill_all(dev)


def assets(port: int) -> list[object]:
    try:
        found = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": "{assetNodes {id}}"}, timeout=60)
    except httpx.HTTPError:
        return []
    return list(found.json()["data"]["assetNodes"])


@pytest.mark.slow
def test_dg_loads_the_definitions_and_the_type_of_flows(clone: Path) -> None:
    assert "All definitions loaded successfully" in run(clone, "dg", "check", "defs")
    assert "valid" in run(clone, "dg", "check", "toml")
    assert "stock_1min_qfq" in run(clone, "dg", "list", "defs", "--json")
    assert "marketdata_assets.components.Flow" in run(clone, "dg", "list", "components")


def test_dg_has_the_names_of_the_workspace_file() -> None:
    found = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["dg"]
    [shipped] = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    assert found["directory_type"] == "project"
    assert found["project"]["code_location_target_module"] == shipped["python_module"]["module_name"]
    assert found["project"]["code_location_name"] == shipped["python_module"]["location_name"]


def test_the_package_has_the_same_files() -> None:
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (files("marketdata_assets") / name).read_bytes() == (PROJECT / name).read_bytes()


LOAD = ("asset", "materialize", "-m", "marketdata_assets.definitions", "--select", "stock_1min_qfq", "--partition")


@pytest.mark.slow
def test_a_load_without_servers_says_how_to_start_them(clone: Path) -> None:
    failed = begin(clone, "dagster", *LOAD, "2014-01", DAGSTER_HOME=str(clone))
    assert failed.returncode != 0
    assert 'Run "marketdata up" in another terminal' in failed.stdout + failed.stderr
    assert git("status", "--porcelain", cwd=clone) == ""


@pytest.mark.slow
def test_a_load_into_a_server_that_is_named(clone: Path, dsn: str) -> None:
    sample_bars.write_year(clone / ".marketdata" / "bars", 2014, sample_bars.STOCKS[:1], dt.date(2014, 1, 31))
    run(clone, "dagster", *LOAD, "2014-01", DAGSTER_HOME=str(clone), MARKETDATA_POSTGRES_DSN=dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM stock_1min_qfq").fetchone() == (True,)
    assert (clone / ".marketdata" / "dagster" / "storage" / "history" / "runs.db").is_file(), "in the data folder"


# The storage that dagster.yaml names.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    for name in (*POSTGRES.values(), LOGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "data"))
    yield tmp_path


def test_runs_are_in_sqlite_below_the_data_folder_without_variables(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        made = create_run_for_test(instance, job_name="j", status=dg.DagsterRunStatus.SUCCESS)
        assert [run.run_id for run in instance.get_runs()] == [made.run_id]
    assert (home / "data" / "dagster" / "storage").is_dir()
    with dg.DagsterInstance.from_config(str(home)) as again:
        assert [run.run_id for run in again.get_runs()] == [made.run_id]


def test_runs_are_in_postgres_when_its_address_is_set(home: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = conninfo_to_dict(dsn)
    parts = {"hostname": "host", "port": "port", "db_name": "dbname", "username": "user", "password": "password"}
    for part, name in POSTGRES.items():
        monkeypatch.setenv(name, str(found.get(parts[part], "")))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        made = create_run_for_test(instance, job_name="j", status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(made)  # an event, whose NOTIFY is what psycopg 3 refuses
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert not (home / "data" / "dagster" / "storage").exists()


def test_half_an_address_is_an_error_that_names_the_rest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PG_HOST", "127.0.0.1")
    missing = "DAGSTER_PG_PORT, DAGSTER_PG_DB, DAGSTER_PG_USER, DAGSTER_PG_PASSWORD"
    with pytest.raises(TerminalError, match=missing), dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs()

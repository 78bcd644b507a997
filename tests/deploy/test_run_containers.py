"""Containers of runs: what they have of the code server, who reaches the engine, and how the launcher uses them."""

import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import uvicorn
import yaml
from compose_file import DOCKER, VARIABLE, example, filled, services
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from marketdata_assets import launcher
from marketdata_assets.defs.repair import killed_commands
from marketdata_assets.errors import TerminalError
from marketdata_assets.run_containers.client import RunContainers, RunContainersAway
from marketdata_assets.run_containers.container import (
    CONTAINER_TAG,
    Limits,
    NotARun,
    container_name,
    end_of,
    settings,
)
from marketdata_assets.run_containers.service import application

LIMITS = Limits(cpus=1.5, memory="640m", processes=100)
FILE = DOCKER / "run-containers.yaml"
CODE = {
    "Image": "sha256:abc",
    "Config": {"Env": ["MARKETDATA_HOME=/data"], "User": "1000:1000", "Labels": {"com.docker.compose.service": "code"}},
    "HostConfig": {
        "Binds": ["run_home:/data:rw", "/etc/secret:/run/secrets/postgres_dsn:ro"],
        "Tmpfs": {"/tmp": ""},
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Init": True,
        "ShmSize": 1 << 30,
        "PortBindings": {"4000/tcp": [{"HostPort": "4000"}]},
        "RestartPolicy": {"Name": "unless-stopped"},
        "Memory": 8 << 30,
    },
    "NetworkSettings": {"Networks": {"run_stores": {"Aliases": ["code"]}, "run_outside": {"Aliases": ["code"]}}},
}


class Containers:
    """In place of the engine: remembers what it was asked for."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped = threading.Event()
        self.ends: dict[str, str] = {}

    def start(self, run_id: str) -> None:
        container_name(run_id)
        self.started.append(run_id)

    def stop(self, run_id: str) -> None:
        self.stopped.set()

    def end(self, run_id: str) -> str | None:
        return self.ends.get(run_id)

    def ping(self) -> None:
        pass


@contextmanager
def served(engine: Any, socket: Path) -> Iterator[None]:
    """The service at this socket, in a thread."""
    server = uvicorn.Server(uvicorn.Config(application(engine), uds=str(socket), log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "socket"
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    monkeypatch.setenv("MARKETDATA_RUN_SOCKET", str(file))
    return file


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {"run_launcher": {"module": "marketdata_assets.launcher", "class": "WatchedRunLauncher"}}
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=overrides) as one:
        yield one


def in_container(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    run_id = str(uuid.uuid4())
    tags = {CONTAINER_TAG: container_name(run_id)}
    return create_run_for_test(instance, job_name="waiting", run_id=run_id, status=status, tags=tags)


def test_container_of_a_run_is_that_of_the_code_server_without_its_names_ports_and_restarts() -> None:
    run_id = str(uuid.uuid4())
    made = settings(CODE, run_id, "run", LIMITS)
    host = made["HostConfig"]
    assert (made["Image"], made["Env"], made["User"]) == ("sha256:abc", CODE["Config"]["Env"], "1000:1000")
    for key in ("Binds", "Tmpfs", "ReadonlyRootfs", "CapDrop", "SecurityOpt", "Init", "ShmSize"):
        assert host[key] == CODE["HostConfig"][key], key
    assert made["Cmd"][-1] == run_id
    assert host["Memory"] == host["MemorySwap"] == 640 << 20
    assert (host["NanoCpus"], host["PidsLimit"], host["RestartPolicy"]) == (1_500_000_000, 100, {"Name": "no"})
    assert "PortBindings" not in host
    assert made["NetworkingConfig"] == {"EndpointsConfig": {"run_outside": {}}}
    assert not [label for label in made["Labels"] if "compose" in label], "compose would take it for its own"


@pytest.mark.parametrize("text", ["", "../code", "code", "6f1c --privileged", "a/b"])
def test_only_ids_of_runs_become_containers(text: str) -> None:
    with pytest.raises(NotARun):
        container_name(text)
    with pytest.raises(NotARun):
        settings(CODE, text, "run", LIMITS)


def test_limit_of_memory_that_cannot_be_read_is_named() -> None:
    assert Limits(1, "4G", 10).memory_bytes == 4 << 30
    with pytest.raises(TerminalError, match="'lots'"):
        _ = Limits(1, "lots", 10).memory_bytes


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "memory limit of 640m"),
        ({"Status": "exited", "ExitCode": 3, "OOMKilled": False}, "exit code 3"),
        ({"Status": "created", "ExitCode": 0, "Error": "no space left"}, "no space left"),
        ({"Status": "created", "ExitCode": 0}, "not started"),
    ],
)
def test_end_of_a_container_has_its_reason(state: dict[str, Any], reason: str) -> None:
    assert reason in end_of(state, LIMITS)


def test_only_the_launcher_has_the_engines_socket_and_it_has_no_network() -> None:
    added = yaml.safe_load(filled(FILE.read_text(), example()))
    assert added["services"].keys() == {"launcher", "daemon", "webserver"}
    own = added["services"]["launcher"]
    assert [name for name, one in added["services"].items() if "docker.sock" in str(one)] == ["launcher"]
    assert (own["network_mode"], own["cap_drop"], own["read_only"]) == ("none", ["ALL"], True)
    assert own["user"] == "1000:1000"
    assert "ports" not in own
    for name in ("daemon", "webserver"):
        assert added["services"][name].keys() == {"environment", "volumes", "depends_on"}
        assert added["services"][name]["environment"] == {"MARKETDATA_RUN_SOCKET": "/run/launcher/socket"}
    assert "launcher" not in str(services()["code"]), "the code of a run cannot start others"
    assert {name for name, _, _ in VARIABLE.findall(FILE.read_text())} <= example().keys()


def compose_program() -> list[str] | None:
    """Compose 2 or later, which has the parser compose-go."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
            if said.returncode == 0 and not said.stdout.startswith("1."):
                return command
    return None


@pytest.mark.parametrize("files", ["compose.yaml", "compose.yaml:run-containers.yaml"])
def test_compose_itself_takes_the_files_with_all_profiles(files: str, tmp_path: Path) -> None:
    command = compose_program()
    if command is None:
        pytest.skip("needs Docker Compose 2 or later; make image-test gets it")
    shutil.copytree(DOCKER, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("secrets", "input", ".env"))
    lines = (tmp_path / ".env.example").read_text()
    (tmp_path / ".env").write_text(lines.replace("COMPOSE_FILE=compose.yaml", f"COMPOSE_FILE={files}"))
    said = subprocess.run([*command, "--profile", "*", "config"], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    found = yaml.safe_load(said.stdout)
    assert found["services"].keys() == services().keys() | ({"launcher"} if ":" in files else set())
    assert found["services"]["code"]["healthcheck"]["start_interval"] == "5s"


def test_run_is_started_watched_and_stopped_through_the_socket(socket: Path, instance: dg.DagsterInstance) -> None:
    run = in_container(instance, dg.DagsterRunStatus.STARTED)
    engine, one = Containers(), instance.run_launcher
    with served(engine, socket):
        assert RunContainers(socket).start(run.run_id) == container_name(run.run_id)
        assert engine.started == [run.run_id]
        assert one.check_run_worker_health(run).status == WorkerStatus.RUNNING
        engine.ends[run.run_id] = "it exceeded its memory limit of 640m and was killed"
        ended = one.check_run_worker_health(run)
        assert ended.status == WorkerStatus.FAILED
        assert "memory limit of 640m" in str(ended.msg)
        assert one.terminate(run.run_id)
        assert engine.stopped.wait(30)
        with pytest.raises(RunContainersAway, match="no id of a run"):
            RunContainers(socket).start("code")
    stopping = instance.get_run_by_id(run.run_id)
    assert stopping is not None
    assert stopping.status == dg.DagsterRunStatus.CANCELING


# httpx leaves a socket that could not be connected to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_concluded_from_a_launcher_that_is_being_replaced(
    socket: Path, instance: dg.DagsterInstance
) -> None:
    run = in_container(instance, dg.DagsterRunStatus.STARTED)
    found = instance.run_launcher.check_run_worker_health(run)
    assert (found.status, found.transient) == (WorkerStatus.RUNNING, True)
    assert "docker compose logs launcher" in str(found.msg)
    with pytest.raises(RunContainersAway):
        RunContainers(socket, away_seconds=0).start(run.run_id)
    engine, started = Containers(), threading.Event()

    def start() -> None:
        RunContainers(socket).start(run.run_id)
        started.set()

    thread = threading.Thread(target=start)
    thread.start()
    with served(engine, socket):
        assert started.wait(60)
    thread.join()
    assert engine.started == [run.run_id]


def test_run_that_was_started_anew_is_not_taken_for_the_one_before(
    socket: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = in_container(instance, dg.DagsterRunStatus.FAILURE)
    status, tags = dg.DagsterRunStatus.STARTING, {CONTAINER_TAG: before.tags[CONTAINER_TAG]}
    retry = create_run_for_test(instance, job_name="waiting", status=status, tags=tags)
    other = in_container(instance, dg.DagsterRunStatus.STARTING)
    monkeypatch.setattr(killed_commands, "START_SECONDS", -60.0)
    assert killed_commands.end_interrupted(instance) == [retry.run_id], "no container was asked for"
    kept = instance.get_run_by_id(other.run_id)
    assert kept is not None
    assert kept.status == status


def test_without_the_socket_runs_are_processes_of_the_code_server(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MARKETDATA_RUN_SOCKET", raising=False)
    run = in_container(instance, dg.DagsterRunStatus.STARTED)
    found = instance.run_launcher.check_run_worker_health(run)
    assert (found.status, found.transient) == (WorkerStatus.RUNNING, True), "one that is in progress is left alone"
    assert isinstance(instance.run_launcher, launcher.WatchedRunLauncher)

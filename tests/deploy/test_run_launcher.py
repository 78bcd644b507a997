"""A run whose code server went is ended by run monitoring; one whose server is there, or only silent, is let be."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._grpc.client import DagsterGrpcClient

from marketdata_assets import dagster_internals as internals
from marketdata_assets.dagster_internals import POOLS
from marketdata_assets.defs.repair import killed_commands
from marketdata_assets.launcher import WatchedRunLauncher
from marketdata_assets.local.process import free_port
from tests.kills.stack import kind_of

LOCATION = "waiting"
LOG = logging.getLogger("tests.monitoring")


@contextmanager
def code_server(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A code server in a process group of its own; kill -9 takes its runs with it, as the end of a container does."""
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--python-file", str(Path(__file__).with_name("waiting_job.py")), "--location-name", LOCATION]
    server = subprocess.Popen(
        command, env={**os.environ, "RELEASE": str(folder / "release")}, start_new_session=True, cwd=folder
    )
    try:
        until(lambda: answers(port))
        yield server
    finally:
        kill(server)


def answers(port: int) -> bool:
    try:
        return DagsterGrpcClient(host="127.0.0.1", port=port).ping("")["echo"] == ""
    except DagsterUserCodeUnreachableError:
        return False


def kill(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {
        "run_launcher": {
            "module": "marketdata_assets.launcher",
            "class": "WatchedRunLauncher",
            "config": {"patience_seconds": 3600.0},
        },
        "run_monitoring": {"enabled": True},
        "concurrency": {"pools": {"default_limit": 4}},
    }
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), overrides=overrides) as instance:
        yield instance


def monitor(context: WorkspaceProcessContext) -> None:
    for error in execute_run_monitoring_iteration(context, LOG):
        assert error is None, error


def test_run_is_ended_when_its_code_server_came_back_without_it(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    port = free_port()
    target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name=LOCATION)
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher)

    def state(run_id: str) -> dg.DagsterRun:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run

    with code_server(port, tmp_path) as server, WorkspaceProcessContext(instance, target) as context:
        request = context.create_request_context()
        job = request.get_code_location(LOCATION).get_repository("__repository__").get_full_job("waiting")
        origins = {"remote_job_origin": job.get_remote_origin(), "job_code_origin": job.get_python_origin()}
        run_id = create_run_for_test(instance, job_name="waiting", **origins).run_id
        instance.launch_run(run_id, request)
        assert {limit.name for limit in instance.event_log_storage.get_pool_limits()} == set(POOLS)
        until(lambda: state(run_id).status == dg.DagsterRunStatus.STARTED)
        kinds = [kind_of(process) for process in psutil.Process(server.pid).children(recursive=True)]
        assert (kind_of(psutil.Process(server.pid)), kinds.count("run")) == ("code server", 1), "for `make kills`"
        monitor(context)
        assert launcher.check_run_worker_health(state(run_id)).status == WorkerStatus.RUNNING
        assert killed_commands.was_launched(state(run_id))

        kill(server)
        silent = launcher.check_run_worker_health(state(run_id))
        assert silent.status == WorkerStatus.RUNNING, "it may only be slow"
        assert silent.transient
        monitor(context)
        assert state(run_id).status == dg.DagsterRunStatus.STARTED
        assert WatchedRunLauncher(0.0).check_run_worker_health(state(run_id)).status == WorkerStatus.FAILED

        with code_server(port, tmp_path):
            monitor(context)
    assert state(run_id).status == dg.DagsterRunStatus.FAILURE
    said = [entry.message for entry in instance.all_logs(run_id) if "code server" in entry.message]
    assert said, "the run says why it was ended"


@pytest.mark.parametrize("told", [True, False])
def test_run_whose_start_was_interrupted_is_ended_soon(
    told: bool, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`told`: the launcher was killed when it had named the code server, and had not asked it yet."""
    port, status = free_port(), dg.DagsterRunStatus.STARTING
    tags = {internals.GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}
    run = create_run_for_test(instance, job_name="waiting", status=status, tags=tags if told else {})
    other = create_run_for_test(instance, job_name="waiting", status=dg.DagsterRunStatus.STARTED)
    assert killed_commands.end_interrupted(instance) == [], "it may be about to start"
    monkeypatch.setattr(killed_commands, "START_SECONDS", -60.0)
    if told:
        assert killed_commands.end_interrupted(instance) == [], "its code server may be about to answer"
    with code_server(port, tmp_path):
        assert killed_commands.end_interrupted(instance) == [run.run_id]
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(other.run_id) == other


HOLDS = """
import sys, time
from pathlib import Path
from marketdata_assets.local import run_lock
with run_lock.held(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_run_of_a_killed_command_is_ended_and_one_of_a_living_command_is_let_be(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    run = create_run_for_test(instance, job_name="exchange_tables", status=dg.DagsterRunStatus.STARTED)
    other = create_run_for_test(instance, job_name="exchange_tables", status=dg.DagsterRunStatus.STARTED)
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher)
    command = [sys.executable, "-c", HOLDS, str(tmp_path), run.run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        process.kill()
    found = launcher.check_run_worker_health(run)
    assert (found.status, found.msg) == (WorkerStatus.FAILED, "the command that started it was killed")
    elsewhere = launcher.check_run_worker_health(other)
    assert elsewhere.status == WorkerStatus.RUNNING, "a command of another machine may be alive"

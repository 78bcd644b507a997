"""The code server of the deployments: new code after a reload, and what becomes of runs when something is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget

from marketdata_assets import dagster_internals as internals
from marketdata_assets.cli.instance import environment
from marketdata_assets.defs.repair import housekeeping
from marketdata_assets.local import run_lock
from marketdata_assets.local.process import free_port, port_answers
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from tests.deploy.compose_file import services
from tests.deploy.compose_processes import write_flow
from tests.kills.stack import kind_of

LOCATION = "waiting"
STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
SUCCESS, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED
ASSETS = "{assetNodes {assetKey {path} description}}"
RELOAD = """mutation {reloadRepositoryLocation(repositoryLocationName: "marketdata_assets") {
    ... on WorkspaceLocationEntry {loadStatus}}}"""


def until(true: Callable[[], object], seconds: float = 180, pause: float = 0.1) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(pause)


@contextmanager
def served(
    command: list[str], answers: Callable[[], bool], variables: dict[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A code server that answers, in a group of its own; it ignores SIGINT, as background jobs of scripts do."""
    with (folder / "code.log").open("ab") as log:
        server = subprocess.Popen(
            command,
            env=variables,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
    try:
        until(lambda: answers() or server.poll() is not None)
        assert server.poll() is None, (folder / "code.log").read_text()
        yield server
    finally:
        kill_all(server)


def kill_all(server: subprocess.Popen[bytes]) -> None:
    """Kill -9 of the server, of all below it and of its orphans, as the end of a container does."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


# Reload.


async def _asked(application: Any, query: str) -> Any:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://ui", timeout=300) as client:
        return (await client.post("/graphql", json={"query": query})).json()["data"]


@pytest.fixture
def running() -> Iterator[LocalStack]:
    """The Postgres that the code server needs for Dagster's records."""
    with (
        tempfile.TemporaryDirectory(prefix="md-") as home,
        LocalStack(Settings(home=Path(home)), services=("postgres",)) as stack,
    ):
        yield stack


def test_new_and_changed_flows_are_there_after_reload_in_the_deployed_code_server(
    running: LocalStack, tmp_path: Path
) -> None:
    port = free_port()
    command = [str(port) if word == "4000" else word for word in services()["code"]["command"]]
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MARKETDATA_", "DAGSTER_"))},
        **environment(running.settings, running.endpoints),
        "MARKETDATA_FLOWS_DIR": str(tmp_path / "flows"),
    }
    program = [sys.executable, "-m", "marketdata_assets", "exec", *command]
    workspace = tmp_path / "workspace.yaml"
    place = {"host": "127.0.0.1", "port": port, "location_name": "marketdata_assets"}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": place}]}))

    (tmp_path / "ui").mkdir()
    with (
        served(program, lambda: port_answers(port), variables, tmp_path),
        dg.DagsterInstance.local_temp(str(tmp_path / "ui")) as instance,
        internals.ui_application(instance, workspace, read_only=False) as application,
    ):

        def assets() -> dict[str, str]:
            found = asyncio.run(_asked(application, ASSETS))["assetNodes"]
            return {one["assetKey"]["path"][-1]: one["description"] for one in found}

        before = assets()
        assert len(before) > 40
        assert "closes" not in before
        write_flow(tmp_path / "flows", "closes", "Closing prices.")
        asyncio.run(_asked(application, RELOAD))
        assert assets().keys() == before.keys() | {"closes", "prices_files"}
        write_flow(tmp_path / "flows", "closes", "Prices at three.")
        asyncio.run(_asked(application, RELOAD))
        assert "Prices at three." in assets()["closes"]


# Kills.


@dataclass
class Waiting:
    """A code server with a run that waits for a file."""

    instance: dg.DagsterInstance
    folder: Path
    server: subprocess.Popen[bytes]
    run_id: str
    socket: Path
    again: Callable[[], AbstractContextManager[subprocess.Popen[bytes]]]
    """Starts another server on the socket."""

    @property
    def status(self) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(self.run_id)
        assert run is not None
        return run.status

    def processes(self, *kinds: str) -> list[psutil.Process]:
        below = psutil.Process(self.server.pid).children(recursive=True)
        return [one for one in below if kind_of(one) in kinds]

    def has_code(self) -> list[psutil.Process]:
        return [one for one in self.processes("code server") if "grpc" in one.cmdline()]

    def release(self) -> None:
        (self.folder / "release").touch()

    def end_killed(self) -> list[str]:
        return housekeeping.end_killed(self.instance, self.folder)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    overrides = {"run_monitoring": {"enabled": True}, "concurrency": {"pools": {"default_limit": 4}}}
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=overrides) as found:
        yield found


@pytest.fixture
def waiting(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Waiting]:
    socket = tmp_path / "sock"
    job = ["--python-file", str(Path(__file__).with_name("waiting_job.py")), "--location-name", LOCATION]
    command = [sys.executable, "-m", "marketdata_assets.ui.code_server", "--socket", str(socket), *job]
    variables = {**os.environ, "RELEASE": str(tmp_path / "release"), "MARKETDATA_HOME": str(tmp_path)}
    variables |= {"DAGSTER_GRPC_PROXY_HEARTBEAT_TTL_SECONDS": "10", "DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD": "5"}
    target = GrpcServerTarget(host="localhost", port=None, socket=str(socket), location_name=LOCATION)
    again = partial(served, command, socket.exists, variables, tmp_path)
    with (
        again() as server,
        WorkspaceProcessContext(instance, target) as context,
    ):
        request = context.create_request_context()
        found = request.get_code_location(LOCATION).get_repository("__repository__").get_full_job("waiting")
        origins = {"remote_job_origin": found.get_remote_origin(), "job_code_origin": found.get_python_origin()}
        run_id = create_run_for_test(instance, job_name="waiting", **origins).run_id
        instance.launch_run(run_id, request)
        one = Waiting(instance, tmp_path, server, run_id, socket, again)
        until(lambda: run_lock.is_held(tmp_path, run_id))
        yield one


def test_living_run_is_let_be_and_its_lock_is_gone_after_it(waiting: Waiting) -> None:
    limits = waiting.instance.event_log_storage.get_pool_limits
    until(lambda: {limit.name for limit in limits()} == set(internals.POOLS))
    assert len(waiting.processes("run")) == len(waiting.has_code()) == 1, "kinds of `make kills`"
    assert waiting.end_killed() == []
    assert waiting.status == STARTED
    waiting.release()
    until(lambda: waiting.status == SUCCESS)
    until(lambda: waiting.end_killed() == [] and run_lock.is_held(waiting.folder, waiting.run_id) is None)
    assert waiting.status == SUCCESS


def test_run_ends_as_killed_when_all_processes_of_its_container_are(waiting: Waiting) -> None:
    kill_all(waiting.server)
    until(lambda: run_lock.is_held(waiting.folder, waiting.run_id) is False)
    assert waiting.end_killed() == [waiting.run_id]
    assert waiting.status == FAILURE
    said = [entry.message for entry in waiting.instance.all_logs(waiting.run_id)]
    assert any(run_lock.KILLED in message for message in said), "the run says why it was ended"
    assert waiting.end_killed() == [], "it is ended once"


def test_run_that_somebody_cancels_while_nothing_runs_it_is_canceled(waiting: Waiting) -> None:
    kill_all(waiting.server)
    run = waiting.instance.get_run_by_id(waiting.run_id)
    assert run is not None
    waiting.instance.report_run_canceling(run)
    until(lambda: waiting.end_killed() == [waiting.run_id])
    assert waiting.status == CANCELED


def test_server_ends_with_the_process_that_has_the_code_and_its_run_goes_on(waiting: Waiting) -> None:
    [code], [run] = waiting.has_code(), waiting.processes("run")
    code.kill()
    assert waiting.server.wait(60) == 1, "whoever started it starts it again"
    assert waiting.end_killed() == []
    assert run.is_running()
    waiting.release()
    until(lambda: waiting.status == SUCCESS)


def test_server_that_is_started_again_keeps_the_socket_of_the_killed_one(waiting: Waiting) -> None:
    """The killed one takes what it started with it when the runs have ended."""
    below = waiting.processes("code server")
    waiting.server.kill()
    waiting.server.wait()
    assert waiting.end_killed() == []
    waiting.socket.unlink()
    with waiting.again():
        waiting.release()
        until(lambda: waiting.status == SUCCESS)
        assert psutil.wait_procs(below, timeout=300)[1] == []
        assert waiting.socket.exists(), "UI and daemon find it"


@pytest.mark.slow
def test_server_that_is_asked_to_end_ends_after_its_run(waiting: Waiting) -> None:
    below, proxy = waiting.processes("code server"), waiting.processes("code server")[0]
    waiting.server.terminate()
    until(lambda: not proxy.is_running(), pause=1)  # after half a minute
    assert waiting.server.poll() is None
    assert waiting.status == STARTED
    waiting.release()
    assert waiting.server.wait(300) == 0
    assert waiting.status == SUCCESS
    assert psutil.wait_procs(below, timeout=300)[1] == []


def test_killed_process_of_a_run_is_reported_by_the_code_server(waiting: Waiting) -> None:
    [run] = waiting.processes("run")
    run.kill()
    until(lambda: waiting.status == FAILURE)


# Runs that this machine did not start.


def started(instance: dg.DagsterInstance, **tags: str) -> str:
    return create_run_for_test(instance, job_name="waiting", status=STARTED, tags=tags).run_id


def test_run_without_a_lock_is_ended_when_the_code_server_of_another_machine_had_it(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = started(instance, **{internals.GRPC_INFO_TAG: "{}"})
    started(instance)  # a command of another machine
    started(instance, **{internals.DOCKER_IMAGE_TAG: "image:1"})  # a pod
    started(instance, **{internals.DOCKER_CONTAINER_TAG: "c0ffee"})
    assert housekeeping.end_killed(instance, tmp_path) == [], "it may be about to take its lock"
    monkeypatch.setattr(housekeeping, "LOCK_SECONDS", -60.0)
    assert housekeeping.end_killed(instance, tmp_path) == [lost]


def test_output_of_a_killed_run_is_no_longer_repeated(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Its `tail` is started before what would end it."""
    killed, other = started(instance), started(instance)
    os.close(run_lock.hold(tmp_path, killed))
    files = {run_id: tmp_path / run_id / "compute_logs" / "a.out" for run_id in (killed, other)}
    tails = {run_id: subprocess.Popen(["tail", "-F", "-c", "+0", str(file)]) for run_id, file in files.items()}
    reader = subprocess.Popen(["tail", "-f", str(files[killed])], stderr=subprocess.DEVNULL)
    try:
        assert housekeeping.end_killed(instance, tmp_path) == [killed]
        assert tails[killed].wait(60) == -signal.SIGKILL
        assert tails[other].poll() is None
        assert reader.poll() != -signal.SIGKILL, "a person reads it"
    finally:
        for process in (*tails.values(), reader):
            process.kill()
            process.wait()


def test_lock_of_a_command_without_a_run_yet_is_kept(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    os.close(run_lock.hold(tmp_path, "no-run-yet"))
    assert housekeeping.end_killed(instance, tmp_path) == []
    assert run_lock.is_held(tmp_path, "no-run-yet") is False

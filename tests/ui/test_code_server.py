"""The code servers of `marketdata up`: what runs there are, through reloads and kills."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient

from marketdata_assets import dagster_internals as internals
from tests.kills.stack import command_of, kind_of

CODE = """
import time
from pathlib import Path
import dagster as dg

@dg.op
def waits():
    while not Path({release!r}).exists():
        time.sleep(0.05)

@dg.job
def waiting():
    waits()

defs = dg.Definitions(jobs=[waiting])
"""


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield instance


def launch(instance: dg.DagsterInstance, context: WorkspaceProcessContext, name: str) -> dg.DagsterRun:
    """Launch a run of the job that waits; it has started."""
    request = context.create_request_context()
    job = request.get_code_location(name).get_repository("__repository__").get_full_job("waiting")
    origins = {"remote_job_origin": job.get_remote_origin(), "job_code_origin": job.get_python_origin()}
    run_id = create_run_for_test(instance, job_name="waiting", **origins).run_id
    instance.launch_run(run_id, request)
    until(lambda: state(instance, run_id).status == dg.DagsterRunStatus.STARTED)
    return state(instance, run_id)


def state(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def answers(client: DagsterGrpcClient) -> bool:
    with suppress(DagsterUserCodeUnreachableError):
        return client.ping("")["echo"] == ""
    return False


def listed(run: dg.DagsterRun) -> list[str] | None:
    """The runs that the code server of a run has; None while it does not answer, as in the moment of a kill."""
    with suppress(DagsterUserCodeUnreachableError):
        return internals.runs_of_code_server(run)
    return None


def test_runs_are_listed_through_a_reload_and_a_killed_server_is_replaced(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "code.py").write_text(CODE.format(release=str(tmp_path / "release")))
    (tmp_path / "workspace.yaml").write_text("load_from: [python_file: code.py]\n")
    with internals.code_servers(instance, tmp_path / "workspace.yaml") as locations:
        found = locations[0]["grpc_server"]
        name, at = found["location_name"], found["socket"]
        target = GrpcServerTarget(host="localhost", port=None, socket=at, location_name=name)
        client = DagsterGrpcClient(socket=at, host="localhost")
        with WorkspaceProcessContext(instance, target) as context:
            run = launch(instance, context, name)
            assert internals.runs_of_code_server(run) == [run.run_id]
            client.reload_code(timeout=120)
            assert internals.runs_of_code_server(run) == [run.run_id], "the server before the reload ends its runs"

            family = psutil.Process().children(recursive=True)
            servers = [one for one in family if kind_of(one) == "code server" and "grpc" in command_of(one)]
            assert len(servers) == 2
            for one in [*servers, *(one for one in family if kind_of(one) == "run")]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            until(lambda: listed(run) == [])
            until(lambda: answers(client))
        with WorkspaceProcessContext(instance, target) as context:
            again = launch(instance, context, name)
            assert internals.runs_of_code_server(run) == [again.run_id]
            (tmp_path / "release").touch()
            until(lambda: state(instance, again.run_id).status == dg.DagsterRunStatus.SUCCESS)
            until(lambda: listed(run) == [])

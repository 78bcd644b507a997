"""Runs in containers of their own, started by Docker Compose: deploys end none, and memory ends one alone."""

import io
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import docker
from tests.image.compose_engine import free_ports
from tests.image.image_builds import other_images
from tests.image.real_compose import Compose, docker_socket, prepared_copy, program

pytestmark = pytest.mark.slow
UID = 1000
WANTED = ("code", "webserver", "daemon")
MEMORY_MEGABYTES = 640
WAITS = '''"""A handler that ends when a file is there."""
import time
import uuid
from pathlib import Path

def waits(frame):
    while not Path("/input/release").exists():
        time.sleep(0.2)
    return frame
'''
TAKES = '''"""A handler that takes memory without end. Of all processes, that of the run is the one to be killed."""
from pathlib import Path

def takes(frame):
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and b"execute_run" in (folder / "cmdline").read_bytes():
            (folder / "oom_score_adj").write_text("1000")
    taken = []
    while True:
        taken.append(bytearray(b"x" * (16 << 20)))
'''
START = """mutation ($wanted: ExecutionParams!) {launchRun(executionParams: $wanted) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
STOP = "mutation ($id: String!) {terminateRun(runId: $id) {__typename ... on TerminateRunFailure {message}}}"
RUN = """query ($id: ID!) {runOrError(runId: $id) {... on Run {
  status eventConnection {events {__typename ... on MessageEvent {message}}}}}}"""
TAGS = "query ($id: ID!) {runOrError(runId: $id) {... on Run {tags {key value}}}}"


def write_flow(folder: Path, name: str, handler: str) -> None:
    """A flow of one small file, with this handler."""
    flow, data = folder / "flows" / name, folder / "flows_data" / name
    for one in (flow, data):
        one.mkdir(parents=True)
    (data / "a.csv").write_text("key,value\na,1\n")
    (flow / "handlers.py").write_text(handler)
    attributes = {
        "description": "A flow of a test.",
        "loader": {"folder": name, "glob": "*.csv", "columns": {"key": "key", "value": "value"}},
        "handlers": [{"call": {"function": f".handlers.{name}"}}],
        "target": {"table": name, "columns": {"key": "text", "value": "text"}, "key": ["key"], "mode": "upsert"},
        "sensor": False,
    }
    (flow / "defs.yaml").write_text(
        yaml.safe_dump({"type": "marketdata_assets.components.Flow", "attributes": attributes})
    )


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient, project: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The services that runs need, started by compose with run-containers.yaml."""
    command = program()
    if command is None:
        pytest.skip("needs Docker Compose 2 or later (make image-test)")
    other_images(engine)
    folder = tmp_path_factory.mktemp("run-containers")
    socket = docker_socket()
    values = {
        "COMPOSE_FILE": "compose.yaml:run-containers.yaml:of-this-engine.yaml",
        "COMPOSE_PROJECT_NAME": "run-containers",
        "DAGSTER_PORT": str(free_ports(["DAGSTER_PORT"])["DAGSTER_PORT"]),
        "MARKETDATA_UID": str(UID),
        "MARKETDATA_GID": str(UID),
        "DOCKER_SOCKET": socket,
        "DOCKER_GID": str(Path(socket).stat().st_gid),
        "RUN_MEMORY": f"{MEMORY_MEGABYTES}m",
        "RUN_CPUS": "1",
    }
    prepared_copy(folder, values, engine.version()["Version"])
    for name, handler in (("waits", WAITS), ("takes", TAKES)):
        write_flow(folder / "input", name, handler)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", folder / "input"], check=True)
    one = Compose(command, folder)
    remove(engine, one)
    try:
        one("up", "--detach", "--wait", "--no-build", *WANTED)
        yield one
    finally:
        remove(engine, one)


def remove(engine: docker.DockerClient, stack: Compose) -> None:
    """Containers of runs, then the project with its volumes."""
    for container in engine.containers.list(all=True, filters={"label": "marketdata.project=run-containers"}):
        container.remove(force=True)
    stack("down", "--volumes", "--remove-orphans", "--timeout", "10")


def container_of(engine: docker.DockerClient, run_id: str) -> docker.models.containers.Container:
    """The container of a run that has started."""
    (found,) = engine.containers.list(all=True, filters={"label": f"dagster/run_id={run_id}"})
    return found


def start(stack: Compose, flow: str) -> str:
    """The id of a run of a flow that was started in the UI, for a changed file: an unchanged one is not loaded."""
    (stack.folder / "input" / "flows_data" / flow / "a.csv").write_text(f"key,value\na,{uuid.uuid4()}\n")
    selector = {
        "repositoryLocationName": "marketdata_assets",
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": [flow]}],
    }
    answer = stack.ask(START, wanted={"selector": selector, "runConfigData": {}, "mode": "default"})["launchRun"]
    assert isinstance(answer, dict)
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def run_of(stack: Compose, run_id: str) -> dict[str, object]:
    found = stack.ask(RUN, id=run_id)["runOrError"]
    assert isinstance(found, dict)
    return found


def status(stack: Compose, run_id: str) -> str:
    return str(run_of(stack, run_id)["status"])


def messages(stack: Compose, run_id: str) -> str:
    events = run_of(stack, run_id)["eventConnection"]
    assert isinstance(events, dict)
    return "\n".join(str(event.get("message")) for event in events["events"])


def until(true: Callable[[], object], stack: Compose, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, stack("logs", "--tail", "30", *WANTED)
        time.sleep(1)


def retried(stack: Compose, run_id: str) -> str | None:
    """Whether Dagster starts the run once more: "true", "false", or None where it did not fail."""
    found = stack.ask(TAGS, id=run_id)["runOrError"]
    assert isinstance(found, dict)
    return {one["key"]: one["value"] for one in found["tags"]}.get("dagster/will_retry")


def test_run_has_the_files_and_confinement_of_the_code_server_and_limits_of_its_own(
    engine: docker.DockerClient, stack: Compose
) -> None:
    (stack.folder / "input" / "release").unlink(missing_ok=True)
    run_id = start(stack, "waits")
    until(lambda: status(stack, run_id) == "STARTED", stack)
    code, own = (engine.containers.get(stack.container("code")).attrs, container_of(engine, run_id).attrs)
    assert {one["Destination"] for one in own["Mounts"]} == {one["Destination"] for one in code["Mounts"]}
    assert not any("docker.sock" in str(one) for one in own["Mounts"]), "a run cannot reach the engine"
    host = own["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert (host["Memory"], host["CpuQuota"]) == (MEMORY_MEGABYTES << 20, 100_000)
    assert own["NetworkSettings"]["Networks"].keys() == code["NetworkSettings"]["Networks"].keys()
    for one in own["NetworkSettings"]["Networks"].values():
        assert "code" not in (one["Aliases"] or ()), "the code server's name is the code server's alone"
    stack.ask(STOP, id=run_id)
    until(lambda: status(stack, run_id) == "CANCELED", stack)
    until(lambda: container_of(engine, run_id).status == "exited", stack)


def test_deploy_ends_no_run_and_later_runs_have_the_new_code(engine: docker.DockerClient, stack: Compose) -> None:
    (stack.folder / "input" / "release").unlink(missing_ok=True)
    before = start(stack, "waits")
    until(lambda: status(stack, before) == "STARTED", stack)
    old = container_of(engine, before).attrs
    code = stack.container("code")
    file = b"FROM marketdata-assets:local\nLABEL deployed=next\n"
    image, _ = engine.images.build(fileobj=io.BytesIO(file), tag="marketdata-assets:next", rm=True)
    stack.set(MARKETDATA_VERSION="next")
    stack("up", "--detach", "--wait", "--no-build", *WANTED)
    assert stack.container("code") != code
    assert engine.containers.get(stack.container("code")).image.id == image.id
    until(lambda: before in stack("logs", "daemon"), stack)  # its monitoring has looked at the run
    now = container_of(engine, before).attrs
    assert (now["State"]["Pid"], now["State"]["Running"]) == (old["State"]["Pid"], True)
    assert status(stack, before) == "STARTED"
    after = start(stack, "waits")
    until(lambda: status(stack, after) == "STARTED", stack)
    assert container_of(engine, after).attrs["Image"] == image.id
    (stack.folder / "input" / "release").touch()
    until(lambda: {status(stack, one) for one in (before, after)} == {"SUCCESS"}, stack)
    assert retried(stack, before) is None


def test_run_that_exceeds_its_memory_is_killed_alone_reported_and_retried(
    engine: docker.DockerClient, stack: Compose
) -> None:
    (stack.folder / "input" / "release").unlink(missing_ok=True)
    other = start(stack, "waits")
    until(lambda: status(stack, other) == "STARTED", stack)
    code = engine.containers.get(stack.container("code")).attrs["State"]["Pid"]
    greedy = start(stack, "takes")
    until(lambda: status(stack, greedy) == "FAILURE", stack)
    said = messages(stack, greedy)
    assert '"OOMKilled": true' in said, said
    until(lambda: retried(stack, greedy) == "true", stack)
    assert status(stack, other) == "STARTED"
    assert engine.containers.get(stack.container("code")).attrs["State"]["Pid"] == code
    (stack.folder / "input" / "release").touch()
    until(lambda: status(stack, other) == "SUCCESS", stack)

"""Runs as pods, on a simulated Kubernetes API: which Job is created, and what counts as a run that is gone."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from cluster import Cluster, Image, kubeconfig, serving
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_job_name_from_run_id
from installation import ENTRYPOINT, instance_config, until
from pod_policies import VERSIONS, problems

from marketdata_assets import dagster_internals as internals
from marketdata_assets.local import run_lock
from marketdata_assets.local.process import free_port
from marketdata_assets.pod_launcher import PodRunLauncher

IMAGE = "registry.example/marketdata-assets:1"
STARTED = dg.DagsterRunStatus.STARTED
WAITING = Path(__file__).with_name("waiting_code.py")


class World:
    """An instance whose runs are pods, and the cluster, whose API can be stopped and started."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, cluster: Cluster, port: int) -> None:
        self.folder, self.instance, self.cluster, self._port = folder, instance, cluster, port
        self.api = ExitStack()

    @property
    def launcher(self) -> PodRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, PodRunLauncher)
        return launcher

    def start_api(self) -> None:
        self.api.enter_context(serving(self.cluster, self._port))

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def launch(self) -> dg.DagsterRun:
        """A run that has started in its pod."""
        from dagster._core.code_pointer import FileCodePointer
        from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

        pointer = FileCodePointer(str(WAITING), "defs", str(self.folder))
        origin = JobPythonOrigin("waiting", RepositoryPythonOrigin("python", pointer, IMAGE, ["dagster"]))
        run = create_run_for_test(self.instance, job_name="waiting", job_code_origin=origin)
        self.launcher.launch_run(LaunchRunContext(run, None))
        until(lambda: self.run(run.run_id).status == STARTED, "the run has started in its pod")
        return self.run(run.run_id)

    def monitor(self) -> None:
        with WorkspaceProcessContext(self.instance, EmptyWorkspaceTarget()) as context:
            for error in execute_run_monitoring_iteration(context, logging.getLogger("tests.monitoring")):
                assert error is None, error


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("waiting", "pods", "dagster", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    code = {"WAITING_FOLDER": str(tmp_path / "waiting"), "CODE_VERSION": "1", "DAGSTER_PG_HOST": "none"}
    names = {"settings": {"MARKETDATA_HOME": str(tmp_path / "home")}, "storage": {}, "loads": {}}
    paths = {"/dagster/home": tmp_path / "dagster"}
    secrets = {"dagster-db": {"postgresql-password": "none"}}
    cluster = Cluster(tmp_path / "pods", {IMAGE: Image(ENTRYPOINT, code)}, names, secrets, paths)
    port = free_port()
    config = instance_config(kubeconfig(tmp_path / "kubeconfig", port), patience_seconds=3600.0)
    overrides = {name: config[name] for name in ("run_launcher", "run_monitoring", "concurrency")}
    (tmp_path / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(overrides))
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=overrides) as instance:
        world = World(tmp_path, instance, cluster, port)
        try:
            with world.api:
                world.start_api()
                assert world.launcher.patience_seconds == 3600.0
                (tmp_path / "kubeconfig").unlink()  # only who launches finds the API, as only its pod has a token
                yield world
        finally:
            cluster.close()


def test_run_is_a_job_that_schemas_and_policies_accept_without_a_token_or_more_rights(world: World) -> None:
    run = world.launch()
    assert not internals.is_of_command(run), "a step of it is tried again after an outage"
    assert {limit.name for limit in world.instance.event_log_storage.get_pool_limits()} == set(internals.POOLS)
    job = world.cluster.pods[get_job_name_from_run_id(run.run_id)].job
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    assert job["spec"]["backoffLimit"] == 0, "Dagster retries runs, not the cluster"
    template = job["spec"]["template"]
    assert template["metadata"]["labels"]["marketdata/component"] == "run"
    assert problems("run", template, once=True) == []
    assert (template["spec"]["serviceAccountName"], template["spec"]["automountServiceAccountToken"]) == (
        "plain",
        False,
    )


def test_api_that_is_unavailable_fails_no_run(world: World) -> None:
    run = world.launch()
    world.api.close()
    of_dagster = K8sRunLauncher.check_run_worker_health(world.launcher, run)
    assert of_dagster.status == WorkerStatus.UNKNOWN, "which monitoring takes for a run that is gone"
    world.monitor()
    assert world.run(run.run_id).status == STARTED
    world.start_api()
    world.monitor()
    assert world.launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    (world.folder / "waiting" / "all.ends").touch()
    until(lambda: world.run(run.run_id).status == dg.DagsterRunStatus.SUCCESS, "the run has ended")


def test_run_whose_job_was_deleted_is_ended_after_a_while(world: World) -> None:
    run = world.launch()
    (pod,) = world.cluster.pods.values()
    world.cluster.delete(pod.job["metadata"]["name"])
    world.cluster.delete_pod(pod.name)
    pod.process.wait()
    world.launcher.patience_seconds = 0.0
    found = world.launcher.check_run_worker_health(run)
    assert found.status == WorkerStatus.FAILED
    assert "could not be found" in str(found.msg)


def test_run_that_is_stopped_ends_with_its_pod_and_another_continues(world: World) -> None:
    run, other = world.launch(), world.launch()
    pods = {name: world.cluster.pods[get_job_name_from_run_id(name)] for name in (run.run_id, other.run_id)}
    assert world.launcher.terminate(run.run_id)
    until(lambda: world.run(run.run_id).status == dg.DagsterRunStatus.CANCELED, "the run is canceled")
    assert pods[run.run_id].process.wait() is not None
    assert (world.run(other.run_id).status, pods[other.run_id].process.poll()) == (STARTED, None)


def test_runs_of_commands_have_no_pod_and_are_left_to_their_process(world: World) -> None:
    run = create_run_for_test(world.instance, job_name="exchange_tables", status=STARTED)
    assert K8sRunLauncher.check_run_worker_health(world.launcher, run).status == WorkerStatus.UNKNOWN
    with run_lock.held(world.folder / "home", run.run_id):
        world.monitor()
        assert world.run(run.run_id).status == STARTED
        assert world.launcher.terminate(run.run_id)
        assert run_lock.stop_requested(world.folder / "home", run.run_id)
    assert world.cluster.pods == {}


def test_launcher_is_known_where_there_is_no_cluster(world: World) -> None:
    """As by the sensor in the code server: its pod may not be able to make the launcher."""
    assert not internals.starts_processes(world.instance)
    with dg.DagsterInstance.from_ref(world.instance.get_ref()) as elsewhere:
        assert not internals.starts_processes(elsewhere)
        with pytest.raises(Exception, match="kube-config"):
            assert elsewhere.run_launcher

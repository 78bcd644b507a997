"""A deploy on a cluster that is simulated: runs are processes of their own, so neither code server nor daemon ends one.

Launcher, daemon, code servers and Dagster's storage on PostgreSQL are real; the Kubernetes API is `cluster`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_k8s.job import get_job_name_from_run_id

from marketdata_assets.defs.bars import assets
from marketdata_assets.defs.selection import config_of
from tests.defs.bar_runs import deliver
from tests.kubernetes.cluster import Cluster, Image, kubeconfig, serving
from tests.kubernetes.installation import (
    AT_ONCE,
    ENTRYPOINT,
    LOCATION,
    Installation,
    installed,
    instance_config,
    stop,
    storage_variables,
    until,
)
from tests.kubernetes.manifests import KUBERNETES, PROJECT, kustomized

OLD, NEW = "registry.example/marketdata-assets:1", "registry.example/marketdata-assets:2"
CODE = ("--module-name", "waiting_code", "--location-name", LOCATION)
ASSETS = ("--module-name", "marketdata_assets.definitions", "--location-name", LOCATION)
SUCCESS, STARTED, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


class World:
    """Cluster, installation and instance of one test."""

    def __init__(
        self, folder: Path, cluster: Cluster, installation: Installation, instance: dg.DagsterInstance
    ) -> None:
        self.folder, self.cluster, self.installation, self.instance = folder, cluster, installation, instance

    def submit(self, name: str, count: int = 1, config: Mapping[str, Any] | None = None) -> list[str]:
        """Put runs of a job into the queue, as the UI does."""
        run_config = dict(config or {})
        target = WorkspaceFileTarget([str(self.installation.workspace)])
        with WorkspaceProcessContext(self.instance, target) as context:
            request = context.create_request_context()
            job = request.get_code_location(LOCATION).get_repository("__repository__").get_full_job(name)
            plan = request.get_execution_plan(job, run_config, step_keys_to_execute=None, known_state=None)
            snapshots = {"job_snapshot": job.job_snapshot, "execution_plan_snapshot": plan.execution_plan_snapshot}
            origins = {"remote_job_origin": job.get_remote_origin(), "job_code_origin": job.get_python_origin()}
            runs = [
                create_run_for_test(self.instance, job_name=name, run_config=run_config, **origins, **snapshots)
                for _ in range(count)
            ]
            for run in runs:
                self.instance.submit_run(run.run_id, request)
        return [run.run_id for run in runs]

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def started(self) -> dict[str, str]:
        """The version of the code with which each run has started."""
        waiting = (file for file in (self.folder / "waiting").iterdir() if file.suffix != ".ends")
        return {file.stem: file.suffix[1:] for file in waiting}

    def release(self, run_id: str) -> None:
        (self.folder / "waiting" / f"{run_id}.ends").touch()


@pytest.fixture
def world(server_with_password: str, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with _world(dsn, tmp_path, monkeypatch) as world:
        yield world


@contextmanager
def _world(dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("waiting", "data", "home", "pods", "processes", "input", "captures"):
        (folder / name).mkdir()
    storage = storage_variables(dsn)
    config_maps = {
        one["metadata"]["name"]: one["data"] for one in kustomized(KUBERNETES / "base") if one["kind"] == "ConfigMap"
    }
    config_maps["storage"] = {name: storage[name] for name in config_maps["storage"]}
    config_maps["loads"]["DAGSTER_PG_USER"] = storage["DAGSTER_PG_USER"]
    secrets = {"dagster-db": {"postgresql-password": storage["DAGSTER_PG_PASSWORD"]}}
    paths = {"/data": folder / "data", "/tmp": folder / "data", "/dagster/home": folder / "home"}
    paths |= {"/secrets": folder / "secrets", "/input": folder / "input", "/captures": folder / "captures"}
    write_secrets(folder / "secrets", storage["DAGSTER_PG_PASSWORD"], dsn)
    code = {"PYTHONPATH": f"{Path(__file__).parent}:{PROJECT}", "WAITING_FOLDER": str(folder / "waiting")}
    images = {
        OLD: Image(ENTRYPOINT, code | {"CODE_VERSION": "old"}),
        NEW: Image(ENTRYPOINT, code | {"CODE_VERSION": "new"}),
    }
    cluster = Cluster(folder / "pods", images, config_maps, secrets, paths)
    home, processes = folder / "home", folder / "processes"
    environment = {
        **config_maps["settings"],
        **storage,
        "DAGSTER_HOME": str(home),
        "DAGSTER_COMPUTE_LOG_DIR": str(folder / "data" / "dagster" / "logs"),
    }
    environment |= {"MARKETDATA_HOME": str(folder / "data"), "MARKETDATA_DAGSTER_HOME": str(home)}
    environment |= {"PYTHONPATH": str(PROJECT)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with serving(cluster) as port, installed(processes, environment) as installation:
        config = instance_config(kubeconfig(folder / "kubeconfig", port))
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        try:
            with dg.DagsterInstance.get() as instance:
                yield World(folder, cluster, installation, instance)
        finally:
            cluster.close()


def write_secrets(folder: Path, password: str, dsn: str) -> None:
    """The files of the mounted Secrets; only PostgreSQL is there."""
    absent = {"mongo_uri": "mongodb://127.0.0.1:9", "clickhouse_url": "http://127.0.0.1:9/none"}
    absent |= {"nats_url": "nats://127.0.0.1:9"}
    (folder / "writer").mkdir(parents=True)
    (folder / "dagster-db").mkdir()
    (folder / "dagster-db" / "postgresql-password").write_text(password)
    for name, url in {**absent, "postgres_dsn": dsn}.items():
        (folder / "writer" / name).write_text(url)


@pytest.mark.slow
def test_deploy_while_runs_are_in_progress_and_queued_loses_none(world: World) -> None:
    cluster, installation = world.cluster, world.installation
    images = cluster.images
    old, installation.service.backend = installation.code_server(OLD, images[OLD], *CODE)
    daemon = installation.daemon()
    runs = world.submit("waiting", AT_ONCE + 1)
    until(lambda: len(world.started()) == AT_ONCE, "as many runs as may be in progress have started")
    before = {name: pod.process.pid for name, pod in cluster.pods.items()}

    # The new code is ready before the old one ends; the daemon has no second one beside it.
    _, installation.service.backend = installation.code_server(NEW, images[NEW], *CODE)
    stop(old)
    stop(daemon)
    installation.daemon()

    in_progress = [run for run in runs if run in world.started()]
    killed, *others = in_progress
    cluster.kill(get_job_name_from_run_id(killed))
    until(lambda: world.status(killed) == FAILURE, "the run that was out of memory is reported")
    assert any("OOMKilled" in entry.message for entry in world.instance.all_logs(killed))
    assert [world.status(run) for run in others] == [STARTED] * len(others), "its memory killed no other"
    assert {name: pod.process.pid for name, pod in cluster.pods.items() if name in before} == before
    assert [cluster.pods[get_job_name_from_run_id(run)].process.poll() for run in others] == [None] * len(others)

    (world.folder / "waiting" / "all.ends").touch()
    until(lambda: Counter(run.status for run in world.instance.get_runs())[SUCCESS] == AT_ONCE + 1, "all have ended")
    assert {run: world.status(run) for run in runs} == {**dict.fromkeys(runs, SUCCESS), killed: FAILURE}
    (retry,) = {run.run_id for run in world.instance.get_runs()} - set(runs)
    assert world.instance.get_run_by_id(retry).parent_run_id == killed, "the one that was killed is retried"
    expected = dict.fromkeys(runs, "old") | {retry: "new"}
    assert world.started() == expected, "what waited in the queue has the code of the time when it was submitted"
    assert [file.name for file in (world.folder / "home").iterdir()] == ["dagster.yaml"], "the folder is only read"


@pytest.mark.slow
def test_first_materialization_of_bars_in_a_pod_with_the_settings_of_the_manifests(world: World) -> None:
    """Of the real code location, whose pod finds database, files and storage by kubernetes/base/settings.yaml alone."""
    cluster, installation = world.cluster, world.installation
    deliver(world.folder / "input" / "bars", 2024, [1, 2])
    image = cluster.images[OLD]
    _, installation.service.backend = installation.code_server(OLD, image, *ASSETS)
    installation.daemon()
    (run,) = world.submit(assets.JOB, config=config_of(assets.OP, ["2024-01", "2024-02"]))
    until(lambda: world.status(run) in (SUCCESS, FAILURE), "the run has ended")
    pod = cluster.pods[get_job_name_from_run_id(run)]
    assert world.status(run) == SUCCESS, pod.log.read_text()[-2000:]
    assert pod.process.wait() == 0
    with psycopg.connect((world.folder / "secrets" / "writer" / "postgres_dsn").read_text()) as database:
        loaded = database.execute("SELECT count(*) FROM stock_1min_qfq").fetchone()
    assert loaded is not None and loaded[0] > 0
    partitions = world.instance.get_materialized_partitions(dg.AssetKey("stock_1min_qfq"))
    assert partitions == {"2024-01", "2024-02"}
    assert [file.name for file in (world.folder / "home").iterdir()] == ["dagster.yaml"], "the folder is only read"
    assert list((world.folder / "data" / "dagster" / "logs").iterdir()), "the UI shows the logs of the pod"

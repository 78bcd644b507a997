"""values.yaml: the instance that it makes is the one of this project, and the chart accepts it where one is named."""

import json
import os
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config
from dagster_k8s import K8sRunLauncher
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.kubernetes.installation import LOCATION, values
from tests.kubernetes.manifests import KUBERNETES, PROJECT, all_manifests
from tests.kubernetes.pod_policies import VERSIONS

RENDER = Path(__file__).with_name("render_chart.py")
PYTHON = PROJECT / ".venv" / "kubernetes" / "bin" / "python"
INSTANCE = PROJECT / "dagster.yaml"
ITS_OWN = {"run_launcher", "run_monitoring", "compute_logs", "storage"}


@pytest.fixture
def chart() -> Path:
    """The folder of Dagster's chart; skips where none is named."""
    folder = os.environ.get("MARKETDATA_TEST_DAGSTER_CHART")
    if not folder:
        pytest.skip("needs Dagster's chart: point MARKETDATA_TEST_DAGSTER_CHART at its folder")
    return Path(folder)


@cache
def rendered(chart: Path) -> list[dict[str, Any]]:
    if not PYTHON.exists():
        pytest.skip("needs the tools of make kubernetes-check")
    made = subprocess.run(
        [PYTHON, RENDER, chart, KUBERNETES / "values.yaml"], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(made.stdout))


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def test_dagster_accepts_the_configuration_of_the_launcher(tmp_path: Path) -> None:
    """As the chart passes them on; an unknown key is rejected."""
    found = values()
    launcher = found["runLauncher"]["config"]["customRunLauncher"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": launcher}))
    dagster_instance_config(str(tmp_path))
    assert (launcher["module"], launcher["class"]) == ("dagster_k8s", K8sRunLauncher.__name__)
    schema = resolve_to_config_type(K8sRunLauncher.config_type())
    assert process_config(schema, launcher["config"]).success
    assert not process_config(schema, {**launcher["config"], "job_namespac": "x"}).success


def test_instance_is_the_one_of_this_project_in_the_words_of_the_chart() -> None:
    ours, found = yaml.safe_load(INSTANCE.read_text()), values()
    daemon = found["dagsterDaemon"]
    assert daemon["runCoordinator"] == {"enabled": False}
    assert found["concurrency"]["runs"]["maxConcurrentRuns"] == ours["concurrency"]["runs"]["max_concurrent_runs"]
    pools = found["concurrency"]["pools"]
    assert {"granularity": pools["granularity"], "default_limit": pools["defaultLimit"]} == ours["concurrency"]["pools"]
    retries = {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}
    assert ours["run_retries"] == retries
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": 1, "retryOnAssetOrOpFailure": False}
    assert daemon["runMonitoring"]["maxRuntimeSeconds"] == ours["run_monitoring"]["max_runtime_seconds"]
    assert found["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    for key, value in found["additionalInstanceConfig"].items():
        assert ours[key] == value, key


def test_code_server_loads_the_definitions_again_when_asked() -> None:
    (code,) = found = values()["dagster-user-deployments"]["deployments"]
    assert len(found) == 1
    assert code["codeServerArgs"] == ["--module-name", "marketdata_assets.definitions"]
    assert "dagsterApiGrpcArgs" not in code, "its reload does nothing"


def test_code_location_has_the_name_that_commands_give_to_their_runs() -> None:
    (server,) = values()["dagsterWebserver"]["workspace"]["servers"]
    (code,) = values()["dagster-user-deployments"]["deployments"]
    assert (server["name"], server["host"], server["port"]) == (LOCATION, code["name"], code["port"])


def test_runs_have_the_mounts_of_the_code_server_and_the_image_of_the_manifests() -> None:
    (code,) = values()["dagster-user-deployments"]["deployments"]
    launcher = values()["runLauncher"]["config"]["customRunLauncher"]["config"]
    assert (launcher["volume_mounts"], launcher["volumes"]) == (code["volumeMounts"], code["volumes"])
    assert launcher["env_config_maps"] == [one["name"] for one in code["envConfigMaps"]]
    assert "job_image" not in launcher, "the image of the code server, which each deploy changes"
    image = f"{code['image']['repository']}:{code['image']['tag']}"
    images = {
        one["image"]
        for made in all_manifests()
        if made["kind"] in ("Deployment", "StatefulSet", "Job")
        for one in made["spec"]["template"]["spec"]["containers"]
    }
    assert images == {image}, "image/kustomization.yaml and values.yaml name one version"


def test_schemas_of_the_chart_accept_the_values(chart: Path) -> None:
    found = values()
    of_code = {**found["dagster-user-deployments"], "global": found["global"]}
    for folder, own in ((chart, found), (chart / "charts" / "dagster-user-deployments", of_code)):
        schema = json.loads((folder / "values.schema.json").read_text())
        merged = _merged(yaml.safe_load((folder / "values.yaml").read_text()), own)
        validator = validator_for(schema)(schema, registry=Registry(retrieve=_definitions))
        assert [error.message for error in validator.iter_errors(merged)] == []
        assert not validator.is_valid(_merged(merged, {"dagsterDaemon": {"imag": 1}, "deployments": {}}))


def test_objects_of_the_chart_pass_the_schemas_of_kubernetes_and_its_instance_is_ours(chart: Path) -> None:
    objects = rendered(chart)
    for version in VERSIONS:
        for one in objects:
            kubernetes_validate.validate(one, version, strict=True)
    theirs = yaml.safe_load(named(objects, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])
    ours = yaml.safe_load(INSTANCE.read_text())
    assert {key: theirs.get(key) for key in ours if key not in ITS_OWN} == {
        key: value for key, value in ours.items() if key not in ITS_OWN
    }
    workspace = yaml.safe_load(named(objects, "ConfigMap", "dagster-workspace-yaml")["data"]["workspace.yaml"])
    assert workspace == {"load_from": [{"grpc_server": {"host": "code", "port": 4000, "location_name": LOCATION}}]}
    assert not [one for one in objects if one["kind"] in ("Role", "RoleBinding", "Secret", "ServiceAccount")]
    accounts = {
        one["spec"]["template"]["metadata"]["labels"]["marketdata/component"]: one["spec"]["template"]["spec"][
            "serviceAccountName"
        ]
        for one in objects
        if one["kind"] == "Deployment" and one["spec"]["replicas"]
    }
    assert accounts == {"code": "plain", "daemon": "launcher"}


def _merged(default: Any, own: Any) -> Any:
    if isinstance(default, dict) and isinstance(own, dict):
        return {
            key: _merged(default[key], own[key]) if key in default and key in own else {**default, **own}[key]
            for key in {**default, **own}
        }
    return own


def _definitions(uri: str) -> Resource[Any]:
    """Kubernetes' own definitions, to which the chart's schemas refer by an address of the internet."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{VERSIONS[-1]}.0-local"
    found = json.loads((folder / "_definitions.json").read_text())
    found = {key: value for key, value in found.items() if key != "$id"} | {"definitions": found["$defs"]}
    return Resource.from_contents(found, default_specification=DRAFT202012)

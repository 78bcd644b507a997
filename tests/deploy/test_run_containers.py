"""run-containers.yaml: a run has what the code server has, limits of its own, and Dagster's launcher accepts it."""

import json
from typing import Any

import yaml
from dagster._config import process_config

from tests.deploy.compose_file import DOCKER, PROJECT, example, filled, services

FOLDER = DOCKER / "run-containers"


def added() -> dict[str, Any]:
    """The services of the second file, with the variables of .env.example."""
    found: dict[str, Any] = yaml.safe_load(filled((DOCKER / "run-containers.yaml").read_text(), example()))["services"]
    return found


def of_a_run() -> dict[str, Any]:
    context: dict[str, Any] = json.loads(added()["code"]["environment"]["DAGSTER_CONTAINER_CONTEXT"])["docker"]
    return context


def test_instance_is_the_one_of_this_project_and_the_launcher() -> None:
    ours = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    found = yaml.safe_load((FOLDER / "dagster.yaml").read_text())
    assert found == {"run_launcher": {"module": "dagster_docker", "class": "DockerRunLauncher"}, **ours}
    assert {name: one["environment"]["MARKETDATA_DAGSTER_HOME"] for name, one in added().items()} == dict.fromkeys(
        ("code", "daemon", "webserver"), "/dagster"
    )
    for one in added().values():
        assert "./run-containers:/dagster:ro" in one["volumes"]


def test_run_has_environment_files_networks_and_confinement_of_the_code_server() -> None:
    code, run = services()["code"], of_a_run()
    given = dict(line.split("=", 1) for line in run["env_vars"])
    assert given == {**code["environment"], "MARKETDATA_DAGSTER_HOME": "/dagster"}
    assert run["networks"] == [f"marketdata_{name}" for name in code["networks"]]
    own = run["container_kwargs"]
    assert own["volumes_from"] == ["marketdata-code-1"]
    assert own["user"] == code["user"]
    assert {key: own[key] for key in ("init", "read_only", "cap_drop", "security_opt")} == {
        key: code[key] for key in ("init", "read_only", "cap_drop", "security_opt")
    }
    assert [*own["tmpfs"]] == code["tmpfs"]
    assert own["mem_limit"] == own["memswap_limit"] == example()["RUN_MEMORY"]
    assert own["cpu_quota"] == int(example()["RUN_CPUS"]) * own["cpu_period"]
    assert added()["code"]["environment"]["DAGSTER_CURRENT_IMAGE"] == code["image"]


def test_only_what_starts_runs_has_the_socket_of_the_engine() -> None:
    assert {name for name, one in added().items() if "docker.sock" in str(one)} == {"daemon", "webserver"}
    assert "docker.sock" not in (DOCKER / "compose.yaml").read_text()
    assert "docker.sock" not in str(of_a_run()), "the code of a run cannot start others"


def test_launcher_and_client_accept_what_a_container_is() -> None:
    from dagster_docker.container_context import DOCKER_CONTAINER_CONTEXT_SCHEMA
    from docker.models.containers import _create_container_args

    found = process_config(DOCKER_CONTAINER_CONTEXT_SCHEMA, of_a_run())
    assert found.success, found.errors
    kwargs = {key: value for key, value in of_a_run()["container_kwargs"].items() if key != "stop_timeout"}
    made = _create_container_args({"image": "i", "command": [], "version": "1.44", **kwargs})
    assert made["host_config"]["Memory"] == 4 << 30
    assert made["host_config"]["VolumesFrom"] == ["marketdata-code-1"]

"""The compose file: valid by the specification, pinned, without rights that nobody needs, closed to the outside."""

import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from marketdata_assets.settings import Settings
from tests.deploy.compose_file import DOCKER, FILE, OURS, SECRETS, VARIABLE, compose, example, mounted_secrets, services

ONCE = {"mongodb-setup", "migrate"}
STORES = {"timescaledb", "dagster-db", "mongodb", "mongodb-setup", "clickhouse", "nats", "redis"}
NAMED = {*STORES, *OURS, "migrate", "prometheus", "alertmanager", "grafana"}


def test_file_is_what_the_specification_allows_and_every_variable_has_an_example() -> None:
    assert set(PyCompose.from_yaml(yaml.safe_dump(compose())).services or ()) == NAMED
    text = FILE.read_text() + FILE.with_name("run-containers.yaml").read_text()
    of_compose = {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    given = {name for name, _, _ in VARIABLE.findall(text)} - {"COMPOSE_PROJECT_NAME"}  # which Compose sets
    assert given | of_compose == example().keys()
    with pytest.raises(AssertionError, match="MARKETDATA_UID"):
        compose({})


@pytest.mark.parametrize("name", sorted(NAMED))
def test_service_has_no_rights_that_it_does_not_need_and_is_limited(name: str) -> None:
    one = services()[name]
    assert (one["cap_drop"], one["read_only"]) == (["ALL"], True)
    assert "no-new-privileges:true" in one["security_opt"]
    assert str(one["user"]).split(":")[0] not in ("0", "root", "")
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & one.keys()
    assert "docker.sock" not in str(one.get("volumes"))
    assert one["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}
    assert one["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert name in ONCE or one["healthcheck"].keys() >= {"test", "interval", "timeout", "retries"}
    tag = one["image"].rpartition(":")[2]
    assert name in {*OURS, "migrate"} or re.match(r"v?\d+\.\d+(\.\d+|-)", tag), "pinned to one version"


def test_services_wait_for_the_health_of_others_in_their_profiles() -> None:
    for name, one in services().items():
        assert {"core", "live"} == {*example()["COMPOSE_PROFILES"].split(",")}
        assert {*one["profiles"]} <= {"core", "live"} or (name, one["profiles"]) == ("viewer", ["viewer"])
        for other, how in one.get("depends_on", {}).items():
            profiles = {*services()[other]["profiles"]}
            assert {*one["profiles"]} <= profiles or (name, other) == ("viewer", "code"), f"{name} waits for {other}"
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how["condition"] == wanted, f"{name} waits for {other}"


def test_health_of_mongodb_is_not_that_of_the_temporary_server_of_its_first_start() -> None:
    """That one listens on loopback, without the user that mongodb-setup needs."""
    words = services()["mongodb"]["healthcheck"]["test"]
    assert words[words.index("--host") + 1] == "mongodb"


def test_nothing_uses_a_storage_or_tables_before_they_are_migrated() -> None:
    done = {"condition": "service_completed_successfully"}
    assert services()["migrate"]["command"] == ["sh", "-c", "dagster instance migrate && marketdata create-tables"]
    assert services()["code"]["depends_on"]["migrate"] == done
    for name in ("webserver", "web", "viewer", "daemon", "metrics"):
        assert services()[name]["depends_on"] == {"code": {"condition": "service_healthy"}}, name


def test_only_pages_are_published_on_loopback_and_stores_reach_nothing_else() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    pages = {
        "webserver": "3000:3000",
        "web": "3100:3100",
        "viewer": "3010:3010",
        "collector": "8080:8080",
        "prometheus": "9090:9090",
        "grafana": "3001:3000",
    }
    assert published == {name: [f"127.0.0.1:{ports}"] for name, ports in pages.items()}
    assert compose()["networks"]["stores"] == {"internal": True}
    assert {name for name, one in services().items() if one["networks"] == ["stores"]} >= STORES


@pytest.mark.parametrize("name", sorted(NAMED))
def test_service_has_the_secrets_that_it_uses_and_none_in_its_environment(name: str) -> None:
    """Secrets are named by a variable, by a command, or have a place where the server looks."""
    one, environment = services()[name], services()[name].get("environment", {})
    said = str(environment) + str(one.get("entrypoint", ""))
    said += (DOCKER / "mongo" / "setup.js").read_text() if name == "mongodb-setup" else ""
    for secret, place in mounted_secrets(one).items():
        assert secret in said or not place.startswith(SECRETS), f"does not use {secret}"
    for variable, value in environment.items():
        if value.startswith(SECRETS):
            assert variable.endswith("_FILE")
            assert value in mounted_secrets(one).values(), variable
        else:
            assert not value or not re.search("PASSWORD|TOKEN|DSN|_URI|_URL|SECRET|KEY", variable), variable


def test_sessions_of_accounts_are_in_a_volume_that_only_the_code_server_has() -> None:
    mounted = {
        name: dict(volume.split(":")[:2] for volume in one.get("volumes", ())) for name, one in services().items()
    }
    folder = Settings(home=Path(compose()["services"]["code"]["environment"]["MARKETDATA_HOME"])).brain_folder
    assert [name for name, volumes in mounted.items() if "brain" in volumes] == ["code"]
    assert mounted["code"]["brain"] == str(folder)
    (made,) = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if str(folder) in line.split()]
    assert {"install", "-d", "700", '"$UID"'} <= {*made.split()}, "a new volume has the owner of this folder"


def test_secrets_and_volumes_are_declared_and_used_and_files_are_there() -> None:
    declared, used = compose()["secrets"], {secret for one in services().values() for secret in mounted_secrets(one)}
    assert used == declared.keys()
    assert {one["file"] for one in declared.values()} == {f"secrets/{name}" for name in declared}
    mounts = [volume for one in services().values() for volume in one.get("volumes", ())]
    sources = {volume.split(":")[0] for volume in mounts}
    assert {one for one in sources if not one.startswith(".")} == {*compose()["volumes"]}
    for volume in mounts:
        source = volume.split(":")[0]
        if source.startswith(".") and source not in ("./input", "./providers"):  # prepare.sh makes these
            assert (DOCKER / source).exists(), volume
            assert volume.endswith(":ro"), volume


def test_what_the_local_stack_does_is_shown_in_a_deployment_by_tests_that_exist() -> None:
    page = (DOCKER.parent / "docs" / "deploy.md").read_text()
    [table] = re.findall(r"### What `marketdata up` does\n(.*?)\n### ", page, re.DOTALL)
    named = set(re.findall(r"`(test_\w+)`", table))
    files = (DOCKER.parent / "tests").rglob("test_*.py")
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert len(named) >= 15
    assert named <= there

"""The compose file: valid by the specification, pinned, without rights that nobody needs, closed to the outside."""

import copy
import re
from typing import Any

import pytest
import yaml
from compose_file import DOCKER, FILE, OURS, SECRETS, VARIABLE, compose, example, mounted_secrets, services
from compose_spec import PyCompose

ONCE = {"mongodb-setup"}
STORES = {"timescaledb", "dagster-db", "mongodb", "mongodb-setup", "clickhouse", "nats", "redis"}
NAMED = {"timescaledb", "mongodb", "clickhouse", "nats", "redis", "dagster-db", "webserver", "daemon", "code"}
NAMED |= {"collector", "prometheus", "grafana", "metrics", "mongodb-setup"}


def parse(data: dict[str, Any]) -> PyCompose:
    return PyCompose.from_yaml(yaml.safe_dump(data))


def test_file_is_what_the_specification_allows() -> None:
    assert set(parse(compose()).services or ()) == NAMED


@pytest.mark.parametrize(
    ("path", "value"),
    [(("halthcheck",), {}), (("healthcheck", "intervall"), "5s"), (("deploy", "resources", "limits", "cpus"), "many")],
)
def test_a_slip_would_be_seen(path: tuple[str, ...], value: Any) -> None:
    data = copy.deepcopy(compose())
    place = data["services"]["redis"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=path[0]):
        parse(data)


def test_every_variable_has_an_example_and_every_example_is_used() -> None:
    of_compose = {"COMPOSE_PROFILES"}
    assert {name for name, _, _ in VARIABLE.findall(FILE.read_text())} | of_compose == example().keys()


def test_file_is_refused_until_somebody_said_who_the_containers_run_as() -> None:
    with pytest.raises(AssertionError, match="MARKETDATA_UID"):
        compose({})


def test_profiles_are_whole() -> None:
    found = services()
    assert set(example()["COMPOSE_PROFILES"].split(",")) == {"core", "live"}
    for name, one in found.items():
        assert one["profiles"], name
        assert set(one["profiles"]) <= {"core", "live"}, name
        for other in one.get("depends_on", {}):
            assert set(one["profiles"]) <= set(found[other]["profiles"]), f"{name} waits for {other}"


@pytest.mark.parametrize("name", sorted(NAMED))
def test_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    one = services()[name]
    assert one["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in one["security_opt"]
    assert one["read_only"] is True
    assert str(one["user"]).split(":")[0] not in ("0", "root", "")
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & one.keys()
    assert not any("docker.sock" in str(volume) for volume in one.get("volumes", ()))


@pytest.mark.parametrize("name", sorted(NAMED))
def test_service_is_limited_and_watched(name: str) -> None:
    one = services()[name]
    limits = one["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert limits["pids"] > 0
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}
    if name in ONCE:
        assert one["restart"] == "no"
    else:
        assert one["restart"] == "unless-stopped"
        assert one["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert one["healthcheck"].keys() >= {"interval", "timeout", "retries"}


def test_who_waits_waits_for_health() -> None:
    for name, one in services().items():
        for other, how in one.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how["condition"] == wanted, f"{name} waits for {other}"


def test_images_are_pinned_to_one_version() -> None:
    for name, one in services().items():
        tag = one["image"].rpartition(":")[2]
        if name in OURS:
            assert one["build"]["dockerfile"] == "docker/Dockerfile"
        else:
            assert re.match(r"v?\d+\.\d+(\.\d+|-)", tag), one["image"]


def test_only_pages_are_published_and_only_on_loopback() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert published == {
        "webserver": ["127.0.0.1:3000:3000"],
        "collector": ["127.0.0.1:8080:8080"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3001:3000"],
    }
    assert all(one.startswith("127.0.0.1:") for ports in published.values() for one in ports)


def test_stores_reach_nothing_beyond_themselves() -> None:
    assert compose()["networks"]["stores"] == {"internal": True}
    for name in STORES:
        assert services()[name]["networks"] == ["stores"], name


def test_secrets_are_declared_used_and_come_from_files() -> None:
    declared = compose()["secrets"]
    used = {secret for one in services().values() for secret in mounted_secrets(one)}
    assert used == declared.keys()
    assert {one["file"] for one in declared.values()} == {f"secrets/{name}" for name in declared}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_no_service_holds_a_secret_in_its_environment(name: str) -> None:
    one = services()[name]
    places = mounted_secrets(one).values()
    for variable, value in one.get("environment", {}).items():
        if value.startswith(SECRETS):
            assert variable.endswith("_FILE"), variable
            assert value in places, f"{variable} names a secret that {name} does not have"
        else:
            words = ("PASSWORD", "TOKEN", "DSN", "_URI", "_URL", "SECRET", "KEY")
            assert not value or not any(word in variable for word in words), variable


def test_nobody_gets_a_secret_that_it_does_not_use() -> None:
    """Secrets are named by a variable, by a command, or have a place where the server looks."""
    for name, one in services().items():
        said = str(one.get("environment", {})) + str(one.get("entrypoint", ""))
        said += (DOCKER / "mongo" / "setup.js").read_text() if name == "mongodb-setup" else ""
        for secret, place in mounted_secrets(one).items():
            assert secret in said or not place.startswith(SECRETS), f"{name} does not use {secret}"


def test_volumes_are_declared_and_files_are_there() -> None:
    declared = set(compose()["volumes"])
    used = set()
    for name, one in services().items():
        targets = []
        for volume in one.get("volumes", ()):
            source, target = volume.split(":")[:2]
            targets.append(target)
            if not source.startswith("."):
                used.add(source)
            elif source not in ("./input", "./providers"):  # prepare.sh makes these
                assert (DOCKER / source).exists(), f"{name}: {source}"
                assert volume.endswith(":ro"), f"{name}: {source}"
        assert len(set(targets)) == len(targets), name
    assert used == declared

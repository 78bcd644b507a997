"""Starts, stops and looks at containers of runs on a Docker Engine."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from marketdata_assets.errors import TransientError
from marketdata_assets.run_containers.container import (
    PROJECT_LABEL,
    RUN_LABEL,
    Limits,
    container_name,
    end_of,
    networks,
    settings,
)

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
CONFLICT = 409
REPLACE_SECONDS = 60.0
"""How long the container of the code server may be missing: a deploy replaces it."""
STOP_SECONDS = 120
KEPT_SECONDS = 86_400.0
"""How long the container of a run that ended is kept, for `docker logs`."""


@dataclass(frozen=True)
class Engine:
    """The containers of the runs of one compose project. `service` is its code server."""

    client: Any
    project: str
    limits: Limits
    service: str = "code"

    @classmethod
    def of_this_container(cls, limits: Limits) -> "Engine":
        """The engine whose socket is mounted, and the project that this container belongs to.

        Raises docker.errors.DockerException when the engine does not answer.
        """
        client = APIClient(version="auto", timeout=STOP_SECONDS + 30)
        own = client.inspect_container(socket.gethostname())
        return cls(client, own["Config"]["Labels"][COMPOSE_PROJECT], limits)

    def start(self, run_id: str) -> None:
        """Create and start the container of a run; an existing one is left as it is.

        Raises NotARun, TransientError and docker.errors.APIError.
        """
        name = container_name(run_id)
        self._remove_old()
        self._remove_unstarted(name)
        code = self._code_server()
        try:
            self.client.create_container_from_config(settings(code, run_id, self.project, self.limits), name)
        except APIError as error:
            if error.status_code != CONFLICT:
                raise
            return
        for network in networks(code)[1:]:
            self.client.connect_container_to_network(name, network)
        self.client.start(name)

    def stop(self, run_id: str) -> None:
        """SIGTERM, and SIGKILL two minutes later; a container that is gone is stopped. Raises NotARun."""
        with suppress(NotFound):
            self.client.stop(container_name(run_id), timeout=STOP_SECONDS)

    def end(self, run_id: str) -> str | None:
        """Why the container of a run is not running; None while it runs. Raises NotARun."""
        try:
            state: Mapping[str, Any] = self.client.inspect_container(container_name(run_id))["State"]
        except NotFound:
            return "there is no such container"
        return None if state["Running"] else end_of(state, self.limits)

    def ping(self) -> None:
        """Raises docker.errors.DockerException when the engine does not answer."""
        self.client.ping()

    def _code_server(self) -> Mapping[str, Any]:
        labels = [f"{COMPOSE_PROJECT}={self.project}", f"{COMPOSE_SERVICE}={self.service}"]
        end = time.monotonic() + REPLACE_SECONDS
        while not (found := self.client.containers(filters={"label": labels, "status": "running"})):
            if time.monotonic() > end:
                raise TransientError(
                    f"no container of the service {self.service} of {self.project} is running; docker compose ps"
                    " shows why"
                )
            time.sleep(0.5)
        newest = max(found, key=lambda one: int(one["Created"]))
        code: Mapping[str, Any] = self.client.inspect_container(newest["Id"])
        return code

    def _remove_unstarted(self, name: str) -> None:
        """Of a start that was interrupted."""
        with suppress(NotFound):
            if self.client.inspect_container(name)["State"]["Status"] == "created":
                self.client.remove_container(name)

    def _remove_old(self) -> None:
        labels = [RUN_LABEL, f"{PROJECT_LABEL}={self.project}"]
        for one in self.client.containers(all=True, filters={"label": labels, "status": "exited"}):
            if one["Created"] < time.time() - KEPT_SECONDS:
                with suppress(APIError):  # somebody else removes it
                    self.client.remove_container(one["Id"])

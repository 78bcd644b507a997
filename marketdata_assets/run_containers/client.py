"""The client of the service of run containers, through its socket."""

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from marketdata_assets.errors import TransientError

SECONDS = 90.0
"""Longer than the service waits for a code server that is being replaced."""
AWAY_SECONDS = 60.0
"""How long the service may be unavailable when a run is to start: a deploy replaces it."""


class RunContainersAway(TransientError):
    """The service of run containers does not answer, or failed."""

    def __init__(self, socket: Path, cause: str) -> None:
        super().__init__(f"the launcher of run containers at {socket}: {cause}; docker compose logs launcher shows why")


@dataclass(frozen=True)
class RunContainers:
    """The containers of runs, behind this socket. Every method raises RunContainersAway."""

    socket: Path
    away_seconds: float = AWAY_SECONDS

    def start(self, run_id: str) -> str:
        """Start the container of a run, idempotently; its name."""
        end = time.monotonic() + self.away_seconds
        while True:
            try:
                return str(self._ask("PUT", run_id).json()["container"])
            except httpx.ConnectError as error:
                if time.monotonic() > end:
                    raise RunContainersAway(self.socket, f"no answer ({error})") from error
                time.sleep(0.5)

    def stop(self, run_id: str) -> None:
        """Ask the run's process to stop; it is killed two minutes later."""
        self._ask("DELETE", run_id)

    def end(self, run_id: str) -> str | None:
        """Why the container of a run is not running; None while it runs."""
        end: str | None = self._ask("GET", run_id).json()["end"]
        return end

    def _ask(self, method: str, run_id: str) -> httpx.Response:
        """Raises httpx.ConnectError as well, which a start waits out and others pass on as RunContainersAway."""
        transport = httpx.HTTPTransport(uds=str(self.socket))
        try:
            with httpx.Client(transport=transport, base_url="http://launcher", timeout=SECONDS) as client:
                answer = client.request(method, f"/runs/{run_id}")
        except httpx.ConnectError as error:
            if method == "PUT":
                raise
            raise RunContainersAway(self.socket, f"no answer ({error})") from error
        except httpx.HTTPError as error:
            raise RunContainersAway(self.socket, f"no answer ({error})") from error
        if answer.is_error:
            raise RunContainersAway(self.socket, str(answer.json()["error"]))
        return answer

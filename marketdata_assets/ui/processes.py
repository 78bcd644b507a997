"""The Dagster processes of `marketdata up`, run as a script: code servers, UI and daemon.

    python -m marketdata_assets.ui.processes PORT

Each is started again when it ends, and that is reported.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from marketdata_assets import logs
from marketdata_assets.dagster_internals import code_servers, ensure_pool_limits
from marketdata_assets.local.process import tied_to_us
from marketdata_assets.local.watch import after_end
from marketdata_assets.settings import Settings

WORKSPACE = Path(__file__).parents[1] / "workspace.yaml"
POLL_SECONDS = 0.2
STOP_SECONDS = 20.0

log = logs.get_logger(__name__)


@dataclass
class Watched:
    """One process that is started again when it ends, after longer and longer delays."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started_at: float = 0.0
    due_at: float = field(default=0.0)

    def look(self, now: float) -> None:
        """Start the process if it is due; notice that it has ended."""
        if self.process is None:
            if now < self.due_at:
                return
            self.started_at = now
            try:
                self.process = subprocess.Popen(tied_to_us(self.command, signal.SIGTERM, None))
            except OSError as error:  # no memory, or too many processes
                self._ended(now, error=error)
        elif (code := self.process.poll()) is not None:
            self._ended(now, exit_code=code)

    def _ended(self, now: float, **facts: object) -> None:
        self.failures, seconds = after_end(self.failures, now - self.started_at)
        log.error("process ended", process=self.name, **facts, restart_in_s=seconds)
        self.process, self.due_at = None, now + seconds

    def stop(self) -> None:
        """Ask the process to end; `wait` waits for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Return when the process has ended; kill it when it has not within these seconds."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.1, seconds))
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def commands(port: int, workspace: Path) -> Mapping[str, list[str]]:
    """What is run, by name; the code servers are in the workspace file."""
    found = ["--workspace", str(workspace)]
    ui = ["-m", "marketdata_assets", "ui", "--port", str(port)]
    daemon = ["-m", "dagster._daemon", "run", "--log-level", "warning"]
    return {"Dagster UI": [sys.executable, *ui, *found], "Dagster daemon": [sys.executable, *daemon, *found]}


def introduced(locations: Sequence[Mapping[str, Any]], port: int) -> list[dict[str, Any]]:
    """The code locations, each with the address of the page to begin with, which the UI shows on their own pages."""
    page = {"start_here": f"http://127.0.0.1:{port}/assets/start_here"}
    return [
        {kind: {**place, "additional_metadata": page | place.get("additional_metadata", {})}}
        for location in locations
        for kind, place in location.items()
    ]


def main(port: int) -> None:
    """Run until SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logs.configure(Settings().log_format)
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="marketdata-") as folder,
        dg.DagsterInstance.get() as instance,
        code_servers(instance, WORKSPACE) as locations,
    ):
        ensure_pool_limits(instance)
        workspace = Path(folder) / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": introduced(locations, port)}))
        watch([Watched(name, command) for name, command in commands(port, workspace).items()])


def watch(watched: list[Watched]) -> None:
    """Keep the processes running until KeyboardInterrupt, then end them."""
    try:
        while True:
            for one in watched:
                one.look(time.monotonic())
            time.sleep(POLL_SECONDS)
    finally:
        until = time.monotonic() + STOP_SECONDS
        for one in watched:
            one.stop()
        for one in watched:
            one.wait(until - time.monotonic())


if __name__ == "__main__":
    main(int(sys.argv[1]))

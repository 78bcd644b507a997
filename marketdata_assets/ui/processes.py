"""The Dagster processes of `marketdata up`, run as a script: code server, UI and daemon.

    python -m marketdata_assets.ui.processes PORT

Each is started again when it ends, and that is reported.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from marketdata_assets import logs
from marketdata_assets.local.process import after_end, tied_to_us
from marketdata_assets.settings import Settings
from marketdata_assets.ui import code_server

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


def commands(port: int, workspace: Path, socket: Path) -> Mapping[str, list[str]]:
    """What is run, by name: UI and daemon find the code server, which listens on the socket, in the workspace file."""
    found = ["--workspace", str(workspace)]
    ui = ["-m", "marketdata_assets", "ui", "--port", str(port), "--after", str(socket)]
    daemon = ["-m", "dagster._daemon", "run", "--log-level", "warning"]
    code = ["-m", code_server.__name__, "--socket", str(socket), "--log-level", "warning", *code_server.PROJECT]
    return {
        "code server": [sys.executable, *code],
        "Dagster UI": [sys.executable, *ui, *found],
        "Dagster daemon": [sys.executable, *daemon, *found],
    }


def location(socket: Path, port: int) -> dict[str, Any]:
    """The code location, with the address of the page to begin with, which the UI shows on the location's own page."""
    page = {"start_here": f"http://127.0.0.1:{port}/assets/start_here"}
    return {"location_name": "marketdata_assets", "socket": str(socket), "additional_metadata": page}


def main(port: int) -> None:
    """Run until SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logs.configure(Settings().log_format)
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="marketdata-") as folder:
        workspace, socket = Path(folder) / "workspace.yaml", Path(folder) / "code.sock"
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location(socket, port)}]}))
        watched = [Watched(name, command) for name, command in commands(port, workspace, socket).items()]
        watched[0].look(time.monotonic())
        _ensure_pool_limits()
        watch(watched, socket)


def _ensure_pool_limits() -> None:
    """Imports Dagster, which takes a second, in which the code server loads the code."""
    import dagster as dg

    from marketdata_assets.dagster_internals import ensure_pool_limits

    with dg.DagsterInstance.get() as instance:
        ensure_pool_limits(instance)


def watch(watched: list[Watched], socket: Path) -> None:
    """Keep the processes running until KeyboardInterrupt, then end them; the first listens on the socket for others.

    The last, the daemon, begins when the socket is there. The UI waits for it itself.
    """
    try:
        while True:
            for one in watched if socket.exists() else watched[:-1]:
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

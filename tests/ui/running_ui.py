"""`marketdata demo` or `up` with its UI, on a folder and a port of its own."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from marketdata_assets.local import record
from marketdata_assets.local.process import port_is_free
from tests.ui import nginx

ROOT = Path(__file__).parents[2]
DOMAINS = ("BARS", "ALPHAS", "TICKS", "CAPTURES", "FLOWS")
START_SECONDS = 600


def quiet_port() -> int:
    """A free port that no server asking for any free one is given: the UI takes it only after the load."""
    return next(port for port in random.sample(range(20_000, 30_000), 1000) if port_is_free(port))


class Marketdata:
    """`marketdata demo` or `up` with its UI, on a folder and a port of its own; what it prints goes to files there."""

    def __init__(self, command: str, home: Path, interrupt: str, quiet_seconds: int) -> None:
        self.port = quiet_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._token = home / "dagster" / "ui_token"
        self.out, self.log = home / f"{command}.out", home / f"{command}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MARKETDATA_", "DAGSTER_"))}
        quiet = {f"MARKETDATA_{domain}_QUIET_SECONDS": quiet_seconds for domain in DOMAINS}
        ours = {"MARKETDATA_HOME": home, "MARKETDATA_UI_PORT": self.port, "MARKETDATA_UI_HOSTS": nginx.NAME, **quiet}
        script = f"import signal; signal.signal(signal.SIGINT, signal.{interrupt})"
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{script}; from marketdata_assets.cli import app; app()", command],
                cwd=ROOT,
                env=kept | {k: str(v) for k, v in ours.items()},
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    @property
    def token(self) -> str:
        """What logs in to the UI; raises FileNotFoundError while it has never started."""
        return self._token.read_text().strip()

    def wait(self) -> None:
        """Return when the UI has loaded the assets; raises with the end of the log when it never does."""
        until = time.monotonic() + START_SECONDS
        while not self._loaded():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no UI:\n{self.text()[-2000:]}")
            time.sleep(0.5)

    def text(self) -> str:
        """What it has printed."""
        return "".join(path.read_text(errors="replace") for path in (self.out, self.log))

    def end(self, number: signal.Signals, seconds: float = 60) -> list[str]:
        """Send the signal; returns the command lines of what outlives `seconds` of our processes, and kills that."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        until = time.monotonic() + seconds
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        _, alive = psutil.wait_procs(family, timeout=max(1.0, until - time.monotonic()))
        left = [" ".join(process.cmdline()) for process in alive]
        if self.process.poll() is None:
            left.insert(0, "marketdata itself")
            self.process.kill()
            self.process.wait()
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return left

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """What GraphQL answers. Raises AssertionError on errors; OSError, HTTPError or ValueError without a UI."""
        sent = {"query": query, "variables": variables}
        login = {"Authorization": f"Bearer {self.token}"}
        answered = httpx.post(f"{self.url}/graphql", json=sent, headers=login, timeout=30).json()
        assert "errors" not in answered, answered["errors"]
        found = answered["data"]
        assert isinstance(found, dict)
        return found

    def _loaded(self) -> bool:
        query = "{repositoriesOrError {... on RepositoryConnection {nodes {assetNodes {id}}}}}"
        try:
            found = self.ask(query)["repositoriesOrError"]
        except (OSError, httpx.HTTPError, ValueError):
            return False
        return any(node["assetNodes"] for node in found.get("nodes", []))


def postgres_dsn(home: Path) -> str:
    """The address of the PostgreSQL that a command has started on this folder."""
    found = record.read(home)
    assert found is not None
    return found.urls["postgres_dsn"]


@contextmanager
def running(
    command: str, home: Path, interrupt: str = "default_int_handler", quiet_seconds: int = 86400
) -> Iterator[Marketdata]:
    """A command with its UI up, on a data folder; `interrupt` names what it starts with as handler of SIGINT.

    For so long, files count as still being written: usually no sensor loads the samples while pages are read.
    """
    started = Marketdata(command, home, interrupt, quiet_seconds)
    try:
        started.wait()
        yield started
    finally:
        if started.process.poll() is None:
            started.end(signal.SIGTERM)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A data folder that is removed in the end; one under pytest's own would be too long for PostgreSQL's socket."""
    with tempfile.TemporaryDirectory(prefix="md-", ignore_cleanup_errors=True) as home:
        yield Path(home)

"""A real `marketdata up` with UI and daemon on a folder of its own, and its processes by what they are."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from marketdata_assets.local import record
from marketdata_assets.local.process import port_is_free

ROOT = Path(__file__).parents[2]
START_SECONDS = 240
UNREACHABLE = "http://127.0.0.1:9"
DOMAINS = ("BARS", "ALPHAS", "TICKS", "CAPTURES", "FLOWS")


def environment(home: Path) -> dict[str, str]:
    """Of every process of the campaign: its folder, files that count as complete at once, and no host outside."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MARKETDATA_", "DAGSTER_"))}
    ours = {
        "MARKETDATA_HOME": str(home),
        "MARKETDATA_WORKERS": "2",
        "MARKETDATA_TICKS_MONTHS": "2",
        "MARKETDATA_TICKS_SYMBOLS": str(home / "listed.csv"),
        "MARKETDATA_EXCHANGE_DAYS": "2",
        "MARKETDATA_TUSHARE_URL": UNREACHABLE,
        "MARKETDATA_YAHOO_URL": UNREACHABLE,
        "MARKETDATA_BRAIN_URL": UNREACHABLE,
        "TUSHARE_TOKEN": "",
        "PYTHONUNBUFFERED": "1",
    }
    return inherited | ours | {f"MARKETDATA_{domain}_QUIET_SECONDS": "1" for domain in DOMAINS}


def command(home: Path, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a command of `marketdata` as a person does who has it in a terminal."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "marketdata_assets", *arguments],
            cwd=ROOT,
            env=environment(home) | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_hears_signals,
        )


def _hears_signals() -> None:
    """Undo what `nohup`, or a shell's `&`, around the campaign has set."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Stack:
    """`marketdata up` until the end of the block of `running`."""

    def __init__(self, home: Path, *, ui: bool) -> None:
        self.home, self.log, self._ui = home, home / "up.log", ui
        port = next(port for port in random.sample(range(20_000, 30_000), 1000) if port_is_free(port))
        os.environ["MARKETDATA_UI_PORT"] = str(port)
        options = () if ui else ("--no-ui",)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "marketdata_assets", "up", *options],
                cwd=ROOT,
                env=environment(home) | {"MARKETDATA_UI_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def urls(self) -> Mapping[str, str]:
        found = record.read(self.home)
        return found.urls if found else {}

    def wait(self) -> None:
        """Return when every server is there, and with the UI also the daemon and both parts of the code server."""
        wanted = {"daemon", "webserver", "code server"} if self._ui else set()
        until = time.monotonic() + START_SECONDS
        while not (self.urls and wanted <= set(self.processes())):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no stack:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.5)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """What runs below `up`, by kind."""
        found: dict[str, list[psutil.Process]] = defaultdict(list)
        stack = record.read(self.home)
        for server in stack.servers if stack else ():
            with suppress(psutil.NoSuchProcess):
                found[server.name].append(psutil.Process(server.pid))
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if kind := kind_of(process):
                    found[kind].append(process)
        return found

    def stop(self) -> None:
        """As Ctrl-C, and with force when that takes long."""
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for left in family:
            with suppress(psutil.Error):
                left.kill()


def kind_of(process: psutil.Process) -> str | None:
    """What a process of Dagster, or of a load, is; None of others."""
    line = " ".join(process.cmdline())
    parent = process.parent()
    above = " ".join(parent.cmdline()) if parent else ""
    if "multiprocessing.forkserver" in line:
        return "pool worker" if "multiprocessing.forkserver" in above else None
    if "spawn_main" in line:
        return "run" if "api grpc" in above or "_grpc" in above or "code-server" in above else None
    for word, kind in (("dagster._daemon", "daemon"), ("marketdata_assets ui", "webserver")):
        if word in line and "child.py" not in line:
            return kind
    return "code server" if "api grpc" in line or "code-server" in line or "dagster._grpc" in line else None


@contextmanager
def running(home: Path, *, ui: bool) -> Iterator[Stack]:
    stack = Stack(home, ui=ui)
    try:
        stack.wait()
        yield stack
    finally:
        stack.stop()


def run(home: Path, *arguments: str, seconds: float = 300) -> tuple[int, str]:
    """A command to its end: exit code, and what it printed."""
    log = home / f"{'-'.join(arguments[:2])}.out"
    log.unlink(missing_ok=True)
    process: Any = command(home, *arguments, log=log)
    try:
        return process.wait(seconds), log.read_text(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return -1, log.read_text(errors="replace")

"""A real `marketdata up` with UI and daemon on a folder of its own, and its processes by what they are."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from marketdata_assets.local import record
from marketdata_assets.local.process import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 240
OUTLIVES_SECONDS = 30
"""How long processes may take to notice that the stack has ended."""
UNREACHABLE = "http://127.0.0.1:9"
OF_LOADS = ("pool worker", "fork server")
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
        "TMPDIR": str(temporary(home)),
    }
    return inherited | ours | {f"MARKETDATA_{domain}_QUIET_SECONDS": "1" for domain in DOMAINS}


def temporary(home: Path) -> Path:
    """Where all processes of the stack and of its commands have their temporary files."""
    folder = home / "tmp"
    folder.mkdir(exist_ok=True)
    return folder


class Command(subprocess.Popen[bytes]):
    """A command of `marketdata`, and the process that reads its output into a file."""

    reader: subprocess.Popen[bytes]

    def output(self, log: Path) -> str:
        """What it printed until its end, or that of its reader."""
        with suppress(subprocess.TimeoutExpired):
            self.reader.wait(5)
        return log.read_text(errors="replace")


def command(home: Path, *arguments: str, log: Path, port: int = 0) -> Command:
    """Start a command of `marketdata` as a person does who has it in a terminal; `port` is the UI's."""
    ours = {"PYTHONPATH": str(ROOT), **({"MARKETDATA_UI_PORT": str(port)} if port else {})}
    with log.open("ab") as output:
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output, start_new_session=True)
    assert reader.stdin is not None
    with reader.stdin as pipe:
        started = Command(
            [sys.executable, "-m", "marketdata_assets", *arguments],
            cwd=ROOT,
            env=environment(home) | ours,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
            preexec_fn=_hears_signals,
        )
    started.reader = reader
    return started


def _hears_signals() -> None:
    """Undo what `nohup`, or a shell's `&`, around the campaign has set."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Stack:
    """`marketdata up` until the end of the block of `running`."""

    def __init__(self, home: Path, *, ui: bool) -> None:
        self.home, self.log, self._ui = home, home / "up.log", ui
        self.port = free_port()
        options = () if ui else ("--no-ui",)
        self.left: list[str] = []
        self.process = command(home, "up", *options, log=self.log, port=self.port)

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
        for kind, below in below_of(self.process, "a run").items():
            found[kind] += below
        return found

    def stop(self) -> list[str]:
        """As Ctrl-C, and with force when that takes long; what of this folder outlives it, which is killed."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(self._family(), timeout=OUTLIVES_SECONDS)
        left = []
        for process in alive:
            with suppress(psutil.Error):
                left.append(f"process {process.pid} outlives the stack: {' '.join(process.cmdline())[:200]}")
                process.kill()
        return left

    def _family(self) -> list[psutil.Process]:
        """All processes with this data folder, whoever their parent is by now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("MARKETDATA_HOME") == str(self.home):
                    found.append(process)
        return found


def below_of(started: subprocess.Popen[bytes], whose: str) -> dict[str, list[psutil.Process]]:
    """What runs below a process, by kind; `whose` says of which load the workers are."""
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    with suppress(psutil.Error):
        for process in psutil.Process(started.pid).children(recursive=True):
            with suppress(psutil.Error):
                kind = kind_of(process)
                if kind is not None:
                    found[f"{kind} of {whose}" if kind in OF_LOADS else kind].append(process)
    return found


def command_of(process: psutil.Process, *, above: bool = False) -> str:
    """The command of a process, or of the one above it; empty when it has ended."""
    with suppress(psutil.NoSuchProcess):
        one = process.parent() if above else process
        return " ".join(one.cmdline()) if one else ""
    return ""


def kind_of(process: psutil.Process) -> str | None:
    """What a process of Dagster, or of a load, is; None of others, and of one that has ended."""
    line, above = command_of(process), command_of(process, above=True)
    if "multiprocessing.forkserver" in line:
        return "pool worker" if "multiprocessing.forkserver" in above else "fork server"
    if "spawn_main" in line:
        return "run" if "dagster api grpc" in above else None
    for word, kind in (("dagster._daemon", "daemon"), ("marketdata_assets ui", "webserver")):
        if word in line and "child.py" not in line:
            return kind
    return "code server" if "dagster api grpc" in line or "code-server start" in line else None


@contextmanager
def running(home: Path, *, ui: bool) -> Iterator[Stack]:
    stack = Stack(home, ui=ui)
    try:
        stack.wait()
        yield stack
    finally:
        stack.left = stack.stop()


def run(home: Path, *arguments: str, seconds: float = 300) -> tuple[int, str]:
    """A command to its end: exit code, and what it printed."""
    log = home / f"{'-'.join(arguments[:2])}.out"
    log.unlink(missing_ok=True)
    process = command(home, *arguments, log=log)
    try:
        return process.wait(seconds), process.output(log)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return -1, process.output(log)

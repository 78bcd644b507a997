"""One server as a child process: launch, readiness, stop, kill, start again on the same port, also when it ends.

What a server is called with and how it shows that it is ready belongs to that server's file.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from marketdata_assets.backoff import delay
from marketdata_assets.local import password, proctable
from marketdata_assets.local.errors import PortTaken, ServerFailed
from marketdata_assets.local.record import ServerRecord
from marketdata_assets.local.unprivileged import Identity
from marketdata_assets.standard_streams import empty_full, older
from marketdata_assets.state_files import private_folder

POLL_SECONDS = 0.02
TAIL_LINES = 20
PORT_TRIES = 3
LOWEST_PORT = 20_000
"""Below are the usual ports of many programs, and those that Ray gives to its workers (10002 to 19999)."""
OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
IN_USE = "address already in use"
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
STEADY_SECONDS = 60.0
"""A process that ran for so long has not failed in a row with an earlier one."""


@dataclass(frozen=True)
class ServerSpec:
    """What is particular about one server, as plain functions.

    `command(folder, port)` is the argument list, its first item an absolute path; `ready(port, password)` says whether
    the server answers and never waits for more than about a second; `prepare(folder)` runs before each launch.
    `url(port, password)` is what clients connect to, and `password.of(folder)` is the password.
    `stop_signal` asks it to end; `death_signal` is what the kernel sends when the stack dies without asking.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    ready: Callable[[int, str], bool]
    url: Callable[[int, str], str]
    prepare: Callable[[Path], None] = lambda folder: None
    identity: Callable[[Path], Identity | None] = lambda folder: None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    ready_seconds: float = 60
    stop_seconds: float = 20

    @property
    def port_variable(self) -> str:
        """The environment variable that fixes the port."""
        return f"MARKETDATA_{self.name.upper()}_PORT"


@dataclass(frozen=True)
class Started:
    """A server that became ready."""

    name: str
    port: int
    pid: int
    seconds: float


class Server:
    """A handle on one server; its port stays the same over `stop`, `kill` and `start`.

    The kernel ends the server when the thread that started it ends, so call `start` in a thread that lives on.
    """

    def __init__(
        self, spec: ServerSpec, home: Path, configured_port: int, on_launch: Callable[[], None] = lambda: None
    ) -> None:
        if configured_port and not port_is_free(configured_port):
            raise PortTaken(spec.name, configured_port, spec.port_variable, zero_is_free=True)
        self.spec, self.name = spec, spec.name
        self.folder = home / spec.name
        self.log = home / "logs" / f"{spec.name}.log"
        self.port = configured_port or free_port()
        self._other_ports_to_try = 0 if configured_port else PORT_TRIES
        self._on_launch = on_launch
        self._launched_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the current or last process; 0 before the first launch."""
        return self._process.pid if self._process else 0

    @property
    def url(self) -> str:
        return self.spec.url(self.port, self.password)

    @property
    def password(self) -> str:
        return password.of(self.folder)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the last process; negative when a signal ended it, None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> Started:
        """Launch the server on its port and wait until it answers; raises ServerFailed or PortTaken."""
        if self.alive:
            raise ServerFailed(self.name, f"runs already as process {self.pid}", self.log, self._tail())
        self.relaunch()
        return next(wait_ready([self]))

    def relaunch(self) -> None:
        """Start the process on the port that it had, unless it runs, and return at once."""
        self._other_ports_to_try = 0
        if not self.alive:
            self.launch()

    def launch(self) -> None:
        """Start the process and return at once."""
        private_folder(self.folder)
        password.of(self.folder)
        private_folder(self.log.parent)
        if self.log.exists():
            self.log.replace(older(self.log))
        self.spec.prepare(self.folder)
        self._launched_at = time.monotonic()
        command = self.spec.command(self.folder, self.port)
        call = tied_to_us(command, self.spec.death_signal, self.spec.identity(self.folder))
        with password.open_log(self.log) as log:
            self._process = subprocess.Popen(
                call, cwd=self.folder, env=in_utc(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        self._on_launch()

    def answered(self) -> bool:
        """Whether the server is ready; raises at once when its process has exited or its time is over."""
        if self._process is not None and self._process.poll() is not None:
            if port_is_free(self.port) and IN_USE not in self._tail().lower():
                fact = f"exited with code {self._process.returncode} before it was ready"
                raise ServerFailed(self.name, fact, self.log, self._tail())
            if not self._other_ports_to_try:
                raise PortTaken(self.name, self.port, self.spec.port_variable, zero_is_free=True)
            self._other_ports_to_try -= 1
            self.port = free_port()
            self.launch()
            return False
        if self.spec.ready(self.port, self.password):
            return True
        if time.monotonic() - self._launched_at > self.spec.ready_seconds:
            tail = self._tail()
            self.kill()
            raise ServerFailed(self.name, f"was not ready after {self.spec.ready_seconds:.0f} s", self.log, tail)
        return False

    def started(self) -> Started:
        """The moment the server became ready, which is now."""
        return Started(self.name, self.port, self.pid, time.monotonic() - self._launched_at)

    def record(self) -> ServerRecord:
        """What a later stack needs to find this process again and stop it."""
        mark = proctable.start_mark(self.pid) or ""
        return ServerRecord(self.name, self.pid, mark, str(self.folder), int(self.spec.stop_signal))

    def ask_to_stop(self) -> None:
        """Send the stop signal and return at once."""
        if self.alive and self._process is not None:
            self._process.send_signal(self.spec.stop_signal)

    def stop(self) -> None:
        """Stop the server and wait for its exit; after `stop_seconds` it is killed."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(self.spec.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL the server and its children, as a power cut would, and wait for the exit."""
        if self._process is None or not self.alive:
            return
        children = psutil.Process(self.pid).children()
        self._process.kill()
        self._process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        proctable.wait_gone([child.pid for child in children], seconds=5)

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-TAIL_LINES:])


def wait_ready(servers: Sequence[Server]) -> Iterator[Started]:
    """Yield each server as it becomes ready; raises the first failure."""
    waiting = list(servers)
    while waiting:
        for server in list(waiting):
            if server.answered():
                waiting.remove(server)
                yield server.started()
        time.sleep(POLL_SECONDS if waiting else 0)


def after_end(failures: int, ran_seconds: float) -> tuple[int, float]:
    """The failures in a row with this end of a process, and the seconds until it is started again."""
    failures = 1 if ran_seconds >= STEADY_SECONDS else failures + 1
    return failures, delay(failures, FIRST_DELAY, LONGEST_DELAY, None)


@dataclass
class _Watched:
    server: Server
    failures: int = 0
    answers_since: float = field(default_factory=time.monotonic)
    due_at: float | None = None
    """When it is started again; None while its process runs."""
    starting: bool = False


class Watch:
    """What of `servers` ends, whatever ended it, runs again; `report` gets a line for each end and each start.

    `look` never waits long, and has to be called in the thread that started the servers: they end with it.
    """

    def __init__(self, servers: Iterable[Server], report: Callable[[str], None]) -> None:
        self._watched = [_Watched(server) for server in servers]
        self._report = report

    def look(self, now: float) -> None:
        """Notice what has ended, start what is due, and say what answers again."""
        for one in self._watched:
            try:
                self._look(one, now)
            except Exception as error:  # whatever one server fails by, the others are watched
                name, fact = one.server.name, (str(error) or repr(error)).splitlines()[0]
                self._ended(one, now, fact if fact.startswith(name) else f"{name}: {fact}")
            empty_full(one.server.log)

    def _look(self, one: _Watched, now: float) -> None:
        server = one.server
        if one.due_at is not None:
            if now >= one.due_at:
                one.due_at, one.starting = None, True
                server.relaunch()
        elif one.starting:
            if server.answered():
                one.starting, one.answers_since = False, now
                self._report(f"{server.name}: answers again on port {server.port}, as process {server.pid}")
        elif not server.alive:
            code = server.exit_code or 0
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {server.exit_code}"
            self._ended(one, now, f"{server.name} {how}")

    def _ended(self, one: _Watched, now: float, fact: str) -> None:
        ran = -1.0 if one.starting else now - one.answers_since
        one.failures, seconds = after_end(one.failures, ran)
        one.due_at, one.starting = now + seconds, False
        self._report(f"{fact.rstrip(':.')}; it is started again in {seconds:.0f} s; its log is {one.server.log}")


def tied_to_us(command: list[str], death_signal: signal.Signals, identity: Identity | None) -> list[str]:
    """The command that runs `command` as this identity until it ends, or until we do: then `death_signal` ends it."""
    script = Path(__file__).with_name("child.py")
    options = ["--parent", str(os.getpid()), "--signal", str(int(death_signal))]
    if identity is not None:
        options += ["--identity", str(identity)]
    return [sys.executable, "-I", "-S", str(script), *options, "--", *command]


def in_utc() -> dict[str, str]:
    """Our environment for a server: it needs no other time zone, and fails on one that it does not know."""
    return {**os.environ, "TZ": "UTC"}


def free_port() -> int:
    """A loopback port that nobody has, for a server that is about to start.

    It lies below the ports that the kernel gives to outgoing connections (`ip_local_port_range` of ip(7)): any client
    of this machine could take one of those before the server has it, or while the server restarts.
    """
    try:
        end = int(OUTGOING_PORTS.read_text().split()[0])
    except OSError:
        end = 49_152
    for _ in range(100 if end > LOWEST_PORT else 0):
        if port_is_free(chosen := LOWEST_PORT + secrets.randbelow(end - LOWEST_PORT)):
            return chosen
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def port_answers(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True

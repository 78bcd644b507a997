"""Processes of a Ray cluster: an existing one, or one that this process starts, and stops when it exits.

Ray is imported here only, on first need. It knows one cluster in a process, so a connection stays for the next map.
"""

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
import textwrap
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.fanout.pool import WORKER_ENVIRONMENT, Answer, Item, Outcome, WorkerDied, attempt

VARIABLE = "MARKETDATA_RAY_ADDRESS"
LOCAL = "local"
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}
ANSWER_SECONDS = 5.0
CAUSE_LETTERS = 240
SHORT = "/tmp"  # noqa: S108 -- the path of a socket has room for 107 bytes; the folder in it is ours alone
STORE_BYTES = 128 * 1024 * 1024
"""Paths go out and counts come back: a local cluster needs little room for objects."""


class Cluster:
    """Workers on all machines of a cluster, `room` of them at once; Ray replaces those that are killed."""

    def __init__(self, address: str, workers: int, folder: Path | None = None) -> None:
        self._ray = connect(address, workers)
        self._address = address
        self._folder = folder
        self._under_way: set[Any] = set()
        # A worker's environment has no secrets, because Ray shows it to every user of the cluster.
        installed = (sys.prefix, sys.base_prefix)
        paths = [path for path in sys.path if path and not path.startswith(installed)]
        variables = {name: os.environ.get(name, value) for name, value in WORKER_ENVIRONMENT.items()}
        environment = {"env_vars": {**variables, "PYTHONPATH": os.pathsep.join(paths)}}
        # Whether an item is tried again is decided by the map, not by Ray.
        self._attempt = self._ray.remote(num_cpus=1, max_retries=0, runtime_env=environment)(_attempt_there)
        self.max_in_flight = workers or cpus(address)

    def submit(self, function: Callable[[Item], Answer], item: Item) -> Any:
        ticket = self._attempt.remote(self._folder, function, item)
        self._under_way.add(ticket)
        return ticket

    def wait(self, tickets: Collection[Any]) -> Iterator[tuple[Any, Outcome[Any]]]:
        ended, _ = self._ray.wait(list(tickets), num_returns=1)
        for ticket in ended:
            self._under_way.discard(ticket)
            yield ticket, self._outcome(ticket)

    def close(self) -> None:
        for ticket in self._under_way:
            self._ray.cancel(ticket)
        if self._under_way:
            self._ray.wait(list(self._under_way), num_returns=len(self._under_way))

    def _outcome(self, ticket: Any) -> Outcome[Any]:
        from ray import exceptions

        deaths = (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.ObjectLostError,
        )
        try:
            outcome: Outcome[Any] = self._ray.get(ticket)
        except deaths as death:
            return None, WorkerDied(_cause(death))
        except exceptions.RayTaskError as error:  # the answer could not be sent
            return None, RuntimeError(_cause(error.cause))
        except (exceptions.RayError, ConnectionError) as error:
            raise TransientError(
                f"the Ray cluster at {self._address} was lost during the run: {_cause(error)}. Units loaded by"
                " then stay loaded; check `ray status`, and run the same partitions again"
            ) from error
        return outcome


def _attempt_there(folder: Path | None, function: Callable[[Item], Answer], item: Item) -> Outcome[Answer]:
    if folder is not None and not folder.is_dir():
        return None, TerminalError(
            f"{folder} does not exist on {socket.gethostname()}, a machine of the Ray cluster: share the"
            f" folder, under the same path on every machine, or unset {VARIABLE} to work in processes of"
            " this machine"
        )
    return attempt(function, item)


def cpus(address: str) -> int:
    """CPUs of the cluster's machines that are up. Raises TerminalError when there are none."""
    found = int(connect(address).cluster_resources().get("CPU", 0))
    if found == 0:
        raise TerminalError(
            f"the Ray cluster at {address} has no CPU to work with: add a node with `ray start --address=...`,"
            " or set MARKETDATA_WORKERS to the number of units to submit at once if the cluster scales"
            " automatically"
        )
    return found


def connect(address: str, workers: int = 0) -> Any:
    """The module `ray`, connected; a process that is connected already stays where it is.

    Raises TransientError when nothing answers there, and TerminalError without Ray, or with another that does not fit.
    """
    try:
        import ray
    except ImportError as error:
        raise TerminalError(
            f"{VARIABLE} is {address!r}, and Ray is not installed here: pip install 'marketdata-assets[ray]', or"
            f" unset {VARIABLE} to work in processes of this machine"
        ) from error
    if not ray.is_initialized():
        with _own_signals():
            if address == LOCAL:
                _start(ray, workers)
            else:
                _join(ray, address)
    return ray


def _start(ray: Any, workers: int) -> None:
    """A cluster of this machine, on loopback, that leaves nothing behind."""
    folder = tempfile.mkdtemp(prefix="ray-", dir=SHORT if Path(SHORT).is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        LOCAL,
        num_cpus=workers or None,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
        **QUIET,
    )
    atexit.register(ray.shutdown)


def _join(ray: Any, address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:  # fail early when nothing listens at the address; Ray itself retries for minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
        except (OSError, ValueError) as error:
            raise TransientError(
                f"no Ray cluster at {address} ({_cause(error)}): start one with `ray start --head --port=6379`,"
                f" correct {VARIABLE}, or unset it to work in processes of this machine"
            ) from error
    try:
        ray.init(address, **QUIET)
    except Exception as error:
        raise TerminalError(
            f"Ray at {address} does not accept this process: {_cause(error)}. Every machine needs the same Ray"
            " and Python and the cluster's token (RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or"
            " ~/.ray/auth_token); this one must be a node of the cluster unless the address begins with ray://"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes over SIGTERM; who had a handler for it, as Dagster has, keeps it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before not in (signal.SIG_DFL, signal.getsignal(signal.SIGTERM)):
        signal.signal(signal.SIGTERM, before)


def _cause(error: BaseException | None) -> str:
    """The cause in one line: Ray wraps errors in one another, and the last has the output of its processes."""
    while error is not None and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    text = str(error).strip()
    if "Traceback" in text:
        text = text.splitlines()[-1]
    return textwrap.shorten(text or type(error).__name__, CAUSE_LETTERS)

"""The local stack: every server that the environment does not name, started together and stopped in order.

Clients find it through `endpoints`; what one server needs belongs to that server's file.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from marketdata_assets import domains, state_files
from marketdata_assets.local import endpoints, postgres, record, servers
from marketdata_assets.local.errors import BadDataFolder, DiskFull
from marketdata_assets.local.process import Server, Started, Watch, wait_ready

if TYPE_CHECKING:
    from marketdata_assets.settings import Settings

# In the order of launch and of stopping: PostgreSQL last, as it may have to make its cluster first and keeps what
# Dagster writes until the end.
SPECS = {"clickhouse": servers.CLICKHOUSE, "mongo": servers.MONGO, "nats": servers.NATS, "postgres": postgres.POSTGRES}
URLS = {"postgres": "postgres_dsn", "mongo": "mongo_uri", "clickhouse": "clickhouse_url", "nats": "nats_url"}
SERVICES = ("postgres", "mongo", "clickhouse", "nats")
BYTES_TO_START = 200 << 20
"""The files of servers without data take 80 MB."""


def needed(settings: Settings) -> list[str]:
    """The services that the chosen domains need, and Dagster's storage."""
    from marketdata_assets.local.flow_addresses import found

    named = {"postgres", *(server for name in settings.domain_names for server in domains.find(name).all_servers)}
    if "flows" in settings.domain_names:
        named |= {one.flow.target.kind for one in found(settings.flows_folder) if one.flow}
    return [name for name in SERVICES if name in named]


class LocalStack:
    """The servers of one data folder, for the length of a `with` block.

    Enter it in a thread that lives as long as the servers must: on Linux the kernel stops them when the thread ends.
    """

    def __init__(
        self, settings: Settings, services: Sequence[str] | None = None, progress: Callable[[str], None] | None = None
    ) -> None:
        services = needed(settings) if services is None else services
        unknown = sorted(set(services) - set(SERVICES))
        if unknown:
            raise ValueError(f"no such service: {', '.join(unknown)}; known are {', '.join(SERVICES)}")
        self.settings = settings
        self.services = tuple(services)
        self.endpoints = endpoints.merge(settings, {})
        self.started: list[Started] = []
        self._progress = progress or (lambda line: None)
        self._servers: dict[str, Server] = {}
        self._urls: dict[str, str] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start the servers; raises BadDataFolder, DiskFull, DataFolderBusy, PortTaken, MissingWheel, ServerFailed, or
        RootRefused.
        """
        home = self.settings.root
        with ExitStack() as undo:
            undo.enter_context(_taken(home))
            for name in record.stop_leftovers(home):
                self._report(f"{name}: stopped the one a killed stack left running")
            undo.callback(self._stop_servers)
            for name, spec in SPECS.items():
                if name in self.services and getattr(self.settings, URLS[name]) is None:
                    port = getattr(self.settings, f"{name}_port")
                    self._servers[name] = Server(spec, home, port, on_launch=self._write)
            for name, server in self._servers.items():
                self._report(f"{name}: starting on port {server.port}")
                server.launch()
            self._wait()
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def server(self, name: str) -> Server:
        """The handle of one server that this stack started; raises KeyError naming those there are."""
        if name not in self._servers:
            raise KeyError(f"{name} was not started by this stack; started: {', '.join(self._servers) or 'none'}")
        return self._servers[name]

    def watch(self) -> Watch:
        """What starts servers of this stack again when they end, for as long as its `look` is called."""
        return Watch(self._servers.values(), self._report)

    def close(self) -> None:
        """Stop every server and let the data folder go; a second call does nothing."""
        self._open.close()

    def _report(self, line: str) -> None:
        with suppress(OSError, ValueError):  # nobody reads it any more
            self._progress(line)

    def _wait(self) -> None:
        for started in wait_ready(list(self._servers.values())):
            self.started.append(started)
            self._report(f"{started.name}: ready on port {started.port} after {started.seconds:.1f} s")
        urls = {URLS[name]: server.url for name, server in self._servers.items()}
        if "postgres" in self._servers:
            server = self._servers["postgres"]
            urls["dagster_pg"] = postgres.url(server.port, server.password, "dagster")
        self._urls = urls
        self.endpoints = endpoints.merge(self.settings, urls)
        self._write()

    def _write(self) -> None:
        launched = [server.record() for server in self._servers.values() if server.alive]
        record.write(self.settings.root, launched, self._urls)

    def _stop_servers(self) -> None:
        began = time.monotonic()
        servers = list(self._servers.values())
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop()
        record.erase(self.settings.root)
        self._report(f"stopped {len(servers)} servers in {time.monotonic() - began:.1f} s")


def _taken(home: Path) -> IO[bytes]:
    """The data folder, held for this process, with space for servers to start."""
    if len(str(home).splitlines()) > 1:
        raise BadDataFolder(home, "its path has a line break, which PostgreSQL does not take")
    try:
        state_files.private_folder(home)
        free = shutil.disk_usage(home).free
        if free < BYTES_TO_START:
            raise DiskFull(home, free, BYTES_TO_START)
        return record.hold(home)
    except OSError as error:
        raise BadDataFolder(home, error.strerror or str(error)) from error

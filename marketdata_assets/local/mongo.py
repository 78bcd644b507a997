"""How the local Mongo-wire server is made, called and known to be ready.

The server is GPL, so it runs as a separate program and is never imported. Collections belong to `alphas`.
"""

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketdata_assets.local import password
from marketdata_assets.local.errors import ServerFailed
from marketdata_assets.local.process import POLL_SECONDS, ServerSpec, free_port, port_answers, tied_to_us
from marketdata_assets.local.servers import program

START_SECONDS = 60
STOP_SECONDS = 5
ROLE = "root"


def url(port: int, secret: str) -> str:
    """`journal=true` makes an acknowledged write survive a kill."""
    return f"mongodb://{password.USER}:{secret}@127.0.0.1:{port}/?journal=true"


def command(folder: Path, port: int) -> list[str]:
    """It also reads `secantusd.toml` in its working folder, which is its own."""
    return [*_without_login(folder, port), "--auth"]


def prepare(folder: Path) -> None:
    """Make the user, once: the server creates users only while it asks for no password."""
    made = folder / "user_made"
    if made.exists():
        return
    port, log = free_port(), folder / "user.log"
    call = tied_to_us(_without_login(folder, port), signal.SIGKILL, None)
    with password.open_log(log) as out:
        server = subprocess.Popen(call, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0)
    try:
        _wait(server, port, log)
        _make_user(port, password.of(folder), log)
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    made.touch()


def ready(port: int, secret: str) -> bool:
    """Whether the server answers to its password."""
    if not port_answers(port):
        return False
    import pymongo
    from pymongo.errors import PyMongoError

    try:
        with pymongo.MongoClient[dict[str, object]](url(port, secret), serverSelectionTimeoutMS=1000) as client:
            client.admin.command("connectionStatus")
    except PyMongoError:
        return False
    return True


def _without_login(folder: Path, port: int) -> list[str]:
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")]
    return [program("secantusd-py", name="mongo", wheel="secantusdb"), *arguments, "--log-level", "WARNING"]


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not port_answers(port):
        if server.poll() is not None or time.monotonic() > end:
            fact = f"could not be started to make its user, on port {port}"
            raise ServerFailed("mongo", fact, log, log.read_text(errors="replace"))
        time.sleep(POLL_SECONDS)


def _make_user(port: int, secret: str, log: Path) -> None:
    """Make our user and remove all others: somebody else may have made one while no password was required."""
    import pymongo

    with pymongo.MongoClient[Mapping[str, Any]](f"mongodb://127.0.0.1:{port}/?journal=true") as client:
        for one in client.admin["system.users"].find({}):
            client[str(one["db"])].command("dropUser", one["user"])
        client.admin.command("createUser", password.USER, pwd=secret, roles=[ROLE], mechanisms=["SCRAM-SHA-256"])
        users = [one["_id"] for one in client.admin["system.users"].find({})]
    if users != [f"admin.{password.USER}"]:
        raise ServerFailed("mongo", f"has users that this start did not make: {users}", log, "")


MONGO = ServerSpec(
    name="mongo",
    command=command,
    ready=ready,
    url=url,
    prepare=prepare,
    death_signal=signal.SIGKILL,
)
"""It is killed with SIGKILL when the stack dies.

Nothing supervises it then, it has hung at SIGTERM, and journaled writes survive SIGKILL.
"""

"""How the local Mongo-wire server is called and known to be ready.

It is GPL and therefore only ever a program beside ours: nothing of it is imported.
"""

import signal
from pathlib import Path

from marketdata_assets.local import process
from marketdata_assets.local.programs import program


def spec() -> process.ServerSpec:
    """The Mongo-wire server as one server of the stack.

    Nobody watches over its end when the stack dies, and once it was seen to hang at SIGTERM; journaled writes survive
    SIGKILL.
    """
    return process.ServerSpec("mongo", command, ready, url, death_signal=signal.SIGKILL)


def url(port: int) -> str:
    """The URI; `journal=true` makes an acknowledged write survive a kill."""
    return f"mongodb://127.0.0.1:{port}/?journal=true"


def command(folder: Path, port: int) -> list[str]:
    """The server's arguments; it also reads `secantusd.toml` in its working folder, which is its own."""
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")]
    return [program("secantusd-py", name="mongo", wheel="secantusdb"), *arguments, "--log-level", "WARNING"]


def ready(port: int) -> bool:
    """Whether the server answers a ping."""
    if not process.port_answers(port):
        return False
    import pymongo
    from pymongo.errors import PyMongoError

    try:
        with pymongo.MongoClient[dict[str, object]](url(port), serverSelectionTimeoutMS=1000) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True

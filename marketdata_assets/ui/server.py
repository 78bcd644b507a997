"""The Dagster UI as one HTTP server in the foreground, behind the guard."""

import importlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from marketdata_assets.dagster_internals import ui_application
from marketdata_assets.ui.guard import Guard

if TYPE_CHECKING:
    from dagster import DagsterInstance

STATEMENT_TIMEOUT_MS = 15_000
POOL_RECYCLE_SECONDS = 3600
MAX_OVERFLOW = 20
POLL_SECONDS = 0.1
STOP_SECONDS = 5
"""How long open requests and websockets may take when the server stops."""


def serve(
    instance: "DagsterInstance",
    workspace: Path,
    host: str,
    port: int,
    *,
    hosts: Collection[str] = (),
    token: str | None = None,
    sessions: Path | None = None,
    read_only: bool = False,
    after: Path | None = None,
) -> None:
    """Serve the UI of the code locations in `workspace` until a signal; the rest is the guard's.

    It begins when the socket `after` is there; its own code is read before, which takes as long as that.
    """
    importlib.import_module("dagster_webserver.app")
    while after and not after.exists():
        time.sleep(POLL_SECONDS)
    instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, MAX_OVERFLOW)
    with ui_application(instance, workspace, read_only=read_only) as application:
        uvicorn.run(
            Guard(application, hosts, token, sessions=sessions),
            host=host,
            port=port,
            log_config=None,  # the log of this process, which shows no secret and no control character
            log_level="warning",
            timeout_graceful_shutdown=STOP_SECONDS,
        )

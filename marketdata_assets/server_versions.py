"""The oldest version of each server that the project works with; an older one is rejected before anything is written.

`docs/reference/engines.md` says which versions the tests ran on.
"""

import re

from marketdata_assets.errors import TerminalError

OLDEST = {
    "PostgreSQL": (15,),
    "MongoDB": (6, 0),
    "ClickHouse": (24,),
    "NATS": (2, 10, 23),  # an older one can lose streams when it crashes
}


class ServerTooOld(TerminalError):
    """A server's version is older than the oldest that the project works with."""

    def __init__(self, server: str, version: str) -> None:
        self.version = version
        super().__init__(
            f"{server} {version} is too old: {oldest(server)} or newer is required. Nothing was written; "
            f"upgrade the server, or name another one."
        )


def oldest(server: str) -> str:
    """The oldest version of a server, as text."""
    return ".".join(map(str, OLDEST[server]))


def require(server: str, version: str) -> None:
    """Raise ServerTooOld unless `version`, such as `15.20 (Debian 15.20-0)`, is at least the oldest of `server`."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    if found is not None and tuple(map(int, found[0].split("."))) < OLDEST[server]:
        raise ServerTooOld(server, version)

#!/engines/bin/python
"""Stands in for clickhouse-server: the local stack's engine for the users of the file that prepare.sh makes."""

import base64
import hashlib
import hmac
import signal
import socket
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, "/engines/source")

from marketdata_assets.local.clickhouse_http import Engine, Front, Handler

USERS = Path("/etc/clickhouse-server/users.d/marketdata.xml")
DATA = Path("/var/lib/clickhouse/data")


def users() -> dict[str, tuple[str, bool]]:
    """The hash of each user's password, and whether the user may only read."""
    root = ElementTree.parse(USERS).getroot()
    found = {}
    for one in root.find("users"):
        if (hashed := one.findtext("password_sha256_hex")) is not None:
            profile = root.find(f"profiles/{one.findtext('profile')}/readonly")
            found[one.tag] = (hashed, profile is not None)
    return found


class Login(Handler):
    """Takes the users of the file, from any host."""

    def _from_elsewhere(self) -> bool:
        return False

    def _knows_the_password(self) -> bool:
        name, password = self.headers.get("X-ClickHouse-User", ""), self.headers.get("X-ClickHouse-Key", "")
        scheme, _, coded = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            name, _, password = base64.b64decode(coded).decode().partition(":")
        hashed, reads_only = users().get(name, ("", True))
        if reads_only:
            self.path += ("&" if "?" in self.path else "?") + "readonly=2"
        return hmac.compare_digest(hashlib.sha256(password.encode()).hexdigest(), hashed)


class Server(Front):
    """Listens on all addresses of the container."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(0, engine, "")
        self.socket.close()
        self.socket = socket.create_server(("0.0.0.0", 8123))
        self.RequestHandlerClass = Login


def main() -> None:
    engine = Engine(DATA)
    with Server(engine) as front:
        signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=front.shutdown).start())
        front.serve_forever(poll_interval=0.05)
        front.drain(15)
    engine.close()


if __name__ == "__main__":
    main()

"""Addresses at which the collector serves records to other programs: `-`, tcp://, unix:// and ws://."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

STDOUT = "-"
FORMS = "-, tcp://127.0.0.1:9001, unix:///run/records.sock or ws://127.0.0.1:9002"
SCHEMES: dict[str, Literal["tcp", "unix", "ws"]] = {"tcp": "tcp", "unix": "unix", "ws": "ws"}


@dataclass(frozen=True)
class OutputAddress:
    """`-` is the standard output; the others are listened on. A port 0 is any free one."""

    kind: Literal["stdout", "tcp", "unix", "ws"]
    host: str = ""
    port: int = 0
    path: str = ""  # of the unix socket

    def __str__(self) -> str:
        if self.kind == "stdout":
            return STDOUT
        if self.kind == "unix":
            return f"unix://{self.path}"
        return f"{self.kind}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse(text: str) -> OutputAddress:
    """Read an address. Raises ValueError that names the valid forms."""
    if text == STDOUT:
        return OutputAddress("stdout")
    try:
        parts = urlsplit(text)
        kind, host, port = SCHEMES[parts.scheme], parts.hostname, parts.port
    except (KeyError, ValueError):
        raise ValueError(f"{text!r} is no address; write {FORMS}") from None
    if kind == "unix":
        if parts.netloc or not parts.path.startswith("/") or parts.query:
            raise ValueError(f"{text!r} is no address; a socket has an absolute path, as unix:///run/records.sock")
        return OutputAddress(kind, path=parts.path)
    if not host or port is None or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise ValueError(f"{text!r} is no address; write {kind}://127.0.0.1:9001, with a host and a port")
    return OutputAddress(kind, host, port)

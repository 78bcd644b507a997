"""Every way the local stack can fail or be absent, with the fact, the place and the next step.

Errors of a server that runs belong to its client.
"""

from pathlib import Path

from marketdata_assets.errors import TerminalError


class DataFolderBusy(TerminalError):
    """Another process holds the data folder."""

    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(
            f"{home}: the local stack runs already, held by {holder}; stop that process, "
            "or set MARKETDATA_HOME to another folder"
        )


class BadDataFolder(TerminalError):
    """The data folder cannot be created or written."""

    def __init__(self, home: Path, cause: str) -> None:
        super().__init__(
            f"{home}: the data folder cannot be written ({cause}); correct its owner and mode, or set MARKETDATA_HOME"
            " to a folder on a local disk"
        )


class DiskFull(TerminalError):
    """There is too little space for the local stack to start."""

    def __init__(self, home: Path, free: int, needed: int) -> None:
        super().__init__(
            f"{home}: {free >> 20} MB are free, and the local stack needs {needed >> 20} MB to start; free space there,"
            " or set MARKETDATA_HOME to a folder on another disk"
        )


class ServerFailed(TerminalError):
    """A server exited before it was ready, or was not ready within its deadline."""

    def __init__(self, name: str, fact: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} {fact}; the end of its log {log}:\n{tail or '(empty)'}")
        self.log = log


class PortTaken(TerminalError):
    """A port that the environment names is in use."""

    def __init__(self, name: str, port: int, variable: str, *, zero_is_free: bool = False) -> None:
        super().__init__(
            f"{name}: port {port} on 127.0.0.1 is in use; stop the program that has it, or set {variable} "
            f"to another port{' (0 takes a free one)' if zero_is_free else ''}"
        )


class MissingWheel(TerminalError):
    """A server's wheel is not installed in this environment."""

    def __init__(self, name: str, wheel: str) -> None:
        super().__init__(f"{name}: the wheel {wheel} is not installed; run: pip install 'marketdata-assets[local]'")


class RootRefused(TerminalError):
    """PostgreSQL does not run as root, and root cannot be dropped for this data folder."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder}: PostgreSQL does not run as root and {reason}; run as a normal user, "
            "or set MARKETDATA_HOME to a folder every user can reach, such as one under /var/tmp"
        )


class NoServer(TerminalError):
    """No URL is set and no local stack runs on the data folder."""

    def __init__(self, store: str, variable: str) -> None:
        super().__init__(
            f'no {store} to connect to: {variable} is not set and no local stack is running. Run "marketdata up" in'
            f" another terminal, or set {variable} to your server."
        )

"""What a stack records about itself: who holds the data folder, which servers it runs, what clients connect to.

`stack.lock` is held by the kernel for as long as the holder lives; `stack.json` outlives a kill and lists the
servers that were left running. Starting and stopping belongs to `stack`.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from marketdata_assets import state_files
from marketdata_assets.local import proctable
from marketdata_assets.local.errors import DataFolderBusy
from marketdata_assets.secret_values import hide

OWN_EXIT_SECONDS = 3
SIGNALLED_EXIT_SECONDS = 10


@dataclass(frozen=True)
class ServerRecord:
    """One server as it was launched; pid and mark together identify one process permanently."""

    name: str
    pid: int
    mark: str
    folder: str
    stop_signal: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return proctable.start_mark(self.pid) == self.mark and self.folder in proctable.command(self.pid)


@dataclass(frozen=True)
class StackRecord:
    """The content of `stack.json`; `urls` is empty until every server is ready."""

    pid: int
    mark: str
    servers: list[ServerRecord] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the stack that wrote this still runs."""
        return proctable.start_mark(self.pid) == self.mark


def read(home: Path) -> StackRecord | None:
    """The record in the data folder; None when there is none that can be read."""
    try:
        found = state_files.read(home / "stack.json", msgspec.json.Decoder(StackRecord).decode)
    except OSError:
        return None
    for url in found.urls.values() if found else ():
        hide(url)
    return found


def write(home: Path, servers: list[ServerRecord], urls: dict[str, str]) -> None:
    """Replace the record in one step; the URLs have passwords."""
    record = StackRecord(os.getpid(), proctable.start_mark(os.getpid()) or "", servers, urls)
    state_files.write(home / "stack.json", msgspec.json.format(msgspec.json.encode(record)))


def erase(home: Path) -> None:
    """Remove the record: nothing runs any more."""
    (home / "stack.json").unlink(missing_ok=True)


def hold(home: Path) -> IO[bytes]:
    """Take the data folder for this process until the returned file is closed; raises DataFolderBusy."""
    state_files.private_folder(home)
    lock = state_files.opened(home / "stack.lock")
    if not state_files.lock(lock, wait=False):
        lock.close()
        raise DataFolderBusy(home, state_files.holder_of(home / "stack.lock"))
    return lock


def stop_leftovers(home: Path) -> list[str]:
    """Stop the servers an earlier, killed stack left running and return their names.

    Where the kernel signals the stack's death they are stopping already, and get time to finish.
    """
    record = read(home)
    left = [server for server in record.servers if server.alive] if record else []
    pids = [server.pid for server in left]
    if proctable.wait_gone(pids, OWN_EXIT_SECONDS):
        return [server.name for server in left]
    for server in left:
        _signal(server, server.stop_signal)
    if not proctable.wait_gone(pids, SIGNALLED_EXIT_SECONDS):
        for server in left:
            _signal(server, signal.SIGKILL)
        proctable.wait_gone(pids, OWN_EXIT_SECONDS)
    return [server.name for server in left]


def _signal(server: ServerRecord, number: int) -> None:
    if server.alive:
        with suppress(ProcessLookupError):
            os.kill(server.pid, number)

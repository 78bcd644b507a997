"""A rate budget that belongs to a credential: every process, thread and task of the machine that uses it shares it.

They share one small file with one number in it: the moment of the next turn. Turns are spaced evenly, at 99 %
of the rate, so that a server which counts requests over a sliding period never sees more than it allows, although
some arrive a little late. Nobody holds a turn in advance, so a process that is killed takes none with it.
"""

import asyncio
import errno
import fcntl
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.errors import TransientError

SHARE = 0.99
"""The part of the rate that is used; the rest is a margin for requests that travel slower than others."""

LONGEST_BLOCK_SECONDS = 86400.0
"""The longest pause that a server can request; a state file with more is invalid."""

LONGEST_NAP_SECONDS = 5.0
"""After this long a waiter reads the state again, in case it was corrected meanwhile."""

_LOCKED_NAP_SECONDS = 0.001
_SAME_BOOT_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9@._-]+")


class BudgetBlocked(TransientError):
    """The server requested a longer pause than the caller is willing to wait."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"budget {name}: the server requested a pause of {seconds:.0f} s. Run it again after that.")


@dataclass(frozen=True)
class Budget:
    """At most `requests` in any `per_seconds`, over all processes that name the same `folder` and `name`."""

    folder: Path
    name: str
    per_seconds: float
    requests: float

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not self.name.strip("."):
            raise ValueError(f"budget name {self.name!r}: use letters, digits and @._-")
        if not (self.per_seconds > 0 and self.requests > 0):
            raise ValueError(f"budget {self.name}: {self.requests} requests in {self.per_seconds} s is no rate")

    @property
    def spacing(self) -> float:
        """Seconds from one turn to the next."""
        return self.per_seconds / self.requests / SHARE

    async def acquire(self, patience: float | None = None, *, cost: float = 1.0) -> None:
        """Wait for a turn; BudgetBlocked at once when a block will last longer than `patience` seconds.

        A turn that costs more than one delays the next one for longer. A server that counts costs may see the most
        expensive request beyond `requests` in a period: leave room for it.
        """
        while wait := self._take(cost):
            if patience is not None and wait > patience + self.spacing:
                raise BudgetBlocked(self.name, wait)
            await asyncio.sleep(min(wait, LONGEST_NAP_SECONDS))

    def block(self, seconds: float) -> None:
        """Grant no turn for `seconds`; a longer block that exists already stays."""
        seconds = min(max(seconds, 0.0), LONGEST_BLOCK_SECONDS)
        while (handle := self._locked()) is None:
            time.sleep(_LOCKED_NAP_SECONDS)
        try:
            now = time.monotonic()
            self._write(handle, max(self._next_turn(handle, now), now + seconds))
        finally:
            os.close(handle)

    def _take(self, cost: float = 1.0) -> float:
        """Acquire a turn and return 0, or return how long to wait before the next attempt."""
        handle = self._locked()
        if handle is None:
            return _LOCKED_NAP_SECONDS
        try:
            now = time.monotonic()
            turn = self._next_turn(handle, now)
            if turn > now:
                return turn - now
            self._write(handle, max(turn, now - self._lateness) + self.spacing * cost)
            return 0.0
        finally:
            os.close(handle)

    @property
    def _lateness(self) -> float:
        """How much later than its turn a request may start without moving the turns after it.

        Half of what SHARE leaves free; the other half is for the way to the server.
        """
        return (1 / SHARE - 1) / 2 * self.per_seconds

    def _locked(self) -> int | None:
        """The open and locked state file; None when another has the lock, which it keeps for microseconds."""
        path = self.folder / f"{self.name}.budget"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            private_folder(self.folder)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        return handle

    def _next_turn(self, handle: int, now: float) -> float:
        """The moment of the next turn, on the clock that all processes of the machine share.

        A file that cannot be right (torn, of an earlier boot, too far ahead) says nothing about the last turn, so the
        next comes one spacing from now.
        """
        data = os.pread(handle, 200, 0)
        if not data:
            return now
        try:
            state = json.loads(data)
            turn, boot = float(state["turn"]), float(state["boot"])
        except (ValueError, TypeError, KeyError):
            return self._restart(handle, now)
        possible = abs(boot - _boot(now)) < _SAME_BOOT_SECONDS
        if not possible or not turn <= now + max(self.spacing, LONGEST_BLOCK_SECONDS):
            return self._restart(handle, now)
        return turn

    def _restart(self, handle: int, now: float) -> float:
        turn = now + self.spacing
        self._write(handle, turn)
        return turn

    def _write(self, handle: int, turn: float) -> None:
        data = json.dumps({"turn": round(turn, 6), "boot": round(_boot(time.monotonic()), 3)}).encode()
        os.pwrite(handle, data + b"\n", 0)
        os.ftruncate(handle, len(data) + 1)


def private_folder(folder: Path) -> None:
    """Create `folder` if it is missing, with access for its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _boot(now: float) -> float:
    """When the machine was started; the monotonic clock restarts then."""
    return time.time() - now

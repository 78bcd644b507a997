"""A rate budget that belongs to a credential: every process, thread and task that uses it shares it, on all machines
that share its folder.

They share one small file with the moment of the next turn. Turns are spaced evenly, at 99 % of the rate, so that a
server which counts requests over a sliding period never sees more than it allows, although some arrive a little late.
Nobody holds a turn in advance, so a process that is killed takes none with it.

On the machine that wrote it, the moment is one of the monotonic clock, which nobody sets. For the others the file has
the time of its writing, which never goes back: a machine whose clock is behind continues from the time that it reads.
So wrong and changed clocks cost at most a turn or the rest of a pause.
"""

import asyncio
import errno
import fcntl
import json
import os
import re
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from marketdata_assets.errors import TransientError

SHARE = 0.99
"""The part of the rate that is used; the rest is a margin for requests that travel slower than others."""

LONGEST_BLOCK_SECONDS = 86400.0
"""The longest pause that a server can request; a state file with more is invalid."""

LONGEST_NAP_SECONDS = 5.0
"""After this long a waiter reads the state again, in case it was corrected meanwhile."""

_LOCKED_NAP_SECONDS = 0.001
_LAST_TIME = 1e11  # seconds; nothing that a clock shows is beyond it
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"[A-Za-z0-9@._-]+")


class BudgetBlocked(TransientError):
    """The server requested a longer pause than the caller is willing to wait."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"budget {name}: the server requested a pause of {seconds:.0f} s. Run it again after that.")


class Clock:
    """The clocks of this machine since it was started; tests simulate others."""

    @property
    def machine(self) -> str:
        """The same for all processes whose monotonic clocks can be compared."""
        return _machine()

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()


@dataclass(frozen=True)
class _State:
    """The file: `turn` and `written` by the monotonic clock of `machine`, and the `time` at which it was written."""

    machine: str
    turn: float
    written: float
    time: float

    @property
    def wait(self) -> float:
        return self.turn - self.written


@dataclass(frozen=True)
class Budget:
    """At most `requests` in any `per_seconds`, over all processes that name the same `folder` and `name`.

    A folder that machines share must support locks, as NFS 4 does.
    """

    folder: Path
    name: str
    per_seconds: float
    requests: float
    clock: Clock = field(default=Clock(), compare=False, repr=False)
    _foreign: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What another machine wrote last, and when this process saw it first."""

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
            state = self._read(handle)
            self._write(handle, state, max(state.turn, state.written + seconds))
        finally:
            os.close(handle)

    def _take(self, cost: float = 1.0) -> float:
        """Acquire a turn and return 0, or return how long to wait before the next attempt."""
        handle = self._locked()
        if handle is None:
            return _LOCKED_NAP_SECONDS
        try:
            state = self._read(handle)
            if state.wait > 0:
                return state.wait
            self._write(handle, state, max(state.turn, state.written - self._lateness) + self.spacing * cost)
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

    def _read(self, handle: int) -> _State:
        """The state as it is now on this machine.

        A file that cannot be right (torn, of an earlier version, too far ahead) says nothing about the last turn, so
        the next comes one spacing from now.
        """
        data = os.pread(handle, 1000, 0)
        now, clock = self.clock.monotonic(), self.clock.time()
        fresh = _State(self.clock.machine, now, now, clock)
        if not data:
            return fresh
        try:
            content = json.loads(data)
            machine, *times = content["machine"], *(float(content[name]) for name in ("turn", "written", "time"))
            before = _State(machine, *times)
        except (ValueError, TypeError, KeyError):
            return self._write(handle, fresh, now + self.spacing)
        here = before.machine == fresh.machine
        possible = abs(before.time) < _LAST_TIME and before.wait <= max(self.spacing, LONGEST_BLOCK_SECONDS)
        if not possible or (here and before.written > now):
            return self._write(handle, fresh, now + self.spacing)
        if here:
            return _State(before.machine, before.turn, now, max(clock, before.time + now - before.written))
        if self._foreign.get("data") != data:
            self._foreign.update(data=data, seen=now)
        current = max(clock, before.time + now - self._foreign["seen"])
        return _State(fresh.machine, now + before.time + before.wait - current, now, current)

    def _write(self, handle: int, state: _State, turn: float) -> _State:
        state = _State(state.machine, turn, state.written, state.time)
        data = json.dumps({name: getattr(state, name) for name in ("machine", "turn", "written", "time")}).encode()
        os.pwrite(handle, data + b"\n", 0)
        os.ftruncate(handle, len(data) + 1)
        return state


def private_folder(folder: Path) -> None:
    """Create `folder` if it is missing, with access for its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


@cache
def _machine() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:  # not Linux: the minute of the start; processes that disagree compare the time instead
        return f"{uuid.getnode():x}-{(time.time() - time.monotonic()) // 60:.0f}"

"""A rate budget that belongs to a credential: every process, thread and task that uses it shares it, on all machines
that share its store.

Turns are spaced evenly, at 99 % of the rate, so that a server which counts requests over a sliding period never sees
more than it allows, although some arrive a little late. Nobody holds a turn in advance, so a process that is killed
takes none with it.

A store keeps the moment of the next turn: `FileStore` in a folder, or `stores.budgets` in PostgreSQL.
"""

import asyncio
import errno
import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

from marketdata_assets.errors import TransientError
from marketdata_assets.state_files import private_folder

SHARE = 0.99
"""The part of the rate that is used; the rest is a margin for requests that travel slower than others."""

LONGEST_NAP_SECONDS = 5.0
"""After this long a waiter asks again, in case the state was corrected meanwhile."""

_NAME = re.compile(r"[A-Za-z0-9@._-]+")

LONGEST_BLOCK_SECONDS = 86400.0
"""The longest pause that a server can request."""

SLOTS = 240
"""The period of a quota is counted in so many slots; a request counts for one slot longer than the period."""

_SHORTEST_NAP_SECONDS = 0.001
_LAST_TIME = 1e11  # seconds; nothing that a clock shows is beyond it
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BudgetBlocked(TransientError):
    """The server requested a longer pause than the caller is willing to wait."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"budget {name}: the server requested a pause of {seconds:.0f} s. Run it again after that.")


class BudgetUnavailable(TransientError):
    """The store of the budgets does not answer, so that no request may be sent."""

    def __init__(self, store: str, cause: str) -> None:
        reason = cause.strip().partition("\n")[0].rstrip(".")
        super().__init__(
            f"budgets in {store}: {reason}. No request is sent without a turn; "
            "start that server, or correct MARKETDATA_BUDGETS."
        )


class BudgetStore(Protocol):
    """Where the turns of budgets are kept. Every method raises BudgetUnavailable when a server does not answer."""

    async def take(self, budget: "Budget", cost: float) -> float:
        """Acquire a turn and return 0, or return the seconds to wait before the next attempt."""

    def block(self, budget: "Budget", seconds: float) -> None:
        """Grant no turn for `seconds`; a longer block that exists already stays."""

    async def count(self, quota: "Quota") -> float:
        """Count one request and return 0; or count nothing and return the seconds until it is worth asking again."""


BudgetPlace = Path | BudgetStore
"""A folder, whose files are the store, or another store."""


def _store(place: BudgetPlace) -> BudgetStore:
    return FileStore(place) if isinstance(place, Path) else place


@dataclass(frozen=True)
class ReservedShares:
    """A store of budgets of which other programs, that do not count in it, have a share: by name, from 0 to below 1."""

    place: BudgetPlace
    shares: Mapping[str, float]

    @cached_property
    def store(self) -> BudgetStore:
        return _store(self.place)

    async def take(self, budget: "Budget", cost: float) -> float:
        return await self.store.take(budget, cost / (1.0 - self.shares.get(budget.name, 0.0)))

    def block(self, budget: "Budget", seconds: float) -> None:
        self.store.block(budget, seconds)

    async def count(self, quota: "Quota") -> float:
        return await self.store.count(quota)


@dataclass(frozen=True)
class _Rate:
    """At most `requests` in any `per_seconds`, over all processes that name the same `place` and `name`."""

    place: BudgetPlace
    name: str
    per_seconds: float
    requests: float

    @cached_property
    def store(self) -> BudgetStore:
        return _store(self.place)


@dataclass(frozen=True)
class Budget(_Rate):
    """A rate whose turns are spaced evenly."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not self.name.strip("."):
            raise ValueError(f"budget name {self.name!r}: use letters, digits and @._-")
        if not (self.per_seconds > 0 and self.requests > 0):
            raise ValueError(f"budget {self.name}: {self.requests} requests in {self.per_seconds} s is no rate")

    @property
    def spacing(self) -> float:
        """Seconds from one turn to the next."""
        return self.per_seconds / self.requests / SHARE

    @property
    def lateness(self) -> float:
        """A turn may be taken so late without a loss: half of the margin.

        The other half is for the way to the server.
        """
        return (1 / SHARE - 1) / 2 * self.per_seconds

    @property
    def longest_wait(self) -> float:
        """A state with more seconds until the next turn is invalid; the minute is for rounding and corrected clocks."""
        return max(self.spacing, LONGEST_BLOCK_SECONDS) + 60.0

    async def acquire(self, patience: float | None = None, *, cost: float = 1.0) -> None:
        """Wait for a turn; BudgetBlocked at once when a block will last longer than `patience` seconds.

        A turn that costs more than one delays the next one for longer. A server that counts costs may see the most
        expensive request beyond `requests` in a period: leave room for it. Raises BudgetUnavailable.
        """
        while wait := await self.store.take(self, cost):
            if patience is not None and wait > patience + self.spacing:
                raise BudgetBlocked(self.name, wait)
            await asyncio.sleep(min(max(wait, _SHORTEST_NAP_SECONDS), LONGEST_NAP_SECONDS))

    def block(self, seconds: float) -> None:
        """Grant no turn for `seconds`; a longer block that exists already stays. Raises BudgetUnavailable."""
        self.store.block(self, min(max(seconds, 0.0), LONGEST_BLOCK_SECONDS))


class Quota(_Rate):
    """A rate whose requests are sent as soon as they are wanted."""

    async def take(self) -> float:
        """Count one request and return 0; or count nothing and return the seconds until it is worth asking again."""
        return await self.store.count(self)


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
class FileStore:
    """Budgets in files of `folder`, which machines may share if its locks work between them, as those of NFS 4 do.

    A budget is one small file with the moment of the next turn. On the machine that wrote it, the moment is one of the
    monotonic clock, which nobody sets. For the others the file has the time of its writing, which never goes back: a
    machine whose clock is behind continues from the time that it reads. So wrong and changed clocks cost at most a turn
    or the rest of a pause. Nothing waits: a lock is kept for microseconds, and who does not get it asks again.
    """

    folder: Path
    clock: Clock = field(default=Clock(), compare=False, repr=False)
    _foreign: dict[str, tuple[bytes, float]] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What another machine wrote last into a file, and when this process saw it first."""

    async def take(self, budget: "Budget", cost: float) -> float:
        return self.take_now(budget, cost)

    def take_now(self, budget: "Budget", cost: float = 1.0) -> float:
        """Acquire a turn and return 0, or return the seconds to wait before the next attempt."""
        handle = self._locked(budget.name)
        if handle is None:
            return _SHORTEST_NAP_SECONDS
        try:
            state = self._read(handle, budget)
            if state.wait > 0:
                return state.wait
            self._write(handle, state, max(state.turn, state.written - budget.lateness) + budget.spacing * cost)
            return 0.0
        finally:
            os.close(handle)

    def block(self, budget: "Budget", seconds: float) -> None:
        while (handle := self._locked(budget.name)) is None:
            time.sleep(_SHORTEST_NAP_SECONDS)
        try:
            state = self._read(handle, budget)
            self._write(handle, state, max(state.turn, state.written + seconds))
        finally:
            os.close(handle)

    async def count(self, quota: "Quota") -> float:
        return self.count_now(quota)

    def count_now(self, quota: "Quota") -> float:
        """Count one request and return 0, or return the seconds until it is worth asking again.

        Uses the wall clock, because an hour may span a restart of the machine.
        """
        private_folder(self.folder)
        file = os.open(self.folder / f"{quota.name}.quota", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "r+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            slot = quota.per_seconds / SLOTS
            now = self.clock.time()
            current = int(now / slot)
            counts = {number: count for number, count in _counts(handle.read()).items() if number > current - SLOTS - 2}
            if sum(counts.values()) + 1 > max(quota.requests, 1):
                return max((min(counts) + SLOTS + 2) * slot - now, slot / 10)
            counts[current] = counts.get(current, 0) + 1
            handle.seek(0)
            handle.write(json.dumps(counts).encode())
            handle.truncate()
            return 0.0

    def _locked(self, name: str) -> int | None:
        """The open and locked state file; None when another has the lock, which it keeps for microseconds."""
        path = self.folder / f"{name}.budget"
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

    def _read(self, handle: int, budget: "Budget") -> _State:
        """The state as it is now on this machine.

        A file that cannot be right (torn, too far ahead) says nothing about the last turn, so the next comes one
        spacing from now.
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
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return self._write(handle, fresh, now + budget.spacing)
        here = before.machine == fresh.machine
        possible = abs(before.time) < _LAST_TIME and before.wait <= budget.longest_wait
        if not possible or (here and before.written > now):
            return self._write(handle, fresh, now + budget.spacing)
        if here:
            return _State(before.machine, before.turn, now, max(clock, before.time + now - before.written))
        if self._foreign.get(budget.name, (b"", now))[0] != data:
            self._foreign[budget.name] = data, now
        current = max(clock, before.time + now - self._foreign[budget.name][1])
        return _State(fresh.machine, now + before.time + before.wait - current, now, current)

    def _write(self, handle: int, state: _State, turn: float) -> _State:
        state = _State(state.machine, turn, state.written, state.time)
        data = json.dumps({name: getattr(state, name) for name in ("machine", "turn", "written", "time")}).encode()
        os.pwrite(handle, data + b"\n", 0)
        os.ftruncate(handle, len(data) + 1)
        return state


def _counts(data: bytes) -> dict[int, int]:
    """The counts of the file; a damaged file counts as empty."""
    try:
        return {int(number): int(count) for number, count in json.loads(data or b"{}").items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


@cache
def _machine() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:  # not Linux: the minute of the start; processes that disagree compare the time instead
        return f"{uuid.getnode():x}-{(time.time() - time.monotonic()) // 60:.0f}"

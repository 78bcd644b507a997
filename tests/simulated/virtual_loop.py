"""An event loop with a virtual clock: time advances only when the loop is idle, to the next timer.

All clocks of Python follow it, so a collector and simulated venues in this process live through days in minutes. What
servers and threads do takes no time of this clock. What runs in a `Life` can be killed as by SIGKILL: none of its code
runs any more, and all its files and sockets are closed.
"""

import asyncio
import ctypes
import heapq
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from selectors import EpollSelector, SelectorKey
from typing import Any, TypeVar
from weakref import WeakSet

import time_machine

SECOND = 1_000_000_000
TICK = 2 * SECOND
"""Timers wait for a multiple of it: many of them are due together, and a day is 86,400 steps."""

PATIENCE = 0.1
"""Real seconds to wait for a server that owes an answer, before the clock moves on without it."""

T = TypeVar("T")
Ready = list[tuple[SelectorKey, int]]

LIFE: ContextVar["Life | None"] = ContextVar("LIFE", default=None)


class Clock:
    """Nanoseconds since 1970, as all of this process sees them."""

    def __init__(self, start: int, traveller: time_machine.Traveller) -> None:
        self.now, self._began, self._traveller = start, start, traveller
        self.on_move: Callable[[int], None] = lambda now: None

    def monotonic(self) -> float:
        return 1000.0 + (self.now - self._began) / SECOND

    def move(self, now: int) -> None:
        self.now = max(now, self.now)
        self._traveller.move_to(self.now / SECOND)
        self.on_move(self.now)


@contextmanager
def virtual_clock(start: int) -> Iterator[Clock]:
    """All clocks of this process stand at `start` (ns) until they are moved."""
    monotonic, monotonic_ns = time.monotonic, time.monotonic_ns
    with time_machine.travel(start / SECOND, tick=False) as traveller:
        clock = Clock(start, traveller)
        time.monotonic = clock.monotonic
        time.monotonic_ns = lambda: round(clock.monotonic() * SECOND)
        try:
            yield clock
        finally:
            time.monotonic, time.monotonic_ns = monotonic, monotonic_ns


class _Selector(EpollSelector):
    """Calls `idle` when nothing is ready."""

    idle: Callable[[float | None], Ready]

    def select(self, timeout: float | None = None) -> Ready:
        ready = super().select(0)
        return ready if ready or (timeout is not None and timeout <= 0) else self.idle(timeout)

    def wait(self, seconds: float) -> Ready:
        """What is ready within so many real seconds."""
        return super().select(seconds)


class _Threads(ThreadPoolExecutor):
    """Knows whether any of its work is in progress."""

    def __init__(self) -> None:
        super().__init__(8)
        self._works: set[Future[Any]] = set()

    def submit(self, *work: Any, **more: Any) -> Future[Any]:  # type: ignore[override]
        future = super().submit(*work, **more)
        self._works.add(future)
        return future

    @property
    def busy(self) -> bool:
        self._works = {one for one in self._works if not one.done()}
        return bool(self._works)

    def settle(self) -> None:
        wait(self._works)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`owed` says whether a server still has to answer; the clock then waits for it, though not forever."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.owed: Callable[[], bool] = lambda: False
        self.impatient = 0  # how often a server took too long
        self.steps = 0
        self._waiting = _Selector()
        super().__init__(self._waiting)
        self._waiting.idle = self._idle
        self.threads = _Threads()
        self.set_default_executor(self.threads)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self.set_task_factory(_task)

    def time(self) -> float:
        return self.clock.monotonic()

    def at(self, moment: int, event: Callable[[], None]) -> None:
        """Call `event` at exactly this moment, ns."""
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        if context is not None and (life := context.get(LIFE)) is not None and life.killed:
            handle.cancel()
        return handle

    def kill(self, life: "Life") -> None:
        """Nothing of a life runs any more, and what it had open is closed."""
        self.threads.settle()
        life.killed = True
        for handle in (*self._ready, *self._scheduled):  # type: ignore[attr-defined]
            if _life_of(handle) is life:
                handle.cancel()
        null = os.open(os.devnull, os.O_RDWR)
        for key in list(self._waiting.get_map().values()):
            if any(_life_of(handle) is life for handle in key.data or () if handle):
                self._waiting.unregister(key.fileobj)
                os.dup2(null, key.fd)
        for link in Path("/proc/self/fd").iterdir():
            if _points_into(link, life.folder):
                os.dup2(null, int(link.name))
        os.close(null)

    def _idle(self, timeout: float | None) -> Ready:
        if self.threads.busy:
            return self._waiting.wait(10)
        if self.owed():
            if ready := self._waiting.wait(PATIENCE):
                return ready
            self.impatient += 1
        moments = [self._events[0][0]] if self._events else []
        if timeout is not None:
            due = self.clock.now + round(timeout * SECOND)
            moments.append(-(-due // TICK) * TICK)
        if not moments:
            return self._waiting.wait(0.01)
        self.steps += 1
        self.clock.move(min(moments))
        while self._events and self._events[0][0] <= self.clock.now:
            self.call_soon(heapq.heappop(self._events)[2])
        return []


def _life_of(handle: asyncio.Handle) -> "Life | None":
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(LIFE)


def _points_into(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:  # closed meanwhile
        return False


def _task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **more)
    if life := LIFE.get():
        life.tasks.add(task)
    return task


@dataclass(eq=False)
class Life:
    """A process in this process, whose files are all in one folder."""

    loop: VirtualLoop
    folder: Path
    killed: bool = False
    tasks: "WeakSet[asyncio.Task[Any]]" = field(default_factory=WeakSet)

    def run(self, begin: Callable[..., T], *given: Any) -> T:
        """Call `begin` as the first thing in this life."""
        context = copy_context()
        context.run(LIFE.set, self)
        return context.run(begin, *given)

    def kill(self) -> None:
        for task in self.tasks:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))  # never garbage: collecting it would run its code
        self.loop.kill(self)

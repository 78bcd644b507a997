"""Hours of the project's life: the clock goes on minute by minute, and what is due happens.

What was found in the end is for `judge`.
"""

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext

from tests.soak import clock as clocks
from tests.soak.clock import Clock
from tests.soak.daemons import Daemons, workspace
from tests.soak.faults import AFTER, Fault, Faults
from tests.soak.runs import ForkedRuns, Zygote, keep_connections
from tests.soak.world import BIG, Event, Size, World, world

WAITED_FOR = 0.85
"""The share of minutes in which all runs end before the next begins; else they go on beside it."""

RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Options:
    """What is simulated. `faults_every` is in hours; faults end with `hours`, then it goes on until all is fresh."""

    start: dt.datetime
    hours: float = 48.0
    settle_hours: float = 30.0
    step: dt.timedelta = dt.timedelta(minutes=1)
    faults_every: float = 1.5
    seed: int = 1
    size: Size = BIG


@dataclass
class Simulation:
    """All parts, and what went wrong on the way."""

    options: Options
    world: World
    clock: Clock
    zygote: Zygote
    instance: dg.DagsterInstance
    context: WorkspaceProcessContext
    say: Callable[[str], object]
    faults: list[Fault] = field(default_factory=list)
    errors: list[tuple[dt.datetime, str, str]] = field(default_factory=list)
    turns: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.options.seed)
        self._daemons = Daemons(self.context)

    def run(self, settled: Callable[[], bool]) -> None:
        """All hours with their faults, and then as many more as it takes until `settled`, asked twice an hour."""
        options = self.options
        made = Faults(self.world, self.zygote, Random(options.seed), self.power_cut)
        self.faults = made.planned(options.start, options.hours, options.faults_every) if options.faults_every else []
        for fault in self.faults:
            fault.after = max(AFTER, options.step)
        self.world.begin()
        events = sorted(self.world.deliveries(options.start, options.hours), key=lambda event: event.at)
        end = options.start + dt.timedelta(hours=options.hours)
        at = options.start
        while at < end:
            at += options.step
            self._minute(at, events)
        self.say(f"{end:%d %H:%M}  the last fault is over; waiting until everything is fresh")
        self.faults = [fault for fault in self.faults if fault.struck]
        for fault in self.faults:
            if not fault.over:
                self._end(fault, at)
        until = end + dt.timedelta(hours=options.settle_hours)
        while at < until and not (at.minute % 30 == 0 and not self.zygote.alive() and settled()):
            at += options.step
            self._minute(at, events)
        self.zygote.wait(RUN_SECONDS)
        self.zygote.report_the_dead(self.instance)

    def _minute(self, at: dt.datetime, events: list[Event]) -> None:
        self.clock.jump(at)
        while events and events[0].at <= at:
            event = events.pop(0)
            self._safely(event.name, event.act)
        self._faults(at, with_runs=False)
        self._turn(at)
        self._faults(at, with_runs=True)
        if self._random.random() < WAITED_FOR:
            if not self.zygote.wait(RUN_SECONDS):
                self.errors.append((at, "simulation", "a run did not end"))
        else:
            self._safely("waiting for runs to start", self._until_started)
        self._safely("code server", lambda: self.zygote.report_the_dead(self.instance))

    def _until_started(self) -> None:
        """Dagster gives up on a run that does not start in time, and the clock is about to jump."""
        starting = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED)
        while self.zygote.alive() and self.instance.get_runs_count(dg.RunsFilter(statuses=list(starting))):
            time.sleep(0.02)

    def _turn(self, at: dt.datetime) -> None:
        self.turns += 1
        self.errors += [(at, daemon, text) for daemon, text in self._daemons.turn()]

    def _faults(self, at: dt.datetime, *, with_runs: bool) -> None:
        """Begin and end what is due: faults that strike at runs after a turn, when some are under way."""
        for fault in self.faults:
            if fault.struck and not fault.over and at >= fault.end:
                self._end(fault, at)
            if fault.struck or at < fault.start or with_runs != (fault.strike is not None):
                continue
            if fault.strike is None:
                self._safely(fault.name, fault.begin)
            elif not fault.strike(self.zygote.alive()):
                continue
            fault.struck, fault.start, fault.end = True, at, at + (fault.end - fault.start)
            self.say(f"{at:%d %H:%M}  {fault.name}{f', {len(fault.runs)} runs' if fault.runs else ''}")

    def _end(self, fault: Fault, at: dt.datetime) -> None:
        self._safely(fault.name, fault.undo)
        fault.over, fault.end = True, at
        self.say(f"{at:%d %H:%M}      over: {fault.name}")

    def power_cut(self) -> None:
        """Everything that runs is gone in a moment, and comes again; nobody is left who knows which runs there were."""
        self.zygote.kill_all()
        servers = [self.world.stack.server(name) for name in ("postgres", "mongo", "clickhouse", "nats")]
        for server in servers:
            server.kill()
        for process in self.zygote.processes.values():
            process.told = True
        for server in servers:
            server.start()
        keep_connections(self.instance)  # those of before are gone with their process
        self._daemons = Daemons(self.context)

    def _safely(self, name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self.errors.append((self.clock.now, name, f"{type(error).__name__}: {error}"))


@contextmanager
def simulation(options: Options, home: Path, say: Callable[[str], object] = print) -> Iterator[Simulation]:
    """Servers, definitions and daemons, ready to go."""
    with (
        world(home, options.size, options.seed) as around,
        clocks.running(options.start) as clock,
        Zygote(os.environ, time.time(), home / "runs.log") as zygote,
        dg.DagsterInstance.get() as instance,
    ):
        launcher = ForkedRuns(zygote)
        launcher.register_instance(instance)
        instance._run_launcher = launcher
        keep_connections(instance)
        with workspace(instance) as context:
            yield Simulation(options, around, clock, zygote, instance, context, say)

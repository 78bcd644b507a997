"""Kills at random moments while everything loads, then the question what they have left over and lost.

Equal seeds deliver equal files and draw equal victims; which line of a process a kill meets is up to the machine.
"""

import datetime as dt
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from tests.kills import leftovers, tables, ui, work
from tests.kills import stack as stacks

VICTIMS = {
    "run": 6.0,
    "pool worker of a run": 3.0,
    "fork server of a run": 1.0,
    "command": 3.0,
    "pool worker of a command": 2.0,
    "fork server of a command": 1.0,
    "postgres": 0.5,
    "clickhouse": 0.5,
    "mongo": 0.5,
    "nats": 0.5,
    "daemon": 0.5,
    "webserver": 0.5,
    "code server": 0.5,
    "reader of the stack": 0.5,
    "reader of a command": 1.0,
}
"""What is killed, and how often of all; the next is drawn when there is none of it."""
COMMANDS = 1
RUNS = 2
"""How many loads there are at a time: commands, and runs that have not ended."""
DELIVERIES = 0.1
"""How many deliveries there are for each draw of a victim."""
LEFT_SECONDS = 180.0
QUIET_SECONDS = 600.0
Say = Callable[[str], None]


@dataclass
class Verdict:
    """What a campaign found; everything but `kills` and the seconds should be empty."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind of process and signal."""
    left: list[str] = field(default_factory=list)
    """What was left over two minutes after the last kill."""
    failed: list[str] = field(default_factory=list)
    """Commands that failed with everything running again."""
    different: list[str] = field(default_factory=list)
    """Tables that differ from those of a load without kills."""
    tracebacks: list[str] = field(default_factory=list)
    """Ends of commands that printed a traceback."""
    rows: dict[str, str] = field(default_factory=dict)
    """By table: the rows after the kills, and their hash."""
    started: Counter[str] = field(default_factory=Counter)
    """What was asked for in the UI, and what it answered."""
    clear_after: float = 0.0
    idle_after: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.left or self.failed or self.different or self.tracebacks)

    def lines(self) -> Iterator[str]:
        """For a reader: what is wrong, then tables, what the UI answered, and the kills by kind."""
        for title, found in {
            "left over": self.left,
            "tables that differ": self.different,
            "commands that failed afterwards": self.failed,
            "commands that ended with a traceback": self.tracebacks,
        }.items():
            yield f"{title}: {len(found)}"
            yield from (f"    {line}" for line in found)
        yield from (f"    {name}: {rows}" for name, rows in self.rows.items())
        yield from (f"    {times:4} {answer}" for answer, times in sorted(self.started.items()))
        yield f"    {'':24} {'SIGKILL':>8} {'SIGHUP':>8}"
        for kind in VICTIMS:
            yield f"    {kind:24} {self.kills[kind, 'SIGKILL']:8} {self.kills[kind, 'SIGHUP']:8}"


class Campaign:
    """Over a folder for the stack, and one for the load without kills."""

    def __init__(self, folder: Path, kills: int, seed: int, pause: float, say: Say) -> None:
        self.home, self.calm = folder / "k", folder / "c"
        self.home.mkdir()
        self.calm.mkdir()
        self._kills, self._pause, self._say = kills, pause, say
        self._random = Random(seed)
        self._work = work.Deliveries(self.home, dt.datetime.now(dt.UTC).date(), Random(seed + 1))
        self._commands: list[tuple[stacks.Command, Path]] = []
        self._started = 0
        self.verdict = Verdict()

    def run(self) -> Verdict:
        self._work.all()
        with stacks.running(self.home, ui=True) as stack:
            self._strike(stack)
            self._end_commands()
            self._wait_until_clear(stack)
            self._wait_until_idle(stack)
            self.verdict.failed = self._load(self.home)
            found = self.verdict.rows = tables.hashes(stack.urls)
        self.verdict.left += stack.left
        work.copy(self.home, self.calm)
        with stacks.running(self.calm, ui=False) as calm:
            self.verdict.failed += self._load(self.calm)
            expected = tables.hashes(calm.urls)
        self.verdict.different = [
            f"{name}: {found[name]} after the kills, {rows} without"
            for name, rows in expected.items()
            if found[name] != rows
        ]
        return self.verdict

    # Kills.

    def _strike(self, stack: stacks.Stack) -> None:
        while not self._in_progress():
            self._keep_loading()
            time.sleep(0.2)
        while self.verdict.kills.total() < self._kills:
            self._keep_loading()
            self._keep_launching(stack)
            time.sleep(self._random.uniform(0.1, 2 * self._pause))
            if self._random.random() < DELIVERIES:
                self._say(f"delivered again: {self._work.again()}")
            kind = self._random.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            number = signal.SIGKILL if self._random.random() < 0.75 else signal.SIGHUP
            if (victim := self._victim(stack, kind)) is not None:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(number)
                    self.verdict.kills[kind, number.name] += 1
                    self._say(f"{self.verdict.kills.total()}: {number.name} of {kind} {victim.pid}")

    def _victim(self, stack: stacks.Stack, kind: str) -> psutil.Process | None:
        if kind.startswith("reader"):
            whose = [stack.process] if kind == "reader of the stack" else [one for one, _ in self._commands]
            read = [one.reader.pid for one in whose if one.reader.poll() is None]
            return psutil.Process(self._random.choice(read)) if read else None
        if kind == "command":
            alive = [one for one, _ in self._commands if one.poll() is None]
            return psutil.Process(self._random.choice(alive).pid) if alive else None
        found = list(stack.processes()[kind])
        for one, _ in self._commands:
            found += stacks.below_of(one, "a command")[kind] if one.poll() is None else []
        return self._random.choice(found) if found else None

    def _keep_loading(self) -> None:
        """As many commands as there should be; those that have ended are looked at."""
        for one in [one for one in self._commands if one[0].poll() is not None]:
            self._commands.remove(one)
            self._look_at(one[1])
        while len(self._commands) < COMMANDS:
            arguments = self._random.choice(list(self._work.commands(force=True)))
            self._started += 1
            log = self.home / f"command-{self._started}.log"
            self._commands.append((stacks.command(self.home, *arguments, log=log), log))

    def _keep_launching(self, stack: stacks.Stack) -> None:
        """Start something in the UI when too few runs wait or work; while the UI is away, nothing."""
        there = ui.in_progress(stack)
        if there is not None and there < RUNS:
            wanted = self._random.choice(self._work.in_ui())
            came = ui.start(stack, wanted)
            self.verdict.started[f"{wanted.name} in the UI: {came}"] += 1

    def _look_at(self, log: Path) -> None:
        text = log.read_text(errors="replace")
        if "Traceback (most recent call last)" in text:
            self.verdict.tracebacks.append(f"{log}: {text.strip().splitlines()[-1][:300]}")

    def _end_commands(self) -> None:
        for process, log in self._commands:
            try:
                process.wait(LEFT_SECONDS)
            except subprocess.TimeoutExpired:
                self.verdict.left.append(f"command {process.args!r} has not ended, see {log}")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._look_at(log)

    # What is left over.

    def _wait_until_clear(self, stack: stacks.Stack) -> None:
        """Look for as long as `LEFT_SECONDS` until nothing that was killed counts as in progress."""
        began = time.monotonic()
        while found := self._leftovers(stack):
            if time.monotonic() - began > LEFT_SECONDS:
                self.verdict.left += found
                break
            time.sleep(2)
        self.verdict.clear_after = time.monotonic() - began
        self._say(f"nothing left over after {self.verdict.clear_after:.0f} s" if not found else "\n".join(found))

    def _leftovers(self, stack: stacks.Stack, *, idle: bool = False) -> list[str]:
        return _seen(lambda: leftovers.leftovers(stack.urls, self._variables(), idle=idle))

    def _wait_until_idle(self, stack: stacks.Stack) -> None:
        """Until all that sensors have asked for is loaded; then nobody may hold a lock or a claim."""
        began = time.monotonic()
        while working := self._in_progress():
            if time.monotonic() - began > QUIET_SECONDS:
                self.verdict.left += working
                break
            time.sleep(2)
        self.verdict.idle_after = time.monotonic() - began
        self.verdict.left += self._leftovers(stack, idle=True)

    def _in_progress(self) -> list[str]:
        return _seen(lambda: leftovers.in_progress(self._variables()))

    def _variables(self) -> Mapping[str, str]:
        return leftovers.variables(self.home, stacks.environment(self.home))

    def _load(self, home: Path) -> list[str]:
        """What the schedules would load next; the commands that failed."""
        failed = []
        for arguments in self._work.commands(force=False):
            code, text = stacks.run(home, *arguments)
            if code != 0:
                failed.append(f"{' '.join(arguments[:2])}: exit code {code}: {text[-1500:]}")
        return failed


def _seen(look: Callable[[], list[str]]) -> list[str]:
    """What a look shows; that it cannot, while a server is being started again."""
    try:
        return look()
    except Exception as error:
        return [f"cannot look: {type(error).__name__}: {str(error).splitlines()[:1]}"]

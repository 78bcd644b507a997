"""Kills at random moments while everything loads, then the question what they have left over and lost.

Equal seeds deliver equal files and draw equal victims; which line of a process a kill meets is up to the machine.
"""

import datetime as dt
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import dagster as dg
import psutil

from tests.kills import leftovers, tables, work
from tests.kills import stack as stacks

VICTIMS = {
    "run": 4,
    "command": 3,
    "pool worker": 3,
    "postgres": 2,
    "clickhouse": 1,
    "mongo": 1,
    "nats": 1,
    "daemon": 1,
    "webserver": 1,
    "code server": 1,
}
"""What is killed, and how often of all; the next is drawn when there is none of it."""
COMMANDS = 2
DELIVERIES = 0.1
"""How many deliveries there are for each draw of a victim."""
LEFT_SECONDS = 120.0
QUIET_SECONDS = 600.0
Say = Callable[[str], None]


@dataclass
class Verdict:
    """What a campaign found; everything but `kills` and the seconds should be empty."""

    kills: Counter[str] = field(default_factory=Counter)
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
    clear_after: float = 0.0
    idle_after: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.left or self.failed or self.different or self.tracebacks)


class Campaign:
    """Over a folder for the stack, and one for the load without kills."""

    def __init__(self, folder: Path, kills: int, seed: int, pause: float, say: Say) -> None:
        self.home, self.calm = folder / "k", folder / "c"
        self.home.mkdir()
        self.calm.mkdir()
        self._kills, self._pause, self._say = kills, pause, say
        self._random = Random(seed)
        self._work = work.Deliveries(self.home, dt.datetime.now(dt.UTC).date(), Random(seed + 1))
        self._commands: list[tuple[subprocess.Popen[bytes], Path]] = []
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
        while not self._runs():
            self._keep_loading()
            time.sleep(0.2)
        while self.verdict.kills.total() < self._kills:
            self._keep_loading()
            time.sleep(self._random.uniform(0.1, 2 * self._pause))
            if self._random.random() < DELIVERIES:
                self._say(f"delivered again: {self._work.again()}")
            kind = self._random.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            number = signal.SIGKILL if self._random.random() < 0.75 else signal.SIGHUP
            if (victim := self._victim(stack, kind)) is not None:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(number)
                    self.verdict.kills[f"{number.name} of {kind}"] += 1
                    self._say(f"{self.verdict.kills.total()}: {number.name} of {kind} {victim.pid}")

    def _victim(self, stack: stacks.Stack, kind: str) -> psutil.Process | None:
        if kind == "command":
            alive = [one for one, _ in self._commands if one.poll() is None]
            return psutil.Process(self._random.choice(alive).pid) if alive else None
        found = stack.processes()[kind]
        if kind == "pool worker":
            for one, _ in self._commands:
                with suppress(psutil.NoSuchProcess):
                    below = psutil.Process(one.pid).children(recursive=True) if one.poll() is None else []
                    found += [child for child in below if stacks.kind_of(child) == kind]
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
        try:
            variables = leftovers.variables(self.home, stacks.environment(self.home))
            return leftovers.leftovers(stack.urls, variables, idle=idle)
        except Exception as error:  # a server that is being started again
            return [f"cannot look: {type(error).__name__}: {str(error).splitlines()[:1]}"]

    def _wait_until_idle(self, stack: stacks.Stack) -> None:
        """Until all that sensors have asked for is loaded; then nobody may hold a lock or a claim."""
        began = time.monotonic()
        while runs := self._runs():
            if time.monotonic() - began > QUIET_SECONDS:
                self.verdict.left += [f"run {run.run_id[:8]} of {run.job_name} is {run.status.value}" for run in runs]
                break
            time.sleep(2)
        self.verdict.idle_after = time.monotonic() - began
        self.verdict.left += self._leftovers(stack, idle=True)

    def _runs(self) -> list[dg.DagsterRun]:
        return leftovers.in_progress(leftovers.variables(self.home, stacks.environment(self.home)))

    def _load(self, home: Path) -> list[str]:
        """What the schedules would load next; the commands that failed."""
        failed = []
        for arguments in self._work.commands(force=False):
            code, text = stacks.run(home, *arguments)
            if code != 0:
                failed.append(f"{' '.join(arguments[:2])}: exit code {code}: {text[-1500:]}")
        return failed

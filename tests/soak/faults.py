"""What goes wrong, and which failures each fault explains.

A fault lasts from `start` to `end`. Those that strike at a run wait until one is under way.
"""

import datetime as dt
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.soak.world import ARCHIVED, FETCHED, HOUR, World

if TYPE_CHECKING:
    from tests.soak.runs import Process, Zygote

NO_TEXT = b"\xff\x00\x81"
EVERYTHING = ""
ALPHAS, BARS, FLOWS = r"alpha|brain|__ASSET_JOB", r"bar|kline|__ASSET_JOB", r"flow|stock_daily"
TICKS, EXCHANGES = r"tick|symbol", r"exchange"
USERS = {
    "postgres": EVERYTHING,  # of Dagster's own storage too
    "mongo": ALPHAS,
    "clickhouse": f"{TICKS}|{EXCHANGES}",
    "nats": EXCHANGES,
}
UNREACHABLE = (
    r"(?i)connect|refused|reset|clos|terminat|timed? ?out|starting up|shutting down|recovery|not reach|unreachable"
    r"|disconnect|unexpectedly exited|remote end|exited|away|no servers|EOF|broken pipe|SSL SYSCALL|not answer"
)
WITHOUT_A_WORD = "Detected run worker status FAILED"
"""Of a run that ended while there was no storage to say so."""
AFTER = dt.timedelta(minutes=20)
"""Who was in the middle of it, or keeps a connection, notices so much later at most, or in the next turn."""


@dataclass
class Fault:
    """One fault. `jobs` and `says` are patterns: of the names of jobs, sensors and schedules, and of their errors."""

    name: str
    start: dt.datetime
    end: dt.datetime
    jobs: str
    says: str
    begin: Callable[[], object] = lambda: None
    undo: Callable[[], object] = lambda: None
    strike: "Callable[[Sequence[Process]], bool] | None" = None
    struck: bool = False
    over: bool = False
    after: dt.timedelta = AFTER
    runs: set[str] = field(default_factory=set)
    explained: int = 0

    def explains(self, name: str, run_id: str, began: dt.datetime, ended: dt.datetime, error: str) -> bool:
        """Whether this failure, of a run or of a look of a sensor, comes from it."""
        inside = began <= self.end + self.after and ended >= self.start
        known = run_id in self.runs or (
            inside and bool(re.search(self.jobs, name)) and bool(re.search(self.says, error))
        )
        self.explained += known
        return known


@dataclass
class Faults:
    """The faults of a simulation; `power_cut` is what the simulation does to itself."""

    world: World
    zygote: "Zygote"
    random: Random
    power_cut: Callable[[], object]

    def planned(self, start: dt.datetime, hours: float, every_hours: float) -> list[Fault]:
        """About one fault in `every_hours`, of all kinds in turn."""
        kinds = [
            self.run_killed,
            lambda at: self.server_killed(at, "clickhouse"),
            self.half_daily_file,
            lambda at: self.server_killed(at, "postgres"),
            self.brain_refuses,
            self.half_bars,
            self.run_killed,
            self.tushare_refuses,
            lambda at: self.server_killed(at, "mongo"),
            self.disk_full,
            self.half_slice,
            lambda at: self.server_killed(at, "nats"),
            self.power_fails,
            self.half_ticks,
            self.half_capture,
        ]
        self.random.shuffle(kinds)
        made: list[Fault] = []
        at = start + every_hours * HOUR / 2
        while at < start + hours * HOUR:
            moment = at + self.random.uniform(-0.4, 0.4) * every_hours * HOUR
            made.append(kinds[len(made) % len(kinds)](moment))
            at += every_hours * HOUR
        return made

    # Processes.

    def run_killed(self, at: dt.datetime) -> Fault:
        fault = Fault("kill -9 of a run", at, at + HOUR, "^$", "^$")

        def strike(alive: "Sequence[Process]") -> bool:
            if not alive:
                return False
            self._in_the_middle()
            for process in alive:
                self.zygote.kill(process)
                fault.runs.add(process.run_id)
            return True

        fault.strike = strike
        return fault

    def server_killed(self, at: dt.datetime, name: str) -> Fault:
        server = self.world.stack.server(name)
        lasts = dt.timedelta(minutes=self.random.choice((2, 6, 25)))
        says = f"{UNREACHABLE}|{WITHOUT_A_WORD}" if name == "postgres" else UNREACHABLE
        fault = Fault(f"kill -9 of {name}, for {lasts}", at, at + lasts, USERS[name], says)

        def strike(alive: "Sequence[Process]") -> bool:
            if not alive and self.random.random() < 0.9:
                return False
            self._in_the_middle()
            server.kill()
            return True

        def back() -> None:
            if not server.alive:
                server.start()

        fault.strike, fault.undo = strike, back
        return fault

    def power_fails(self, at: dt.datetime) -> Fault:
        fault = Fault("the machine loses its power", at, at + AFTER, EVERYTHING, UNREACHABLE)

        def strike(alive: "Sequence[Process]") -> bool:
            if not alive and self.random.random() < 0.9:
                return False
            self._in_the_middle()
            fault.runs |= {process.run_id for process in alive}
            self.power_cut()
            return True

        fault.strike = strike
        return fault

    def disk_full(self, at: dt.datetime) -> Fault:
        fault = Fault(
            "no room for files over 20 kB", at, at + 2 * HOUR, EVERYTHING, r"(?i)too large|File size|Errno 27"
        )

        def begin() -> None:
            self.zygote.largest = 20_000

        def undo() -> None:
            self.zygote.largest = None

        fault.begin, fault.undo = begin, undo
        return fault

    def _in_the_middle(self) -> None:
        time.sleep(self.random.uniform(0.0, 0.6))

    # Files, written as a delivery that broke off: whole again at the end.

    def half_daily_file(self, at: dt.datetime) -> Fault:
        folder = self.world.settings.flows_data_folder / "stock_daily"
        return self._half(at, folder, "*.csv", f"{FLOWS}|__ASSET_JOB", NO_TEXT)

    def half_bars(self, at: dt.datetime) -> Fault:
        return self._half(at, self.world.settings.bars_folder, "*.zip", BARS)

    def half_slice(self, at: dt.datetime) -> Fault:
        return self._half(at, self.world.settings.alphas_folder / ARCHIVED, "**/*_all_*_alphas.json", ALPHAS)

    def half_ticks(self, at: dt.datetime) -> Fault:
        return self._half(at, self.world.settings.ticks_folder, "*.csv", TICKS, NO_TEXT)

    def half_capture(self, at: dt.datetime) -> Fault:
        return self._half(at, self.world.settings.captures_folder, "*.*", EXCHANGES)

    def _half(self, at: dt.datetime, folder: Path, pattern: str, jobs: str, tail: bytes = b"") -> Fault:
        """The first half of one file of the folder, and `tail`."""
        fault = Fault("half a file", at, at + dt.timedelta(minutes=self.random.choice((15, 90))), jobs, "^$")
        kept: list[tuple[Path, bytes, bytes]] = []

        def begin() -> None:
            path = self.random.choice(sorted(one for one in folder.glob(pattern) if one.is_file()))
            whole = path.read_bytes()
            half = whole[: len(whole) // 2] + tail
            kept.append((path, whole, half))
            _place(path, half)
            fault.name, fault.says = f"half of {path.name}", re.escape(path.stem)

        def undo() -> None:
            for path, whole, half in kept:
                if path.read_bytes() == half:  # a newer delivery may have taken its place
                    _place(path, whole)

        fault.begin, fault.undo = begin, undo
        return fault

    # APIs.

    def brain_refuses(self, at: dt.datetime) -> Fault:
        status, brain = self.random.choice((429, 500, 503)), self.world.brain
        headers = {"Retry-After": "1"} if status == 429 else None
        fault = Fault(f"BRAIN answers {status}", at, at + 1.5 * HOUR, ALPHAS, rf"{status}|{FETCHED}")
        fault.begin, fault.undo = lambda: brain.fail(status, times=40, headers=headers), brain.no_more_faults
        return fault

    def tushare_refuses(self, at: dt.datetime) -> Fault:
        """After the close, when it is asked."""
        at, tushare = at.replace(hour=7, minute=50), self.world.tushare
        fault = Fault("Tushare answers 502", at, at + 1.5 * HOUR, TICKS, "502")
        fault.begin, fault.undo = lambda: tushare.fail(502, times=1000), tushare.no_more_faults
        return fault


def _place(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)

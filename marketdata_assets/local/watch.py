"""The servers of a stack that runs: one that ends is started again, after longer and longer delays, and reported."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from marketdata_assets.backoff import delay
from marketdata_assets.local.process import Server
from marketdata_assets.standard_streams import empty_full

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
STEADY_SECONDS = 60.0
"""A process that ran for so long has not failed in a row with an earlier one."""


def after_end(failures: int, ran_seconds: float) -> tuple[int, float]:
    """The failures in a row with this end of a process, and the seconds until it is started again."""
    failures = 1 if ran_seconds >= STEADY_SECONDS else failures + 1
    return failures, delay(failures, FIRST_DELAY, LONGEST_DELAY, None)


@dataclass
class _Watched:
    server: Server
    failures: int = 0
    answers_since: float = field(default_factory=time.monotonic)
    due_at: float | None = None
    """When it is started again; None while its process runs."""
    starting: bool = False


class Watch:
    """What of `servers` ends, whatever ended it, runs again; `report` gets a line for each end and each start.

    `look` never waits long, and has to be called in the thread that started the servers: they end with it.
    """

    def __init__(self, servers: Iterable[Server], report: Callable[[str], None]) -> None:
        self._watched = [_Watched(server) for server in servers]
        self._report = report

    def look(self, now: float) -> None:
        """Notice what has ended, start what is due, and say what answers again."""
        for one in self._watched:
            try:
                self._look(one, now)
            except Exception as error:  # whatever one server fails by, the others are watched
                name, fact = one.server.name, (str(error) or repr(error)).splitlines()[0]
                self._ended(one, now, fact if fact.startswith(name) else f"{name}: {fact}")
            empty_full(one.server.log)

    def _look(self, one: _Watched, now: float) -> None:
        server = one.server
        if one.due_at is not None:
            if now >= one.due_at:
                one.due_at, one.starting = None, True
                server.relaunch()
        elif one.starting:
            if server.answered():
                one.starting, one.answers_since = False, now
                self._report(f"{server.name}: answers again on port {server.port}, as process {server.pid}")
        elif not server.alive:
            self._ended(one, now, f"{server.name} {_how(server.exit_code)}")

    def _ended(self, one: _Watched, now: float, fact: str) -> None:
        ran = -1.0 if one.starting else now - one.answers_since
        one.failures, seconds = after_end(one.failures, ran)
        one.due_at, one.starting = now + seconds, False
        self._report(f"{fact.rstrip(':.')}; it is started again in {seconds:.0f} s; its log is {one.server.log}")


def _how(code: int | None) -> str:
    return f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"

"""Processes of runs: started in the zygote, killed on demand, and missed when they are gone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import dagster as dg
from dagster._core.definitions import reconstruct
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._utils import get_run_crash_explanation

from marketdata_assets.dagster_internals import ensure_pool_limits

ROOT = Path(__file__).parents[2]


@dataclass
class Process:
    """A run's process; `code` is None while it lives."""

    run_id: str
    pid: int = 0
    code: int | None = None
    told: bool = False
    started: threading.Event = field(default_factory=threading.Event)


class Zygote:
    """Up between `with` and its end. `largest` bounds the files of the runs that are started from now on."""

    def __init__(self, environment: Mapping[str, str], now: float, log: Path) -> None:
        self._environment, self._now, self._log = dict(environment), now, log
        self.processes: dict[str, Process] = {}
        self.largest: int | None = None
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._file = self._log.open("ab")
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.zygote"],
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._file,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._ready.wait(120), self._log.read_text()[-2000:]
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(20)
        self._file.close()

    def start(self, run_id: str) -> None:
        assert self._child.stdin is not None
        process = self.processes[run_id] = Process(run_id)
        asked = {"run": run_id, "at": time.time(), "largest": self.largest}
        self._child.stdin.write(json.dumps(asked).encode() + b"\n")
        self._child.stdin.flush()
        assert process.started.wait(30), f"run {run_id} was not started"

    def alive(self) -> list[Process]:
        return [one for one in list(self.processes.values()) if one.code is None]

    def wait(self, seconds: float) -> bool:
        """Whether all runs have ended within so long."""
        until = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def kill(self, process: Process) -> None:
        """SIGKILL the run and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def kill_all(self) -> list[str]:
        killed = [one for one in self.alive() if one.pid]
        for one in killed:
            self.kill(one)
        self.wait(10)
        return [one.run_id for one in killed]

    def report_the_dead(self, instance: dg.DagsterInstance) -> None:
        """Mark runs as failed whose process has ended without a word, as Dagster's code server does."""
        for process in [one for one in list(self.processes.values()) if one.code is not None and not one.told]:
            run = instance.get_run_by_id(process.run_id)
            if run and not run.is_finished:
                why = get_run_crash_explanation(f"Run execution process for {run.run_id}", process.code or 0)
                instance.report_engine_event(why, run)
                instance.report_run_failed(run)
            process.told = True

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            told: dict[str, Any] = json.loads(line)
            if "ready" in told:
                self._ready.set()
            elif "pid" in told:
                self.processes[told["run"]].pid = told["pid"]
                self.processes[told["run"]].started.set()
            else:
                self.processes[told["run"]].code = told["code"]


class ForkedRuns(RunLauncher[dg.DagsterInstance]):
    """Dagster's door to the zygote."""

    def __init__(self, zygote: Zygote) -> None:
        super().__init__()
        self._zygote = zygote

    def launch_run(self, context: LaunchRunContext) -> None:
        ensure_pool_limits(self._instance)
        self._zygote.start(context.dagster_run.run_id)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """As the project's launcher, which asks the code server whether it has the run."""
        process = self._zygote.processes.get(run.run_id)
        alive = process is not None and process.code is None
        return CheckRunHealthResult(WorkerStatus.RUNNING if alive else WorkerStatus.FAILED)

    def terminate(self, run_id: str) -> bool:
        process = self._zygote.processes.get(run_id)
        if process is None or process.code is not None:
            return False
        self._zygote.kill(process)
        return True


@contextmanager
def loaded_once() -> Iterator[None]:
    """The definitions, loaded once for a process: Dagster would load them again for every run."""
    from marketdata_assets.definitions import defs

    loaded = defs().get_repository_def()
    with patch.object(reconstruct, "reconstruct_repository_def_from_pointer", lambda *_: loaded):
        yield


def keep_connections(instance: dg.DagsterInstance) -> None:
    """By default Dagster opens a new connection for every statement outside of its webserver."""
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=10)

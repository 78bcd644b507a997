"""The process that runs are forked from: it has all definitions loaded, so a run starts in milliseconds.

One line of JSON in asks for a run, `{"run": id, "at": seconds, "largest": bytes or null}`; one line out says
`{"run": id, "pid": pid}`, and another, when it has ended, `{"run": id, "code": code}`, negative for a signal.
`largest` bounds the files that the run may write, as a full disk would.
"""

import json
import os
import resource
import select
import signal
import sys
import traceback
from typing import Any

import time_machine
from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body

from tests.soak.runs import keep_connections, loaded_once


def main() -> None:
    """Serve until the end of input."""
    running: dict[int, str] = {}
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _import()
    with loaded_once():
        _say({"ready": True})
        _serve(running, awake)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _serve(running: dict[int, str], awake: int) -> None:
    lines = os.fdopen(0, "rb", buffering=0)
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            for pid, code in _ended():
                _say({"run": running.pop(pid), "code": code})
        if 0 in ready:
            line = lines.readline()
            if not line:
                return
            asked = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become_run(asked)
            running[pid] = asked["run"]
            _say({"run": asked["run"], "pid": pid})


def _import() -> None:
    """Whatever a run imports."""
    import marketdata_assets.alphas.ingest
    import marketdata_assets.bars.ingest
    import marketdata_assets.exchanges.tables.captures
    import marketdata_assets.flows.run
    import marketdata_assets.ticks.load  # noqa: F401


def _say(told: dict[str, Any]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def _ended() -> list[tuple[int, int]]:
    found = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def _become_run(asked: dict[str, Any]) -> None:
    """Execute the run in this process, as the code server's process for it does, and exit."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if asked["largest"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
        with time_machine.travel(asked["at"], tick=True), DagsterInstance.get() as instance:
            keep_connections(instance)
            _execute_run_command_body(asked["run"], instance, lambda _: None, set_exit_code_on_failure=False)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()

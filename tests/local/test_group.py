"""A group of processes that one keeps: it ends with the keeper and with the keeper's parent, whatever it ignores."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from marketdata_assets.local.group import kept
from marketdata_assets.local.process import tied_to_us

DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
LEADER = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]).wait()"
PARENT = """
import signal, subprocess, sys
from marketdata_assets.local.process import tied_to_us
subprocess.Popen(tied_to_us(sys.argv[1:], signal.SIGINT, None)).wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the death of a parent sends no signal")
@pytest.mark.parametrize("leader", [LEADER, DEAF])
def test_a_group_ends_with_the_parent_of_its_keeper(leader: str) -> None:
    call = [sys.executable, "-c", PARENT, *kept([sys.executable, "-c", leader], 0.5)]
    assert left_of(call, signal.SIGKILL) == []


def test_a_group_ends_with_its_keeper() -> None:
    assert left_of(kept([sys.executable, "-c", LEADER], 0.5), signal.SIGTERM) == []


def test_the_exit_code_is_that_of_the_command() -> None:
    assert subprocess.run(kept([sys.executable, "-c", "raise SystemExit(7)"], 1), check=False).returncode == 7


def left_of(call: list[str], number: signal.Signals) -> list[psutil.Process]:
    """What is alive of the descendants a minute after the signal."""
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "deaf\n"
        family = psutil.Process(started.pid).children(recursive=True)
        assert family
        started.send_signal(number)
        _, alive = psutil.wait_procs(family, timeout=60)
        return alive


@pytest.mark.parametrize("how", ["tied", "exec"])
def test_what_a_background_job_of_a_script_starts_can_be_asked_to_end(how: str) -> None:
    says = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT).__name__)"]
    through = [sys.executable, "-m", "marketdata_assets", "exec", *says]
    call = through if how == "exec" else tied_to_us(says, signal.SIGKILL, None)
    ignoring = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    storage = {f"DAGSTER_PG_{name}": "1" for name in ("HOST", "PORT", "DB", "USER", "PASSWORD")}
    assert (
        subprocess.check_output(call, text=True, env=os.environ | storage, preexec_fn=ignoring)
        == "default_int_handler\n"
    )

"""A run of tests that is killed or interrupted leaves no process, however deep and in whatever session."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SECONDS = 60.0
CONFTEST = "from tests import guardian\ndef pytest_configure(config):\n    guardian.watch()\n"
TEST = """
import os, signal, subprocess, sys, time
from pathlib import Path

DEEP = '''
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, __file__], start_new_session=True)
Path(__file__).with_name(f"{os.getpid()}.pid").touch()
time.sleep(1000)
'''

def test_that_is_killed():
    program = Path(__file__).with_name("deep.py")
    program.write_text(DEEP)
    subprocess.Popen([sys.executable, str(program), "twice"], start_new_session=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_tests_start_ends_with_them(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_killed.py").write_text(TEST)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]
    with subprocess.Popen(
        call, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.DEVNULL
    ) as run:
        until = time.monotonic() + SECONDS
        while len(pids := [int(file.stem) for file in tmp_path.glob("*.pid")]) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        run.send_signal(how)
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=SECONDS)
    assert left == []

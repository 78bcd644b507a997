"""A machine of a Ray cluster, as its owner starts it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RAY = Path(sys.executable).with_name("ray")
STARTED = "Ray runtime started"


@contextmanager
def ray_start(log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`ray start --block` in a session of its own, and all that it started gone afterwards."""
    command = [str(RAY), "start", "--block", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
    command += ["--include-log-monitor=false", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        while STARTED not in log.read_text():
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        yield process
    finally:
        process.terminate()  # it takes its own children with it
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()

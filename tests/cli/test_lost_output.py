"""The reader of a command's output goes away, reads nothing, or its disk is full: services go on, commands say so."""

import fcntl
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from marketdata_assets.local import record
from tests.cli.commands import PROGRAMS, environment, until

FULL = "/dev/full"
MARKETDATA = str(PROGRAMS / "marketdata")


def pipe() -> tuple[int, int]:
    return os.pipe()


@contextmanager
def up(home: Path, ends: Callable[[], tuple[int, int]]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A stack of two servers that is ready, and the other end of its output, of which all is read so far."""
    reader, writer = ends()
    with subprocess.Popen(
        [MARKETDATA, "up", "--no-ui"],
        env=environment(home, MARKETDATA_DOMAINS="alphas"),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    ) as process:
        os.close(writer)
        try:
            said = b""
            while b"running; Ctrl-C stops it" not in said:
                read = os.read(reader, 65536)
                assert read, said
                said += read
            yield process, reader
        finally:
            process.kill()
            with suppress(OSError):
                os.close(reader)


def mongo(home: Path) -> record.ServerRecord:
    found = record.read(home)
    assert found is not None
    return next(server for server in found.servers if server.name == "mongo")


def runs_again(home: Path, process: subprocess.Popen[bytes], victim: int) -> bool:
    assert process.poll() is None, "up has ended"
    now = mongo(home)
    return now.pid != victim and now.alive


def supervises_and_ends(home: Path, process: subprocess.Popen[bytes]) -> None:
    """A server that is killed is started again, which is reported in the log, and SIGTERM ends the stack."""
    victim = mongo(home).pid
    os.kill(victim, signal.SIGKILL)
    until(lambda: runs_again(home, process, victim))
    until(lambda: "mongo: answers again" in (home / "logs" / "up.log").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("ends", [pipe, pty.openpty], ids=["pipe", "terminal"])
def test_up_starts_a_server_again_when_the_reader_of_its_output_is_gone(
    home: Path, ends: Callable[[], tuple[int, int]]
) -> None:
    with up(home, ends) as (process, reader):
        os.close(reader)
        if ends is pty.openpty:
            process.send_signal(signal.SIGHUP)  # as the shell of a closed terminal does
        supervises_and_ends(home, process)


def test_up_starts_a_server_again_while_nobody_reads_its_output_and_counts_what_it_dropped(home: Path) -> None:
    with up(home, pipe) as (process, reader):
        size = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
        filler = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        os.write(filler, b"x" * size)
        os.close(filler)
        supervises_and_ends(home, process)

"""Streams whose reader is gone, blocked or full: what is dropped and counted, and log files of a bounded size."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.standard_streams import LossyWriter, append, empty_full, older

SECONDS = 60.0


class Disk:
    """Takes bytes, or refuses them while it is full."""

    def __init__(self) -> None:
        self.has, self.full = b"", False

    def write(self, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.has += data


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=8))
def test_lines_that_a_full_disk_refuses_are_counted_once_there_is_space_again(puts: list[tuple[int, bool]]) -> None:
    disk = Disk()
    writer = LossyWriter(disk.write)
    lost, expected = 0, b""
    for number, (lines, full) in enumerate([*puts, (1, False)]):
        disk.full = full
        data = b"%d\n" % number * lines
        writer.put(data)
        writer.drain(SECONDS)
        if full:
            lost += lines
            continue
        if lost:
            expected += b"(%d lines were dropped, since they could not be written)\n" % lost
        lost, expected = 0, expected + data
    assert disk.has == expected


def test_a_blocked_reader_gets_what_fits_and_then_the_count_of_what_did_not() -> None:
    entered, goes_on, got = threading.Event(), threading.Event(), []

    def write(data: bytes) -> None:
        entered.set()
        goes_on.wait(SECONDS)
        got.append(data)

    writer = LossyWriter(write, waiting_bytes=10)
    writer.put(b"first\n")
    entered.wait(SECONDS)
    for _ in range(10):
        writer.put(b"12345\n")
    goes_on.set()
    writer.drain(SECONDS)
    assert b"".join(got) == b"first\n(9 lines were dropped, since they could not be written)\n12345\n"


def test_a_log_file_stays_below_its_bound_and_keeps_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "up.log"
    for number in range(100):
        append(log, b"\x1b[1mline %02d\x1b[0m\n" % number, most_bytes=100)
    kept = older(log).read_bytes() + log.read_bytes()
    assert kept.endswith(b"line 98\nline 99\n")
    assert b"\x1b" not in kept
    assert max(len(log.read_bytes()), len(older(log).read_bytes())) <= 100
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_log_of_a_server_that_runs_is_emptied_when_it_is_full(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as server:
        server.write(b"a" * 101)
        empty_full(log, most_bytes=100)
        server.write(b"b")
    assert log.read_bytes() == b"b"
    assert older(log).read_bytes() == b"a" * 101


FLOOD = "import sys\nfor n in range(20000): print('a line of the UI', n)\nprint('all is written')"
FORWARDING = f"""
import subprocess, sys, threading
from pathlib import Path
from marketdata_assets.cli.servers import _forward_output
from marketdata_assets.standard_streams import also_logged, service
with service(), also_logged(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", {FLOOD!r}], stdout=subprocess.PIPE)
    _forward_output(child, threading.Event())
    sys.exit(child.wait())
"""


@pytest.mark.parametrize("reader", ["gone", "blocked", pytest.param("full", marks=pytest.mark.slow)])
def test_a_child_whose_output_is_forwarded_never_waits(tmp_path: Path, reader: str) -> None:
    ours, theirs = os.pipe()
    if reader == "gone":
        os.close(ours)
    if reader == "full":
        theirs = os.open("/dev/full", os.O_WRONLY)
    call = [sys.executable, "-c", FORWARDING, str(tmp_path / "up.log")]
    ended = subprocess.run(call, stderr=theirs, timeout=SECONDS)
    assert ended.returncode == 0
    assert (tmp_path / "up.log").read_text().endswith("all is written\n")

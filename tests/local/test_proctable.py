"""What is known of a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketdata_assets.local import proctable, record
from marketdata_assets.local.record import ServerRecord

WAITS = "import sys; sys.stdin.read()"


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a long command line, which names the folder of the test at its end."""
    call = [sys.executable, "-c", WAITS, "x" * 300, str(tmp_path)]
    with subprocess.Popen(call, stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


def test_a_living_process_has_one_mark_and_its_whole_command(
    child: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    mark = proctable.start_mark(child.pid)
    assert mark
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    assert proctable.start_mark(child.pid) == mark, "whoever asks"
    assert proctable.command(child.pid).endswith(str(tmp_path))


def test_a_killed_process_is_dead_before_its_parent_has_waited_for_it(child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, signal.SIGKILL)
    assert proctable.wait_gone([child.pid], seconds=60)
    assert proctable.start_mark(child.pid) is None
    child.wait()
    assert proctable.start_mark(child.pid) is None
    assert proctable.command(child.pid) == ""


def test_a_server_that_a_killed_stack_left_running_is_stopped(
    child: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no kernel ends it with the stack; it is found by its start and by its folder."""
    monkeypatch.setattr(record, "OWN_EXIT_SECONDS", 0)
    mark = proctable.start_mark(child.pid) or ""
    ours = ServerRecord("ours", child.pid, mark, str(tmp_path), int(signal.SIGTERM))
    anothers = ServerRecord("anothers", os.getpid(), proctable.start_mark(os.getpid()) or "", "/of/ours", 15)
    record.write(tmp_path, [ours, anothers], {})
    assert record.stop_leftovers(tmp_path) == ["ours"]
    assert child.wait() == -signal.SIGTERM
    assert record.stop_leftovers(tmp_path) == []

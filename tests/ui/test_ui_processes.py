"""The processes of `marketdata up` that are started again when they end."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from marketdata_assets.local.process import FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS
from marketdata_assets.ui.processes import Watched, location, watch

ENDS = [sys.executable, "-c", "import sys; sys.exit(3)"]
STAYS = [sys.executable, "-c", "import signal; signal.pause()"]


def ended(watched: Watched) -> None:
    assert watched.process is not None
    watched.process.wait(30)


def test_a_process_that_ends_is_started_again_after_longer_and_longer_delays(caplog: pytest.LogCaptureFixture) -> None:
    watched, now, delays = Watched("Dagster UI", ENDS), 0.0, []
    with caplog.at_level(logging.ERROR):
        for _ in range(8):
            watched.look(now)
            ended(watched)
            watched.look(now)
            assert watched.process is None
            watched.look(watched.due_at - 0.01)
            assert watched.process is None, "not due yet"
            delays.append(watched.due_at - now)
            now = watched.due_at
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert (delays[0], delays[-1]) == (FIRST_DELAY, LONGEST_DELAY)
    assert 'process ended process="Dagster UI" exit_code=3 restart_in_s=1.0' in caplog.text


def test_a_process_that_ran_for_long_is_started_again_soon() -> None:
    watched = Watched("Dagster daemon", STAYS, failures=5)
    watched.look(0.0)
    assert watched.process is not None
    watched.process.send_signal(signal.SIGKILL)
    ended(watched)
    watched.look(STEADY_SECONDS)
    assert (watched.failures, watched.due_at) == (1, STEADY_SECONDS + FIRST_DELAY)


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched("Dagster daemon", STAYS)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        watched.look(0.0)
    assert (watched.process, watched.due_at) == (None, FIRST_DELAY)
    watched.look(watched.due_at)
    assert watched.process is not None
    watched.stop()
    watched.wait(30)


def test_stopping_ends_what_runs() -> None:
    watched = Watched("Dagster daemon", STAYS)
    watched.stop()
    watched.wait(1)
    watched.look(0.0)
    assert watched.process is not None
    watched.stop()
    watched.wait(30)
    assert watched.process.poll() is not None


def test_the_code_location_has_the_address_of_the_page_to_begin_with() -> None:
    found = location(Path("/run/code.sock"), 3000)
    assert found["additional_metadata"] == {"start_here": "http://127.0.0.1:3000/assets/start_here"}
    [shipped] = yaml.safe_load((files("marketdata_assets") / "workspace.yaml").read_text())["load_from"]
    assert found["location_name"] == shipped["python_module"]["location_name"], "the one that commands give their runs"


def test_others_wait_until_the_code_server_listens(tmp_path: Path) -> None:
    socket = tmp_path / "code.sock"
    listens = [sys.executable, "-c", f"import pathlib, signal; pathlib.Path({str(socket)!r}).touch(); signal.pause()"]
    code, other = Watched("code server", listens), Watched("Dagster UI", STAYS)
    stop = threading.Thread(target=stop_when, args=[lambda: other.process is not None])
    stop.start()
    with pytest.raises(KeyboardInterrupt):
        watch([code, other], socket)
    stop.join()
    assert socket.exists()
    assert code.process is not None
    assert other.process is not None
    assert (code.process.poll(), other.process.poll()) == (-signal.SIGTERM, -signal.SIGTERM)


def stop_when(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.05)
    signal.raise_signal(signal.SIGINT)

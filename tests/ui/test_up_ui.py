"""`marketdata up` with its UI at Ctrl-C."""

import signal

import pytest
from running_ui import running, short_folder


@pytest.mark.slow
def test_ctrl_c_ends_everything_quietly() -> None:
    with short_folder() as home, running("up", home) as started:
        assert started.end(signal.SIGINT) == []
        assert "Traceback" not in started.text(), started.text()[-3000:]
        assert started.process.returncode == 0

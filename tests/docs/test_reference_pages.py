"""The pages of docs/reference are those that the current code generates."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_pages_are_up_to_date_whatever_this_machine_has_set() -> None:
    env = {"PATH": "", "MARKETDATA_WORKERS": "7", "MARKETDATA_FLOWS_DIR": "/nowhere"}
    command = [sys.executable, "-m", "docs.generate", "--check"]
    result = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr

"""The pages of docs/reference are those that the code makes now."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_pages_are_up_to_date_whatever_this_machine_has_set() -> None:
    there = {"PATH": "", "MARKETDATA_WORKERS": "7", "MARKETDATA_FLOWS_DIR": "/nowhere"}
    command = [sys.executable, "-m", "docs.generate", "--check"]
    child = subprocess.run(command, cwd=PROJECT, env=there, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout + child.stderr

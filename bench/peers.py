"""Peers in environments of their own, made on first use and kept in the user's cache."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.size import SMALL

INSTALL_S = 900
ENDS = 300
"""Characters of what a peer printed last."""


class NoPeer(Exception):
    """A peer cannot be installed or run; without it there is nothing to compare with."""


def unmeasured(error: Exception, *names: str) -> Iterator[Figure]:
    """The figures that are missing since a peer cannot run: errors of the benchmark, except in a smoke test."""
    printed = str(getattr(error, "stderr", None) or "").strip()
    for name in () if SMALL else names:
        yield Figure(name, 0.0, "", None, "", error=" ".join([str(error), *printed.split()])[-ENDS:])


def environment(name: str, requirements: list[str], hint: str = "") -> Path:
    """The interpreter of the environment `name`, which has `requirements`. Raises NoPeer, which ends in `hint`."""
    if SMALL:
        raise NoPeer(f"{name} is left out of a smoke test")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "marketdata-bench" / f"{name}-py{sys.version_info.major}{sys.version_info.minor}"
    python, complete = folder / "bin" / "python", folder / ".complete"
    wanted = "\n".join(requirements)
    if not complete.exists() or complete.read_text() not in ("", wanted):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], requirements, hint)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *requirements], requirements, hint)
        complete.write_text(wanted)
    return python


def _run(command: list[str], requirements: list[str], hint: str) -> None:
    wanted = ", ".join(requirements)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NoPeer(f"{wanted} was not installed within {INSTALL_S} s") from None
    except (OSError, subprocess.CalledProcessError) as error:
        how = getattr(error, "returncode", type(error).__name__)
        raise NoPeer("; ".join(filter(None, [f"{wanted} cannot be installed, exit code {how}", hint]))) from None

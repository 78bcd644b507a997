"""The peer in an environment of its own, made on first use and kept in the user's cache, and its process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REQUIREMENT = "cryptofeed>=2.4,<3"
SCRIPT = Path(__file__).with_name("cryptofeed_peer.py")
INSTALL_S = 900
NEEDS_A_COMPILER = "its installation takes a C compiler where no wheel is there"


class NoPeer(Exception):
    """The peer cannot be installed or run; without it there is nothing to compare with."""


def environment() -> Path:
    """The interpreter of the peer's environment. Raises NoPeer."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "marketdata-bench" / f"cryptofeed-py{sys.version_info.major}{sys.version_info.minor}"
    python, complete = folder / "bin" / "python", folder / ".complete"
    if not complete.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT])
        complete.touch()
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NoPeer(f"{REQUIREMENT} was not installed within {INSTALL_S} s") from None
    except (OSError, subprocess.CalledProcessError) as error:
        how = getattr(error, "returncode", type(error).__name__)
        raise NoPeer(f"{REQUIREMENT} cannot be installed, exit code {how}; {NEEDS_A_COMPILER}") from None


class Peer:
    """The peer's process: it takes messages of a folder once for each `round`."""

    def __init__(self, messages: Path) -> None:
        self._process = subprocess.Popen(
            [environment(), SCRIPT, messages], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version: str = self._line()["version"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()

    def round(self, name: str, kind: str) -> dict[str, Any]:
        """CPU seconds for the messages of one kind and set, and what it made last. Raises NoPeer when it is gone."""
        assert self._process.stdin
        self._process.stdin.write(f"{name} {kind}\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise NoPeer(f"cryptofeed ended with exit code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

"""cryptofeed in an environment of its own, and its process."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.peers import NoPeer, environment

REQUIREMENT = "cryptofeed>=2.4,<3"
SCRIPT = Path(__file__).with_name("cryptofeed_peer.py")
NEEDS_A_COMPILER = "its installation takes a C compiler where no wheel is there"


class Peer:
    """The peer's process: it takes messages of a folder once for each `round`."""

    def __init__(self, messages: Path) -> None:
        python = environment("cryptofeed", [REQUIREMENT], NEEDS_A_COMPILER)
        self._process = subprocess.Popen(
            [python, SCRIPT, messages], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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

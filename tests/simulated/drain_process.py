"""Drains in a process with real time, one after the other as asked for on stdin; the stream's times are translated.

The server stores messages by its own clock. `Marks` say which time of the simulation that was.
"""

import asyncio
import json
import select
import subprocess
import sys
from bisect import bisect_right
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import Any

import time_machine

SECOND = 1_000_000_000
MARK = Struct("<qq")
"""A moment of the real clock and one of the simulation, ns."""


class Marks:
    """When it was what: a file of fixed size, so that a full disk does not matter, with zeros at its end."""

    def __init__(self, file: Path) -> None:
        self._file, self._real, self._simulated = file, list[int](), list[int]()

    def simulated(self, real: int) -> int:
        """The time of the simulation at a real moment."""
        if not self._real or self._real[-1] < real:
            self._read()
        return self._simulated[max(0, bisect_right(self._real, real) - 1)]

    def _read(self) -> None:
        with self._file.open("rb") as file:
            file.seek(len(self._real) * MARK.size)
            for real, simulated in iter(lambda: MARK.unpack(file.read(MARK.size)), (0, 0)):
                self._real.append(real)
                self._simulated.append(simulated)


class Marker:
    """Writes the file, a mark for each second of the simulation."""

    def __init__(self, file: Path, seconds: float) -> None:
        size = (round(seconds) + 1) * MARK.size
        file.write_bytes(bytes(size))
        with file.open("r+b") as opened:
            self._marks = mmap(opened.fileno(), size)
        self._last = self._count = 0

    def mark(self, now: int) -> None:
        if now - self._last >= SECOND:
            MARK.pack_into(self._marks, self._count * MARK.size, time_machine.escape_hatch.time.time_ns(), now)
            self._last, self._count = now, self._count + 1

    def close(self) -> None:
        self._marks.close()


class Drainer:
    """Begins drains in a process of its own, which can be killed."""

    def __init__(self, clickhouse_url: str, nats_url: str, marks: Path) -> None:
        self._command = [sys.executable, __file__, clickhouse_url, nats_url, str(marks)]
        self.drains, self.failures = 0, list[str]()
        self._in_progress = False
        self._start()

    def begin(self) -> None:
        """Begin a drain, unless one is in progress."""
        if self.in_progress:
            return
        assert self._process.stdin
        self._process.stdin.write(b"drain\n")
        self._in_progress = True

    @property
    def in_progress(self) -> bool:
        assert self._process.stdout
        if self._in_progress and select.select([self._process.stdout], [], [], 0)[0]:
            self.finish()
        return self._in_progress

    def finish(self) -> None:
        """Wait for the end of the drain in progress."""
        if not self._in_progress:
            return
        assert self._process.stdout
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        self._in_progress = False
        self.drains += 1
        if "error" in told:
            self.failures.append(told["error"])

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._in_progress = False
        self._start()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"


def main(clickhouse_url: str, nats_url: str, file: str) -> None:
    from marketdata_assets.collector.drain import drain
    from marketdata_assets.collector.jetstream import inspection, reader
    from marketdata_assets.errors import MarketDataError

    marks = Marks(Path(file))
    instant, stored = inspection.instant, reader._stored
    inspection.instant = lambda text: marks.simulated(instant(text))
    reader._stored = lambda message: marks.simulated(stored(message))
    print("ready", flush=True)
    for _ in sys.stdin:
        try:
            drained = asyncio.run(drain(clickhouse_url, nats_url))
            told: dict[str, Any] = {"rows": drained.rows, "left": drained.left}
        except MarketDataError as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

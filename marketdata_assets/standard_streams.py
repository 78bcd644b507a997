"""Standard output and error, whatever became of their reader: closed, gone, blocked, or its disk full.

A command's result is written or its failure names the standard output; its notes are dropped where they cannot be
written. A service is never held up: threads write what it says, and what they could not write is dropped, its lines
counted in front of the next one that can be written. What is said belongs to the command line.
"""

import io
import os
import re
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT = "standard output"
WAITING_BYTES = 1 << 20
"""What waits for a blocked reader; more is dropped."""
LOG_BYTES = 10 << 20
"""The size of a log file, of which the one before is kept as `.1`."""
END_SECONDS = 1.0
"""What a blocked reader may take to read the last lines."""
_TERMINAL_CODES = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")

Write = Callable[[bytes], object]


@contextmanager
def guarded() -> Iterator[None]:
    """The streams of a command; raises OSError with the file name STDOUT where its result could not be written."""
    for name, mode, flags in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:  # it was closed: the next file that is opened would be in its place
            os.set_inheritable(number := os.open(os.devnull, flags), True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))

    def give(data: bytes) -> None:
        try:
            write_all(out, data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STDOUT) from None

    def note(data: bytes) -> None:
        with suppress(OSError):
            write_all(err, data)

    try:
        out, err = sys.stdout.fileno(), sys.stderr.fileno()
    except OSError:  # of a test, in memory
        yield
        return
    with _replaced(io.BufferedWriter(_Raw(out, [give])), _Raw(err, [note])):
        yield
        sys.stdout.flush()


@contextmanager
def service() -> Iterator[None]:
    """The streams of a service, for which the end of its terminal is no reason to end."""
    try:
        out, err = sys.stdout.fileno(), sys.stderr.fileno()
    except OSError:  # of a test, in memory
        yield
        return
    writers = [LossyWriter(partial(write_all, number)) for number in (out, err)]
    ends = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    if ends:
        signal.signal(signal.SIGHUP, lambda *_: None)  # not ignored, as children would inherit that
    try:
        with _replaced(_Raw(out, [writers[0].put]), _Raw(err, [writers[1].put])):
            yield
    finally:
        for writer in writers:
            writer.drain(END_SECONDS)
        if ends:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def also_logged(log: Path) -> Iterator[None]:
    """Let what a service says go to a log file as well."""
    file, said = LossyWriter(partial(append, log)), sys.stderr
    sys.stderr = _text(_Raw(2, [said.buffer.write, file.put]), said)
    try:
        yield
    finally:
        sys.stderr = said
        file.drain(END_SECONDS)


@contextmanager
def _replaced(out: "io.BufferedWriter[_Raw] | _Raw", err: "_Raw") -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _text(out, before[0]), _text(err, before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _text(stream: "io.BufferedWriter[_Raw] | _Raw", like: TextIO) -> TextIO:
    buffered = isinstance(stream, io.BufferedWriter)
    return io.TextIOWrapper(
        cast("Any", stream),
        encoding=like.encoding,
        errors="backslashreplace",
        line_buffering=buffered and stream.isatty(),
        write_through=not buffered,
    )


class LossyWriter:
    """Hands bytes to `write` in a thread; `put` neither blocks nor raises. Lines that `write` fails on are counted."""

    def __init__(self, write: Write, waiting_bytes: int = WAITING_BYTES) -> None:
        self._write, self._most = write, waiting_bytes
        self._waiting, self._lost, self._busy = bytearray(), 0, False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True, name="output").start()

    def put(self, data: bytes) -> None:
        with self._changed:
            if len(self._waiting) + len(data) > self._most:
                self._lost += data.count(b"\n")
            else:
                self._waiting += data
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait until all is written or dropped, for so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout=seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                data, lost = bytes(self._waiting), self._lost
                self._waiting, self._lost, self._busy = bytearray(), 0, True
            try:
                if lost:
                    self._write(b"(%d lines were dropped, since they could not be written)\n" % lost)
                    lost = 0
                self._write(data)
            except (OSError, ValueError):
                with self._changed:
                    self._lost += lost + data.count(b"\n")


class _Raw(io.RawIOBase):
    """The stream of a descriptor that is written by functions."""

    def __init__(self, number: int, writes: Iterable[Write]) -> None:
        self._number, self._writes = number, tuple(writes)

    def write(self, data: "ReadableBuffer", /) -> int:
        written = bytes(data)
        for write in self._writes:
            write(written)
        return len(written)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)


def write_all(number: int, data: bytes) -> None:
    """Write to a descriptor, also to one that is non-blocking for another process. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(number, rest) :]
        except BlockingIOError:
            select.select([], [number], [])


def append(log: Path, data: bytes, most_bytes: int = LOG_BYTES) -> None:
    """Append to a log file, without the codes of terminals; a full one becomes `.1`. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log.stat().st_size + len(data) > most_bytes:
            log.replace(older(log))
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        write_all(number, _TERMINAL_CODES.sub(b"", data))
    finally:
        os.close(number)


def empty_full(log: Path, most_bytes: int = LOG_BYTES) -> None:
    """Move what is in a full log to `.1`, while a process has it open for appending."""
    with suppress(OSError):
        if log.stat().st_size > most_bytes:
            shutil.copy(log, older(log))
            os.truncate(log, 0)


def older(log: Path) -> Path:
    """The file that has what a log had before."""
    return log.with_name(f"{log.name}.1")

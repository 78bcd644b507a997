"""Bytes kept until it is known whether they are written: in memory while they are few, then in a temporary file."""

import tempfile
from collections.abc import Iterator
from typing import IO

CHUNK_BYTES = 1024 * 1024
MEMORY_BYTES = 32 * 1024 * 1024


class Spool:
    """Pieces in the order they were added; at most `limit` bytes of them in memory."""

    def __init__(self, limit: int = MEMORY_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._pieces: list[memoryview] = []
        self._file: IO[bytes] | None = None

    def add(self, piece: memoryview) -> None:
        """Keep `piece` without copying it; the caller no longer changes it."""
        self._size += piece.nbytes
        if self._file is None and self._size > self._limit:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
            for kept in self._pieces:
                self._file.write(kept)
            self._pieces = []
        if self._file is None:
            self._pieces.append(piece)
        else:
            self._file.write(piece)

    def __iter__(self) -> Iterator[memoryview]:
        """All bytes again, from the first."""
        if self._file is None:
            yield from self._pieces
            return
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            yield memoryview(chunk)

    def close(self) -> None:
        """Release the memory and the temporary file."""
        self._pieces = []
        if self._file is not None:
            self._file.close()

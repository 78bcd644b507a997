"""Files that are replaced atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHUNK_BYTES = 1 << 20


@contextmanager
def replacing(path: Path, partial: Path) -> Iterator[IO[bytes]]:
    """A stream into `partial` that replaces `path` atomically: after a crash it is the old file, or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb", CHUNK_BYTES) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

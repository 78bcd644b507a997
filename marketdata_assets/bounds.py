"""What no honest input goes beyond. A small file or answer may unfold to any size; with these, memory stays bounded."""

from collections.abc import Iterator
from typing import Protocol

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes. No row of ours has so many; a document that MongoDB refuses has more than 16 MB."""

LARGEST_ANSWER = 128 * 1024 * 1024
"""Bytes of one answer over HTTP, unpacked. The longest lists of instruments have a tenth of it."""

SQUEEZED_BYTES = 4096
"""So much of a zstd stream is unpacked at a time: at its best ratio it makes some 130 MB."""


class LineTooLong(ValueError):
    """A line that no row can be: the file is damaged, or unfolds to far more than it seems."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"line {number} has more than {LONGEST_LINE // 1024 // 1024} MB")


class ReadsLines(Protocol):
    """What `lines` needs of a file."""

    def readline(self, limit: int, /) -> bytes: ...


def lines(file: ReadsLines) -> Iterator[bytes]:
    """The lines of a file with their ends. Raises LineTooLong."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise LineTooLong(number)
        yield line

"""Upper limits of input sizes. Decompression bombs are bounded: a small file or answer may unpack to any size."""

from collections.abc import Iterator
from typing import Protocol

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longer than any valid row; MongoDB rejects documents above 16 MB."""

MAX_RESPONSE_BYTES = 128 * 1024 * 1024
"""Of one HTTP response, unpacked. The longest instrument lists have a tenth of it."""

ZSTD_CHUNK_BYTES = 4096
"""Compressed bytes that are unpacked at a time; at zstd's best ratio they become about 130 MB."""


class LineTooLong(ValueError):
    """A line longer than any valid row: the file is damaged, or a decompression bomb."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"line {number} has more than {MAX_LINE_BYTES // 1024 // 1024} MB")


class ReadsLines(Protocol):
    """The part of a file that `lines` uses."""

    def readline(self, limit: int, /) -> bytes: ...


def lines(file: ReadsLines) -> Iterator[bytes]:
    """The lines of a file with their line ends. Raises LineTooLong."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            raise LineTooLong(number)
        yield line

"""Upper limits of input sizes. Decompression bombs are bounded: a small file or answer may unpack to any size."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoders raise for bytes that are no JSON, no UTF-8, of another shape, or nested too deep."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longer than any valid row; MongoDB rejects documents above 16 MB."""

MAX_RESPONSE_BYTES = 128 * 1024 * 1024
"""Of one HTTP response, unpacked. The longest instrument lists have a tenth of it."""

ZSTD_CHUNK_BYTES = 4096
"""Compressed bytes that are unpacked at a time; at zstd's best ratio they become about 130 MB."""

MOST_TIMES, ALWAYS_BYTES = 500, 256 * 1024 * 1024
"""What unpacks to more than ALWAYS_BYTES and MOST_TIMES its size is a bomb; equal lines reach 200 times."""

MOST_TIMES_WHOLE = 100
"""Instead of MOST_TIMES, for the values of a Parquet file whose rows are in memory all at once."""

MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
"""Of the names of an archive's members, and what it says of each. 300,000 members have about as many."""

MAX_MEMBERS = 1_000_000
"""Of an archive and the archives within it."""

MAX_NESTING = 8
"""Archives within archives."""

MAX_DOCUMENT_BYTES, MAX_DOCUMENT_VALUES = 256 * 1024 * 1024, 20_000_000
"""Of what is in memory as a whole, unpacked: a JSON document, a workbook, a page. A value takes about 80 bytes."""

MAX_CELLS = 20_000_000
"""Of a sheet, those between its cells included: readers keep the whole rectangle."""


class TooLarge(ValueError):
    """More than any valid input; the message has the figure, the limit and the remedy."""


def check_unpacked(size: int, packed: int, times: int = MOST_TIMES) -> None:
    """Raise TooLarge for a decompression bomb: so many bytes of so many packed ones."""
    if size > max(ALWAYS_BYTES, times * packed):
        raise TooLarge(
            f"it unpacks to {size // 1024 // 1024} MB or more, {size // max(packed, 1)} times its {packed} bytes; the"
            f" limit is {times} times above {ALWAYS_BYTES // 1024 // 1024} MB. If it is data, deliver it unpacked,"
            " or in several files"
        )


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

"""The bytes of a unit as blocks of whole lines in UTF-8, and what is wrong with those that are no text.

An encoding is judged by the whole file: a block alone may be valid in two encodings. What the cells of a block are is
decided by the caller.
"""

import codecs
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from marketdata_assets.input_limits import MAX_LINE_BYTES, LineTooLong
from marketdata_assets.loading.archives import Stream
from marketdata_assets.loading.errors import BadFile, LoadError
from marketdata_assets.loading.files import Opener, Unit

BLOCK_BYTES = 4 * 1024 * 1024
BLOCKS_AHEAD = 3
LONGEST_RECORD = 4 * BLOCK_BYTES
GUESSES = ("utf-8", "gb18030", "utf-16", "big5", "latin-1")
DEFERRED_BYTES = 32 * 1024
"""A block of so many bytes is decoded sooner than its columns are."""
FOREIGN_BYTES = 24
"""So many bytes beyond ASCII in a whole file are not valid UTF-8 by chance."""

_MULTIBYTE = ("gb", "big5", "euc", "shift_jis", "cp9", "johab")

OPEN_END = "its last line has no end: its last row may be cut, then deliver it again"
"""What to say of a file that `has_open_end`."""
PACKED = (".gz", ".zst", ".zstd")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Block:
    """Whole lines in UTF-8 without the header; the first has number `first_line`. Lines in `undecodable` are empty.

    Where cells are `deferred` to be decoded, it is known that they can be, and each of their bytes is written as the
    character of Latin-1 with its number.
    """

    text: bytes
    first_line: int
    undecodable: tuple[int, ...] = ()
    deferred: bool = False

    def decoded(self, encoding: str = "utf-8") -> "Block":
        """This block with lines that are not text in `encoding` emptied and named, the others as UTF-8."""
        lines: list[bytes] = []
        bad = list(self.undecodable)
        for number, line in enumerate(self.text.split(b"\n"), self.first_line):
            try:
                lines.append(line.decode(encoding).encode())
            except UnicodeDecodeError:
                lines.append(b"")
                bad.append(number)
        return Block(b"\n".join(lines), self.first_line, tuple(bad))


def from_latin1(text: str, encoding: str) -> str:
    """The text in `encoding` of bytes that were written as characters of Latin-1."""
    return text.encode("latin-1").decode(encoding)


class Text:
    """Lines of one unit, read once from the first to the last.

    `place` and `remedy` (what to do about a wrong encoding, `{}` being another that fits) are for errors. With
    `validate` off, blocks of a UTF-8 file are handed out unseen, for a parser that validates them itself. A newline
    between two of `quote` ends no row; one behind `escape` is none of them. With `defer` on, blocks may be `deferred`.
    """

    def __init__(
        self,
        place: str,
        stream: Stream,
        encoding: str = "utf-8",
        remedy: str = "",
        validate: bool = True,
        quote: str = '"',
        escape: str = "",
        defer: bool = False,
    ) -> None:
        self._place = place
        self._remedy = remedy
        self._validate = validate
        self._quote = quote.encode()
        self._escape = escape.encode()
        self._encoding = codecs.lookup(encoding).name
        self._defer = defer and self._encoding == "gb18030"
        self._own_newlines = _own_newlines(self._encoding) and not (escape and self._encoding.startswith(_MULTIBYTE))
        self._stream = stream if self._own_newlines else _Transcoded(place, self._encoding, stream, remedy)
        self._rest = b""
        self._marks = (codecs.BOM_UTF8, "\ufeff".encode(self.encoding, "ignore"))
        self._utf8 = Utf8Evidence(self._encoding) if self._own_newlines else None
        self.line_number = 1
        self.header_bytes = b""

    @property
    def encoding(self) -> str:
        """The encoding of the bytes that `line` gives."""
        return self._encoding if self._own_newlines else "utf-8"

    def line(self) -> bytes:
        """The next line with its end, as it is in the file (in UTF-8 if the encoding has no newlines of its own)."""
        while b"\n" not in self._rest:
            chunk = self._stream.read(64 * 1024)
            if not chunk:
                break
            self._rest += chunk
            self._check_length()
        line, end, self._rest = self._rest.partition(b"\n")
        self.line_number += 1
        return line + end

    def peek(self) -> bytes:
        """The next line as `line` would give it, which still comes; a byte order mark is taken off the text."""
        line = self.line()
        self.line_number -= 1
        for mark in self._marks if self.line_number == 1 else ():
            line = line.removeprefix(mark)
        self._rest = line + self._rest
        return line

    def header(self, words: tuple[str, ...] = ()) -> str:
        """The next line as text, without its end and a byte order mark. Raises LoadError.

        The error names another encoding when the line would have all `words` in it.
        """
        raw = self.header_bytes = self.line()
        if self._utf8:
            self._utf8.add(raw)
        try:
            return raw.removeprefix(codecs.BOM_UTF8).decode(self.encoding).strip("\r\n\ufeff")
        except UnicodeDecodeError as error:
            raise self.wrong_encoding(str(error), guess(raw, words, self._encoding), self.line_number - 1) from error

    def blocks(self) -> Iterator[Block]:
        """The rest of the unit. Raises LoadError, for a wrong encoding at the latest when all of it was read."""
        if self.line_number == 1:
            self.peek()  # takes a byte order mark off
        while chunk := self._stream.read(BLOCK_BYTES):
            text, chunk = (self._rest + chunk if self._rest else chunk), b""  # few copies of a block at a time
            quoted = self._quote and len(text) < LONGEST_RECORD
            cut = _end_of_records(text, self._quote, self._escape) if quoted else text.rfind(b"\n") + 1
            self._rest, text = text[cut:], text[:cut]
            self._check_length()
            if text:
                yield self._block(text)
        if self._rest:
            yield self._block(self._rest)
        self.check_encoding()

    def check_encoding(self) -> None:
        """Raise LoadError when all that was read is UTF-8, and not the encoding it is said to be in."""
        if self._utf8 and self._utf8.certain:
            raise self.wrong_encoding("all its text is valid UTF-8", "utf-8", self.line_number)

    def wrong_encoding(self, cause: str, guessed: str | None, line: int) -> LoadError:
        remedy = self._remedy.format(guessed) if guessed else self._remedy.format("the file's encoding")
        return LoadError(f"{self._place}:{line}: not {self._encoding} ({cause}). {remedy}")

    def _check_length(self) -> None:
        if len(self._rest) > MAX_LINE_BYTES:
            raise BadFile(self._place, str(LineTooLong(self.line_number)))

    def _block(self, raw: bytes) -> Block:
        first = self.line_number
        self.line_number += count(raw, b"\n")
        utf8 = self._encoding in ("utf-8", "ascii")
        if self._utf8 is None or (utf8 and not self._validate):
            return Block(raw, first)
        self._utf8.add(raw)
        if self._defer and len(raw) > DEFERRED_BYTES and _has_only_pairs(raw):
            return Block(raw.decode("latin-1").encode(), first, deferred=True)
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            if self._utf8.possible:
                raise self.wrong_encoding(str(error), "utf-8", first) from error
            return Block(raw, first).decoded(self._encoding)
        return Block(raw if utf8 else text.encode(), first)


class Utf8Evidence:
    """Whether a file that is said to be in another encoding is UTF-8: only when all of its text is.

    Text in a double-byte encoding may be valid UTF-8 of two bytes a character: in GBK that holds for 18 % of the common
    hanzi. So for such encodings only characters of three bytes and more, as hanzi have in UTF-8, are evidence.
    """

    def __init__(self, encoding: str) -> None:
        self.possible = encoding not in ("utf-8", "ascii")
        self._lead = 0xE0 if encoding.startswith(_MULTIBYTE) else 0xC0
        self._bytes = 0

    @property
    def certain(self) -> bool:
        """Whether all text so far is UTF-8, and enough of it to exclude chance."""
        return self.possible and self._bytes >= FOREIGN_BYTES

    def add(self, raw: bytes) -> None:
        """Take in whole lines."""
        if not self.possible or raw.isascii():
            return
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            self.possible = False
            return
        leads = np.frombuffer(raw, np.uint8)
        leads = leads[leads >= self._lead]
        self._bytes += int(np.sum(2 + (leads >= 0xE0).astype(np.int64) + (leads >= 0xF0)))


class _Transcoded:
    """A stream in an encoding whose lines do not end in one byte, as UTF-8."""

    def __init__(self, place: str, encoding: str, stream: Stream, remedy: str) -> None:
        self._place = place
        self._encoding = encoding
        self._stream = stream
        self._remedy = remedy
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1

    def read(self, size: int = -1, /) -> bytes:
        while True:
            chunk = self._stream.read(size)
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                remedy = self._remedy.format("the file's encoding")
                said = f"{self._place}:{self._line}: not {self._encoding} ({error}). {remedy}"
                raise LoadError(said) from error
            self._line += text.count("\n")
            if text or not chunk:
                return text.encode()


def guess(raw: bytes, words: tuple[str, ...], declared: str) -> str | None:
    """Another encoding than `declared` in which a raw line is another text and has all `words`; None when none is."""
    same = raw.decode(declared, "replace")
    for encoding in GUESSES:
        try:
            text = (raw + b"\0" if encoding == "utf-16" else raw).decode(encoding)  # cut behind the byte \n
        except UnicodeDecodeError:
            continue
        if text != same and all(word in text for word in words):
            return encoding
    return None


def _own_newlines(encoding: str) -> bool:
    """Whether the byte 0x0A ends a line and is nothing else."""
    return "\n".encode(encoding) == b"\n" and not encoding.startswith(("iso2022", "hz", "utf-7", "utf-8-sig"))


def count(text: bytes, byte: bytes) -> int:
    """`text.count(byte)`, several times faster where the byte is frequent."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == byte[0]))


def _has_only_pairs(raw: bytes) -> bool:
    """Whether beyond ASCII there are only pairs of bytes from 0xA1 to 0xFE: each is a character of GB 18030.

    So are most pairs with other bytes, whose limits depend on all bytes before; texts with such have to be decoded.
    """
    characters = np.frombuffer(raw, np.uint8)
    at = np.flatnonzero(characters >= 0x80)
    high = characters[at]
    if len(at) % 2 or high.min(initial=0xFE) < 0xA1 or high.max(initial=0xA1) > 0xFE:
        return False
    return bool(np.array_equal(at[1::2], at[::2] + 1))


def _end_of_records(text: bytes, quote: bytes, escape: bytes) -> int:
    """Where the last line ends that does not lie inside quotes; 0 when none does."""
    if escape and escape in text:
        text = text.replace(escape * 2, b"  ").replace(escape + quote, b"  ")
    cut = text.rfind(b"\n") + 1
    if quote not in text or count(text[:cut], quote) % 2 == 0:
        return cut
    characters = np.frombuffer(text, np.uint8)[:cut]
    inside = np.cumsum(characters == ord(quote), dtype=np.int32) & 1
    ends = np.flatnonzero((characters == ord("\n")) & (inside == 0))
    return int(ends[-1]) + 1 if len(ends) else 0


def has_open_end(unit: Unit) -> bool:
    """Whether the last line of a file of text has no end. Of a packed one the end is checked by its checksum."""
    if unit.member or not unit.size or unit.name.lower().endswith(PACKED):
        return False
    with unit.file.path.open("rb") as stream:
        stream.seek(-min(unit.size, 2), os.SEEK_END)
        return b"\n" not in stream.read()


def raw_lines(opener: Opener, unit: Unit, encoding: str, wanted: set[int]) -> dict[int, str]:
    """Some lines of the unit as they were read, by number; bytes that are no text are written out."""
    found: dict[int, str] = {}
    own = _own_newlines(codecs.lookup(encoding).name)
    with opener.open(unit) as raw:
        stream = raw if own else _Transcoded(unit.place, encoding, raw, "")
        number, rest, ended = 1, b"", False
        while not ended:
            chunk = stream.read(1024 * 1024)
            ended = not chunk
            *lines, rest = (rest + chunk).split(b"\n")
            for line in (*lines, rest) if ended else lines:
                if number in wanted:
                    text = line.decode(encoding if own else "utf-8", "backslashreplace")
                    found[number] = text.rstrip("\r\n").replace("\0", "\\0")
                number += 1
    return found


@contextmanager
def ahead(items: Iterator[Item], size: int = BLOCKS_AHEAD) -> Iterator[Iterator[Item]]:
    """Read up to `size` items ahead in a thread. Its exceptions are raised to the consumer."""
    pool = ThreadPoolExecutor(1, "loader")

    def consume() -> Iterator[Item]:
        waiting = deque(pool.submit(next, items, None) for _ in range(size))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item

    try:
        yield consume()
    finally:
        pool.shutdown(cancel_futures=True)

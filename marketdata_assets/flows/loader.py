"""A unit's bytes to blocks of whole lines in UTF-8, read by a thread of its own through a bounded queue.

What the cells of a block are is in `reading`.
"""

import codecs
import io
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.errors import BadFile, BadHeader, WrongEncoding
from marketdata_assets.flows.units import Bytes, Hashing, Unit, opened
from marketdata_assets.input_limits import MAX_LINE_BYTES, LineTooLong

BLOCK_BYTES = 4 * 1024 * 1024
BLOCKS_AHEAD = 3
LONGEST_RECORD = 4 * BLOCK_BYTES
SMALL_BYTES = 256 * 1024
"""A file of so many bytes is read sooner than a thread is started."""
GUESSES = ("utf-8", "gb18030", "utf-16", "big5", "latin-1")
SAMPLE_BYTES = 64 * 1024
FOREIGN_BYTES = 24
"""So many bytes beyond ASCII are not valid UTF-8 by chance."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Block:
    """Whole lines in UTF-8 without the header; the first has number `first_line`. Lines in `undecodable` are empty."""

    text: bytes
    first_line: int
    undecodable: tuple[int, ...] = ()


@dataclass
class Content:
    """A unit's text: the header's names, the blocks, and, when all blocks are read, the hash of the bytes."""

    names: list[str]
    blocks: Iterator[Block]
    _hashing: Hashing = field(repr=False)

    @property
    def content_hash(self) -> str:
        return self._hashing.content_hash


@contextmanager
def content(unit: Unit, loader: Loader) -> Iterator[Content]:
    """Open `unit` and read its header. Raises BadFile, BadHeader or WrongEncoding, also while the blocks are read."""
    with opened(unit) as raw:
        hashing = Hashing(raw)
        stream = _Text(unit, loader, hashing)
        names = stream.header()
        if unit.size <= SMALL_BYTES:
            yield Content(names, stream.blocks(), hashing)
            return
        with ahead(stream.blocks(), BLOCKS_AHEAD) as blocks:
            yield Content(names, blocks, hashing)


class _Text:
    """Lines of one unit, decoded a block at a time."""

    def __init__(self, unit: Unit, loader: Loader, stream: Bytes) -> None:
        self._unit = unit
        self._loader = loader
        self._line = 1
        self._encoding = codecs.lookup(loader.encoding).name
        self._lines = _own_newlines(self._encoding)
        self._stream = stream if self._lines else _Decoded(unit, self._encoding, stream)
        self._rest = b""
        self._foreign = self._lines and self._encoding not in ("utf-8", "ascii")

    def header(self) -> list[str]:
        """The names in the first line behind the skipped ones. An empty file is BadHeader."""
        for _ in range(self._loader.skip_lines):
            self._take_line()
        raw = self._take_line()
        if not raw.strip():
            raise BadHeader(
                self._unit.name,
                self._line - 1,
                "there is no header",
                "Deliver the file again, or mend loader.skip_lines.",
            )
        text = self._decoded_header(raw.removeprefix(codecs.BOM_UTF8))
        names = [name.strip().strip('"').strip() for name in text.split(self._loader.delimiter)]
        self._check(names, raw)
        return names

    def _decoded_header(self, raw: bytes) -> str:
        encoding = self._encoding if self._lines else "utf-8"
        try:
            return raw.decode(encoding).strip("\r\n\ufeff")
        except UnicodeDecodeError as error:
            raise WrongEncoding(self._unit.name, self._line - 1, encoding, str(error), self._guess(raw)) from error

    def _check(self, names: list[str], raw: bytes) -> None:
        wanted = self._loader.columns
        place, line = self._unit.name, self._line - 1
        missing = [name for name in wanted if name not in names]
        if missing:
            guess = self._guess(raw)
            if guess and self._lines:
                raise WrongEncoding(place, line, self._encoding, f"the header has no {missing[0]}", guess)
            raise BadHeader(
                place,
                line,
                f"the header has no {', '.join(missing)}; it has {', '.join(names)[:400]}",
                "Mend loader.columns or loader.skip_lines, or deliver the file again.",
            )
        if twice := [name for name in wanted if names.count(name) > 1]:
            raise BadHeader(
                place, line, f"{twice[0]} is there twice", "Which one counts is not known; deliver it again."
            )

    def _guess(self, raw: bytes) -> str | None:
        """Another encoding in which the header has every wanted name."""
        for encoding in GUESSES:
            try:
                text = (raw + b"\0" if encoding == "utf-16" else raw).decode(encoding)  # cut behind the byte \n
            except UnicodeDecodeError:
                continue
            if encoding != self._encoding and all(name in text for name in self._loader.columns):
                return encoding
        return None

    def blocks(self) -> Iterator[Block]:
        while True:
            chunk = self._stream.read(BLOCK_BYTES)
            text = self._rest + chunk
            if not chunk:
                break
            cut = _cut(text) if len(text) < LONGEST_RECORD else text.rfind(b"\n") + 1
            self._rest = text[cut:]
            self._check_length()
            if cut:
                yield self._block(text[:cut])
        if text:
            yield self._block(text)

    def _take_line(self) -> bytes:
        while b"\n" not in self._rest:
            chunk = self._stream.read(64 * 1024)
            if not chunk:
                break
            self._rest += chunk
            self._check_length()
        line, end, self._rest = self._rest.partition(b"\n")
        self._line += 1
        return line + end

    def _check_length(self) -> None:
        if len(self._rest) > MAX_LINE_BYTES:
            raise BadFile(self._unit.name, str(LineTooLong(self._line)))

    def _block(self, raw: bytes) -> Block:
        first = self._line
        self._line += count(raw, b"\n")
        if not self._lines:
            return Block(raw, first)
        if self._foreign:
            self._refuse_utf8(raw, first)
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError:
            return self._careful(raw, first)
        return Block(raw if self._encoding in ("utf-8", "ascii") else text.encode(), first)

    def _refuse_utf8(self, raw: bytes, line: int) -> None:
        """Double-byte encodings read UTF-8 as other text without a complaint; the first text of some length tells."""
        for part in (raw[: raw.find(b"\n", SAMPLE_BYTES) + 1], raw):
            if len(part.translate(None, bytes(range(128)))) < FOREIGN_BYTES:
                continue
            self._foreign = False
            try:
                part.decode("utf-8")
            except UnicodeDecodeError:
                return
        if self._foreign:
            return
        raise WrongEncoding(self._unit.name, line, self._encoding, "all its text is valid UTF-8", "utf-8")

    def _careful(self, raw: bytes, first: int) -> Block:
        """Lines that cannot be decoded are left empty and named; the others stay."""
        good: list[bytes] = []
        bad: list[int] = []
        for number, line in enumerate(raw.split(b"\n")):
            try:
                good.append(line.decode(self._encoding).encode())
            except UnicodeDecodeError:
                good.append(b"")
                bad.append(first + number)
        return Block(b"\n".join(good), first, tuple(bad))


class _Decoded:
    """A stream in an encoding whose lines do not end in one byte, as UTF-8."""

    def __init__(self, unit: Unit, encoding: str, stream: Bytes) -> None:
        self._unit = unit
        self._encoding = encoding
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1

    def read(self, size: int = -1, /) -> bytes:
        while True:
            chunk = self._stream.read(size)
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                raise WrongEncoding(self._unit.name, self._line, self._encoding, str(error), None) from error
            self._line += text.count("\n")
            if text or not chunk:
                return text.encode()


def _own_newlines(encoding: str) -> bool:
    """Whether the byte 0x0A ends a line and is nothing else."""
    return "\n".encode(encoding) == b"\n" and not encoding.startswith(("iso2022", "hz", "utf-7", "utf-8-sig"))


def count(text: bytes, byte: bytes) -> int:
    """`text.count(byte)`, several times faster where the byte is frequent."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == byte[0]))


def _cut(text: bytes) -> int:
    """Where the last line ends that does not lie inside quotes; 0 when none does."""
    cut = text.rfind(b"\n") + 1
    if b'"' not in text or count(text[:cut], b'"') % 2 == 0:
        return cut
    characters = np.frombuffer(text, np.uint8)[:cut]
    inside = np.cumsum(characters == ord('"'), dtype=np.int32) & 1
    ends = np.flatnonzero((characters == ord("\n")) & (inside == 0))
    return int(ends[-1]) + 1 if len(ends) else 0


def raw_lines(unit: Unit, loader: Loader, wanted: set[int]) -> dict[int, str]:
    """Some lines of the unit as they were read; bytes that are no text are written out."""
    found: dict[int, str] = {}
    own = _own_newlines(codecs.lookup(loader.encoding).name)
    encoding = loader.encoding if own else "utf-8"
    with opened(unit) as raw:
        stream = raw if own else _Decoded(unit, loader.encoding, raw)
        for number, line in enumerate(io.BufferedReader(_Raw(stream), 1024 * 1024), 1):
            if number in wanted:
                found[number] = line.decode(encoding, "backslashreplace").rstrip("\r\n").replace("\0", "\\0")
    return found


class _Raw(io.RawIOBase):
    """A stream of ours as Python's own, for its lines."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._rest or self._stream.read(len(buffer))
        piece, self._rest = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


@contextmanager
def ahead(items: Iterator[Item], size: int) -> Iterator[Iterator[Item]]:
    """Let a thread take up to `size` items in advance. What it raises is raised to who iterates."""
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(size)
    ended = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not ended.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put(item, None)
                if ended.is_set():
                    return
            put(None, None)
        except BaseException as error:
            put(None, error)

    def consume() -> Iterator[Item]:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    thread = threading.Thread(target=produce, name="loader", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        ended.set()
        thread.join()

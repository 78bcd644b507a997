"""One entry of a capture, and the shape of our own files.

A file is a row of zstd frames, so `zstd -dc` shows it. The first frame holds one line of JSON, the header; each other
one holds whole entries, so that what was written before a crash is there and nothing else. An entry is ENTRY and then
its bytes. Addresses are written once: an entry of kind URL gives the address a number, others name it.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Literal

import msgspec
import zstandard

from marketdata_assets.exchanges.errors import BadCapture
from marketdata_assets.exchanges.records import Exchange, MarketType, recorded_at
from marketdata_assets.input_limits import ZSTD_CHUNK_BYTES

SUFFIX = ".capture.zst"
VERSION = 1

Kind = Literal["in", "out", "open", "http", "checkpoint", "closed", "record"]
"""A message of a socket, one that we sent, a socket that was opened, the answer to a request, the state of the reader
between two entries, a socket whose books are out of sync from here on, a gap or a state of an instrument that the
collector recorded and no message shows."""

ENTRY = Struct("<qBIII")  # receive time in ns, kind, connection, address, number of bytes
URL = 0
KINDS: dict[int, Kind] = {1: "in", 2: "out", 3: "open", 4: "http", 5: "checkpoint", 6: "closed", 7: "record"}
NUMBERS = {kind: number for number, kind in KINDS.items()}


Begins = Literal["run", "resumed", "checkpoint"]
"""`run`: no earlier file continues here. `resumed`: nor does one here, and entries say what was missed since the last.
`checkpoint`: what is needed of one is first. None: one continues."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the first frame says."""

    capture: int  # VERSION
    exchange: Exchange | None = None
    market_type: MarketType | None = None
    begins: Begins | None = None
    records: bool = False  # gaps and instrument states that the feed does not make of the other entries are entries


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One thing that came or went."""

    ts_recv: int  # ns
    kind: Kind
    raw: bytes = b""
    connection: int = 0
    url: str = ""


LARGEST_FRAME = 256 * 1024 * 1024  # bytes of one frame, unpacked; our own have some hundred KB
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"


def header_of(path: Path) -> Header:
    """What the file's header says; nothing when it was cut before it could. Raises BadCapture."""
    with path.open("rb") as file:
        first = next(_frames(path, file, []), None)
    if first is None:
        return Header(VERSION)
    try:
        header = msgspec.json.decode(first, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadCapture(str(path), f"it does not begin as a capture does, {error}") from None
    if header.capture != VERSION:
        raise BadCapture(str(path), f"it is of version {header.capture}, this code reads {VERSION}")
    return header


def entries(path: Path, notes: list[str]) -> Iterator[Entry]:
    """All entries of a file. A frame that was cut off at its end is left out and said in `notes`.

    Raises BadCapture for damage that more frames follow.
    """
    urls = {0: ""}
    with path.open("rb") as file:
        frames = _frames(path, file, notes)
        next(frames, None)
        for frame in frames:
            yield from _of_frame(path, frame, urls)


def _of_frame(path: Path, frame: bytes, urls: dict[int, str]) -> Iterator[Entry]:
    at = 0
    while at < len(frame):
        if at + ENTRY.size > len(frame):
            raise BadCapture(str(path), "a frame does not hold whole entries")
        ts_recv, kind, connection, url, length = ENTRY.unpack_from(frame, at)
        at += ENTRY.size + length
        raw = frame[at - length : at]
        if len(raw) != length or (kind and (kind not in KINDS or url not in urls)):
            raise BadCapture(str(path), "a frame does not hold whole entries")
        if kind == URL:
            try:
                urls[url] = raw.decode()
            except UnicodeDecodeError as error:
                raise BadCapture(str(path), f"an address in it is no text, {error}") from None
        else:
            try:
                recorded_at(ts_recv, str(ts_recv), "nanoseconds")
            except ValueError as error:
                raise BadCapture(str(path), str(error)) from None
            yield Entry(ts_recv, KINDS[kind], raw, connection, urls[url])


def _frames(path: Path, file: BinaryIO, notes: list[str]) -> Iterator[bytes]:
    rest, begin = b"", 0
    while True:
        inflater = zstandard.ZstdDecompressor().decompressobj()
        pieces: list[bytes] = []
        taken = unpacked = 0
        while not inflater.eof:
            chunk = rest or file.read(ZSTD_CHUNK_BYTES)
            rest = b""
            if not chunk:
                if taken:
                    notes.append(f"{path}: the last frame, from byte {begin} on, is truncated; left out")
                return
            taken += len(chunk)
            try:
                pieces.append(inflater.decompress(chunk))
                unpacked += len(pieces[-1])
            except zstandard.ZstdError:
                if _begins_again(file, begin):
                    raise BadCapture(str(path), f"it is damaged at byte {begin}, and more frames follow") from None
                notes.append(f"{path}: from byte {begin} on there is no complete frame; left out")
                return
            if unpacked > LARGEST_FRAME:
                raise BadCapture(str(path), f"the frame at byte {begin} is larger than any frame of a capture")
        rest = inflater.unused_data
        begin += taken - len(rest)
        yield b"".join(pieces)


def _begins_again(file: BinaryIO, begin: int) -> bool:
    file.seek(begin + 1)
    tail = b""
    while chunk := file.read(ZSTD_CHUNK_BYTES):
        if FRAME_MAGIC in tail + chunk:
            return True
        tail = chunk[-len(FRAME_MAGIC) + 1 :]
    return False

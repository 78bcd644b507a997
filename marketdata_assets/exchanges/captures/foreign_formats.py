"""Reading captures of other recorders: lines of JSON, and compressed lines of a time and a message."""

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.errors import BadCapture
from marketdata_assets.exchanges.records import recorded_at
from marketdata_assets.input_limits import LineTooLong, TooLarge, lines
from marketdata_assets.loading.archives import gzip_lines

SECOND_DIGITS = 9
NS_DIGITS = 19  # of a time in the 64 bits that entries have for it


class Line(msgspec.Struct, frozen=True):
    """A line of `.ndjson`.

    {"recv": "1700000000.000005", "dir": "in", "data": {"e": "trade"}}
    """

    recv: str  # seconds
    dir: Literal["in", "out", "open", "http"]
    url: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


_line = msgspec.json.Decoder(Line).decode
_text = msgspec.json.Decoder(str).decode


def json_lines(path: Path, notes: list[str]) -> Iterator[Entry]:
    """The entries of an `.ndjson`. Messages are the bytes of the line. Each address is a connection, as long as all
    messages have one.
    """
    connections, named = dict[str, int](), True
    blank = 0  # the first line of those at the end that are empty
    with path.open("rb") as file:
        for number, line in enumerate(_lines(path, lines(file)), 1):
            text = line.removeprefix(BOM_UTF8) if number == 1 else line
            if not text.strip():
                blank = blank or number
                continue
            try:
                if blank:
                    raise ValueError(f"line {blank} before it is empty")
                entry = _line(text)
                raw = bytes(entry.data)
                if raw.startswith(b'"'):  # a message that is no JSON, as pong
                    raw = _text(raw).encode()
                ts_recv = recorded_at(nanoseconds(entry.recv), entry.recv, "seconds")
                named &= bool(entry.url) or entry.dir not in ("in", "out")
                is_socket = named and entry.url and entry.dir != "http"
                connection = connections.setdefault(entry.url, len(connections)) if is_socket else 0
                yield Entry(ts_recv, entry.dir, raw, connection, entry.url)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                _cut(path, number, line, error, notes)


def timed_lines(path: Path, notes: list[str]) -> Iterator[Entry]:
    """The entries of a `.txt.gz`: a receive time in ns, a blank, a message.

    1700000000000000005 {"stream":"abcusdt@trade","data":{"e":"trade"}}

    A book snapshot is among them as the REST response.
    """
    number = 0
    try:
        for number, line in enumerate(_lines(path, gzip_lines(path)), 1):
            moment, _, raw = line.rstrip(b"\r\n").partition(b" ")
            try:
                if not moment.isdigit() or len(moment) > NS_DIGITS or not raw:
                    raise ValueError("it is no time and no message")
                ts_recv = recorded_at(int(moment), moment.decode(), "nanoseconds")
            except ValueError as error:
                _cut(path, number, line, error, notes)
                continue
            yield Entry(ts_recv, "http" if raw.startswith(b'{"lastUpdateId"') else "in", raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if not number:
            raise BadCapture(str(path), f"it cannot be inflated, {error}") from None
        if not (isinstance(error, EOFError) or str(error).startswith("Not a gzipped file")):
            cause = f"it is damaged after line {number}, {error}; what follows is not read: deliver it again, or split"
            raise BadCapture(str(path), f"{cause} it where its recorder began another gzip member") from None
        notes.append(f"{path}: it breaks off after line {number}, {error}")


def nanoseconds(seconds: str) -> int:
    """Seconds as text; digits behind those of a nanosecond are cut. Raises ValueError."""
    whole, _, fraction = seconds.partition(".")
    digits = whole + fraction
    if not digits.isascii() or not digits.isdigit() or len(whole) > NS_DIGITS - SECOND_DIGITS:
        raise ValueError(f"{seconds[:40]!r} is no time in seconds")
    return int(whole + fraction[:SECOND_DIGITS].ljust(SECOND_DIGITS, "0"))


def _lines(path: Path, found: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from found
    except (LineTooLong, TooLarge) as error:
        raise BadCapture(str(path), str(error)) from error


def _cut(path: Path, number: int, line: bytes, error: Exception, notes: list[str]) -> None:
    """A line that cannot be read: the last one was cut off while it was written, any other one is damage."""
    if line.endswith(b"\n"):
        raise BadCapture(f"{path}:{number}", f"the line cannot be read, {error}") from None
    notes.append(f"{path}: line {number}, the last one, is truncated; left out")

"""The HTTP side of the ClickHouse front: bodies in and out of their encodings, form fields, what a request asks for.

Running the query belongs to `clickhouse_http`.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from io import BufferedIOBase
from typing import Any
from urllib.parse import parse_qsl

CHUNK_BYTES = 1 << 20
STATEMENT_BYTES = 1 << 18
NO_FILES = (
    "Code: 48. DB::Exception: external tables need a full ClickHouse server; "
    "set MARKETDATA_CLICKHOUSE_URL to one. (NOT_IMPLEMENTED)"
)

# URL keys that steer the transport; every other key but `query`, `database` and the like is a setting of the query.
TRANSPORT_KEYS = frozenset((
    "query", "database", "default_format", "user", "password", "role", "query_id",
    "quota_key", "compress", "decompress", "buffer_size", "session_id", "session_timeout", "session_check",
    "wait_end_of_query", "client_protocol_version", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "enable_http_compression", "http_zlib_compression_level",
    "add_http_cors_header", "cancel_http_readonly_queries_on_client_close", "stacktrace",
))  # fmt: skip

_NAME = rb"(?:`[^`]+`|\"[^\"]+\"|\w+)"
_COLUMNS = rb"\((?:[^()`\"]|`[^`]*`|\"[^\"]*\")*\)"
# INSERT INTO [TABLE] db.table (columns) [SETTINGS ...] FORMAT Name, then the data after at most one line break.
_INSERT_WITH_DATA = re.compile(
    rb"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
    rb"(?P<into>INSERT\s+INTO\s+(?:TABLE\s+)?" + _NAME + rb"(?:\." + _NAME + rb")?(?:\s*" + _COLUMNS + rb")?)"
    rb"(?:\s*(?P<settings>SETTINGS\s[^;]*?))?\s*\bFORMAT\s+(?P<format>\w+)[ \t]*;?[ \t]*\r?\n?",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:SETTINGS\s[^']*)?;?\s*$", re.IGNORECASE)


class RequestError(Exception):
    """The request cannot be read; the message goes to the client."""


@dataclass(frozen=True)
class Insert:
    """An insert whose data follows the statement; `infile` makes it read the data from a file."""

    into: str
    settings: str
    format: str

    def infile(self, path: str) -> str:
        """The same insert with its data in a file."""
        return f"{self.into} FROM INFILE {quote(path)} {self.settings} FORMAT {self.format}"


@dataclass(frozen=True)
class Request:
    """What one request asks for."""

    parameters: dict[str, str]
    statement: bytes = b""
    body: Iterable[bytes] = field(default_factory=tuple)

    @property
    def settings(self) -> dict[str, str]:
        """The settings and `param_*` values of this request only."""
        return {key: value for key, value in self.parameters.items() if key not in TRANSPORT_KEYS}


def read_request(url_query: str, content_type: str, body: Iterable[bytes]) -> Request:
    """Join the URL keys with the fields of a multipart form; raises RequestError for files, which need a session."""
    parameters = dict(parse_qsl(url_query, keep_blank_values=True))
    if content_type.startswith("multipart/form-data"):
        parameters |= _form_fields(content_type, b"".join(body))
        body = ()
    return Request(parameters, parameters.get("query", "").encode(), body)


def start_of(request: Request) -> tuple[bytes, Iterator[bytes]]:
    """The statement, or so much of the body that a statement before data is whole in it, and the rest of the body."""
    rest = iter(request.body)
    start = request.statement + b"\n" if request.statement else b""
    while not request.statement and len(start) < STATEMENT_BYTES:
        piece = next(rest, None)
        if piece is None:
            break
        start += piece
    return start, rest


def split_insert(start: bytes) -> tuple[Insert, bytes] | None:
    """Return an insert and the data that `start` already has of it; None for any other statement."""
    found = _INSERT_WITH_DATA.match(start)
    if found is None:
        return None
    settings = (found["settings"] or b"").decode()
    return Insert(found["into"].decode(), settings, found["format"].decode()), start[found.end() :]


def output_format(statement: bytes, default: str) -> str:
    found = _TRAILING_FORMAT.search(statement)
    return found[1].decode() if found else default


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def raw_body(stream: BufferedIOBase, length: str | None, chunked: bool) -> Iterator[bytes]:
    """The body as it was sent, by Content-Length or in chunks; raises RequestError when the client breaks off."""
    if not chunked:
        yield from _exactly(stream, int(length or 0))
        return
    while size := int(stream.readline().split(b";")[0] or b"-1", 16):
        if size < 0:
            raise RequestError("the request body ends inside its chunks")
        yield from _exactly(stream, size)
        stream.readline()
    while stream.readline().strip():
        pass


def decoded(body: Iterable[bytes], encoding: str) -> Iterable[bytes]:
    """Undo Content-Encoding. A body may be several frames one after the other: clients send a frame per block."""
    match encoding:
        case "" | "identity":
            return body
        case "gzip":
            return _frames(body, lambda: zlib.decompressobj(31))
        case "deflate":
            return _frames(body, zlib.decompressobj)
        case "lz4":
            import lz4.frame

            return _frames(body, lz4.frame.LZ4FrameDecompressor)
        case "zstd":
            import zstandard

            return _frames(body, lambda: zstandard.ZstdDecompressor().decompressobj())
    raise RequestError(f"Content-Encoding {encoding} is not known here; send gzip, deflate, lz4, zstd or none")


def encoded(data: bytes, accepted: str) -> tuple[bytes, str]:
    """Compress a result by the first method of Accept-Encoding that is known, and name the method; "" for none."""
    for method in (part.split(";")[0].strip() for part in accepted.split(",")):
        match method:
            case "lz4":
                import lz4.frame

                return lz4.frame.compress(data), method
            case "zstd":
                import zstandard

                return zstandard.ZstdCompressor(level=1).compress(data), method
            case "gzip":
                compressor = zlib.compressobj(level=1, wbits=31)
                return compressor.compress(data) + compressor.flush(), method
            case "deflate":
                return zlib.compress(data, level=1), method
    return data, ""


def _exactly(stream: BufferedIOBase, length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, CHUNK_BYTES))
        if not piece:
            raise RequestError(f"the request body ends {length} bytes early")
        length -= len(piece)
        yield piece


def _frames(body: Iterable[bytes], new_decoder: Callable[[], Any]) -> Iterator[bytes]:
    decoder = new_decoder()
    for piece in body:
        while piece:
            if getattr(decoder, "eof", False):
                decoder = new_decoder()
            yield decoder.decompress(piece)
            piece = getattr(decoder, "unused_data", b"") or b""
    if not getattr(decoder, "eof", True):
        raise RequestError("the compressed request body ends inside a frame")


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise RequestError(NO_FILES)
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        fields[str(name)] = content.decode() if isinstance(content, bytes) else ""
    return fields

"""The HTTP side of the ClickHouse front: bodies in and out of their encodings, form fields, what a request asks for.

Running the query belongs to `clickhouse_http`.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
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


def split_insert(start: bytes) -> tuple[Callable[[str], str], bytes] | None:
    """Of an insert whose data follows it, the same with its data in a file, and the data that `start` already has.

    None for any other statement.
    """
    found = _INSERT_WITH_DATA.match(start)
    if found is None:
        return None
    into, settings, name = ((found[part] or b"").decode() for part in ("into", "settings", "format"))
    return lambda path: f"{into} FROM INFILE {quote(path)} {settings} FORMAT {name}", start[found.end() :]


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
    if encoding in ("", "identity"):
        return body
    if codec := _codec(encoding):
        return _frames(body, codec[0])
    raise RequestError(f"Content-Encoding {encoding} is not known here; send gzip, deflate, lz4, zstd or none")


def encoded(data: bytes, accepted: str) -> tuple[bytes, str]:
    """Compress a result by the first method of Accept-Encoding that is known, and name the method; "" for none."""
    for method in (part.split(";")[0].strip() for part in accepted.split(",")):
        if codec := _codec(method):
            return codec[1](data), method
    return data, ""


def _codec(method: str) -> tuple[Callable[[], Any], Callable[[bytes], bytes]] | None:
    """How a decoder is made, and how bytes are compressed; None for an unknown method."""
    match method:
        case "gzip":
            return partial(zlib.decompressobj, 31), partial(gzip.compress, compresslevel=1)
        case "deflate":
            return zlib.decompressobj, partial(zlib.compress, level=1)
        case "lz4":
            import lz4.frame

            return lz4.frame.LZ4FrameDecompressor, lz4.frame.compress
        case "zstd":
            import zstandard

            return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdCompressor(level=1).compress
    return None


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

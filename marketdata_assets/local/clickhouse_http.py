"""A loopback HTTP front over the embedded ClickHouse engine, so that many processes share one data folder.

Run as `python -m marketdata_assets.local.clickhouse_http --path DIR --port N --password-file FILE`. It speaks as much
of the protocol as clickhouse-connect needs; sessions, further users and external tables are left to a real server.
A query can read and write the files of whoever runs this, so each needs the password and may not come from a web page.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hmac
import json
import re
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marketdata_assets.local import clickhouse_wire as wire
from marketdata_assets.local.password import USER

DATABASE = "marketdata"
DRAIN_SECONDS = 15
UNKNOWN_TABLE = 60
UNKNOWN_EXCEPTION = 1002
AUTHENTICATION_FAILED = 516
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BAD_LOGIN = "user or password is wrong; `marketdata exec PROGRAM` sets MARKETDATA_CLICKHOUSE_URL, which has both"
FOREIGN = "Host or Origin is another than 127.0.0.1 or localhost, as of a web page in a browser; no page may ask"
REJECTED_BODY_BYTES = 1 << 20
"""What is read of a rejected request, so that its client sees the answer; then the connection is closed."""
_CODE = re.compile(r"Code: (\d+)")


@dataclass(frozen=True)
class Answer:
    """A result as bytes, with the numbers of the summary header."""

    data: bytes
    format: str
    counts: dict[str, str]

    @classmethod
    def of(cls, result: Any, result_format: str) -> Answer:
        """Copy the engine's result, which ends with its connection."""
        counts = {
            "read_rows": result.storage_rows_read(),
            "read_bytes": result.storage_bytes_read(),
            "written_rows": result.rows_written(),
            "written_bytes": result.bytes_written(),
            "result_rows": result.rows_read(),
            "result_bytes": result.bytes_read(),
        }
        return cls(result.bytes(), result_format, {name: str(count) for name, count in counts.items()})


class Engine:
    """The one owner of the data folder; every request gets a connection of its own, which costs a millisecond.

    So a `USE` or `SET` ends with its request.
    """

    def __init__(self, path: Path) -> None:
        from chdb.state.sqlitelike import Connection

        path.mkdir(parents=True, exist_ok=True)
        self._connect: Callable[[], Any] = partial(Connection, str(path))
        self._keeper = self._connect()
        self._bodies = path.with_name(f"{path.name}-inserts")
        shutil.rmtree(self._bodies, ignore_errors=True)  # of a server that was killed
        self._bodies.mkdir(mode=0o700)
        self._keeper.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic")
        self.timezone = self._keeper.query("SELECT timezone()", "TabSeparated").bytes().decode().strip()

    def run(self, request: wire.Request, default_format: str) -> Answer:
        """Run the request's statement; raises RuntimeError with the engine's "Code: N..." text."""
        connection = self._connect()
        try:
            if database := request.parameters.get("database"):
                connection.query("USE `{}`".format(database.replace("`", "\\`")))
            if settings := request.settings:
                for key in settings:
                    if not key.isidentifier():
                        raise wire.RequestError(f"Code: 115. DB::Exception: {key!r} is no setting. (UNKNOWN_SETTING)")
                connection.query("SET " + ", ".join(f"{key} = {wire.quote(value)}" for key, value in settings.items()))
            start, rest = wire.start_of(request)
            if insert := wire.split_insert(start):
                reading_file, first = insert
                with tempfile.NamedTemporaryFile(dir=self._bodies) as file:
                    file.write(first)
                    file.writelines(rest)
                    file.flush()
                    return Answer.of(connection.query(reading_file(file.name)), default_format)
            query = (start + b"".join(rest)).strip()
            if not query:
                raise wire.RequestError("Code: 62. DB::Exception: the request has no query. (SYNTAX_ERROR)")
            result_format = wire.output_format(query, default_format)
            return Answer.of(connection.query(query.decode(), result_format), result_format)
        except Exception as error:
            if str(error):
                raise
            raise RuntimeError(_last_error(connection)) from error
        finally:
            connection.close()

    def close(self) -> None:
        self._keeper.close()
        shutil.rmtree(self._bodies, ignore_errors=True)


class Front(ThreadingHTTPServer):
    """The server; it counts the requests in work so that a stop can wait for them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, engine: Engine, password: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine, self.password = engine, password
        self._working = 0
        self._idle = threading.Condition()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request in, and out at the end."""
        with self._idle:
            self._working += 1
        try:
            yield
        finally:
            with self._idle:
                self._working -= 1
                self._idle.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait until no request is in work."""
        with self._idle:
            self._idle.wait_for(lambda: self._working == 0, timeout=seconds)


class Handler(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Front

    def do_GET(self) -> None:
        """Answer `/ping`, or a query in the URL."""
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        if path != "/ping" and query:
            self.do_POST()
        elif self._from_elsewhere():
            self._deny(FOREIGN)
        else:
            self._answer(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})

    def do_POST(self) -> None:
        if self._from_elsewhere():
            self._deny(FOREIGN)
        elif not self._knows_the_password():
            self._deny(BAD_LOGIN)
        else:
            with self.server.working():
                self._query()

    def log_message(self, *args: Any, **keywords: Any) -> None:
        """Keep the access log empty; errors go to the client."""

    def _from_elsewhere(self) -> bool:
        """Whether a web page of another site asks: by its Origin, or by a host name that it made point here."""
        origin = self.headers.get("Origin")
        pages = [] if origin is None else [origin]
        return any(_host(text) not in LOOPBACK for text in [f"//{self.headers.get('Host', '')}", *pages])

    def _knows_the_password(self) -> bool:
        if "X-ClickHouse-Key" in self.headers:
            given = f"{self.headers.get('X-ClickHouse-User', '')}:{self.headers['X-ClickHouse-Key']}".encode()
        else:
            scheme, _, coded = self.headers.get("Authorization", "").partition(" ")
            try:
                given = base64.b64decode(coded, validate=True) if scheme.lower() == "basic" else b""
            except binascii.Error:
                return False
        return hmac.compare_digest(given, f"{USER}:{self.server.password}".encode())

    def _deny(self, cause: str) -> None:
        self.close_connection = True
        length = self.headers.get("Content-Length", "")
        self.rfile.read(min(int(length), REJECTED_BODY_BYTES) if length.isdecimal() else 0)
        text = f"Code: {AUTHENTICATION_FAILED}. DB::Exception: {cause}. (AUTHENTICATION_FAILED)"
        self._fail(403, AUTHENTICATION_FAILED, text, {"Connection": "close"})

    def _query(self) -> None:
        began = time.monotonic_ns()
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        raw = wire.raw_body(self.rfile, self.headers.get("Content-Length"), chunked)
        query_id = ""
        try:
            body = wire.decoded(raw, self.headers.get("Content-Encoding", ""))
            request = wire.read_request(urlsplit(self.path).query, self.headers.get("Content-Type", ""), body)
            query_id = request.parameters.get("query_id") or str(uuid.uuid4())
            wanted = request.parameters.get("default_format") or self.headers.get("X-ClickHouse-Format")
            answer = self.server.engine.run(request, wanted or "TabSeparated")
        except Exception as error:
            try:
                for _ in raw:  # a client still sending would not see the answer
                    pass
            except (wire.RequestError, OSError, ValueError):
                self.close_connection = True
            self._refuse(error, query_id)
            return
        elapsed = {"elapsed_ns": str(time.monotonic_ns() - began)}
        headers = {
            "X-ClickHouse-Summary": json.dumps(answer.counts | elapsed),
            "X-ClickHouse-Format": answer.format,
            "X-ClickHouse-Timezone": self.server.engine.timezone,
            "X-ClickHouse-Query-Id": query_id,
            "Content-Type": "text/plain; charset=UTF-8",
        }
        data = answer.data
        if data and request.parameters.get("enable_http_compression") == "1":
            data, method = wire.encoded(data, self.headers.get("Accept-Encoding", ""))
            headers |= {"Content-Encoding": method} if method else {}
        self._answer(200, data, headers)

    def _refuse(self, error: Exception, query_id: str) -> None:
        # The engine quotes bytes of the query as they are, and the binding fails to make text of them.
        text = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
        found = _CODE.match(text)
        if found is None:
            text = f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: {type(error).__name__}: {error}. (UNKNOWN_EXCEPTION)"
        code = int(found[1]) if found else UNKNOWN_EXCEPTION
        self._fail(404 if code == UNKNOWN_TABLE else 500, code, text, {"X-ClickHouse-Query-Id": query_id})

    def _fail(self, status: int, code: int, text: str, headers: dict[str, str]) -> None:
        about = {"X-ClickHouse-Exception-Code": str(code), "Content-Type": "text/plain; charset=UTF-8"}
        self._answer(status, text.encode() + b"\n", headers | about)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _last_error(connection: Any) -> str:
    """The text of the engine's newest error: one that quotes bytes that are no text has none under Python 3.11.2."""
    sql = "SELECT code, toValidUTF8(last_error_message), name FROM system.errors ORDER BY last_error_time DESC LIMIT 1"
    code, text, name = json.loads(connection.query(sql, "JSONCompactEachRow").bytes())
    return f"Code: {code}. DB::Exception: {text} ({name})"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def main() -> None:
    """Serve the data folder until SIGTERM, then let the requests in work finish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    options = parser.parse_args()
    engine = Engine(options.path.absolute())
    with Front(options.port, engine, options.password_file.read_text()) as front:
        signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=front.shutdown).start())
        front.serve_forever(poll_interval=0.05)
        front.socket.close()
        front.drain(DRAIN_SECONDS)
    engine.close()


if __name__ == "__main__":
    main()

"""A load balancer over several ClickHouse servers: each request goes to the next one, which gives its name."""

import http.client
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from urllib.parse import urlsplit, urlunsplit

OWN = ("transfer-encoding", "content-length", "connection", "keep-alive", "host")


class Nodes:
    """Serves while it is open; entering it gives the address. The first node is node1, unless they have no names."""

    def __init__(self, servers: Sequence[str], *, named: bool = True) -> None:
        self._servers, self._named = servers, named
        self._turn, self._lock = cycle(enumerate(servers, 1)), threading.Lock()
        nodes = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                nodes.forward(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        first = urlsplit(self._servers[0])
        login = first.netloc.rpartition("@")[0]
        host = f"127.0.0.1:{self._server.server_address[1]}"
        return urlunsplit(first._replace(netloc=f"{login}@{host}" if login else host))

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        """Answer as the node does whose turn it is."""
        with self._lock:
            number, server = next(self._turn)
        address = urlsplit(server)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        node = http.client.HTTPConnection(address.hostname or "", address.port)
        kept = {name: value for name, value in request.headers.items() if name.lower() not in OWN}
        node.request(request.command, request.path, body, kept)
        answer = node.getresponse()
        data = answer.read()
        node.close()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*OWN, "x-clickhouse-server-display-name"):
                request.send_header(name, value)
        if self._named:
            request.send_header("X-ClickHouse-Server-Display-Name", f"node{number}")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

"""Files of a flow that come from elsewhere: copied when they are new or changed, and pages of an API."""

import datetime as dt
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import psycopg
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import fetching
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.definition import parse as parse_flow
from marketdata_assets.flows.errors import SourceFailed
from marketdata_assets.flows.fetching import Fetched
from marketdata_assets.stores.budgets import PostgresBudgets
from tests.flows.flow_files import PRICES, closes, flow, lines, rows, run

FOLDER = "loader:\n  folder: in\n"
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def served(answer: Callable[[str], Answer], asked: list[dict[str, str]] | None = None) -> Iterator[str]:
    """A web server on loopback: `answer` gives status, headers and body for a path with its query.

    The headers of each request are added to `asked`.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(dict(self.headers))
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def defined(folder: Path, source: str, text: str = PRICES) -> FlowDefinition:
    return flow(folder, text.replace("loader:\n", FOLDER) + f"source: {source}\n")


def fetch(defined: FlowDefinition, folder: Path, **environ: str) -> Fetched:
    return fetching.fetch(defined, folder, environ)


def test_files_of_a_web_server_are_copied_once_and_again_when_they_change(dsn: str, tmp_path: Path) -> None:
    files = {"/p/a.csv": lines("a", [1, 2]), "/p/b.csv": lines("b", [3]), "/p/notes.txt": "x"}
    requests: list[str] = []

    def answer(path: str) -> Answer:
        requests.append(path)
        if path in ("/p/", "/p"):
            links = "".join(f'<a href="{name.removeprefix("/p/")}">{name}</a>' for name in files)
            return 200, {"Content-Type": "text/html"}, links.encode()
        if path not in files:
            return 404, {}, b""
        return 200, {"ETag": f'"{hash(files[path])}"', "Content-Type": "text/csv"}, files[path].encode()

    with served(answer) as url:
        one = defined(tmp_path, f"{{url: {url}/p/}}")
        assert fetch(one, tmp_path).copied == ("a.csv", "b.csv")
        run(one, dsn, tmp_path)
        assert closes(dsn) == [1, 2]
        assert fetch(one, tmp_path).copied == ()
        files["/p/a.csv"] = lines("a", [1, 5])
        assert fetch(one, tmp_path).copied == ("a.csv",)
        run(one, dsn, tmp_path)
        assert closes(dsn) == [1, 5]
        single = PRICES.replace("loader:\n", "loader:\n  folder: one\n") + f"source: {{url: {url}/p/b.csv}}\n"
        assert fetch(flow(tmp_path, single), tmp_path).copied == ("b.csv",)
        del files["/p/b.csv"]
        gone = flow(tmp_path, single.replace("b.csv", "c/"))
        with pytest.raises(SourceFailed, match=r"source http://127.*/p/c/"):
            fetch(gone, tmp_path)


def test_a_file_that_cannot_be_copied_costs_no_others(tmp_path: Path) -> None:
    def answer(path: str) -> Answer:
        if path == "/p/":
            return 200, {"Content-Type": "text/html"}, b'<a href="a.csv">a</a><a href="b.csv">b</a>'
        return (200, {}, lines("a", [1]).encode()) if path == "/p/a.csv" else (500, {}, b"")

    with served(answer) as url:
        one = defined(tmp_path, f"{{url: {url}/p/}}")
        fetched = fetch(one, tmp_path)
        assert (fetched.copied, list(fetched.failed)) == (("a.csv",), ["b.csv"])
        with pytest.raises(SourceFailed, match=r"1 files cannot be copied, such as b\.csv: "):
            fetched.check(one)
        assert fetch(one, tmp_path).copied == ("a.csv",)  # the server reports nothing that changes with the file
        assert not [*(tmp_path / "in").glob(".*.part")]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server of S3."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_files_of_an_s3_bucket_are_loaded(s3: str, dsn: str, tmp_path: Path) -> None:
    s3fs = pytest.importorskip("s3fs")
    bucket = s3fs.S3FileSystem(key="k", secret="s", endpoint_url=s3, skip_instance_cache=True, use_listings_cache=False)
    bucket.mkdir("prices")
    frame = pl.DataFrame({"code": ["a", "a"], "day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)], "close": [1.5, 2.5]})
    data = tmp_path / "x.parquet"
    frame.with_columns(volume=1).write_parquet(data)
    bucket.put_file(str(data), "prices/2024/a.parquet")
    bucket.pipe_file("prices/README.md", b"x")
    source = f"{{url: 's3://prices/', options: {{endpoint_url: '{s3}'}}, secrets: {{key: S3_KEY, secret: S3_SECRET}}}}"
    one = defined(tmp_path, source, PRICES.replace("loader:\n", "loader:\n  format: parquet\n"))
    with pytest.raises(SourceFailed, match="the variable S3_KEY is not set"):
        fetch(one, tmp_path)
    assert fetch(one, tmp_path, S3_KEY="k", S3_SECRET="s").copied == ("2024/a.parquet",)
    assert fetch(one, tmp_path, S3_KEY="k", S3_SECRET="s").copied == ()
    assert not run(one, dsn, tmp_path).failed
    assert rows(dsn, "SELECT close::text FROM prices ORDER BY day") == [("1.5000",), ("2.5000",)]
    frame.with_columns(volume=1, close=pl.col("close") + 1).write_parquet(data)
    bucket.put_file(str(data), "prices/2024/a.parquet")
    assert fetch(one, tmp_path, S3_KEY="k", S3_SECRET="s").copied == ("2024/a.parquet",)
    assert not run(one, dsn, tmp_path).failed
    assert rows(dsn, "SELECT close::text FROM prices ORDER BY day") == [("2.5000",), ("3.5000",)]


def test_files_of_an_sftp_server_are_copied(tmp_path: Path) -> None:
    paramiko = pytest.importorskip("paramiko")
    root = tmp_path / "root"
    (root / "out").mkdir(parents=True)
    (root / "out" / "a.csv").write_text(lines("a", [1]))
    with sftp_server(paramiko, root) as port:
        options = f"{{port: {port}, username: me}}"
        one = defined(tmp_path, f"{{url: 'sftp://127.0.0.1/out', options: {options}, secrets: {{password: SFTP}}}}")
        assert fetch(one, tmp_path, SFTP="secret").copied == ("a.csv",)
        assert (tmp_path / "in" / "a.csv").read_text() == lines("a", [1])
        assert fetch(one, tmp_path, SFTP="secret").copied == ()
        with pytest.raises(SourceFailed, match="AuthenticationException"):
            fetch(one, tmp_path, SFTP="wrong")


@contextmanager
def sftp_server(paramiko: Any, root: Path) -> Iterator[int]:
    """A server of SFTP that serves the files below `root` to `me` with the password `secret`."""

    class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
        def list_folder(self, path: str) -> Any:
            found = []
            for entry in (root / path.lstrip("/")).iterdir():
                attributes = paramiko.SFTPAttributes.from_stat(entry.stat())
                attributes.filename = entry.name
                found.append(attributes)
            return found

        def stat(self, path: str) -> Any:
            try:
                return paramiko.SFTPAttributes.from_stat((root / path.lstrip("/")).stat())
            except OSError as error:
                return paramiko.SFTPServer.convert_errno(error.errno)

        lstat = stat

        def open(self, path: str, flags: int, attr: Any) -> Any:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = (root / path.lstrip("/")).open("rb")
            return handle

    class Login(paramiko.ServerInterface):  # type: ignore[misc]
        def check_auth_password(self, username: str, password: str) -> int:
            right = (username, password) == ("me", "secret")
            return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

    key = paramiko.ECDSAKey.generate()
    transports: list[Any] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            transport.start_server(server=Login())
            transports.append(transport)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for transport in transports:
            transport.close()


API = PRICES.replace("loader:\n", "loader:\n  format: json\n  rows: data.items\n")


def day(number: int) -> dict[str, Any]:
    return {"code": "a", "day": f"2024-01-{number:02}", "close": number, "volume": 1}


class Paged:
    """An API of pages of two rows; every third request is answered with 429."""

    def __init__(self, count: int, style: str) -> None:
        self.count, self.style, self.requests = count, style, 0
        self.asked: list[str] = []

    def __call__(self, path: str) -> Answer:
        self.requests += 1
        if self.requests % 3 == 2:
            return 429, {"Retry-After": "0"}, b""
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        assert (query.pop("limit"), query.pop("key")) == ("2", "secret")
        self.asked.append(query.get("after") or query.get("offset") or "")
        first = int(self.asked[-1] or 0)
        items = [day(number + 1) for number in range(first, min(first + 2, self.count))]
        following = first + 2 if first + 2 < self.count else None
        after = f"http://{self.style}{path}&after={following}" if self.style.startswith("127") else following
        document = {"data": {"items": items}, "next": after if following else None}
        return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


SOURCE = (
    "{{api: {{url: '{url}/candles', params: {{limit: 2}}, secret_params: {{key: API_KEY}}, cursor: {cursor}, "
    "rate: {{requests: 10000, per_seconds: 1}}}}}}"
)


@pytest.mark.parametrize("cursor", ["{param: after, next: next}", "{param: offset, start: 0, step: 2}"])
def test_all_pages_of_an_api_are_loaded_and_later_only_new_ones(cursor: str, dsn: str, tmp_path: Path) -> None:
    api = Paged(5, "token")
    with served(api) as url:
        one = defined(tmp_path, SOURCE.format(url=url, cursor=cursor), API)
        assert fetch(one, tmp_path, API_KEY="secret").copied == tuple(f"page-00000{n}.json" for n in (1, 2, 3))
        assert not run(one, dsn, tmp_path).failed
        assert closes(dsn) == [1, 2, 3, 4, 5]
        api.count, api.asked = 8, []
        assert fetch(one, tmp_path, API_KEY="secret").copied == ("page-000003.json", "page-000004.json")
        assert api.asked[0] == "4"
        assert not run(one, dsn, tmp_path).failed
        assert closes(dsn) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_api_that_fails_is_named_without_its_secrets(tmp_path: Path) -> None:
    answers: dict[str, Answer] = {"value": (401, {}, b"bad key secret")}
    with served(lambda path: answers["value"]) as url:
        one = defined(tmp_path, SOURCE.format(url=url, cursor="{param: after, next: next}"), API)
        with pytest.raises(SourceFailed) as raised:
            fetch(one, tmp_path, API_KEY="secret")
        assert "401: bad key ***" in str(raised.value)
        answers["value"] = (200, {}, b'{"data": {}}')
        with pytest.raises(SourceFailed, match=r"without an array at data\.items; correct"):
            fetch(one, tmp_path, API_KEY="secret")
        answers["value"] = (200, {}, b'{"data": {"items": [{}]}, "next": "http://other.example/candles?after=1"}')
        with pytest.raises(SourceFailed, match="the next page is at another address"):
            fetch(one, tmp_path, API_KEY="secret")


def test_pages_are_requested_within_a_budget_that_hosts_share(dsn: str, tmp_path: Path) -> None:
    with served(Paged(5, "token")) as url:
        one = defined(tmp_path, SOURCE.format(url=url, cursor="{param: after, next: next}"), API)
        budgets = PostgresBudgets(dsn, "flow.prices.")
        fetched = fetching.fetch(one, tmp_path, {"API_KEY": "secret"}, budgets)  # a pause is requested on the way
    assert len(fetched.copied) == 3
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT name FROM request_budgets").fetchall() == [("flow.prices.127.0.0.1",)]


def test_without_the_store_of_budgets_nothing_is_requested(tmp_path: Path) -> None:
    api = Paged(5, "token")
    with served(api) as url:
        source = SOURCE.format(url=url, cursor="{param: after, next: next}, max_retries: 0")
        one = defined(tmp_path, source, API)
        budgets = PostgresBudgets("postgresql://127.0.0.1:1/budgets")
        with pytest.raises(SourceFailed, match=r"budgets in 127\.0\.0\.1:1/budgets"):
            fetching.fetch(one, tmp_path, {"API_KEY": "secret"}, budgets)
    assert api.requests == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{}", "source: give either url: or api:"),
        ("{url: prices}", "source.url: "),
        ("{url: 's3://b', secrets: {key: 'a b'}}", "source.secrets.key: "),
        ("{api: {url: 'https://a.b/c', curser: {}}}", "source.api.curser: unknown key; did you mean 'cursor'?"),
        ("{api: {url: 'https://a.b/c'}}", "source.api: needs loader.format: json, whose rows are those of a page"),
    ],
)
def test_a_source_that_makes_no_sense_is_an_error_of_the_flow(source: str, said: str) -> None:
    with pytest.raises(InvalidConfigFile) as raised:
        parse_flow(PRICES + f"source: {source}\n")
    assert said in str(raised.value)


SECRET = "canary-9c2d"
SIGNING_KEYS = ("token", "sig", "X-Amz-Signature", "key", "secret", "password", "access_token", "X-Goog-Signature")


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://user:{SECRET}@127.0.0.1:1/x.csv",
        f"http://user:{SECRET}@127.0.0.1:1/x.csv",
        f"https://{SECRET}@127.0.0.1:1/x.csv",
        f"sftp://user:{SECRET}@127.0.0.1:1/x.csv",
        f"s3://KEY:{SECRET}@bucket/x.csv",
        *(f"http://127.0.0.1:1/x.csv?v=1&{key}={SECRET}" for key in SIGNING_KEYS),
    ],
)
def test_no_error_of_a_source_shows_what_signs_its_url(url: str, tmp_path: Path) -> None:
    options = ", options: {timeout: 2}" if url.startswith("ftp") else ""
    with pytest.raises(SourceFailed) as failed:
        fetch(defined(tmp_path, f"{{url: '{url}'{options}}}"), tmp_path)
    assert SECRET not in str(failed.value)
    assert "***" in str(failed.value)
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json"))


@pytest.mark.parametrize("allowed", [False, True])
def test_a_redirect_to_another_server_is_refused_or_carries_no_header_of_ours(tmp_path: Path, allowed: bool) -> None:
    asked: list[dict[str, str]] = []
    with served(lambda _: (200, {}, b"a,b\n1,2\n"), asked) as other, served(lambda _: (302, there, b"")) as url:
        there = {"Location": other.replace("127.0.0.1", "localhost") + "/x.csv"}
        hosts = ", redirect_hosts: [localhost]" if allowed else ""
        headers = "headers: {X-Api-Key: KEY123, Authorization: Bearer AUTH123, Cookie: a=b}"
        client = "client_kwargs: {headers: {X-Client: KEY123}}"
        flow = defined(tmp_path, f"{{url: '{url}/x.csv', options: {{{headers}, {client}}}{hosts}}}")
        if allowed:
            assert fetch(flow, tmp_path).copied == ("x.csv",)
        else:
            with pytest.raises(SourceFailed, match="redirect_hosts"):
                fetch(flow, tmp_path)
    assert bool(asked) == allowed
    assert [value for headers in asked for value in headers.values() if "123" in value or value == "a=b"] == []


def test_a_redirect_on_the_same_server_is_followed_with_our_headers(tmp_path: Path) -> None:
    def answer(path: str) -> Answer:
        if path == "/x.csv":
            return 302, {"Location": "/y/x.csv"}, b""
        return 200, {}, b"a,b\n1,2\n"

    with served(answer) as url:
        assert fetch(defined(tmp_path, f"{{url: '{url}/x.csv'}}"), tmp_path).copied == ("x.csv",)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\0" * 20, b'{"x.csv": 1}'])
def test_a_list_of_copies_that_cannot_be_read_is_set_aside(tmp_path: Path, content: bytes) -> None:
    with served(lambda _: (200, {"ETag": '"1"'}, b"a,b\n1,2\n")) as url:
        one = defined(tmp_path, f"{{url: '{url}/x.csv'}}")
        assert fetch(one, tmp_path).copied == ("x.csv",)
        assert fetch(one, tmp_path).copied == ()
        state = next(tmp_path.rglob("files.json"))
        state.write_bytes(content)
        assert fetch(one, tmp_path).copied == ("x.csv",)
        assert fetch(one, tmp_path).copied == ()
    assert [path.read_bytes() for path in state.parent.glob("files.json.unreadable-*")] == [content]

"""The ten deliveries by the printed commands and by peers: lines written, rows a second, and what each loses."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg import sql

from bench import deliveries
from bench.deliveries import DELIVERIES, Delivery
from bench.figure import Figure
from bench.peers import NoPeer, environment, unmeasured
from bench.server import Server
from bench.size import sized

REQUIRED = ["dlt[postgres,s3]>=1.31,<2", "pandas>=3,<4", "pyarrow>=20", "psycopg[binary]>=3.2,<4"]
REQUIRED += ["openpyxl>=3.1", "s3fs>=2025.3", "requests>=2", "sqlalchemy>=2"]
PEER = Path(__file__).with_name("delivery_peer.py")
COMMANDS = 2
"""`flows new` and `flows run`: what is written of ours where nothing is added to the definition."""
ROUNDS = sized(3, 1)
MEASURED = sized(len(DELIVERIES), 2)


class Failed(Exception):
    """The load of a delivery failed; the text is what was printed last."""


@dataclass(frozen=True)
class Loaded:
    """One load: seconds without the start of the process."""

    seconds: float
    lines: int
    version: str = ""


@dataclass
class Result:
    """What a tool made of one delivery."""

    lines: int = 0
    seconds: list[float] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.seconds:
            return "; ".join(self.losses)
        speed = f"{deliveries.ROWS / median(self.seconds):,.0f} rows/s"
        return f"{self.lines} lines, {speed}, {'; '.join(self.losses) or 'nothing lost'}"


def figures(server: Server, stack: Path, home: Path) -> Iterator[Figure]:
    """For each tool the lines of all ten; details by delivery are in the figure. `stack` is the home of one."""
    tools: dict[str, str] = {"ours": sys.executable}
    try:
        tools |= dict.fromkeys(("pandas", "dlt"), str(environment("flow-deliveries", REQUIRED)))
    except NoPeer as error:
        yield from unmeasured(error, *(f"flows.ten_deliveries_{name}" for name in ("pandas", "dlt")))
    with _bucket() as bucket, _api() as api:
        for tool, python in tools.items():
            loader = _Loader(
                tool, python, server, stack, home / "deliveries" / tool, {"bucket": bucket, "candles": api}
            )
            results = {delivery.name: loader.result(delivery) for delivery in DELIVERIES[:MEASURED]}
            said = "; ".join(f"{name}: {result}" for name, result in results.items())
            name = f"flows.ten_deliveries_{tool}"
            if not any(result.seconds for result in results.values()):
                yield Figure(name, 0, "lines written", None, "", error=f"it loads none: {said}")
                continue
            detail = f"{loader.version}{deliveries.ROWS:,} rows each, one process. {said}"
            total = sum(result.lines for result in results.values())
            yield Figure(name, total, "lines written", None, detail)


@dataclass
class _Loader:
    """One tool on all deliveries; `places` are the addresses of those that are in no folder."""

    tool: str
    python: str
    server: Server
    stack: Path
    folder: Path
    places: dict[str, str]
    version: str = ""

    def result(self, delivery: Delivery) -> Result:
        """Rounds into fresh databases, then the same file again, then one with a price that is no number."""
        good = deliveries.write(delivery, self.folder / "good" / delivery.name)
        result = Result()
        try:
            for _ in range(ROUNDS):
                dsn = self.server.fresh("bench_deliveries")
                loaded = self._load(delivery, good, dsn)
                result.lines = loaded.lines
                result.seconds.append(loaded.seconds)
            result.losses += _wrong(delivery, dsn)
            self._load(delivery, good, dsn)
            if (rows := _facts(delivery, dsn)[0]) != deliveries.ROWS:
                result.losses.append(f"a second run makes them {rows:,} rows")
        except Failed as error:
            result.losses.append(f"fails: {error}")
            return result
        if delivery.rejects:
            result.losses += self._after_bad_row(delivery)
        return result

    def _after_bad_row(self, delivery: Delivery) -> list[str]:
        bad = deliveries.write(delivery, self.folder / "bad" / delivery.name, bad=True)
        dsn = self.server.fresh("bench_deliveries")
        try:
            self._load(delivery, bad, dsn)
        except Failed as error:
            return [f"a bad price stops the load ({error})"]
        rows, _, kind, _ = _facts(delivery, dsn)
        if rows != deliveries.ROWS - 1:
            return [f"a bad price is loaded, as {kind}"]
        return []

    def _load(self, delivery: Delivery, path: Path, dsn: str) -> Loaded:
        if self.tool == "ours":
            return self._by_commands(delivery, path, dsn)
        place = self.places.get(delivery.name, str(path))
        told = json.loads(_run([self.python, str(PEER), self.tool, delivery.name, dsn, place], dict(os.environ)))
        self.version = f"{self.tool} {told['version']}; "
        return Loaded(told["seconds"], told["lines"], told["version"])

    def _by_commands(self, delivery: Delivery, path: Path, dsn: str) -> Loaded:
        """The commands of the manual, and what a person adds to the definition."""
        command = [str(Path(self.python).with_name("marketdata"))]
        home = self.folder / "home"
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MARKETDATA_")},
            "MARKETDATA_HOME": str(self.stack),
            "MARKETDATA_POSTGRES_DSN": dsn,
            "MARKETDATA_WORKERS": "1",
            "MARKETDATA_FLOWS_DIR": str(home / "flows"),
            "MARKETDATA_FLOWS_DATA": str(home / "data"),
            "S3_KEY": "k",
            "S3_SECRET": "s",
        }
        home.mkdir(parents=True, exist_ok=True)
        definition = home / "flows" / delivery.name / "defs.yaml"
        added = self._source(delivery)
        if not definition.exists():
            _run([*command, "flows", "new", delivery.name, "--from", str(path)], variables)
            with definition.open("a") as file:
                file.write(added)
        where = [] if added else ["--data-dir", str(path.parent)]
        told = json.loads(_run([*command, "flows", "run", delivery.name, *where, "--json"], variables))
        return Loaded(told.get("seconds", 0), COMMANDS + len(added.split("\n")[1:-1]))

    def _source(self, delivery: Delivery) -> str:
        place = self.places.get(delivery.name)
        if delivery.name == "bucket":
            return (
                f"\n  source:\n    url: s3://deliveries/\n    options: {{endpoint_url: '{place}'}}\n"
                "    secrets: {key: S3_KEY, secret: S3_SECRET}\n"
            )
        if delivery.name == "candles":
            return (
                f"\n  source:\n    api:\n      url: {place}\n      cursor: {{param: after, next: data.next}}\n"
                "      rate: {requests: 1000, per_seconds: 1}\n"
            )
        return ""


def _run(command: list[str], variables: dict[str, str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, env=variables)
    if ended.returncode:
        texts = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
        raise Failed(texts[-1].strip()[:120] if texts else f"exit code {ended.returncode}")
    return ended.stdout


def _facts(delivery: Delivery, dsn: str) -> tuple[int, float | None, str, str]:
    """Rows, sum of the prices where they are numbers, and the types of price and time."""
    with psycopg.connect(dsn) as connection:
        types: dict[str, str] = dict(
            connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = %s",
                [delivery.name],
            ).fetchall()
        )
        value, table = sql.Identifier(delivery.value), sql.Identifier(delivery.name)
        query = sql.SQL("SELECT count(*) FROM {}").format(table)
        (rows,) = connection.execute(query).fetchone() or (0,)
        total = None
        with suppress(psycopg.Error):
            (total,) = connection.execute(
                sql.SQL("SELECT sum({}::numeric) FROM {}").format(value, table)
            ).fetchone() or (None,)
    return rows, None if total is None else float(total), types[delivery.value], types[delivery.moment]


def _wrong(delivery: Delivery, dsn: str) -> list[str]:
    """What differs from the file, or from the types that its values have."""
    rows, total, value, moment = _facts(delivery, dsn)
    wrong = []
    if rows != deliveries.ROWS:
        wrong.append(f"{rows:,} of {deliveries.ROWS:,} rows")
    elif total is None or abs(total - delivery.total) > 1e-6 * abs(delivery.total):
        wrong.append(f"sum of prices {total}, not {delivery.total}")
    if value != "numeric" and not (delivery.name == "bucket" and value == "double precision"):
        wrong.append(f"prices are {value}")
    if moment != delivery.moment_type:
        wrong.append(f"{'days' if delivery.moment_type == 'date' else 'instants'} are {moment}")
    return wrong


@contextmanager
def _bucket() -> Iterator[str]:
    """An S3-compatible server with the Parquet file."""
    import s3fs  # type: ignore[import-untyped]
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        files = s3fs.S3FileSystem(key="k", secret="s", endpoint_url=url, skip_instance_cache=True)
        files.mkdir("deliveries")
        (delivery,) = (one for one in DELIVERIES if one.name == "bucket")
        files.pipe("deliveries/2024/bars.parquet", delivery.make(False))
        yield url
    finally:
        server.stop()


@contextmanager
def _api() -> Iterator[str]:
    """A JSON API whose pages each name the next."""
    bodies = list(deliveries.pages())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            after = parse_qs(urlsplit(self.path).query).get("after", ["0"])[0]
            body = bodies[int(after or 0)]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/candles"
        finally:
            server.shutdown()
            thread.join()

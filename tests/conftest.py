"""Real servers for every test: one of a kind for each process of tests, one fresh database for each test that asks.

A server is the one that MARKETDATA_TEST_POSTGRES_DSN, _CLICKHOUSE_URL or _MONGO_URI names, else one of the local stack.

Tests are sorted by what they need: `servers` marks those that use a server, a browser or another process of ours, and
`slow` the long campaigns. `make check` runs what has neither mark, `make test` all but the slow ones.

All of them run in an empty working folder, with an empty home and without a variable of the person who runs them
(`isolation`); that begins before any module of tests is imported.
"""

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, settings
from psycopg.conninfo import conninfo_to_dict
from pymongo import MongoClient

from marketdata_assets import logs
from marketdata_assets.databases import make_tables
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, clickhouse_ledger, mongo, postgres
from marketdata_assets.ticks import tables as tick_tables
from tests import guardian
from tests.databases import Cluster, Databases, emptied_clickhouse, fresh_clickhouse, fresh_postgres, spare_work
from tests.isolation import environment, restored

# `make test` tries the same few examples each time, `make test-properties` more, `make test-random` others by seed.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("project", settings.get_profile("random"), derandomize=True, max_examples=15)
settings.register_profile("thorough", settings.get_profile("project"), max_examples=100)
settings.load_profile("project")


TESTS = Path(__file__).resolve().parent
PLACE = pytest.StashKey[Path]()
"""The empty working folder of all tests of a process."""

GUARDIAN = pytest.StashKey[subprocess.Popen[bytes] | None]()
"""The process that ends what a process of tests has left."""

WAITING = "collector"
"""The folder of tests that wait for times of sockets and servers, and use little of a processor."""

LONG_FIRST = (
    "simulated",
    "fuzz",
    "ui",
    "cli",
    "docs",
    "web",
    "deploy",
    "hosts",
    "kubernetes",
    "defs",
    "collector",
    "ticks",
    "local",
    "bars",
    "stores",
    "alphas",
)


SERVERS = {"server_dsn", "either_dsn", "timescale_dsn", "clickhouse_server", "mongo_uri", "nats_url"} | {
    "local_stack",
    "ray_address",
}
"""Fixtures that start a server: whoever uses one of them, directly or not, is marked `servers`."""

ENGINES = {
    "postgres": {"server_dsn"},
    "timescaledb": {"timescale_dsn"},
    "mongo": {"mongo_uri"},
    "clickhouse": {"clickhouse_server"},
}
"""The mark of the tests of a database, which `make test-engines` runs on each of its servers, by their fixtures."""

EITHER = {"rollup": "server_dsn", "continuous aggregate": "timescale_dsn"}
"""The fixture behind each of the two K-line engines."""

STARTERS = {"LocalStack", "OwnClickHouse", "CollectorProcess", "Venue", "BinanceVenue", "OkxVenue", "DeribitVenue"} | {
    "lived",
    "nats_server",
    "redis_server",
    "serving",
    "soak",
    "stack_on",
}
"""What a module uses that starts servers or processes of its own."""

SLOW_SECONDS = 3600
"""For a long campaign beside other work; other tests end within the timeout of pyproject.toml."""

SERVER_FOLDERS = {"ui", "cli", "soak", "kills", "local", "fanout", "deploy", "repair", "wheel", "image"} | {
    "hosts",
    "engines",
}
"""All of their tests start servers or processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part", metavar="N/PARTS", help="of the files with slow tests, only every PARTS-th from the N-th on"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Leave the person's settings behind, in this process and in all that it starts, before a module reads them.

    While tests are imported there is no garbage to look for.
    """
    gc.disable()
    place, before = Path(tempfile.mkdtemp(prefix="marketdata-tests-")).resolve(), Path.cwd()
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))
    config.add_cleanup(lambda: os.chdir(before))
    config.stash[PLACE] = place / "work"
    for folder in ("work", "home", "flows"):
        (place / folder).mkdir()
    restored(environment(os.environ, place), before)
    config.stash[GUARDIAN] = guardian.watch()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import all tests, where all are asked for, each process from another file on: it compiles some for the others.

    Compiling them takes as long as collecting them. What cannot be imported is reported when it is collected.
    """
    worker: dict[str, Any] = getattr(session.config, "workerinput", {})
    if not worker or [Path(argument).resolve() for argument in session.config.args] != [TESTS]:
        return
    files = sorted(TESTS.rglob("test_*.py"))
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[first:] + files[:first]:
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(file.relative_to(TESTS.parent).with_suffix("").parts))


@pytest.fixture(autouse=True)
def isolated(pytestconfig: pytest.Config) -> Iterator[None]:
    """Begin in an empty folder, and leave neither a variable nor a file behind for the next test."""
    folder, before = pytestconfig.stash[PLACE], dict(os.environ)
    yield
    restored({**before, "PYTEST_CURRENT_TEST": os.environ["PYTEST_CURRENT_TEST"]}, folder)
    left = sorted(path.name for path in folder.iterdir())
    assert not left, f"the test wrote {', '.join(left)} into the working folder instead of into its own"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs servers; folders whose files take long come first, so that no process is left with one alone.

    Files of WAITING are spread over the run: several at once would leave the processors idle.
    """

    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return LONG_FIRST.index(folder) if folder in LONG_FIRST else len(LONG_FIRST)

    for item in items:
        assert isinstance(item, pytest.Function)
        uses_server = not (SERVERS.isdisjoint(item.fixturenames) and STARTERS.isdisjoint(vars(item.module)))
        if uses_server or item.path.parent.name in SERVER_FOLDERS:
            item.add_marker("servers")
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
        for engine in _engines(item):
            item.add_marker(engine)
    items.sort(key=rank)
    places: dict[Path, float] = {path: at for at, path in enumerate(dict.fromkeys(item.path for item in items))}
    waiting = [path for path in places if path.parent.name == WAITING]
    places |= {path: 0.9 * number * len(places) / len(waiting) for number, path in enumerate(waiting)}
    items.sort(key=lambda item: places[item.path])
    if part := config.getoption("--part"):
        chosen = {*part_of([*dict.fromkeys(item.path for item in items if item.get_closest_marker("slow"))], part)}
        config.hook.pytest_deselected(items=[item for item in items if item.path not in chosen])
        items[:] = [item for item in items if item.path in chosen]


def part_of(files: Sequence[Path], part: str) -> Sequence[Path]:
    """Every third of the files from the second on, for the part `2/3`. Raises UsageError for what is no part."""
    number, _, parts = part.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise pytest.UsageError(f"--part {part!r}: write 1/2 for the first of two parts")
    return files[int(number) - 1 :: int(parts)]


def _engines(item: pytest.Function) -> list[str]:
    """The databases that a test uses through the shared fixtures."""
    either = item.callspec.params.get("either_dsn") if hasattr(item, "callspec") else None
    used = {*item.fixturenames, EITHER[either]} if either else set(item.fixturenames)
    return [name for name, fixtures in ENGINES.items() if used & fixtures]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Enter the empty folder, now that pytest has read the paths of its arguments.

    All that was imported stays; looking through it for garbage again and again is up to a tenth of the time.
    """
    os.chdir(session.config.stash[PLACE])
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture
def all_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is left out because tests before have written many of its kind."""
    monkeypatch.setattr(logs, "LINES_PER_KEY", 1_000_000)
    monkeypatch.setattr(logs, "LINES_PER_EVENT", 1_000_000)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of recorded payloads; skips where it is absent."""
    folder = Path(os.environ.get("MARKETDATA_FIXTURES") or Path(__file__).parents[1] / "../shared/fixtures").resolve()
    if not folder.is_dir():
        pytest.skip(f"no recorded payloads at {folder}; point MARKETDATA_FIXTURES at them")
    return folder


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL for the session; tests take a database of their own from `dsn`."""
    if named := os.environ.get("MARKETDATA_TEST_POSTGRES_DSN"):
        yield named
        return
    home = tmp_path_factory.mktemp("stack")
    with LocalStack(Settings(home=home, postgres_dsn=None), services=("postgres",)) as stack:
        assert stack.endpoints.postgres_dsn
        spare_work(stack.endpoints.postgres_dsn)
        yield stack.endpoints.postgres_dsn


@pytest.fixture(scope="session")
def server_with_password(server_dsn: str) -> str:
    """The same server; skips where it lets everybody in."""
    if not conninfo_to_dict(server_dsn).get("password"):
        pytest.skip("needs a PostgreSQL that asks for a password, and the password in its address")
    return server_dsn


@pytest.fixture(scope="session")
def databases(server_dsn: str) -> Iterator[Databases]:
    with Databases(server_dsn) as databases:
        yield databases


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """An empty database for the test."""
    with databases.fresh() as fresh:
        yield fresh


@pytest.fixture
def plain_dsn(dsn: str) -> str:
    """An empty database of a server without TimescaleDB; skips on another."""
    with postgres.connect(dsn) as connection:
        if postgres.timescaledb_is_loaded(connection):
            pytest.skip("needs a PostgreSQL without TimescaleDB")
    return dsn


@pytest.fixture
def timescale_dsn() -> Iterator[str]:
    """An empty database on a real TimescaleDB community server; skips where none is named."""
    server = os.environ.get("MARKETDATA_TEST_TIMESCALE_DSN")
    if not server:
        pytest.skip("needs TimescaleDB community: point MARKETDATA_TEST_TIMESCALE_DSN at a server")
    with fresh_postgres(server) as fresh:
        yield fresh


@pytest.fixture(params=EITHER)
def either_dsn(request: pytest.FixtureRequest) -> str:
    """An empty database for each of the two K-line engines."""
    name = "plain_dsn" if request.param == "rollup" else "timescale_dsn"
    value = request.getfixturevalue(name)
    assert isinstance(value, str)
    return value


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Mongo-wire server for the session."""
    if named := os.environ.get("MARKETDATA_TEST_MONGO_URI"):
        yield named
        return
    settings = Settings(home=tmp_path_factory.mktemp("mongo"), mongo_uri=None)
    with LocalStack(settings, services=("mongo",)) as stack:
        assert stack.endpoints.mongo_uri
        yield stack.endpoints.mongo_uri


@pytest.fixture(scope="module")
def mongo_uri(mongo_server: str) -> str:
    """The URI of a Mongo-wire server; ours has no databases yet."""
    if mongo_server != os.environ.get("MARKETDATA_TEST_MONGO_URI"):
        with mongo.connect(mongo_server) as client:
            for name in {*client.list_database_names()} - {"admin", "config", "local"}:
                client.drop_database(name)
    return mongo_server


@pytest.fixture(scope="module")
def mongo_client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client of the server, for one module."""
    with mongo.connect(mongo_uri) as client:
        yield client


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ClickHouse for the session, without a database; tests take one of their own from `clickhouse_url`."""
    if named := os.environ.get("MARKETDATA_TEST_CLICKHOUSE_URL"):
        yield named.rstrip("/")
        return
    home = tmp_path_factory.mktemp("clickhouse")
    with LocalStack(Settings(home=home, clickhouse_url=None, clickhouse_port=0), services=("clickhouse",)) as stack:
        assert stack.endpoints.clickhouse_url
        yield stack.endpoints.clickhouse_url.rpartition("/")[0]


@pytest.fixture
def clickhouse_url(clickhouse_server: str) -> Iterator[str]:
    """An empty ClickHouse database, dropped after the test."""
    with fresh_clickhouse(clickhouse_server) as fresh:
        yield fresh


@pytest.fixture
def clickhouse_cluster() -> Cluster:
    """The cluster that MARKETDATA_TEST_CLICKHOUSE_CLUSTER names, as: NAME http://node1:8123 http://node2:8123."""
    if not (named := os.environ.get("MARKETDATA_TEST_CLICKHOUSE_CLUSTER")):
        pytest.skip(
            "no cluster of ClickHouse: set MARKETDATA_TEST_CLICKHOUSE_CLUSTER to its name and the URLs of nodes"
        )
    name, *nodes = named.split()
    return Cluster(name, tuple(nodes))


@pytest.fixture
def clickhouse_client(clickhouse_url: str) -> Iterator[Client]:
    """A client of an empty ClickHouse database."""
    with clickhouse.connect(clickhouse_url) as client:
        yield client


@pytest.fixture(scope="session")
def empty_tables(clickhouse_server: str) -> Iterator[Callable[[], str]]:
    """Gives the URL of a database with the tables of all domains and without rows, the same one each time."""
    with emptied_clickhouse(clickhouse_server, partial(make_tables, "clickhouse")) as emptied:
        yield emptied


@pytest.fixture
def tables_url(empty_tables: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A ClickHouse database that has the tables of all domains, and no row; nobody tries to make them again."""
    url = empty_tables()
    for module in (clickhouse_ledger, tick_tables):
        monkeypatch.setattr(module, "ensure", lambda client, *scripts, tables=(): None)
    return url


@pytest.fixture
def tables_client(tables_url: str) -> Iterator[Client]:
    """A client of a database that has the tables of all domains, and no row."""
    with clickhouse.connect(tables_url) as client:
        yield client


@pytest.fixture(scope="module")
def made_tables(clickhouse_server: str) -> Iterator[Client]:
    """A ClickHouse database with the tables of exchange records, made once for a module."""
    with fresh_clickhouse(clickhouse_server) as fresh, clickhouse.connect(fresh) as made:
        schema.ensure(made)
        yield made

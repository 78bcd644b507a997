"""The health of PostgreSQL, MongoDB, ClickHouse and NATS: what a server is, how fast it answers, what is missing there,
and what to do about it."""

import asyncio
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from marketdata_assets.bars import schema
from marketdata_assets.local import endpoints, record
from marketdata_assets.local.errors import NoServer
from marketdata_assets.secret_values import without_password
from marketdata_assets.server_versions import ServerTooOld, require
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse_address
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import connect, timescaledb_is_loaded


@dataclass(frozen=True)
class Health:
    """One server's state. `missing` names what does not work there, `remedy` what to do about it."""

    store: str
    ok: bool
    url: str
    version: str = ""
    edition: str = ""
    latency_ms: float | None = None
    missing: tuple[str, ...] = ()
    remedy: str = ""


def check(server: str, url: str = "") -> Health:
    """Ask a server what it is, how fast it answers and what is missing; a failure of any kind says how to fix it.

    `url` takes the place of what the settings, or the running local stack, name.
    """
    name, ask = ASK[server]
    store, variable = endpoints.STORES[name], endpoints.VARIABLES[name]
    try:
        url = url or endpoints.address(Settings(), name)
    except NoServer as error:
        return Health(store, False, "", missing=("not running",), remedy=str(error))
    started = time.perf_counter()
    try:
        return ask(url)
    except ServerTooOld as error:
        fact = f"version {error.version} is too old"
        return Health(store, False, without_password(url), error.version, missing=(fact,), remedy=str(error))
    except Exception as error:
        waited = (time.perf_counter() - started) * 1000
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        remedy = _remedy(name, variable)
        return Health(store, False, without_password(url), latency_ms=waited, missing=(cause,), remedy=remedy)


def _remedy(name: str, variable: str) -> str:
    """What to do about a server that does not answer, whoever runs it."""
    settings = Settings()
    stack = record.read(settings.root)
    if getattr(settings, name) is not None or stack is None:
        return f"start the server, or correct {variable}"
    log = settings.root / "logs" / f"{name.partition('_')[0]}.log"
    return (
        f'"marketdata up" (process {stack.pid}) starts it again within a minute, and reports it; when it does not,'
        f" read {log}, stop that process and start it again"
    )


def median_ms(call: Callable[[], object], times: int = 5) -> float:
    """Median wall time of a few calls, in milliseconds."""
    return median(timeit.repeat(call, number=1, repeat=times)) * 1000


def _ask_postgres(url: str) -> Health:
    with connect(url, autocommit=True) as connection:
        server = schema.look(connection)
        latency = median_ms(lambda: connection.execute("SELECT 1").fetchone())
        loaded = timescaledb_is_loaded(connection)
    missing: tuple[str, ...] = ()
    remedy = ""
    if server.edition == "none":
        missing = ("TimescaleDB: the monthly K-line is a plain table, minute bars are not compressed",)
        remedy = (
            "CREATE EXTENSION timescaledb"
            if loaded
            else "point MARKETDATA_POSTGRES_DSN at a TimescaleDB community server"
        )
    elif server.edition == "apache":
        missing = ("continuous aggregates and compression need the community licence",)
        remedy = "set timescaledb.license = 'timescale' in postgresql.conf and restart"
    edition = f"TimescaleDB {server.timescaledb} {server.edition}" if server.timescaledb else "plain PostgreSQL"
    return Health("Postgres", True, without_password(url), server.postgres, edition, latency, missing, remedy)


def _ask_mongo(url: str) -> Health:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(url, serverSelectionTimeoutMS=3000) as client:
        build = client.admin.command("buildInfo")
        require("MongoDB", str(build["version"]))
        latency = median_ms(lambda: client.admin.command("ping"))
        journaled = bool(client.write_concern.document.get("j"))
    missing = () if journaled else ("acknowledged writes may be lost when the server is killed",)
    remedy = "" if journaled else "add ?journal=true to the URI"
    edition = "MongoDB" if build.get("gitVersion") and "secantus" not in str(build).lower() else "Mongo-wire server"
    version = str(build["version"])
    return Health("MongoDB", True, without_password(url), version, edition, latency, missing, remedy)


NODE_PROBES = 4
"""Connections on which doctor asks which node answers."""


def _ask_clickhouse(url: str) -> Health:
    from marketdata_assets.stores import clickhouse_cluster

    address, cluster = clickhouse_address.split(url)
    nodes: set[str] = set()  # a load balancer distributes connections or requests
    for _ in range(NODE_PROBES):
        with _client(address) as client:
            nodes |= {clickhouse_cluster.node_of(client) for _ in range(2)}
    with _client(address) as client:
        server = clickhouse_cluster.examine(client, cluster)
        problems = clickhouse_cluster.problems(server)
        latency = median_ms(lambda: client.command("SELECT 1"))
        writer = clickhouse_cluster.writer(client, cluster) if cluster and not problems else ""
    if len(nodes) > 1:
        remedy = "set MARKETDATA_CLICKHOUSE_URL to one of them instead of a load balancer"
        problems.append((f"the address is answered by {len(nodes)} nodes: {', '.join(sorted(nodes))}", remedy))
    elif writer and writer not in nodes:
        remedy = f"set MARKETDATA_CLICKHOUSE_URL to {writer}; to read here, leave MARKETDATA_CLICKHOUSE_CLUSTER unset"
        problems.append((f"{writer} is the writing node of cluster {cluster}, and this is {', '.join(nodes)}", remedy))
    edition = f"cluster {cluster}, replicas: {len(server.replicas)}" if cluster else "HTTP"
    missing, remedies = tuple(fact for fact, _ in problems), tuple(remedy for _, remedy in problems)
    shown = without_password(address)
    return Health("ClickHouse", not problems, shown, server.version, edition, latency, missing, "; ".join(remedies))


@contextmanager
def _client(address: str) -> Iterator[Client]:
    from marketdata_assets.stores import clickhouse

    client = clickhouse.opened(address, {"connect_timeout": 3}, own_pool=True)
    try:
        yield client
    finally:
        client.close()


async def _ask_nats(url: str) -> Health:
    import nats
    from nats.js.errors import ServiceUnavailableError

    # By default the library retries for two minutes and prints the error of each attempt with its traceback.
    client = await nats.connect(
        url, connect_timeout=3, max_reconnect_attempts=1, reconnect_time_wait=0, allow_reconnect=False, error_cb=_quiet
    )
    try:
        version = client.connected_server_version
        latency = await client.rtt() * 1000
        try:
            await client.jetstream().account_info()
            jetstream = True
        except (ServiceUnavailableError, nats.errors.NoRespondersError, nats.errors.TimeoutError):
            jetstream = False
    finally:
        await client.close()
    text = f"{version.major}.{version.minor}.{version.patch}"
    require("NATS", text)
    missing = () if jetstream else ("JetStream is off",)
    remedy = "" if jetstream else "add jetstream {} to the server's configuration"
    edition = "JetStream" if jetstream else "core"
    return Health("NATS", True, without_password(url), text, edition, latency, missing, remedy)


async def _quiet(error: Exception) -> None:
    """The last error is raised."""


ASK: dict[str, tuple[str, Callable[[str], Health]]] = {
    "postgres": ("postgres_dsn", _ask_postgres),
    "mongo": ("mongo_uri", _ask_mongo),
    "clickhouse": ("clickhouse_url", _ask_clickhouse),
    "nats": ("nats_url", lambda url: asyncio.run(_ask_nats(url))),
}
"""By server its field of Endpoints, and what finds the health of the server at an address."""

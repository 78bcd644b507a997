"""What a ClickHouse server is: one node, or a replica of a cluster whose tables are replicated; the rest is rejected.

On a cluster all writers use one node, the writing node, and the others are for reading. So a publish, its fence and the
ledger are what they are on one server: they look at this node alone, and no other node changes a row. Which node it is
is decided in Keeper: the table `marketdata_writer` has a fixed replica name, which one node only can create.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores import clickhouse, clickhouse_ddl
from marketdata_assets.stores.clickhouse import naming_failures, quoted, read
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway, UnsupportedServer

HEADER = "X-Marketdata-Cluster"
"""Carries the cluster's name with a client; the server ignores it."""
NODE_HEADER = "X-ClickHouse-Server-Display-Name"
WRITER = "marketdata_writer"
REPLICA_EXISTS = 253
SYNC_SECONDS = 60
"""How long a table of a node that becomes the writing node may take to have all rows."""
ONE_SERVER = "set MARKETDATA_CLICKHOUSE_URL to a server of your own, or to a node of a cluster of one shard"
OTHER_DATABASE = (
    "create a database ENGINE = Atomic on every node (CREATE DATABASE name ON CLUSTER cluster ENGINE = Atomic), name it"
    " in MARKETDATA_CLICKHOUSE_URL, and the cluster in MARKETDATA_CLICKHOUSE_CLUSTER"
)
_OWN = re.compile("marketdata_(?!backup_)")


@dataclass(frozen=True)
class Server:
    """What a server says that it is. `tables` are those of the database with their engines; `replicas` are host names.

    `cluster` is the one that was named, or empty.
    """

    version: str
    database: str
    database_engine: str
    cloud: bool
    tables: tuple[tuple[str, str], ...]
    cluster: str = ""
    known_clusters: tuple[str, ...] = ()
    shards: int = 0
    replicas: tuple[str, ...] = ()
    is_member: bool = False
    macros: tuple[str, ...] = ()

    @property
    def own(self) -> Sequence[tuple[str, str]]:
        """The tables of the project that have rows, without copies that are of one node: the ledger and its like."""
        return [(name, engine) for name, engine in self.tables if _OWN.match(name) and engine.endswith("MergeTree")]


def cluster_of(client: Client) -> str:
    """The cluster that the client was connected with, or empty."""
    return str(getattr(client, "headers", {}).get(HEADER, ""))


def join(client: Any, cluster: str) -> None:
    """Make a client one of the cluster's writing node, which this node becomes if there is none.

    Raises UnsupportedServer, and TerminalError on another node than the writing one, or later when another answers.
    """
    client.headers[HEADER] = cluster
    if not _is_writer(client, cluster):
        refuse(examine(client, cluster))
    client.http = OneNode(client.http)
    if not _is_writer(client, cluster):
        _catch_up(client)
        _claim(client, cluster)


def examine(client: Client, cluster: str = "") -> Server:
    """Ask the server what it is, in its own tables."""
    sql = """
        SELECT
            version() AS version, currentDatabase() AS database,
            (SELECT any(engine) FROM system.databases WHERE name = currentDatabase()) AS database_engine,
            (SELECT any(value) FROM system.settings WHERE name = 'cloud_mode') = '1' AS cloud"""
    [facts] = read(client, sql).iter_rows(named=True)
    tables = read(client, "SELECT name, engine FROM system.tables WHERE database = currentDatabase() ORDER BY name")
    server = Server(**{**facts, "cloud": bool(facts["cloud"])}, tables=tuple(tables.iter_rows()))
    if not cluster:
        return server
    hosts = read(
        client,
        "SELECT cluster, toInt64(shard_num) AS shard, host_name, port, is_local FROM system.clusters ORDER BY ALL",
    ).rows(named=True)
    mine = [host for host in hosts if host["cluster"] == cluster]
    return replace(
        server,
        cluster=cluster,
        known_clusters=tuple(sorted({host["cluster"] for host in hosts})),
        shards=len({host["shard"] for host in mine}),
        replicas=tuple(f"{host['host_name']}:{host['port']}" for host in mine),
        is_member=any(host["is_local"] for host in mine),
        macros=tuple(read(client, "SELECT macro FROM system.macros ORDER BY macro")["macro"]),
    )


def check(client: Client) -> None:
    """Raise UnsupportedServer before tables are created or written on a server that no cluster was named for."""
    if not cluster_of(client):
        refuse(examine(client))


def refuse(server: Server) -> None:
    """Raise UnsupportedServer for a server on which a publish is not proven to be right; `problems` says which."""
    for fact, remedy in problems(server):
        raise UnsupportedServer(fact, remedy)


def problems(server: Server) -> list[tuple[str, str]]:
    """What of a server is not supported, each fact with its remedy; most important first."""
    found = []
    if (
        server.cloud
        or server.database_engine == "Shared"
        or any(name.startswith("Shared") for _, name in server.tables)
    ):
        found.append(("this is ClickHouse Cloud, whose address is answered by several nodes", ONE_SERVER))
    elif server.database_engine == "Replicated":
        found.append((f"database {server.database} has the engine Replicated", OTHER_DATABASE))
    if distributed := [name for name, engine in server.tables if engine == "Distributed"]:
        remedy = f"keep it in another database, or {ONE_SERVER}"
        found.append((f"{server.database}.{distributed[0]} is a Distributed table of several shards", remedy))
    if server.cluster:
        return [*found, *_cluster_problems(server)]
    if replicated := [name for name, engine in server.own if engine.startswith("Replicated")]:
        fact = f"{server.database}.{replicated[0]} is replicated and MARKETDATA_CLICKHOUSE_CLUSTER is not set"
        found.append((fact, "set it to the name of the cluster in system.clusters that these replicas are"))
    return found


def _cluster_problems(server: Server) -> list[tuple[str, str]]:
    cluster, found = server.cluster, []
    if not server.replicas:
        known = ", ".join(server.known_clusters) or "none"
        remedy = "set MARKETDATA_CLICKHOUSE_CLUSTER to one of them, or define it in remote_servers"
        return [(f"the server knows no cluster {cluster!r}; system.clusters has {known}", remedy)]
    if server.shards > 1:
        found.append((f"cluster {cluster} has {server.shards} shards: {', '.join(server.replicas)}", ONE_SERVER))
    if not server.is_member:
        remedy = f"set MARKETDATA_CLICKHOUSE_URL to one of {', '.join(server.replicas)}"
        found.append((f"this server is no replica of cluster {cluster}", remedy))
    for macro in ("shard", "replica"):
        if macro not in server.macros:
            remedy = f"define <{macro}> in <macros> on every node, each node its own <replica>"
            found.append((f"the server has no macro {{{macro}}}, which replicated tables need", remedy))
    if plain := [name for name, engine in server.own if not engine.startswith("Replicated")]:
        remedy = "save it with marketdata backup, and restore the backup into another database, of the cluster"
        found.append((f"{server.database}.{plain[0]} is not replicated, and exists on this node alone", remedy))
    return found


def node_of(client: Any) -> str:
    """The name of the node that answers the client's next request; empty if it gives none."""
    answer = client.http.request("POST", client.url, headers=client.headers, body=b"SELECT 1")
    return str(answer.headers.get(NODE_HEADER, ""))


def writer(client: Client, cluster: str) -> str:
    """The name of the writing node, as far as nodes of the cluster that answer know it; empty if none does."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    sql = f"""
        SELECT any(displayName()) AS node FROM clusterAllReplicas('{cluster}', system.tables)
        WHERE database = currentDatabase() AND name = '{WRITER}' SETTINGS skip_unavailable_shards = 1"""
    with suppress(DatabaseError):
        return str(read(client, sql)["node"][0])
    return ""


def create_local_copy(client: Client, name: str, table: str) -> None:
    """Create an empty table with the structure of another, on this node alone: the copy of a replicated one is not."""
    sql = f"CREATE TABLE {quoted(name)} AS {quoted(table)}"
    if cluster_of(client):
        query = """
            SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"""
        engines = read(client, query, {"table": table})["engine_full"]
        sql += "".join(f" ENGINE = {clickhouse_ddl.unreplicated(engine)}" for engine in engines)
    with naming_failures():
        client.command(sql)


def _is_writer(client: Client, cluster: str) -> bool:
    """Whether this node is the writing node. Raises StoreAway when it cannot write now, UnsupportedServer."""
    sql = f"""
        SELECT comment, (SELECT any(is_readonly) FROM system.replicas
                         WHERE database = currentDatabase() AND table = '{WRITER}') AS read_only
        FROM system.tables WHERE database = currentDatabase() AND name = '{WRITER}'"""
    for named, read_only in read(client, sql).iter_rows():
        if named != cluster:
            fact = f"the tables of this database are on cluster {named}, and MARKETDATA_CLICKHOUSE_CLUSTER is {cluster}"
            raise UnsupportedServer(fact, f"set it to {named}, or name another database in MARKETDATA_CLICKHOUSE_URL")
        if read_only:
            cause = f"{WRITER} is read-only: the node has no session with Keeper, or another became the writing node"
            raise StoreAway(clickhouse.STORE, cause)
        return True
    return False


def _catch_up(client: Client) -> None:
    """Apply what the writing node before this one has published: a publish clones what this node has."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    for name, engine in examine(client).tables:
        if not engine.startswith("Replicated"):
            continue
        try:
            client.command(f"SYSTEM SYNC REPLICA {quoted(name)}", settings={"receive_timeout": SYNC_SECONDS})
        except DatabaseError as error:
            if error.code in clickhouse.FORBIDDEN:
                return
            cause = f"{name} of this node lacks what another node has written: {error}"
            raise StoreAway(clickhouse.STORE, cause) from error


def _claim(client: Client, cluster: str) -> None:
    from clickhouse_connect.driver.exceptions import DatabaseError

    path = clickhouse_ddl.REPLICA_PATH.replace("{table}", WRITER)
    try:
        with naming_failures():
            client.command(
                f"CREATE TABLE IF NOT EXISTS {quoted(WRITER)} (node String)"
                f" ENGINE = ReplicatedMergeTree('{path}', 'writer') ORDER BY node COMMENT '{cluster}'"
            )
    except DatabaseError as error:
        if error.code in clickhouse.FORBIDDEN:
            return
        if error.code != REPLICA_EXISTS:
            raise
        node = f"{name} is" if (name := writer(client, cluster)) else "another node, which does not answer, is"
        raise TerminalError(
            f"ClickHouse: {node} the writing node of cluster {cluster}, the only one that is written to. Set"
            " MARKETDATA_CLICKHOUSE_URL to it; to read from this node, leave MARKETDATA_CLICKHOUSE_CLUSTER unset."
            " docs/scale.md says how another node becomes the writing node."
        ) from error


class OneNode:
    """The connections of a client, which raise TerminalError once another node answers than the first."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.node: str | None = None
        """The name of the node, once it has answered."""

    def request(self, *arguments: Any, **keywords: Any) -> Any:
        response = self._pool.request(*arguments, **keywords)
        node = response.headers.get(NODE_HEADER)
        if self.node is None:
            self.node = node
        if node is None or node != self.node:
            raise TerminalError(
                f"ClickHouse: one address was answered by {self.node or 'a node without a name'} and by"
                f" {node or 'a node without a name'}. Set MARKETDATA_CLICKHOUSE_URL to one node instead of a load"
                " balancer, and run the same partitions again."
            )
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

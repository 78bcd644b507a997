"""What is refused of a ClickHouse server, and what holds on a cluster: one node is written to, the others are read.

Tests on a cluster run where MARKETDATA_TEST_CLICKHOUSE_CLUSTER names one, and skip visibly elsewhere.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets import server_health
from marketdata_assets.errors import TerminalError
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.reference import tables as reference
from marketdata_assets.stores import clickhouse, clickhouse_cluster
from marketdata_assets.stores.clickhouse_address import split, with_cluster
from marketdata_assets.stores.clickhouse_cluster import WRITER, OneNode, Server, check, examine, problems
from marketdata_assets.stores.clickhouse_rewrite import Superseded, staged, stages
from marketdata_assets.stores.errors import UnsupportedServer
from marketdata_assets.ticks import tables as ticks
from tests.clickhouse_nodes import Nodes
from tests.databases import Cluster

PLAIN = Server("26.8.15.10", "marketdata", "Atomic", False, (("marketdata_files", "MergeTree"), ("t", "View")))
MEMBER = replace(
    PLAIN,
    tables=(("marketdata_files", "ReplicatedMergeTree"), ("tick_data__202601__a_b", "MergeTree")),
    cluster="main",
    known_clusters=("main", "other"),
    shards=1,
    replicas=("a:9000", "b:9000"),
    is_member=True,
    macros=("replica", "shard"),
)
TABLE = "CREATE TABLE t (k UInt8, n UInt64) ENGINE = MergeTree PARTITION BY k ORDER BY n"
ROWS = 1000


@pytest.mark.parametrize(
    ("server", "fact", "remedy"),
    [
        (replace(PLAIN, cloud=True), "this is ClickHouse Cloud", "a server of your own"),
        (replace(PLAIN, database_engine="Shared"), "this is ClickHouse Cloud", "a server of your own"),
        (replace(PLAIN, tables=(("t", "SharedMergeTree"),)), "this is ClickHouse Cloud", "a server of your own"),
        (replace(PLAIN, database_engine="Replicated"), "has the engine Replicated", "ENGINE = Atomic"),
        (replace(PLAIN, tables=(("t", "Distributed"),)), "t is a Distributed table", "cluster of one shard"),
        (replace(PLAIN, tables=MEMBER.tables), "CLICKHOUSE_CLUSTER is not set", "set it to the name of the cluster"),
        (replace(MEMBER, shards=2), "cluster main has 2 shards: a:9000, b:9000", "cluster of one shard"),
        (replace(MEMBER, cluster="x", replicas=()), "no cluster 'x'; system.clusters has main, other", "one of them"),
        (replace(MEMBER, is_member=False), "no replica of cluster main", "to one of a:9000, b:9000"),
        (replace(MEMBER, macros=("shard",)), "no macro {replica}", "<replica> in <macros>"),
        (replace(MEMBER, macros=("replica",)), "no macro {shard}", "<shard> in <macros>"),
        (replace(MEMBER, tables=PLAIN.tables), "marketdata_files is not replicated", "marketdata backup"),
    ],
)
def test_what_is_not_proven_is_refused_with_fact_and_remedy(server: Server, fact: str, remedy: str) -> None:
    [(found, what_to_do)] = problems(server)
    assert fact in found
    assert remedy in what_to_do
    with pytest.raises(UnsupportedServer, match="not supported"):
        clickhouse_cluster.refuse(server)


YOURS = (("yours", "ReplicatedMergeTree"), ("marketdata_backup_1a", "MergeTree"))


@pytest.mark.parametrize("server", [PLAIN, replace(PLAIN, tables=YOURS), MEMBER, replace(MEMBER, tables=YOURS)])
def test_one_server_and_replicas_of_one_shard_are_supported(server: Server) -> None:
    assert problems(server) == []


def test_the_local_server_is_one_node(clickhouse_client: Client) -> None:
    clickhouse_client.command("CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n")
    found = examine(clickhouse_client)
    assert (found.database_engine, found.cloud, found.tables) == ("Atomic", False, (("t", "MergeTree"),))
    check(clickhouse_client)


def test_a_server_that_knows_no_cluster_of_that_name_is_refused(clickhouse_url: str) -> None:
    with pytest.raises(UnsupportedServer, match="knows no cluster 'nowhere'"):
        clickhouse.connect(f"{clickhouse_url}?cluster=nowhere").__enter__()


@given(st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True), st.sampled_from(["", "?secure=1", "?a=b&c=%2F"]))
def test_an_address_keeps_the_cluster_and_everything_else(cluster: str, query: str) -> None:
    url = f"https://me:p%40ss@host:8443/database{query}"
    named = with_cluster(url, cluster)
    assert named is not None
    assert split(named) == (url, cluster)
    assert with_cluster(named, "another") == named
    assert split(url) == (url, "")
    assert with_cluster(url, None) == url


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UnsupportedServer, match="is no name of a cluster"):
        split("http://host:8123/d?cluster=a`b")


def test_two_nodes_behind_one_address_are_noticed(clickhouse_url: str) -> None:
    with Nodes([clickhouse_url] * 2) as address, clickhouse.connect(address) as client:
        client.http = OneNode(client.http)  # type: ignore[attr-defined]
        assert client.command("SELECT 1") == 1
        with pytest.raises(TerminalError, match=r"by node\d and by node\d"):
            client.command("SELECT 1")


def test_one_node_behind_an_address_is_used_as_long_as_it_answers(clickhouse_url: str) -> None:
    with Nodes([clickhouse_url]) as address, clickhouse.connect(address) as client:
        client.http = OneNode(client.http)  # type: ignore[attr-defined]
        assert [client.command(f"SELECT {number}") for number in range(5)] == [*range(5)]


def test_a_node_without_a_name_is_not_taken_for_the_same(clickhouse_url: str) -> None:
    with Nodes([clickhouse_url], named=False) as address, clickhouse.connect(address) as client:
        client.http = OneNode(client.http)  # type: ignore[attr-defined]
        with pytest.raises(TerminalError, match="a node without a name"):
            client.command("SELECT 1")


def test_doctor_names_the_nodes_behind_one_address(clickhouse_url: str) -> None:
    with Nodes([clickhouse_url] * 2) as address:
        found = server_health.check("clickhouse", address)
    assert not found.ok
    assert found.missing == ("the address is answered by 2 nodes: node1, node2",)
    assert "instead of a load balancer" in found.remedy


def test_doctor_names_a_cluster_that_the_server_does_not_know(clickhouse_url: str) -> None:
    found = server_health.check("clickhouse", f"{clickhouse_url}?cluster=nowhere")
    assert not found.ok
    assert "knows no cluster 'nowhere'" in found.missing[0]
    assert "MARKETDATA_CLICKHOUSE_CLUSTER" in found.remedy


@pytest.fixture
def database(clickhouse_cluster: Cluster) -> Iterator[str]:
    with clickhouse_cluster.database() as name:
        yield name


@pytest.fixture
def writer(clickhouse_cluster: Cluster, database: str) -> Iterator[Client]:
    """A client of the writing node, with a replicated table `t`."""
    with clickhouse.connect(clickhouse_cluster.writing(database)) as client:
        clickhouse.create(client, TABLE)
        yield client


def frame(value: int, rows: int = ROWS) -> pl.DataFrame:
    return pl.DataFrame({"k": [1] * rows, "n": [value] * rows}, schema={"k": pl.UInt8, "n": pl.UInt64})


def seen(client: Client) -> tuple[int, int, int]:
    """Rows, smallest and largest value of the partition."""
    rows, smallest, largest = clickhouse.read(client, "SELECT count(), min(n), max(n) FROM t WHERE k = 1").row(0)
    return rows, smallest, largest


def synced(client: Client) -> Client:
    client.command("SYSTEM SYNC REPLICA t")
    return client


def test_every_table_of_the_project_is_on_every_replica(clickhouse_cluster: Cluster, database: str) -> None:
    with clickhouse.connect(clickhouse_cluster.writing(database)) as client:
        for _ in range(2):
            schema.ensure(client, {"trade": 3})
            reference.ensure(client)
            ticks.ensure(client)
        here = set(examine(client).tables)
    with clickhouse.connect(clickhouse_cluster.reading(database, 1)) as client:
        there = examine(client)
        with pytest.raises(UnsupportedServer, match="MARKETDATA_CLICKHOUSE_CLUSTER is not set"):
            ticks.ensure(client)
    assert here - set(there.tables) == {(WRITER, "ReplicatedMergeTree")}
    assert {engine for _, engine in there.tables if "MergeTree" in engine} == {
        "ReplicatedMergeTree",
        "ReplicatedReplacingMergeTree",
    }


def test_only_the_writing_node_is_written_to(clickhouse_cluster: Cluster, database: str, writer: Client) -> None:
    with pytest.raises(TerminalError, match="is the writing node of cluster"):
        clickhouse.connect(clickhouse_cluster.writing(database, 1)).__enter__()
    clickhouse.insert(writer, "t", frame(1))
    with clickhouse.connect(clickhouse_cluster.reading(database, 1)) as reader:
        assert seen(synced(reader)) == (ROWS, 1, 1)


def test_doctor_shows_the_cluster_and_which_node_is_written_to(
    clickhouse_cluster: Cluster, database: str, writer: Client
) -> None:
    first, second = (server_health.check("clickhouse", clickhouse_cluster.writing(database, node)) for node in range(2))
    assert (first.ok, first.missing) == (True, ())
    assert first.edition.startswith(f"cluster {clickhouse_cluster.name}, replicas: ")
    assert not second.ok
    assert f"is the writing node of cluster {clickhouse_cluster.name}" in second.missing[0]


def test_another_node_becomes_the_writing_node_once_the_first_gives_it_up(
    clickhouse_cluster: Cluster, database: str, writer: Client
) -> None:
    clickhouse.insert(writer, "t", frame(1))
    writer.command(f"DROP TABLE {WRITER} SYNC")
    address = clickhouse_cluster.writing(database, 1)
    with clickhouse.connect(address) as second, staged(second, "t", "1") as stage:
        assert stage.read("SELECT count(), max(n) FROM {stage}").row(0) == (ROWS, 1)
        stage.clear()
        stage.insert(frame(2))
        stage.publish()
    with pytest.raises(TerminalError, match="is the writing node of cluster"):
        clickhouse.connect(clickhouse_cluster.writing(database)).__enter__()
    assert seen(synced(writer)) == (ROWS, 2, 2)


def test_an_address_of_several_nodes_publishes_nothing(
    clickhouse_cluster: Cluster, database: str, writer: Client
) -> None:
    clickhouse.insert(writer, "t", frame(1))
    nodes = [clickhouse_cluster.reading(database, node) for node in range(2)]
    with Nodes(nodes) as balanced, pytest.raises(TerminalError, match=r"writing node|one address was answered"):
        address = f"{balanced}?cluster={clickhouse_cluster.name}"
        with clickhouse.connect(address) as client, staged(client, "t", "1") as stage:
            stage.clear()
            stage.publish()
    assert seen(writer) == (ROWS, 1, 1)


def test_a_stage_of_the_other_node_is_not_used(clickhouse_cluster: Cluster, database: str, writer: Client) -> None:
    """A stage is of the node that made it: the other one does not know the table, and can publish nothing of it."""
    with staged(writer, "t", "1") as stage:
        assert stages(writer, "t__1__") == [stage.name]
        with clickhouse.connect(clickhouse_cluster.reading(database, 1)) as reader:
            assert stages(reader, "t__1__") == []
            other = replace(stage, client=reader)
            with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
                other.publish()


@pytest.mark.slow
def test_no_publish_is_lost_and_no_replica_shows_a_part_of_one(
    clickhouse_cluster: Cluster, database: str, writer: Client
) -> None:
    """Writers without courtesy undo each other as often as they can, while readers look at every replica."""
    wanted, won, lost, broken, looks = 40, [], [], [], []
    clickhouse.insert(writer, "t", frame(0))
    done = threading.Event()

    def write(_: int) -> None:
        with clickhouse.connect(clickhouse_cluster.writing(database)) as mine:
            while len(won) < wanted:
                try:
                    with staged(mine, "t", "1", courtesy_s=0) as stage:
                        value = stage.read("SELECT max(n) FROM {stage}").item()
                        stage.clear()
                        stage.insert(frame(value + 1))
                        stage.publish()
                    won.append(1)
                except Superseded:
                    lost.append(1)

    def look(node: int) -> None:
        with clickhouse.connect(clickhouse_cluster.reading(database, node)) as reader:
            while not done.is_set():
                rows, smallest, largest = seen(reader)
                looks.append(node)
                # A replica that has not fetched the first rows yet has none.
                if rows not in (0, ROWS) or smallest != largest:
                    broken.append((node, rows, smallest, largest))

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(look, node) for node in range(2)]
        for writing in [pool.submit(write, number) for number in range(3)]:
            writing.result()
        done.set()
        for reading in readers:
            reading.result()
    assert broken == []
    assert set(looks) == {0, 1}
    assert seen(writer) == (ROWS, len(won), len(won))
    assert stages(writer, "t__") == []
    with clickhouse.connect(clickhouse_cluster.reading(database, 1)) as reader:
        assert seen(synced(reader)) == (ROWS, len(won), len(won))

"""Fresh databases on the servers that a whole session of tests shares."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg import sql
from psycopg.conninfo import make_conninfo

from marketdata_assets.stores import clickhouse


@contextmanager
def fresh_postgres(server: str) -> Iterator[str]:
    """The DSN of an empty PostgreSQL database, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(sql.Identifier(name)))
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def skip_fsync(server: str) -> None:
    """Creating and dropping databases must not wait for the disk: what tests kill is a process, never the machine."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def fresh_clickhouse(server: str) -> Iterator[str]:
    """The URL of an empty ClickHouse database, dropped afterwards; `server` is a URL without a database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with clickhouse.connect(f"{server}/default") as client:
        client.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        yield f"{server}/{name}"
        client.command(f"DROP DATABASE {name} SYNC")


@contextmanager
def emptied_clickhouse(server: str, make: Callable[[Client], None]) -> Iterator[Callable[[], str]]:
    """A function that gives the URL of a database with the tables of `make` and without rows.

    It is the same database each time: to empty its tables takes a tenth of making them. Where a test has changed them,
    it is another one.
    """
    query = "SELECT name, create_table_query, total_rows FROM system.tables WHERE database = currentDatabase()"
    with ExitStack() as opened:
        url, tables = "", dict[str, str]()

        def emptied() -> str:
            nonlocal url, tables
            if url:
                with clickhouse.connect(url) as client:
                    found = client.query(query).result_rows
                    if {name: form for name, form, _ in found} == tables:
                        for name in [name for name, _, rows in found if rows]:
                            client.command(f"TRUNCATE TABLE `{name}`")
                        return url
            opened.close()
            url = opened.enter_context(fresh_clickhouse(server))
            with clickhouse.connect(url) as client:
                make(client)
                tables = {name: form for name, form, _ in client.query(query).result_rows}
            return url

        yield emptied


@dataclass(frozen=True)
class Cluster:
    """A cluster of ClickHouse of one shard: its name, and the URL of each node without a database."""

    name: str
    nodes: tuple[str, ...]

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of an empty database on every node, dropped afterwards."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with clickhouse.connect(f"{self.nodes[0]}/default") as client:
            client.command(f"CREATE DATABASE {name} ON CLUSTER `{self.name}` ENGINE = Atomic")
            yield name
            client.command(f"DROP DATABASE {name} ON CLUSTER `{self.name}` SYNC")

    def writing(self, database: str, node: int = 0) -> str:
        """The address of a node for a writer."""
        return f"{self.nodes[node]}/{database}?cluster={self.name}"

    def reading(self, database: str, node: int) -> str:
        """The address of a node for a reader."""
        return f"{self.nodes[node]}/{database}"

"""Fresh databases on the servers that a whole session of tests shares."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
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

"""Fresh databases on the servers that a whole session of tests shares."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from marketdata_assets.stores import clickhouse

CREATE, DROP = "CREATE DATABASE {} STRATEGY FILE_COPY", "DROP DATABASE {} WITH (FORCE)"

OTHER_SESSIONS = """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""

EMPTY = """SELECT pg_stat_reset();
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', name);
  END LOOP;
END $$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC"""

UNLIKE_NEW = """SELECT FROM pg_database d WHERE datname = current_database() AND (datacl IS NOT NULL
  OR EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
  OR EXISTS (SELECT FROM pg_default_acl) OR EXISTS (SELECT FROM pg_largeobject_metadata)
  OR EXISTS (SELECT FROM pg_publication) OR EXISTS (SELECT FROM pg_event_trigger)
  OR EXISTS (SELECT FROM pg_extension WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_class WHERE oid >= 16384))"""


@contextmanager
def fresh_postgres(server: str) -> Iterator[str]:
    """The DSN of an empty PostgreSQL database, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    change(server, CREATE, name)
    yield make_conninfo(server, dbname=name)
    change(server, DROP, name)


def change(server: str, statement: str, *names: str) -> None:
    """Execute a statement about databases of these names."""
    with psycopg.connect(server, autocommit=True) as connection:
        execute(connection, statement, *names)


def execute(connection: psycopg.Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


@dataclass
class Databases:
    """Empty databases of a server. To create one takes ten times as much as to empty one that a test has used."""

    server: str
    unused: list[str] = field(default_factory=list)

    def __enter__(self) -> "Databases":
        self.connection = psycopg.connect(self.server, autocommit=True)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.unused:
            execute(self.connection, DROP, name)
        self.connection.close()

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The DSN of an empty database under a name that no test has had."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        if self.unused:
            execute(self.connection, "ALTER DATABASE {} RENAME TO {}", self.unused.pop(), name)
        else:
            execute(self.connection, CREATE, name)
        dsn = make_conninfo(self.server, dbname=name)
        yield dsn
        if is_emptied(dsn, name):
            self.unused.append(name)
        else:
            execute(self.connection, DROP, name)


def is_emptied(dsn: str, name: str) -> bool:
    """End all sessions of a database and drop all that is in it; False if it is not as a new one then."""
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(OTHER_SESSIONS, [name])
            connection.execute(EMPTY)
            return connection.execute(UNLIKE_NEW).fetchone() is None
    except psycopg.Error:
        return False


def spare_work(server: str) -> None:
    """A server of tests does not wait for the disk, as no test ends the machine, and a password costs one iteration."""
    with psycopg.connect(server, autocommit=True) as connection:
        for name in ("fsync", "full_page_writes"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SET scram_iterations = 1")
        password = sql.Literal(conninfo_to_dict(server)["password"])
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))


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
        client: Client | None = None

        def emptied() -> str:
            nonlocal url, tables, client
            if client:
                found = client.query(query).result_rows
                if {name: form for name, form, _ in found} == tables:
                    for name in [name for name, _, rows in found if rows]:
                        client.command(f"TRUNCATE TABLE `{name}`")
                    return url
            opened.close()
            url = opened.enter_context(fresh_clickhouse(server))
            client = opened.enter_context(clickhouse.connect(url))
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

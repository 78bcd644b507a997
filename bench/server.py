"""A local PostgreSQL of the bench's own, and what a run against it costs."""

import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.figure import tree_cpu_s
from marketdata_assets.local.postgres import programs
from marketdata_assets.local.stack import LocalStack

TEMPLATE = "bench_template"


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of one run, client and server apart."""

    client_s: float
    server_s: float
    wall_s: float
    rows: int

    @property
    def cpu_s(self) -> float:
        return self.client_s + self.server_s


class Server:
    """The server, and how the tables of a fresh database are made."""

    def __init__(self, stack: LocalStack, ensure: Callable[[psycopg.Connection], object]) -> None:
        assert stack.endpoints.postgres_dsn
        self.dsn = stack.endpoints.postgres_dsn
        self._ensure = ensure
        self._made = False
        self._process = psutil.Process(stack.server("postgres").pid)

    def cpu_s(self) -> float:
        return tree_cpu_s(self._process)

    def fresh(self, name: str = "bench") -> str:
        """A database with the tables as they are made, checkpointed: a copy of one that is made once."""
        if not self._made:
            self._create(TEMPLATE, "template1")
            with psycopg.connect(make_conninfo(self.dsn, dbname=TEMPLATE), autocommit=True) as connection:
                self._ensure(connection)
            self._made = True
        self._create(name, TEMPLATE)
        return make_conninfo(self.dsn, dbname=name)

    def _create(self, name: str, template: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
            connection.execute("CHECKPOINT")

    def cost(self, run: Callable[[], tuple[float, int]]) -> Cost:
        """Run something that tells its client CPU and rows; add the server's CPU and the wall time."""
        server, wall = self.cpu_s(), time.perf_counter()
        client, rows = run()
        wall = time.perf_counter() - wall
        time.sleep(0.3)  # the server's own processes are charged when they end
        return Cost(client, self.cpu_s() - server, wall, rows)


def psql_copy(dsn: str, table: str, columns: Sequence[str], file: Path) -> float:
    """`psql \\copy` of a CSV file without a header; the CPU seconds of psql."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = f"\\copy {table} ({', '.join(columns)}) from '{file}' csv"
    subprocess.run([str(programs() / "psql"), dsn, "-qc", command], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows_in(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])

"""A server that is away or full is named as such; every other database error keeps its own name."""

import re

import psycopg
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from psycopg import errors as pg
from urllib3.exceptions import ProtocolError

from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.local.process import free_port
from marketdata_assets.stores import clickhouse, postgres
from marketdata_assets.stores.errors import StoreAway, StoreFull
from marketdata_assets.stores.postgres import connect


def clickhouse_error(code: int | None, text: str = "went wrong") -> DatabaseError:
    return DatabaseError(f"Code: {code}. DB::Exception: {text}", code=code)


@pytest.mark.parametrize(
    ("raised", "named"),
    [
        (clickhouse_error(243, "Cannot reserve 1 MiB, not enough space"), StoreFull),
        (clickhouse_error(75, "Cannot write to file, errno: 28, strerror: No space left on device"), StoreFull),
        (clickhouse_error(210, "Connection reset by peer"), StoreAway),
        (clickhouse_error(236, "Aborted"), StoreAway),
        (OperationalError("Error executing HTTP request"), StoreAway),
        (ProtocolError("Connection aborted."), StoreAway),
        (ConnectionRefusedError("refused"), StoreAway),
        (pg.DiskFull("no space left on device"), StoreFull),
        (pg.AdminShutdown("terminating connection"), StoreAway),
        (pg.CrashShutdown("terminating connection because of crash"), StoreAway),
        (pg.CannotConnectNow("starting up"), StoreAway),
        (pg.TooManyConnections("too many clients"), StoreAway),
        (psycopg.OperationalError("server closed the connection unexpectedly"), StoreAway),
        (psycopg.InterfaceError("the connection is closed"), StoreAway),
    ],
)
def test_failure_of_the_server_gets_our_name(raised: Exception, named: type[Exception]) -> None:
    store = postgres if isinstance(raised, psycopg.Error) else clickhouse
    with pytest.raises(named, match=re.escape(str(raised))) as caught, store.naming_failures():
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [
        *(pg.LockNotAvailable(), pg.QueryCanceled(), pg.DeadlockDetected(), pg.SerializationFailure()),
        *(pg.UniqueViolation(), pg.ConfigurationLimitExceeded()),
        *map(clickhouse_error, (36, 60, 341, 469)),
    ],
)
def test_other_database_errors_pass(raised: Exception) -> None:
    store = postgres if isinstance(raised, psycopg.Error) else clickhouse
    with pytest.raises(type(raised)) as caught, store.naming_failures():
        raise raised
    assert caught.value is raised


def test_away_is_transient_and_full_is_not() -> None:
    assert issubclass(StoreAway, TransientError)
    assert issubclass(StoreFull, TerminalError)
    assert "run the same partitions again" in str(StoreFull("Postgres", "no space"))


def test_nobody_listening_is_store_away() -> None:
    with pytest.raises(StoreAway, match="marketdata doctor"), connect(f"postgresql://me@127.0.0.1:{free_port()}/x"):
        pass
    with pytest.raises(StoreAway, match="marketdata doctor"), clickhouse.connect(f"http://127.0.0.1:{free_port()}/x"):
        pass


def test_connection_cut_by_the_server_is_store_away(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as killer, pytest.raises(StoreAway), connect(dsn) as victim:
        killer.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
        victim.execute("SELECT 1")


def test_leaving_with_an_error_rolls_back_and_without_one_commits(dsn: str) -> None:
    with connect(dsn) as connection:
        connection.execute("CREATE TABLE t (n int)")
    with pytest.raises(RuntimeError), connect(dsn) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        raise RuntimeError
    with connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_postgres_ends_the_session_of_a_host_that_is_gone_within_half_a_minute(dsn: str) -> None:
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
    with postgres.connect(dsn) as connection:
        connection.rollback()  # the setting is no part of the caller's transaction
        idle, interval, count = (int(connection.execute(f"SHOW {name}").fetchone()[0]) for name in names)
    assert idle + interval * count <= 30

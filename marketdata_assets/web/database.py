"""Connections that read only and never wait long, and their errors: every query of the web page goes through them."""

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import errors as pg

from marketdata_assets.domains import Store
from marketdata_assets.local.endpoints import VARIABLES
from marketdata_assets.read.errors import CannotRead, NothingLoaded
from marketdata_assets.stores import clickhouse as clickhouse_store
from marketdata_assets.stores import mongo as mongo_store
from marketdata_assets.stores import postgres as postgres_store
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import LoginRejected, StoreAway
from marketdata_assets.web.errors import Cause, NotCreated, QueryFailed, TooSlow

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 5.0
REQUEST_SECONDS = 8.0
"""A server that is stopped ends no statement: then this side closes the socket."""
LONG = 4.0
"""So many times as long may a question about all of a market take, whose answer is kept."""
MOST_ROWS = 2_000_000
"""More rows in an answer of ClickHouse are an error."""

_POSTGRES: dict[type[pg.Error], Cause] = {pg.InsufficientPrivilege: "permission", pg.UndefinedColumn: "schema"}
_CLICKHOUSE: dict[int, Cause] = {497: "permission", 16: "schema", 47: "schema", 241: "limit", 396: "limit"}
_MONGO: dict[int, Cause] = {13: "permission"}
_UNKNOWN_TABLE, _SLOW, _READONLY = 60, (159, 160), 164
_TABLE = re.compile(r"[Tt]able (?:expression identifier )?[`'\"]?(?:\w+\.)?(\w+)")


@dataclass(frozen=True)
class _Opened:
    client: Client
    closing: ExitStack
    until: float


class ClientPool:
    """ClickHouse clients that are reused for `seconds`: creating one reads all 1,800 settings of the server."""

    def __init__(self, seconds: float = 60) -> None:
        self._seconds = seconds
        self._idle: dict[tuple[str, float], list[_Opened]] = {}

    @contextmanager
    def client(self, url: str, patience: float) -> Iterator[Client]:
        """A client for one caller at a time; it is closed after an error."""
        idle = self._idle.setdefault((url, patience), [])
        opened = self._reused(idle) or self._open(url, patience)
        with opened.closing:
            yield opened.client
            if time.monotonic() < opened.until:
                idle.append(replace(opened, closing=opened.closing.pop_all()))

    def _reused(self, idle: list[_Opened]) -> _Opened | None:
        try:
            opened = idle.pop()
        except IndexError:
            return None
        if time.monotonic() < opened.until:
            return opened
        opened.closing.close()
        return None

    def _open(self, url: str, patience: float) -> _Opened:
        until = time.monotonic() + self._seconds
        options = {"timeout_seconds": REQUEST_SECONDS * patience, "connect_seconds": CONNECT_SECONDS}
        with ExitStack() as opening:
            client = opening.enter_context(clickhouse_store.connect(url, **options))
            _limit(client, STATEMENT_SECONDS * patience)
            return _Opened(client, opening.pop_all(), until)


@dataclass(frozen=True)
class Servers:
    """How each server is found, at each request; raises NoServer where nothing names it."""

    postgres: Callable[[], str]
    clickhouse: Callable[[], str]
    mongo: Callable[[], mongo_store.Server]
    clients: ClientPool = field(default_factory=ClientPool)


@contextmanager
def _unreachable(address: str) -> Iterator[None]:
    """Name a server that is unavailable, or rejects the login of the setting `address`, as the page does."""
    try:
        yield
    except LoginRejected as error:
        raise QueryFailed(error.store, _first_line(error.cause), "login", VARIABLES[address]) from error
    except StoreAway as error:
        raise CannotRead(error.store, _brief(error.cause)) from error


@contextmanager
def postgres(dsn: str, *, patience: float = 1.0, autocommit: bool = False) -> Iterator[psycopg.Connection]:
    """A connection that cannot write, with one transaction unless `autocommit`; `patience` multiplies the time limits.

    Raises CannotRead, TooSlow, QueryFailed, NotCreated for a write, and NothingLoaded for a table that does not exist.
    """
    limit = STATEMENT_SECONDS * patience
    try:
        with (
            _unreachable("postgres_dsn"),
            postgres_store.connect(
                dsn, application="marketdata web", connect_seconds=CONNECT_SECONDS, autocommit=autocommit
            ) as connection,
        ):
            timer = threading.Timer(REQUEST_SECONDS * patience, _hang_up, [connection])
            timer.daemon = True
            timer.start()
            try:
                if not autocommit:
                    connection.read_only = True
                connection.execute(
                    "SELECT set_config('statement_timeout', %s, false), set_config(%s, 'on', false)",
                    [f"{limit * 1000:.0f}", "default_transaction_read_only"],
                )
                yield connection
            finally:
                timer.cancel()
    except pg.QueryCanceled as error:
        raise TooSlow("Postgres", limit) from error
    except pg.UndefinedTable as error:
        raise NothingLoaded(_table(error.diag.message_primary or "")) from error
    except pg.ReadOnlySqlTransaction as error:
        raise NotCreated("Postgres") from error
    except psycopg.Error as error:
        cause: Cause = next((cause for kind, cause in _POSTGRES.items() if isinstance(error, kind)), "other")
        raise QueryFailed("Postgres", _first_line(error), cause, VARIABLES["postgres_dsn"]) from error


@contextmanager
def clickhouse(url: str, clients: ClientPool | None = None, *, patience: float = 1.0) -> "Iterator[Client]":
    """A client that cannot write, from the pool if one is given; `patience` multiplies the time limits.

    Raises CannotRead, TooSlow, QueryFailed, NotCreated for a write, and NothingLoaded for a table that does not exist.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

    try:
        with _unreachable("clickhouse_url"), (clients or ClientPool(0)).client(url, patience) as client:
            yield client
    except DatabaseError as error:
        if error.code == _UNKNOWN_TABLE:
            raise NothingLoaded(_table(str(error))) from error
        if error.code == _READONLY:
            raise NotCreated("ClickHouse") from error
        if error.code in _SLOW:
            raise TooSlow("ClickHouse", STATEMENT_SECONDS * patience) from error
        cause = _CLICKHOUSE.get(error.code or 0, "other")
        raise QueryFailed("ClickHouse", _first_line(error), cause, VARIABLES["clickhouse_url"]) from error
    except ClickHouseError as error:
        raise QueryFailed("ClickHouse", _first_line(error), "other", VARIABLES["clickhouse_url"]) from error


def _limit(client: Client, seconds: float) -> None:
    """Limit each query; a user who may change no settings has those of its profile."""
    wanted = {"max_execution_time": seconds, "max_result_rows": MOST_ROWS, "result_overflow_mode": "throw"}
    readonly = client.server_settings.get("readonly")
    if readonly is not None and readonly.value == "1":
        return
    for name, value in wanted.items():
        client.set_client_setting(name, value)
    client.set_client_setting("readonly", 2)  # last: it also forbids to set it back


@contextmanager
def mongo(server: mongo_store.Server, *, patience: float = 1.0) -> Iterator[mongo_store.Renamed]:
    """The databases of a server, which the page only reads. Raises CannotRead and QueryFailed."""
    from pymongo.errors import OperationFailure, PyMongoError

    try:
        with (
            _unreachable("mongo_uri"),
            mongo_store.databases(
                server,
                application="marketdata web",
                selection_seconds=CONNECT_SECONDS,
                timeout_seconds=REQUEST_SECONDS * patience,
            ) as databases,
        ):
            yield databases
    except OperationFailure as error:
        cause = _MONGO.get(error.code or 0, "other")
        raise QueryFailed("MongoDB", _first_line(error), cause, VARIABLES["mongo_uri"]) from error
    except PyMongoError as error:
        raise QueryFailed("MongoDB", _first_line(error), "other", VARIABLES["mongo_uri"]) from error


def connected(
    servers: Servers, store: Store, patience: float = 1.0, *, autocommit: bool = False
) -> AbstractContextManager[Any]:
    """A connection to a server that only reads; `autocommit` is for that to Postgres."""
    if store == "postgres":
        return postgres(servers.postgres(), patience=patience, autocommit=autocommit)
    if store == "clickhouse":
        return clickhouse(servers.clickhouse(), servers.clients, patience=patience)
    return mongo(servers.mongo(), patience=patience)


def _hang_up(connection: psycopg.Connection) -> None:
    """End whatever the connection waits for: its reader sees the end of the stream."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


def _table(text: str) -> str:
    found = re.search(r'"([^"]+)"', text) or _TABLE.search(text)
    return found[1] if found else "of this page"


def _brief(cause: str) -> str:
    """What the system says, of a client's account of all its attempts."""
    found = re.search(r"\[Errno -?\d+\] [^\"'(),\n]+", cause)
    return found[0].strip() if found else cause.strip().splitlines()[0][:200]


def _first_line(error: Any) -> str:
    """What the server says, without its stack and without the full stop that follows here."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:400].rstrip(". ")

"""A connection that reads only and never waits long: every query of the web page goes through it."""

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors as pg

from marketdata_assets.read.errors import CannotRead, NothingLoaded
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect
from marketdata_assets.web.errors import TooSlow

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 5.0
REQUEST_SECONDS = 8.0
"""A server that is stopped ends no statement: then this side closes the socket."""


@contextmanager
def reading(dsn: str) -> Iterator[psycopg.Connection]:
    """One read-only transaction. Raises CannotRead, TooSlow, and NothingLoaded for a table that does not exist."""
    try:
        with connect(dsn, application="marketdata web", connect_seconds=CONNECT_SECONDS) as connection:
            connection.read_only = True
            timer = threading.Timer(REQUEST_SECONDS, _hang_up, [connection])
            timer.daemon = True
            timer.start()
            try:
                limit = f"{STATEMENT_SECONDS * 1000:.0f}"
                connection.execute("SELECT set_config('statement_timeout', %s, false)", [limit])
                yield connection
            finally:
                timer.cancel()
    except pg.QueryCanceled as error:
        raise TooSlow(STATEMENT_SECONDS) from error
    except pg.UndefinedTable as error:
        raise NothingLoaded(_table(error)) from error
    except StoreAway as error:
        raise CannotRead(error.store, error.cause) from error


def _hang_up(connection: psycopg.Connection) -> None:
    """End whatever the connection waits for: its reader sees the end of the stream."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


def _table(error: pg.UndefinedTable) -> str:
    found = re.search(r'"([^"]+)"', error.diag.message_primary or "")
    return found[1] if found else "with minute bars"

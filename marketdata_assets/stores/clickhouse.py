"""ClickHouse over HTTP: a client, the mapping of its failures to ours, and polars frames in and out.

No table or column is named here. How a part of a partition is replaced is in `clickhouse_rewrite`.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.stores.errors import StoreAway, StoreFull

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

STORE = "ClickHouse"
AWAY = (32, 95, 209, 210, 236, 279, 425, 999)
"""Codes of a server that hangs up, shuts down or has lost its own connections."""
NO_SPACE = 243
NO_SPACE_TEXT = re.compile(r"no space left on device|errno: 28\b", re.IGNORECASE)
ROWS_PER_INSERT = 500_000
INSERT_SETTINGS = {
    "async_insert": 0,
    "input_format_null_as_default": 0,  # a NULL for a plain column is an error, not 0
    "date_time_overflow_behavior": "throw",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@contextmanager
def naming_failures() -> Iterator[None]:
    """Turn a lost connection into StoreAway and a full disk into StoreFull; other errors pass."""
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except DatabaseError as error:
        if error.code == NO_SPACE or NO_SPACE_TEXT.search(str(error)):
            raise StoreFull(STORE, str(error)) from error
        if error.code in AWAY or (error.code is None and isinstance(error, OperationalError)):
            raise StoreAway(STORE, str(error)) from error
        raise
    except (HTTPError, ConnectionError) as error:
        raise StoreAway(STORE, str(error)) from error


@contextmanager
def connect(url: str) -> Iterator["Client"]:
    """A client that threads may share, closed on leaving, with named failures."""
    import clickhouse_connect

    with naming_failures():
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
        try:
            yield client
        finally:
            client.close()


def quoted(name: str) -> str:
    """An identifier for SQL; raises ValueError for what no identifier of ours looks like."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a table or column")
    return f"`{name}`"


def read(client: "Client", sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """The result of a query. Values are bound, as `{name:Type}` or, for long lists, as `%(name)s`; times stay UTC."""
    with naming_failures():
        data = client.raw_query(sql, parameters=None if parameters is None else dict(parameters), fmt="ArrowStream")
    return pl.read_ipc_stream(io.BytesIO(data))


def insert(client: "Client", table: str, frame: pl.DataFrame, dictionaries: Sequence[str] = ()) -> None:
    """Append `frame` to `table`, column by name; `dictionaries` are texts of few values, which go over once each.

    A table that readers look at sees it arrive in pieces.
    """
    name = quoted(table)
    coded = frame.with_columns(pl.col(one).cast(pl.Categorical) for one in dictionaries)
    for piece in coded.iter_slices(ROWS_PER_INSERT):
        block = io.BytesIO()
        piece.rechunk().write_ipc_stream(block, compat_level=pl.CompatLevel.oldest())
        with naming_failures():
            client.raw_insert(
                name,
                column_names=frame.columns,
                insert_block=block.getvalue(),
                settings=INSERT_SETTINGS,
                fmt="ArrowStream",
            )

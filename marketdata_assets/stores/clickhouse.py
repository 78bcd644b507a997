"""ClickHouse over HTTP: a client, the mapping of its failures to ours, and polars frames in and out.

No table or column is named here. How a part of a partition is replaced is in `clickhouse_rewrite`.
"""

import io
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.errors import TerminalError
from marketdata_assets.proxies import environment_proxy
from marketdata_assets.secret_values import hide
from marketdata_assets.server_versions import ServerTooOld, require
from marketdata_assets.stores import clickhouse_address, clickhouse_ddl
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import LoginRejected, StoreAway, StoreFull

STORE = "ClickHouse"
AWAY = (32, 95, 209, 210, 225, 236, 242, 279, 319, 425, 517, 999)
"""Codes of a server that hangs up, shuts down, or has lost its own connections or that to Keeper."""
NO_SPACE = 243
NO_LOGIN = (192, 193, 194, 516)
NO_SPACE_TEXT = re.compile(r"no space left on device|errno: 28\b", re.IGNORECASE)
ROWS_PER_BATCH = 30_000
"""Two megabytes of bars: memory that is reused instead of allocated again."""
FORBIDDEN = (164, 497)
"""Codes of a user who may only read, by its settings or by its grants."""
MIN_ROWS_TO_SPLIT = 800_000
STREAMS = 2
"""Inserts at a time of one large frame: the server reads one with one core, and makes at least one part of it."""
ARROW_END = b"\xff\xff\xff\xff\0\0\0\0"
MAX_RUNS = 64
INSERT_SETTINGS = {
    "async_insert": 0,
    "input_format_null_as_default": 0,  # a NULL for a plain column is an error, not 0
    "date_time_overflow_behavior": "throw",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@contextmanager
def naming_failures() -> Iterator[None]:
    """Turn a lost connection into StoreAway, a full disk into StoreFull, a rejected login into LoginRejected."""
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except DatabaseError as error:
        if error.code == NO_SPACE or NO_SPACE_TEXT.search(str(error)):
            raise StoreFull(STORE, str(error)) from error
        if error.code in NO_LOGIN:
            raise LoginRejected(STORE, str(error)) from error
        if error.code in AWAY or (error.code is None and isinstance(error, OperationalError)):
            raise StoreAway(STORE, str(error)) from error
        raise
    except (HTTPError, ConnectionError) as error:
        raise StoreAway(STORE, str(error)) from error


@contextmanager
def connect(url: str, *, timeout_seconds: float | None = None, connect_seconds: float = 10) -> Iterator[Client]:
    """A client that threads may share, closed on leaving, with named failures.

    A server without a response for `timeout_seconds` is unavailable; by default the client waits for five minutes.
    Raises ServerTooOld, and UnsupportedServer or TerminalError when the address names a cluster.
    """
    from marketdata_assets.stores import clickhouse_cluster

    url, cluster = clickhouse_address.split(hide(url))
    options: dict[str, Any] = {"connect_timeout": connect_seconds}
    if timeout_seconds is not None:
        options["send_receive_timeout"] = timeout_seconds
    with naming_failures():
        client = opened(url, options)
        try:
            if cluster:
                clickhouse_cluster.join(client, cluster)
            yield client
        finally:
            client.close()


def opened(url: str, options: Mapping[str, Any], *, own_pool: bool = False) -> Client:
    """A client, to be closed; with `own_pool` its connections are not those of earlier clients.

    Raises ServerTooOld, also where the server does not understand what the library asks.
    """
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
    from clickhouse_connect.driver.httputil import default_pool_manager, get_pool_manager

    if url.startswith("http://") and environment_proxy(url) is None:  # the library alone uses a proxy for loopback
        options = {**options, "pool_mgr": get_pool_manager() if own_pool else default_pool_manager()}
    elif own_pool:
        options = {**options, "dedicated_pool": True}
    try:
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False, **options)
    except OperationalError:  # a server without a response gets no second request
        raise
    except DatabaseError:
        import httpx

        with suppress(httpx.HTTPError, httpx.InvalidURL):
            root = httpx.URL(url).copy_with(path="/", query=b"query=SELECT+version()")
            require(STORE, httpx.get(root, trust_env=False).text.strip())
        raise
    try:
        require(STORE, client.server_version or "")
    except ServerTooOld:
        client.close()
        raise
    return client


def create(client: Client, *scripts: str) -> None:
    """Run the statements of scripts that create what is missing, on all replicas when the client is of a cluster.

    One query lists what this node has: tables, and views as they are now. A user who only reads may call it for
    what exists.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    from marketdata_assets.stores import clickhouse_cluster

    cluster = clickhouse_cluster.cluster_of(client)
    created = dict(
        read(client, "SELECT name, comment FROM system.tables WHERE database = currentDatabase()").iter_rows()
    )
    for statement in (one for script in scripts for one in script.split(";\n") if one.strip()):
        name = clickhouse_ddl.name_of(statement)
        if name in created and clickhouse_ddl.comment_of(statement) in ("", created[name]):
            continue
        try:
            with naming_failures():
                client.command(clickhouse_ddl.rendered(statement, cluster))
        except DatabaseError as error:
            if error.code not in FORBIDDEN or name is None or not client.command(f"EXISTS {quoted(name)}"):
                raise


def check_types(client: Client, tables: Sequence[clickhouse_ddl.Table]) -> None:
    """Raises TerminalError for a column of another type than declared: the server converts values, and cuts some."""
    sql = """SELECT table, name, type FROM system.columns
             WHERE database = currentDatabase() AND table IN {tables:Array(String)}"""
    found = read(client, sql, {"tables": [table.name for table in tables]})
    stored = {(table, name): kind for table, name, kind in found.iter_rows()}
    for table in tables:
        for name, kind in table.types.items():
            other = stored.get((table.name, name), kind)
            if other != kind:
                raise TerminalError(
                    f"ClickHouse {client.database}: column {name} of {table.name} is {other}, and {kind} in this"
                    f" version. Nothing was written. Run: ALTER TABLE {table.name} MODIFY COLUMN {name} {kind}"
                )


def quoted(name: str) -> str:
    """A quoted identifier for SQL; ValueError unless it is of letters, digits and _."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a table or column")
    return f"`{name}`"


def read(client: Client, sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """The result of a query. Values are bound, as `{name:Type}` or, for long lists, as `%(name)s`; times stay UTC."""
    with naming_failures():
        data = client.raw_query(sql, parameters=None if parameters is None else dict(parameters), fmt="ArrowStream")
    return pl.read_ipc_stream(io.BytesIO(data))


def insert(client: Client, table: str, frame: pl.DataFrame, dictionaries: Sequence[str] = ()) -> None:
    """Append `frame` to `table`, column by name; `dictionaries` are texts of few values, which go over once each.

    A table that readers look at sees it arrive in pieces, and some of them may stay when this raises.
    """
    if frame.is_empty():
        return
    rows = frame.height if frame.height < MIN_ROWS_TO_SPLIT else -(-frame.height // STREAMS)

    def send(part: pl.DataFrame) -> None:
        with naming_failures():
            client.raw_insert(
                quoted(table),
                column_names=part.columns,
                insert_block=_arrow(part, dictionaries),  # a generator, which the client does not send twice
                settings=INSERT_SETTINGS,
                fmt="ArrowStream",
            )

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(send, frame.iter_slices(rows)))


def _arrow(frame: pl.DataFrame, dictionaries: Sequence[str]) -> Generator[bytes, None, None]:
    """The frame as one Arrow stream, made batch by batch: messages of a schema, dictionaries, rows, and an end.

    https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format: a message is ffffffff, the length of its
    metadata, and that; the schema has no body, and the end is ffffffff 00000000.
    """
    coded = frame.with_columns(_coded(frame[name]) for name in dictionaries)
    schema_ends = 0
    for batch in coded.iter_slices(ROWS_PER_BATCH):
        data = io.BytesIO()
        batch.rechunk().write_ipc_stream(data, compat_level=pl.CompatLevel.oldest())
        written = data.getvalue()
        yield written[schema_ends : -len(ARROW_END)]
        schema_ends = 8 + int.from_bytes(written[4:8], "little")
    yield ARROW_END


def _coded(text: pl.Series) -> pl.Series:
    """The same texts as categories; cheap where equal texts are adjacent."""
    runs = text.rle()
    if len(runs) > MAX_RUNS and len(runs) > len(text) // 10:
        return text.cast(pl.Enum(text.drop_nulls().unique()))
    values, lengths = runs.struct.field("value"), runs.struct.field("len")
    coded = values.cast(pl.Enum(values.drop_nulls().unique()))
    if len(coded) == 1:
        return coded.new_from_index(0, len(text)).alias(text.name)
    return coded.gather(np.repeat(np.arange(len(coded), dtype=np.uint32), lengths.to_numpy())).alias(text.name)

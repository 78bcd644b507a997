"""The result of a query in Postgres as a polars frame: decimals stay decimals, and nothing is rounded.

Rows come by COPY as text, which PostgreSQL writes as fast as its binary format and polars parses far faster than a
Python loop could decode the binary format. No table or column is named here.
"""

import select
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl
import psycopg
from psycopg import errors as pg
from psycopg import pq, sql

from marketdata_assets.stores.postgres import naming_failures

BLOCK_BYTES = 16 * 1024 * 1024
MAX_PRECISION = 38
"""Digits of polars' decimals."""

NUMERIC, TIMESTAMPTZ = 1700, 1184
TYPES: Mapping[int, pl.DataType] = {
    16: pl.Boolean(),
    20: pl.Int64(),
    21: pl.Int16(),
    23: pl.Int32(),
    700: pl.Float32(),
    701: pl.Float64(),
    1082: pl.Date(),
    1114: pl.Datetime("us"),
    TIMESTAMPTZ: pl.Datetime("us", "UTC"),
}
"""By Postgres' number of the type. Other types come as text, as Postgres writes it."""

_SECONDS, _FRACTIONS = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%.f"


class Unreadable(Exception):
    """A value that its column's type in polars cannot hold."""

    def __init__(self, column: str, cause: str) -> None:
        self.column, self.cause = column, cause
        super().__init__(f"{column}: {cause}")


@dataclass(frozen=True)
class Column:
    """A column of a table. `loose` is a decimal of which the server does not say how many digits it has."""

    name: str
    oid: int
    dtype: pl.DataType
    loose: bool = False

    @property
    def read_as(self) -> pl.DataType:
        """What polars reads, before it becomes `dtype`."""
        by_text = self.loose or isinstance(self.dtype, (pl.Boolean, pl.Datetime))
        return pl.String() if by_text else self.dtype

    @property
    def selected(self) -> sql.Composable:
        name = sql.Identifier(self.name)
        return sql.SQL("{} AT TIME ZONE 'UTC'").format(name) if self.oid == TIMESTAMPTZ else name


def columns_of(
    connection: psycopg.Connection, table: str, scales: Mapping[str, int] | None = None
) -> dict[str, Column]:
    """The columns of a table, by name. Raises psycopg's UndefinedTable.

    `scales` are the digits behind the point of numerics that do not say it themselves; without it these are text.
    """
    with naming_failures():
        found = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(table))).description
    return {one.name: _column(one, (scales or {}).get(one.name)) for one in found or ()}


def read(connection: psycopg.Connection, table: str, columns: Sequence[Column], where: sql.Composable) -> pl.DataFrame:
    """These columns of the rows that satisfy `where`, in no order. Raises Unreadable, and StoreAway."""
    wanted = sql.SQL(", ").join(column.selected for column in columns)
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(wanted, sql.Identifier(table), where)
    if not (connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
        connection.execute("SET datestyle TO 'ISO'")
    with ThreadPoolExecutor(1) as pool:
        parts = [pool.submit(_frame, block, columns) for block in copy_rows(connection, query)]
    frames = [part.result() for part in parts] or [_frame(b"", columns)]
    return pl.concat(frames, rechunk=False)


def copy_rows(connection: psycopg.Connection, query: sql.Composed) -> Iterator[bytes]:
    """The rows of a query as CSV without a header, in blocks of whole rows.

    They are taken from libpq itself: psycopg's own loop takes longer for a row than the server does.
    """
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)
    pgconn = connection.pgconn
    with naming_failures(), connection.cursor().copy(statement):
        block = bytearray()
        while (message := pgconn.get_copy_data(1))[0] >= 0:
            if message[0] == 0:
                select.select([pgconn.socket], [], [])
                pgconn.consume_input()
                continue
            block += message[1]
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block = bytearray()
        results = iter(pgconn.get_result, None)  # libpq requires reading results until there are no more
        failures = [one for one in [*results] if one.status != pq.ExecStatus.COMMAND_OK]
        if failures:
            raise _failure(failures[0])
        if block:
            yield bytes(block)


def _failure(result: pq.abc.PGresult) -> psycopg.Error:
    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    message = result.error_message.decode(errors="replace") or "the query failed"
    try:
        return pg.lookup(code)(message)
    except KeyError:
        return psycopg.OperationalError(message)


def _column(found: psycopg.Column, scale: int | None) -> Column:
    name, oid = found.name, found.type_code
    if oid == NUMERIC and found.scale is not None and found.precision is not None:
        if 0 <= found.scale <= found.precision <= MAX_PRECISION:
            return Column(name, oid, pl.Decimal(found.precision, found.scale))
    elif oid == NUMERIC and scale is not None:
        return Column(name, oid, pl.Decimal(MAX_PRECISION, scale), loose=True)
    return Column(name, oid, TYPES.get(oid, pl.String()))


def _frame(block: bytes, columns: Sequence[Column]) -> pl.DataFrame:
    schema = {column.name: column.read_as for column in columns}
    try:
        found = pl.read_csv(block, has_header=False, schema=schema, raise_if_empty=False)
    except pl.exceptions.ComputeError:  # once more, to find the value
        texts = pl.read_csv(block, has_header=False, schema=dict.fromkeys(schema, pl.String()), raise_if_empty=False)
        found = texts.select(_cast(texts[name], dtype) for name, dtype in schema.items())
    return found.select(_finished(found[column.name], column) for column in columns)


def _finished(found: pl.Series, column: Column) -> pl.Series:
    """A column that polars has read as text, as what it is; others as they are."""
    if isinstance(column.dtype, pl.Boolean):
        return found.replace_strict({"t": True, "f": False}, return_dtype=pl.Boolean())
    if isinstance(column.dtype, pl.Datetime):
        form = _FRACTIONS if found.str.contains(".", literal=True).any() else _SECONDS
        made = found.str.to_datetime(form, time_unit="us", strict=False)
        _check_parsed(found, made, "is no time that polars knows")
        return made.dt.replace_time_zone(column.dtype.time_zone)
    if column.loose:
        assert isinstance(column.dtype, pl.Decimal)
        long = found.filter(found.str.contains(rf"\.\d{{{column.dtype.scale + 1},}}"))
        if len(long):  # polars would round it
            raise Unreadable(column.name, f"{long[0]!r} has more than {column.dtype.scale} digits behind the point")
        return _cast(found, column.dtype)
    return found


def _cast(found: pl.Series, dtype: pl.DataType) -> pl.Series:
    days = isinstance(dtype, pl.Date)
    made = found.str.to_date("%Y-%m-%d", strict=False) if days else found.cast(dtype, strict=False)
    _check_parsed(found, made, f"does not fit {dtype}")
    return made


def _check_parsed(found: pl.Series, made: pl.Series, why: str) -> None:
    if made.null_count() > found.null_count():
        odd = found.filter(made.is_null() & found.is_not_null())
        raise Unreadable(found.name, f"{odd[0]!r} {why}")

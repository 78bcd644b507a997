"""Tables of Postgres, as the text of COPY: every version and every machine reads it, and numbers stay exact.

All tables are read in one snapshot, and restored in one transaction.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from marketdata_assets.backup.definitions import definition, joined, statements
from marketdata_assets.backup.files import CHUNK, Digest, Relation, chunks, restore_each, save_each, writing
from marketdata_assets.errors import TerminalError
from marketdata_assets.stores.postgres import STORE, connect

DAGSTER = "Dagster"
REVISION = "alembic_version"
RUNS = ("runs", "event_logs")
SESSION = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 1"


def save(dsn: str, tables: Sequence[str] | None, folder: Path, store: str = STORE) -> list[Relation]:
    """Write those of `tables` that exist, or all tables of the schema, those that others refer to first."""
    with connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute(SESSION)
        wanted = _all_tables(connection) if tables is None else tables
        existing = [name for name in wanted if _exists(connection, name)]
        return save_each(existing, lambda name: _save(connection, name, folder, store))


def restore(
    dsn: str,
    relations: Sequence[Relation],
    folder: Path,
    prepare: Callable[[psycopg.Connection], None],
    undeclared: Collection[str] = (),
) -> None:
    """Restore the rows, all or none. `prepare` creates the tables it knows; others are created as they were.

    Raises TerminalError, also for a table that exists and that nothing of this project made.
    """
    with connect(dsn) as connection, connection.transaction():
        connection.execute(SESSION)
        before = {one.name for one in relations if _exists(connection, one.name)}
        prepare(connection)

        def load(one: Relation) -> tuple[int, str]:
            if not _exists(connection, one.name):
                for made in statements(one.name, one.made_by):
                    connection.execute(made)
            elif one.name in before and one.name in undeclared:
                raise TerminalError(f"{STORE} has a table {one.name} already; drop it, or restore elsewhere")
            return _load(connection, one, folder)

        restore_each(STORE, relations, lambda name: _has_rows(connection, name), load)


def restore_dagster(dsn: str, relations: Sequence[Relation], folder: Path) -> None:
    """Restore Dagster's own storage, whose tables Dagster has created, all or none. Raises TerminalError.

    What an instance without runs has written, such as heartbeats and ticks, is replaced.
    """
    with connect(dsn) as connection, connection.transaction():
        connection.execute(SESSION)
        if foreign := sorted({one.name for one in relations} - {*_all_tables(connection)}):
            raise TerminalError(f"{DAGSTER} has no table {', '.join(foreign)}. Nothing was restored to it")
        for one in relations:
            if one.name == REVISION and _content(connection, one) != (one.rows, one.digest):
                raise TerminalError(
                    f"{DAGSTER} has tables of another version than the backup. Nothing was restored to it; install the"
                    " version of Dagster that took the backup, or leave it out with --store"
                )
        busy = [name for name in RUNS if _has_rows(connection, name)]
        if not busy:
            tables = sql.SQL(", ").join(sql.Identifier(one.name) for one in relations)
            connection.execute(sql.SQL("TRUNCATE {}").format(tables))
        restore_each(DAGSTER, relations, busy.__contains__, lambda one: _load(connection, one, folder))


def rows_of(file: IO[bytes]) -> Iterator[bytes]:
    """The rows in a file of a table; COPY writes a line break within a value as an escape."""
    rest = b""
    while block := file.read(CHUNK):
        *rows, rest = (rest + block).split(b"\n")
        for row in rows:
            yield row + b"\n"
    if rest:
        yield rest


def _all_tables(connection: psycopg.Connection) -> list[str]:
    """In an order in which their rows can be restored: after those that they refer to."""
    listed = connection.execute(
        """SELECT relname, array(
               SELECT confrelid::regclass::text FROM pg_constraint
               WHERE conrelid = c.oid AND contype = 'f' AND confrelid <> c.oid)
           FROM pg_class c WHERE relkind = 'r' AND relnamespace = to_regnamespace(current_schema()::text)
           ORDER BY relname"""
    )
    return list(TopologicalSorter(dict(listed.fetchall())).static_order())


def _has_rows(connection: psycopg.Connection, name: str) -> bool:
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name))
    return _exists(connection, name) and connection.execute(query).fetchone() is not None


def _content(connection: psycopg.Connection, one: Relation) -> tuple[int, str]:
    """The number and the digest of the rows that the database has."""
    digest = Digest()
    with connection.cursor().copy(_copy(one.name, one.columns)) as copy:
        for row in copy:
            digest.add(bytes(row))
    return digest.rows, digest.text


def _save(connection: psycopg.Connection, name: str, folder: Path, store: str) -> Relation:
    listed = connection.execute(
        """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%s))
           AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum""",
        [name],
    )
    columns, digest = [column for (column,) in listed], Digest()
    with (
        writing(folder, f"{store.lower()}-{name}.copy.zst") as file,
        connection.cursor().copy(_copy(name, columns)) as copy,
    ):
        for row in copy:
            data = bytes(row)
            digest.add(data)
            file.write(data)
    made_by = definition(connection, name, columns)
    return Relation(store, name, digest.rows, digest.text, columns, made_by, [file.piece])


def _load(connection: psycopg.Connection, one: Relation, folder: Path) -> tuple[int, str]:
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(one.name), joined(one.columns))
    with connection.cursor().copy(into) as copy:
        for piece in one.pieces:
            for block in chunks(folder, piece):
                copy.write(block)
    for column in one.columns:  # identity columns continue after the highest number in use
        query = "SELECT pg_get_serial_sequence(quote_ident(%s), %s)"
        [(sequence,)] = connection.execute(query, [one.name, column])
        if sequence:
            highest = sql.SQL("SELECT setval(%s, greatest(max({0}), 1), max({0}) IS NOT NULL) FROM {1}")
            connection.execute(highest.format(sql.Identifier(column), sql.Identifier(one.name)), [sequence])
    return _content(connection, one)


def _copy(name: str, columns: Sequence[str]) -> sql.Composed:
    """From a query, for a hypertable's own table has no rows."""
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(joined(columns), sql.Identifier(name))


def _exists(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(quote_ident(%s)) IS NOT NULL", [name]).fetchone()
    return bool(row and row[0])

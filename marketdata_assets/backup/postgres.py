"""Tables of Postgres, as the text of COPY: every version and every machine reads it, and numbers stay exact.

All tables are read in one snapshot, and restored in one transaction.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from marketdata_assets.backup.files import Digest, Relation, chunks, restore_each, save_each, writing
from marketdata_assets.stores.postgres import STORE, connect

SESSION = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 1"


def save(dsn: str, tables: Sequence[str], folder: Path) -> list[Relation]:
    """Write those of `tables` that exist."""
    with connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute(SESSION)
        existing = [name for name in tables if _exists(connection, name)]
        return save_each(existing, lambda name: _save(connection, name, folder))


def restore(
    dsn: str, relations: Sequence[Relation], folder: Path, prepare: Callable[[psycopg.Connection], None]
) -> None:
    """Restore the rows, all or none. `prepare` creates the tables it knows; others are created as they were.

    Raises BackupError.
    """
    with connect(dsn) as connection, connection.transaction():
        connection.execute(SESSION)
        prepare(connection)

        def has_rows(name: str) -> bool:
            query = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name))
            return _exists(connection, name) and connection.execute(query).fetchone() is not None

        def load(one: Relation) -> tuple[int, str]:
            if not _exists(connection, one.name):
                connection.execute(one.made_by.encode())
            _load(connection, one, folder)
            digest = Digest()
            with connection.cursor().copy(_copy(one.name, one.columns)) as copy:
                for row in copy:
                    digest.add(bytes(row))
            return digest.rows, digest.text

        restore_each(STORE, relations, has_rows, load)


def _save(connection: psycopg.Connection, name: str, folder: Path) -> Relation:
    listed = connection.execute(
        """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%s))
           AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum""",
        [name],
    )
    columns, digest = [column for (column,) in listed], Digest()
    with writing(folder, f"postgres-{name}.copy.zst") as file, connection.cursor().copy(_copy(name, columns)) as copy:
        for row in copy:
            data = bytes(row)
            digest.add(data)
            file.write(data)
    made_by = _definition(connection, name, columns)
    return Relation(STORE, name, digest.rows, digest.text, columns, made_by, [file.piece])


def _load(connection: psycopg.Connection, one: Relation, folder: Path) -> None:
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(one.name), _listed(one.columns))
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


def _copy(name: str, columns: Sequence[str]) -> sql.Composed:
    """From a query, for a hypertable's own table has no rows."""
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(_listed(columns), sql.Identifier(name))


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _exists(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(quote_ident(%s)) IS NOT NULL", [name]).fetchone()
    return bool(row and row[0])


def _definition(connection: psycopg.Connection, name: str, columns: Sequence[str]) -> str:
    """Statements that make a table like it: columns, NOT NULL, keys and indexes."""
    listed = connection.execute(
        """SELECT quote_ident(attname) || ' ' || format_type(atttypid, atttypmod)
                  || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
           FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%s)) AND attname = ANY(%s) ORDER BY attnum""",
        [name, list(columns)],
    )
    keys = connection.execute(
        """SELECT pg_get_constraintdef(oid) FROM pg_constraint
           WHERE conrelid = to_regclass(quote_ident(%s)) AND contype IN ('p', 'u', 'c') ORDER BY oid""",
        [name],
    )
    parts = [text for (text,) in (*listed, *keys)]
    indexes = connection.execute(
        """SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass(quote_ident(%s))
           AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid) ORDER BY indexrelid""",
        [name],
    )
    made = sql.SQL("CREATE TABLE {} (").format(sql.Identifier(name)).as_string(connection)
    [(current,)] = connection.execute("SELECT current_schema()")
    schema = sql.Identifier(current).as_string(connection)
    rest = [text.replace(f" ON {schema}.", " ON ") for (text,) in indexes]
    return ";\n".join([f"{made}{', '.join(parts)})", *rest])

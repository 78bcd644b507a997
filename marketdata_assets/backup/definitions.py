"""The tables that a backup says how to make: read by a grammar that knows no other statement, and made by ours.

A manifest is a file that somebody may have changed, so nothing of it is executed.
"""

import re
from collections.abc import Iterator

from psycopg import sql

from marketdata_assets.errors import TerminalError
from marketdata_assets.logs import get_logger

_NAME = r'(?:[a-z_][a-z0-9_$]*|"(?:[^"\x00]|"")+")'
_NAMES = rf"{_NAME}(?:, {_NAME})*"
_TYPE = (
    r"(?:boolean|smallint|integer|bigint|real|double precision|numeric|text|character varying|character|bytea|date"
    r"|interval|uuid|jsonb?|timestamp|time)(?:\(\d{1,5}(?:,\d{1,5})?\))?(?: with(?:out)? time zone)?(?:\[\])*"
)
_TABLE = re.compile(rf"CREATE TABLE ({_NAME}) \((.*)\)", re.DOTALL)
_COLUMN = re.compile(rf"({_NAME}) ({_TYPE})( NOT NULL)?(?:, |$)")
_KEY = re.compile(rf"(PRIMARY KEY|UNIQUE) \(({_NAMES})\)(?:, |$)")
_INDEX = re.compile(
    rf"CREATE (UNIQUE )?INDEX ({_NAME}) ON (?:{_NAME}\.)?({_NAME}) USING (btree|brin|hash|gin) \(({_NAMES})\)"
)

log = get_logger(__name__)


def statements(name: str, made_by: str) -> Iterator[sql.Composed]:
    """Our statements for a table and its indexes. Raises TerminalError for what is no definition of that table."""
    first, *rest = made_by.split(";\n")
    table = _TABLE.fullmatch(first)
    if table is None or _plain(table[1]) != name:
        raise _foreign(name, first)
    yield sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(name), sql.SQL(", ").join(_parts(name, table[2])))
    for text in rest:
        index = _INDEX.fullmatch(text)
        if index is None and text.startswith(("CREATE INDEX ", "CREATE UNIQUE INDEX ")):
            log.warning("index_left_out", table=name, index=text)  # of an expression, or of a kind that we do not make
            continue
        if index is None or _plain(index[3]) != name:
            raise _foreign(name, text)
        yield sql.SQL("CREATE {}INDEX {} ON {} USING {} ({})").format(
            sql.SQL("UNIQUE " if index[1] else ""),
            sql.Identifier(_plain(index[2])),
            sql.Identifier(name),
            sql.SQL(index[4]),
            _listed(index[5]),
        )


def _parts(table: str, text: str) -> Iterator[sql.Composed]:
    """The columns and keys between the brackets."""
    at = 0
    while at < len(text):
        if key := _KEY.match(text, at):
            yield sql.SQL("{} ({})").format(sql.SQL(key[1]), _listed(key[2]))
        elif column := _COLUMN.match(text, at):
            required = sql.SQL(" NOT NULL" if column[3] else "")
            yield sql.SQL("{} {}{}").format(sql.Identifier(_plain(column[1])), sql.SQL(column[2]), required)
        else:
            raise _foreign(table, text[at:])
        at = (key or column).end()  # type: ignore[union-attr]


def _listed(names: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(_plain(name)) for name in re.findall(_NAME, names))


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _foreign(table: str, text: str) -> TerminalError:
    return TerminalError(
        f"the manifest says of table {table}: {text[:200]!r}, which is no definition of that table. Nothing of it was"
        " executed and nothing restored; declare its flow again, which makes the table, or take another backup"
    )

"""How a table of Postgres was made, as data, and our statements that make it again.

A manifest is a file that somebody may have changed, so nothing of it is executed.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
import psycopg
from psycopg import sql

from marketdata_assets.errors import TerminalError
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.logs import get_logger
from marketdata_assets.stores.postgres import statement

_TYPE = (
    r"(?:boolean|smallint|integer|bigint|real|double precision|numeric|text|character varying|character|bytea|date"
    r"|interval|uuid|jsonb?|timestamp|time)(?:\(\d{1,5}(?:,\d{1,5})?\))?(?: with(?:out)? time zone)?(?:\[\])*"
)
Name = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]+\Z")]
Names = Annotated[list[Name], msgspec.Meta(min_length=1)]
Column = tuple[Name, Annotated[str, msgspec.Meta(pattern=rf"\A{_TYPE}\Z")], bool]

log = get_logger(__name__)


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table; `left_out` are the indexes of expressions, or of a kind that we do not make, as PostgreSQL has them."""

    columns: Annotated[list[Column], msgspec.Meta(min_length=1)]  # name, type, whether NOT NULL
    keys: list[tuple[Literal["PRIMARY KEY", "UNIQUE"], Names]]
    indexes: list[tuple[Name, bool, Literal["btree", "brin", "hash", "gin"], Names]]  # the second: whether UNIQUE
    left_out: list[str]


def definition(connection: psycopg.Connection, name: str, columns: Sequence[str]) -> str:
    """A table with these columns, as JSON of Table."""
    query = statement(__package__, "definition.sql").encode()
    [(text,)] = connection.execute(query, {"table": name, "columns": list(columns)})
    return str(text)


def statements(name: str, made_by: str) -> Iterator[sql.Composed]:
    """Our statements for a table and its indexes. Raises TerminalError for what is no definition of a table."""
    try:
        table = msgspec.json.decode(made_by, type=Table)
    except NOT_JSON as error:
        raise TerminalError(
            f"the manifest says of table {name}: {made_by[:200]!r}, which is no definition of that table ({error})."
            " Nothing of it was executed and nothing restored; declare its flow again, which makes the table, or take"
            " another backup"
        ) from error
    parts = [
        sql.SQL("{} {}{}").format(sql.Identifier(column), sql.SQL(kind), sql.SQL(" NOT NULL" if required else ""))
        for column, kind, required in table.columns
    ]
    parts += [sql.SQL("{} ({})").format(sql.SQL(kind), joined(columns)) for kind, columns in table.keys]
    yield sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(name), sql.SQL(", ").join(parts))
    for index, unique, method, columns in table.indexes:
        names = [sql.SQL("UNIQUE " if unique else ""), *map(sql.Identifier, (index, name)), sql.SQL(method)]
        yield sql.SQL("CREATE {}INDEX {} ON {} USING {} ({})").format(*names, joined(columns))
    for text in table.left_out:
        log.warning("index_left_out", table=name, index=text)


def joined(columns: Sequence[str]) -> sql.Composed:
    """Names of columns, with commas between."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))

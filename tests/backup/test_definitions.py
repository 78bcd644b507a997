"""Definitions of tables in a manifest: what we write is read, and no other statement is made of any text."""

import json
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from marketdata_assets.backup.definitions import definition, statements
from marketdata_assets.errors import TerminalError

MADE = """
    CREATE TABLE "Odd ""name" (
        "a b" text NOT NULL, n numeric(12,4), at timestamp(3) with time zone, list text[], c character varying(9),
        j jsonb, day date NOT NULL, PRIMARY KEY ("a b", day), UNIQUE (n));
    CREATE INDEX "my index" ON "Odd ""name" (day, n);
    CREATE UNIQUE INDEX ON "Odd ""name" (c, "a b");
    CREATE INDEX of_words ON "Odd ""name" (lower(c));
    CREATE INDEX newest ON "Odd ""name" (day DESC) WHERE n > 0"""


def test_what_is_saved_of_a_table_makes_it_again(dsn: str) -> None:
    name = 'Odd "name'
    with psycopg.connect(dsn) as connection:
        connection.execute(MADE)
        columns = ["a b", "n", "at", "list", "c", "j", "day"]
        before = definition(connection, name, columns)
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        for one in statements(name, before):
            connection.execute(one)
        again = json.loads(definition(connection, name, columns))
    assert again == json.loads(before) | {"left_out": []}
    assert [len(json.loads(before)[part]) for part in ("columns", "keys", "indexes", "left_out")] == [7, 2, 2, 2]


TABLE: dict[str, Any] = {"columns": [["a", "text", False]], "keys": [], "indexes": [], "left_out": []}
EVIL = (
    {},
    TABLE | {"columns": []},
    TABLE | {"columns": [["a", "text); CREATE TABLE pwned AS SELECT 1", False]]},
    TABLE | {"columns": [["a", "text DEFAULT pg_sleep(9)", False]]},
    TABLE | {"columns": [["a", "other.type", False]]},
    TABLE | {"columns": [["a", "text\n", False]]},
    TABLE | {"columns": [["a\0b", "text", False]]},
    TABLE | {"keys": [["CHECK (pg_sleep(9) IS NULL)", ["a"]]]},
    TABLE | {"indexes": [["i", False, "btree (a); DROP TABLE t", ["a"]]]},
    TABLE | {"inherits": "other"},
)


@pytest.mark.parametrize("made_by", ["", "CREATE TABLE t (a text)", *map(json.dumps, EVIL)])
def test_anything_else_is_refused(made_by: str) -> None:
    with pytest.raises(TerminalError, match="no definition of that table"):
        list(statements("t", made_by))


@given(st.text(st.sampled_from("CREATE TABLE t(a text,)\";\n DROP'--/*%{}"), min_size=1, max_size=60))
def test_no_text_makes_a_statement_that_is_not_of_the_table(text: str) -> None:
    made_by = json.dumps(TABLE | {"columns": [[text, "text", False]], "indexes": [[text, True, "hash", [text]]]})
    quoted = sql.Identifier(text).as_string(None)
    assert [one.as_string(None) for one in statements("t", made_by)] == [
        f'CREATE TABLE "t" ({quoted} text)',
        f'CREATE UNIQUE INDEX {quoted} ON "t" USING hash ({quoted})',
    ]

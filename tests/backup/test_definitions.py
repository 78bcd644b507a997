"""Definitions of tables in a manifest: what we write is read, and no other statement is made of any text."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from marketdata_assets.backup.definitions import statements
from marketdata_assets.backup.postgres import _definition
from marketdata_assets.errors import TerminalError

MADE = """
    CREATE TABLE "Odd ""name" (
        "a b" text NOT NULL, n numeric(12,4), at timestamp(3) with time zone, list text[], c character varying(9),
        j jsonb, day date NOT NULL, PRIMARY KEY ("a b", day), UNIQUE (n));
    CREATE INDEX "my index" ON "Odd ""name" (day, n);
    CREATE INDEX of_words ON "Odd ""name" (lower(c))"""


def test_what_is_saved_of_a_table_makes_it_again(dsn: str) -> None:
    name = 'Odd "name'
    with psycopg.connect(dsn) as connection:
        connection.execute(MADE)
        columns = ["a b", "n", "at", "list", "c", "j", "day"]
        before = _definition(connection, name, columns)
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        for one in statements(name, before):
            connection.execute(one)
        again = _definition(connection, name, columns).split(";\n")
    assert again == [part for part in before.split(";\n") if "lower" not in part]
    assert len(again) == 2


EVIL = (
    "",
    "DROP TABLE t",
    "CREATE TABLE t (a text); CREATE TABLE pwned AS SELECT 1",
    "CREATE TABLE t (a text);\nCREATE TABLE pwned AS SELECT 1",
    "CREATE TABLE t (a text);\nCREATE INDEX i ON other USING btree (a)",
    "CREATE TABLE other (a text)",
    "CREATE TABLE t (a text DEFAULT pg_sleep(9))",
    "CREATE TABLE t (a text default current_user)",
    "CREATE TABLE t (a text REFERENCES other)",
    "CREATE TABLE t (a text) INHERITS (other)",
    "CREATE TABLE t (a text) TABLESPACE x",
    "CREATE TABLE t (a text, b text COLLATE x)",
    "CREATE TABLE t (a other.type)",
    "CREATE TABLE public.t (a text)",
    "CREATE TABLE t (a text, CHECK (pg_sleep(9) IS NULL))",
)


@pytest.mark.parametrize("text", EVIL)
def test_any_other_statement_is_refused(text: str) -> None:
    with pytest.raises(TerminalError, match="no definition of that table"):
        list(statements("t", text))


@given(st.text(st.sampled_from("CREATE TABLE t(a text,)\";\n DROP'--/*"), max_size=60))
def test_no_text_makes_a_statement_that_is_not_of_the_table(text: str) -> None:
    try:
        made = [one.as_string(None) for one in statements("t", f"CREATE TABLE t (a text{text})")]
    except TerminalError:
        return
    assert all(one.startswith(('CREATE TABLE "t" ("a" text', "CREATE INDEX", "CREATE UNIQUE INDEX")) for one in made)

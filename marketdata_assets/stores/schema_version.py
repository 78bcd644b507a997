"""The version of the tables' form, which each database keeps, so that nothing is written into tables of another one.

A change of the schema files after a release raises VERSION; docs/operate.md says what a person does then.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    import psycopg
    from pymongo.database import Database

VERSION = 1
VIEW = "marketdata_schema_version"
COLLECTION = "marketdata-schema-version"
CREATE = f"CREATE OR REPLACE VIEW {VIEW} AS SELECT {VERSION} AS version"
SCHEMA_LOCK = "marketdata schema"


def lock(connection: "psycopg.Connection") -> None:
    """Let no other process change the schema of Postgres until the transaction ends."""
    from marketdata_assets.stores.postgres import take_lock

    take_lock(connection, SCHEMA_LOCK, "SELECT pg_advisory_xact_lock(hashtext(%s))", [SCHEMA_LOCK])


def ensure_postgres(connection: "psycopg.Connection", ledger: str) -> None:
    """Record the version where the database has no `ledger` yet. Raises TerminalError."""
    if _is_new_postgres(connection, ledger):
        lock(connection)
        if _is_new_postgres(connection, ledger):  # else another process has recorded it meanwhile
            connection.execute(CREATE)


def _is_new_postgres(connection: "psycopg.Connection", ledger: str) -> bool:
    from marketdata_assets.stores.postgres import EXISTS

    query = f"SELECT {EXISTS.format('%s')}, {EXISTS.format('%s')}"
    has_version, has_tables = connection.execute(query, [VIEW, ledger]).fetchone() or (False, False)
    row = connection.execute(f"SELECT version FROM {VIEW}").fetchone() if has_version else None
    return _is_new(f"Postgres {connection.info.dbname}", row[0] if row else None, has_tables)


def ensure_clickhouse(client: Client, tables: Collection[str]) -> None:
    """Record the version where the database has none of `tables` yet. Raises TerminalError and UnsupportedServer."""
    from marketdata_assets.stores import clickhouse, clickhouse_cluster

    clickhouse_cluster.check(client)
    names = set(clickhouse.read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"])
    version = clickhouse.read(client, f"SELECT toInt64(version) AS version FROM {VIEW}") if VIEW in names else None
    found = None if version is None else version["version"][0]
    if _is_new(f"ClickHouse {client.database}", found, not names.isdisjoint(tables)):
        clickhouse.create(client, CREATE)


def ensure_mongo(database: "Database[dict[str, Any]]", ledger: str) -> None:
    """Record the version where the database has no `ledger` yet. Raises TerminalError."""
    names = database.list_collection_names()
    row = database[COLLECTION].find_one({"_id": "version"}) if COLLECTION in names else None
    if _is_new(f"MongoDB {database.name}", row["number"] if row else None, ledger in names):
        database[COLLECTION].update_one({"_id": "version"}, {"$setOnInsert": {"number": VERSION}}, upsert=True)


def _is_new(place: str, found: int | None, has_tables: bool) -> bool:
    if found == VERSION or (found is None and not has_tables):
        return found is None
    recorded = "no schema version" if found is None else f"schema version {found}"
    raise TerminalError(
        f"{place} has tables of the project with {recorded}; this version of the project has {VERSION}. Nothing was"
        " written. Name an empty database and load into it, or install the version that created the tables"
    )

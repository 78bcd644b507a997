"""`marketdata migrate`: tables of an earlier version become those of this one, in all databases."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marketdata_assets.cli import output, stores
from marketdata_assets.local import endpoints
from marketdata_assets.local.endpoints import Endpoints
from marketdata_assets.settings import Settings
from marketdata_assets.stores.errors import StoreAway

if TYPE_CHECKING:
    from marketdata_assets.stores.migrations import Step

COLUMNS = ("database", "step", "table", "state")


@dataclass(frozen=True)
class Database:
    """A database, and how to find and to run the steps that it needs."""

    name: str
    pending: "Callable[[], Sequence[Step]]"
    migrate: "Callable[[], Sequence[Step]]"


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the steps that would be run")] = False,
    create: Annotated[
        bool, typer.Option("--create", help="also create the tables that do not exist, for users who may only read")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Change tables of an earlier version to those of this one.

    All databases that are configured are changed, while loads continue. Tables that do not exist are created by their
    first load, or by --create.
    """
    found = endpoints.resolve(Settings())
    databases = [*_databases(found), *_conversions(found)]
    rows: list[dict[str, Any]] = []
    state = "pending" if dry_run else "done"
    with output.bar("migrate", quiet=as_json):
        planned = [(one, one.pending()) for one in databases]  # an error in any database, before anything is changed
        for one, steps in planned:
            done = steps if dry_run else one.migrate()
            rows += [{"database": one.name, "step": step.label, "table": step.table, "state": state} for step in done]
    if create and not dry_run:
        _create_tables(found)
    if as_json:
        output.as_json({"databases": list(dict.fromkeys(one.name for one in databases)), "steps": rows})
    elif rows:
        output.table("migrate", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    else:
        names = ", ".join(dict.fromkeys(one.name for one in databases))
        output.console().print(f"no step is pending in {names}" if names else "no database is configured", markup=False)


def migrate_all(found: Endpoints) -> None:
    """Run what the databases of a stack that has just started need; loads report the ones that do not answer."""
    for one in _databases(found):
        with suppress(StoreAway):
            one.migrate()


def _databases(found: Endpoints) -> Iterator[Database]:
    from marketdata_assets.alphas.importer import database_name
    from marketdata_assets.alphas.layout import KINDS
    from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
    from marketdata_assets.stores.migrations import clickhouse, mongo, postgres

    if dsn := found.postgres_dsn:
        yield Database("Postgres", lambda: postgres.pending(dsn), lambda: postgres.migrate(dsn))
    if uri := found.mongo_uri:
        names = Settings().mongo_databases
        for dataset in (*map(database_name, KINDS), *map(asset_name, RECORD_SETS)):
            name = names.get(dataset, dataset)
            yield Database(
                f"MongoDB {name}",
                lambda name=name: mongo.pending(uri, name),  # type: ignore[misc]
                lambda name=name: mongo.migrate(uri, name),  # type: ignore[misc]
            )
    if url := found.clickhouse_url:
        yield Database("ClickHouse", lambda: clickhouse.pending(url), lambda: clickhouse.migrate(url))


def _create_tables(found: Endpoints) -> None:
    """Create the tables of all domains but those of flows, which their first load creates."""
    from marketdata_assets.bars import schema as bars
    from marketdata_assets.flows import storage
    from marketdata_assets.reconciliation import reconcile
    from marketdata_assets.reference import tables as reference
    from marketdata_assets.stores import postgres
    from marketdata_assets.ticks import tables as ticks

    if dsn := found.postgres_dsn:
        with postgres.connect(dsn) as connection:
            for ensure in (bars.ensure, storage.ensure_books, reconcile.ensure):
                ensure(connection)
    if found.clickhouse_url:
        with stores.exchange_tables() as client:
            reference.ensure(client)
            ticks.ensure(client)


def _conversions(found: Endpoints) -> Iterator[Database]:
    """What takes hours on a large table, and is not needed to load: run by the command alone."""
    from marketdata_assets.bars import columnstore

    if dsn := found.postgres_dsn:
        yield Database("Postgres", lambda: columnstore.pending(dsn), lambda: columnstore.convert(dsn))

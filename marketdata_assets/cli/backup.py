"""`marketdata backup` and `marketdata restore`: ledgers and data of the databases, and Dagster's, to a folder and back.

This module lists the tables; `backup` writes them and compares them after a restore.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from marketdata_assets import databases, domains
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import existing_folder
from marketdata_assets.cli.instance import CannotRun, dagster_instance, dagster_storage
from marketdata_assets.errors import TerminalError
from marketdata_assets.local.errors import NoServer
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clickhouse_files import FILES
from marketdata_assets.stores.clickhouse_ledger import LEDGER

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.backup.files import Manifest, Relation

LEDGERS = {
    "postgres": ("marketdata_ledger", "marketdata_ledger_log", "marketdata_quarantine"),
    "clickhouse": (LEDGER, "marketdata_ledger_log", FILES),
}
"""By store the tables that its domains share, before the rows that they describe."""
COLUMNS = ("store", "table", "rows", "bytes")


class Store(StrEnum):
    """The databases, as --store names them."""

    postgres = "postgres"
    mongo = "mongo"
    clickhouse = "clickhouse"
    dagster = "dagster"


NAMES = {
    Store.postgres: "Postgres",
    Store.mongo: "MongoDB",
    Store.clickhouse: "ClickHouse",
    Store.dagster: "Dagster",
}
Folder = Annotated[Path, typer.Argument(file_okay=False, help="a folder, new for each backup")]
Stores = Annotated[
    list[Store] | None, typer.Option("--store", help="this database only; repeat for several; dagster has the runs")
]


def backup(
    folder: Folder,
    store: Stores = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="write into a dated folder below FOLDER, and keep this many of them")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Back up rows and ledgers of the databases into a folder.

    All databases, and Dagster's own, have to be available, or those that --store names. Loads may continue meanwhile.
    """
    from marketdata_assets.backup import files

    began, parent = time.monotonic(), folder
    addresses = _addresses(store or list(Store))
    if keep:
        folder = files.dated(parent, dt.datetime.now(dt.UTC))
    files.begin(folder)
    with output.bar("backup", quiet=as_json):
        bars = Store.clickhouse in addresses
        before = _fresh_bars() if bars else {}
        found = _saved(folder, addresses)
        if not found:
            raise TerminalError(
                f"{', '.join(addresses)}: none has a table of this project, so there is nothing to back up. Check that"
                " the variables name the databases that are loaded into"
            )
        fresh = sorted(day for day, _ in before.items() & _fresh_bars().items()) if bars else []
        manifest = files.Manifest(files.FORMAT, f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}", found, fresh)
        files.end(folder, manifest)
    for old in files.prune(parent, keep) if keep else ():
        output.notes().print(f"deleted {old}")
    _tell("backed up", folder, manifest, began, as_json)


def restore(
    folder: Folder,
    store: Stores = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="only compare the files and their rows with the manifest; no database")
    ] = False,
    undeclared: Annotated[
        list[str] | None,
        typer.Option("--undeclared", help="also this table of Postgres, whose flow is not declared here; repeatable"),
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Restore a backup into empty databases.

    Every table is compared with what was written.
    """
    from marketdata_assets.backup import files

    began = time.monotonic()
    manifest = files.read(existing_folder(folder, "FOLDER"))
    if store:
        named = {NAMES[one] for one in store}
        manifest = msgspec.structs.replace(
            manifest, relations=[one for one in manifest.relations if one.store in named]
        )
        if missing := named - {one.store for one in manifest.relations}:
            raise TerminalError(f"{folder} has nothing of {', '.join(sorted(missing))}; leave out its --store")
    if not verify:
        _check_names(folder, manifest, undeclared or ())
    files.check(folder, manifest)
    with output.bar("verify" if verify else "restore", quiet=as_json):
        if verify:
            _verify(folder, manifest)
        else:
            _restore(folder, manifest, undeclared or ())
    _tell("verified" if verify else "restored", folder, manifest, began, as_json)


def _verify(folder: Path, manifest: "Manifest") -> None:
    """Count and hash the rows in all files but those of ClickHouse, whose hash only a server computes."""
    from marketdata_assets.backup import files, mongo, postgres
    from marketdata_assets.progress import report

    readers = {"Postgres": postgres.rows_of, "Dagster": postgres.rows_of, "MongoDB": mongo.rows_of}
    for done, one in enumerate(manifest.relations):
        report(done, len(manifest.relations), one.name)
        if one.store in readers:
            files.check_rows(folder, one, readers[one.store])


def _check_names(folder: Path, manifest: "Manifest", undeclared: Collection[str]) -> None:
    """Raise TerminalError when the backup has what is none of this project's."""
    known = {NAMES[store]: {*names} for store, names in _tables().items()}
    known["Postgres"] |= {*undeclared}
    known["Dagster"] = {one.name for one in manifest.of("Dagster")}  # compared with its tables later
    foreign = [
        f"{one.store} {one.name}"
        for one in manifest.relations
        if (one.name.partition(".")[0] if one.store == "MongoDB" else one.name) not in known.get(one.store, ())
        or ".system." in one.name
    ]
    if foreign:
        raise TerminalError(
            f"{folder} has {', '.join(foreign)}, which nothing of this project has made and no flow here declares."
            " Nothing was restored. Declare the flows of these tables, or name each with --undeclared if it is yours"
        )


def _restore(folder: Path, manifest: "Manifest", undeclared: Collection[str]) -> None:
    from marketdata_assets.backup import clickhouse, mongo, postgres
    from marketdata_assets.bars import days, kline, status
    from marketdata_assets.exchanges.tables import ohlcv

    relations = {store: manifest.of(name) for store, name in NAMES.items()}
    addresses = {store: ADDRESSES[store]() for store, found in relations.items() if found}
    if dsn := addresses.get(Store.postgres):
        tables = relations[Store.postgres]
        postgres.restore(dsn, tables, folder, lambda one: _make_tables(one, tables), undeclared)
        with databases.postgres() as connection:
            days.fill(connection)
            has_bars = status.bars_summary(connection).rows
        if has_bars:  # rebuilt from the minutes: a continuous aggregate or a plain table, whichever the server has
            kline.refresh(dsn, (), rebuild=True)
    if server := addresses.get(Store.mongo):
        mongo.restore(server, relations[Store.mongo], folder)
    if url := addresses.get(Store.clickhouse):
        clickhouse.restore(url, relations[Store.clickhouse], folder, partial(databases.make_tables, "clickhouse"))
        with databases.clickhouse() as client:
            ohlcv.trades_were_moved(client, [dt.date.fromisoformat(day) for day in manifest.fresh_bars])
    if dagster := addresses.get(Store.dagster):
        with dagster_instance(Settings()):  # creates its tables
            postgres.restore_dagster(dagster, relations[Store.dagster], folder)


def _dagster_dsn() -> str:
    """Where Dagster's own storage is. Raises CannotRun."""
    from psycopg.conninfo import make_conninfo

    found = dagster_storage(Settings())
    names = {"host": "HOST", "port": "PORT", "dbname": "DB", "user": "USER", "password": "PASSWORD"}
    return make_conninfo("", **{key: found.get(f"DAGSTER_PG_{name}") for key, name in names.items()})


ADDRESSES: Mapping[Store, Callable[[], Any]] = {
    Store.postgres: databases.postgres_dsn,
    Store.mongo: databases.mongo_server,
    Store.clickhouse: databases.clickhouse_url,
    Store.dagster: _dagster_dsn,
}


def _addresses(wanted: Sequence[Store]) -> dict[Store, Any]:
    """Where each database is. Raises TerminalError when one has no server."""
    try:
        return {store: ADDRESSES[store]() for store in wanted}
    except (NoServer, CannotRun) as error:
        raise TerminalError(
            f"{error} Nothing was backed up. To back up the other databases without this one, name them, such as"
            " --store postgres"
        ) from error


def _tables() -> dict[Store, list[str]]:
    """What a backup has of each database: tables, or of MongoDB databases. Of Dagster's it has all."""
    found = {Store(store): [*LEDGERS.get(store, ())] for store in ("postgres", "mongo", "clickhouse")}
    for one in domains.every():
        found[Store(one.store)] += one.backed_up(Settings())
    return found


def _saved(folder: Path, addresses: Mapping[Store, Any]) -> "list[Relation]":
    """What was written of each database."""
    from marketdata_assets.backup import clickhouse, mongo, postgres

    tables = _tables()
    save: dict[Store, Callable[[Any, Any, Path], list[Relation]]] = {
        Store.postgres: postgres.save,
        Store.mongo: mongo.save,
        Store.clickhouse: clickhouse.save,
        Store.dagster: partial(postgres.save, store="Dagster"),
    }
    return [one for store, address in addresses.items() for one in save[store](address, tables.get(store), folder)]


def _fresh_bars() -> dict[str, str]:
    """Days whose bars match their trades, each with a fingerprint that changes with the trades."""
    from marketdata_assets.exchanges.tables import ohlcv

    with databases.clickhouse("exchanges") as client:
        states = ohlcv.states(client, ohlcv.days_with_trades(client))
        marks = ohlcv.fingerprints(client, list(states))
    return {str(day): marks[day] for day, state in states.items() if state in ("ok", "empty")}


def _make_tables(connection: "psycopg.Connection", relations: "Sequence[Relation]") -> None:
    """Those of bars and ledgers, and of the flows that are in the backup and still declared."""
    from marketdata_assets.flows import new_columns, storage
    from marketdata_assets.local.flow_addresses import readable

    databases.make_tables("postgres", connection)
    wanted = {one.name: one.columns for one in relations}
    for flow in readable(Settings().flows_folder):
        if flow.target.kind == "postgres" and flow.target.table in wanted:
            storage.ensure(connection, new_columns.with_columns(flow, wanted[flow.target.table]))


def _tell(what: str, folder: Path, manifest: "Manifest", began: float, as_json: bool) -> None:
    seconds = round(time.monotonic() - began, 2)
    rows = [
        {
            "store": one.store,
            "table": one.name,
            "rows": one.rows,
            "bytes": sum(piece.bytes for piece in one.pieces),
            "digest": one.digest,
        }
        for one in manifest.relations
    ]
    if as_json:
        output.as_json({"folder": str(folder), "tables": rows, "seconds": seconds})
        return
    output.table(what, COLUMNS, [[row[name] for name in COLUMNS] for row in rows if row["rows"]])
    output.console().print(f"{what}: {sum(one.rows for one in manifest.relations):,} rows, {seconds:.1f} s")

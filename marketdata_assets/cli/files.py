"""`marketdata files`: every delivered file of the watched folders, its state, and what became of its rows."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from marketdata_assets import overview
from marketdata_assets.bars import schema
from marketdata_assets.cli import flows, output, stores
from marketdata_assets.cli.arguments import among
from marketdata_assets.cli.instance import of_each_domain
from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.months import bar_months
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect

Folders = Mapping[str, Sequence[FileEntry]]
"""The files of each watched folder, by the name that `marketdata status` has for it."""
ROWS = ("read", "loaded", "rejected", "duplicates", "replaced")


def files(
    domain: Annotated[str | None, typer.Argument(metavar="[DOMAIN]", help="bars, reference ...; all if none")] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="|".join(overview.FILE_STATES), help="only files in these states")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """List every file of the watched folders: its state, and what became of its rows.

    Rows read are loaded, rejected, duplicates, or replaced by a newer file.
    """
    chosen = among(tuple(FOLDERS), [domain] if domain else (), "DOMAIN") or tuple(FOLDERS)
    states = among(overview.FILE_STATES, state, "--state") or overview.FILE_STATES
    rows = of_each_domain(*(lambda name=name: _rows(name) for name in chosen))
    rows = [row for row in rows if row["state"].replace(" ", "_") in states]
    if as_json:
        output.as_json({"files": rows})
        return
    shown = [{**row, "replaced": sum(row["replaced"].values())} for row in rows]
    columns = ("folder", "file", "state", *ROWS)
    output.table("files", columns, [[row[name] for name in columns] for row in shown])
    for row in rows:
        by = ", ".join(f"{count:,} rows replaced by {newer}" for newer, count in row["replaced"].items())
        if cause := "; ".join(filter(None, (row["reason"], by))):
            output.console().print(f"{row['folder']}: {row['file']}: {cause}", markup=False)


def _rows(domain: str) -> list[dict[str, Any]]:
    return [{"folder": folder, **vars(one)} for folder, found in FOLDERS[domain]().items() for one in found]


def delivered(domain: overview.Domain) -> list[FileEntry]:
    """The files of a domain, as they are after a load."""
    return [one for found in FOLDERS[domain]().values() for one in found]


def _bars() -> Folders:
    from marketdata_assets.bars import status

    with connect(stores.postgres_dsn()) as connection:
        schema.ensure(connection)
        months = bar_months(dt.datetime.now(dt.UTC))
        return {"minute_bar_files": status.file_entries(connection, Settings().bars_folder, months)}


def _reference() -> Folders:
    from marketdata_assets.reference import file_states
    from marketdata_assets.reference.tables import ensure

    with stores.clickhouse() as client:
        ensure(client)
        return {"reference_files": file_states.entries(client, Settings().reference_folder)}


def _alphas() -> Folders:
    from marketdata_assets.alphas import status
    from marketdata_assets.stores import mongo

    with mongo.databases(stores.mongo_server()) as databases:
        return {"raw_alpha_files": status.entries(databases, Settings().alphas_folder)}


def _ticks() -> Folders:
    from marketdata_assets.ticks import file_ledger
    from marketdata_assets.ticks.tables import ensure

    dropped = overview.dropped_files(Settings())
    if dropped is None:
        return {}
    with stores.clickhouse() as client:
        ensure(client)
        return {"tick_files": file_ledger.entries(client, dropped)}


def _exchanges() -> Folders:
    from marketdata_assets.exchanges.tables import captures

    with stores.exchange_tables() as client:
        return {"exchange_feed": captures.entries(client, Settings().captures_folder)}


def _flows() -> Folders:
    from marketdata_assets.flows import status

    folder = Settings().flows_data_folder
    with connect(stores.postgres_dsn()) as connection:
        return {f"{one.name}_files": status.entries(connection, one, folder) for one in flows.readable()}


FOLDERS: Mapping[str, Callable[[], Folders]] = {
    "bars": _bars,
    "reference": _reference,
    "alphas": _alphas,
    "ticks": _ticks,
    "exchanges": _exchanges,
    "flows": _flows,
}

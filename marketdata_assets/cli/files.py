"""`marketdata files`: every delivered file of the watched folders, its state, and what became of its rows."""

import datetime as dt
from functools import partial
from typing import Annotated, Any

import typer

from marketdata_assets import overview
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import among
from marketdata_assets.cli.instance import of_each_domain
from marketdata_assets.defs import databases
from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.settings import Settings

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
    known = tuple(name for name in Settings().domain_names if overview.DOMAINS[name].files)
    chosen = among(known, [domain] if domain else (), "DOMAIN") or known
    states = among(overview.FILE_STATES, state, "--state") or overview.FILE_STATES
    rows = of_each_domain(*(partial(_rows, name) for name in chosen))
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
            output.console().print(f"{row['folder']}: {row['file']}: {cause}")


def _rows(domain: str) -> list[dict[str, Any]]:
    return [{"folder": folder, **vars(one)} for folder, found in _folders(domain).items() for one in found]


def delivered(domain: str) -> list[FileEntry]:
    """The files of a domain, as they are after a load."""
    return [one for found in _folders(domain).values() for one in found]


def _folders(domain: str) -> overview.Folders:
    status = overview.DOMAINS[domain]
    with databases.connected(status.store) as connection:
        return status.files(connection, Settings(), dt.datetime.now(dt.UTC)) if status.files else {}

"""`marketdata status`: every asset at a glance."""

import datetime as dt
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from marketdata_assets import overview
from marketdata_assets.cli import flows, output
from marketdata_assets.cli.instance import dagster_instance, of_each_domain
from marketdata_assets.defs import databases
from marketdata_assets.loading.reports import and_more
from marketdata_assets.overview import COLUMNS, FILE_STATES
from marketdata_assets.settings import Settings

FILES = ("asset", *FILE_STATES)
DUE = ("domain", "job", "first", "last")
NAMED_CODES = 10


def status(
    as_json: output.Json = False,
    due: Annotated[bool, typer.Option("--due", help="also list what the nightly repair would run now")] = False,
) -> None:
    """Show what is loaded, and which partitions are missing, stale or failed."""
    rows = of_each_domain(*(partial(rows_of, domain) for domain in Settings().domain_names))
    files = [row for row in rows if "named" in row]
    runs = due_runs() if due else []
    if as_json:
        shown = [{name: value for name, value in row.items() if name != "newest_at"} for row in rows]
        assets, folders = ([row for row in shown if ("named" in row) is of_files] for of_files in (False, True))
        output.as_json({"assets": assets, "files": folders} | ({"due": runs} if due else {}))
    else:
        if files:
            output.table("files", FILES, [[row[name] for name in FILES] for row in files])
        for title, columns in COLUMNS.items():
            lines = [[row[name] for name in columns] for row in rows if row["group"] == title and row not in files]
            if lines:
                output.table(title, columns, lines)
        for row in files:
            if row["failed"] or row["not_taken"]:
                output.console().print(f"{row['asset']}: {row['summary']}")
        stale: dict[str, str] = next((row["two_bases"] for row in rows if row.get("two_bases")), {})
        if stale:
            seen = sorted({seam for seams in stale.values() for seam in seams.split(", ")})
            codes, seams = and_more(list(stale), NAMED_CODES), and_more(seen, NAMED_CODES)
            remedy = "have all years of these stocks delivered again, on one date"
            output.console().print(f"stale: two price bases in {codes}, between {seams}; {remedy}")
        if runs:
            output.table("due", DUE, [[run[name] for name in DUE] for run in runs])
        elif due:
            output.console().print("nothing is due")
    if any(row["failed"] for row in rows):
        raise typer.Exit(1)


def due_runs() -> list[dict[str, Any]]:
    """The runs that the nightly repair would request, with their first and last partition."""
    from marketdata_assets.defs.repair import nightly
    from marketdata_assets.defs.selection import months_of
    from marketdata_assets.partitions import RANGE_END, RANGE_START
    from marketdata_assets.resources import by_name

    with dagster_instance(Settings()) as instance:
        found = list(nightly.due_now(instance, flows.readable(), SimpleNamespace(**by_name()), Settings().domain_names))
    rows = []
    for domain, request in found:
        months: list[str | None] = [*sorted(months_of(request.run_config))] or [None]
        first, last = (request.tags.get(name) for name in (RANGE_START, RANGE_END))
        rows.append(
            {"domain": domain, "job": request.job_name, "first": first or months[0], "last": last or months[-1]}
        )
    return rows


def rows_of(domain: str) -> list[overview.Row]:
    """The rows of a domain. New and changed files of ticks are registered first."""
    from marketdata_assets.ticks import file_ledger

    status, settings, now = overview.DOMAINS[domain], Settings(), dt.datetime.now(dt.UTC)
    with databases.connected(status.store) as connection:
        if domain == "ticks" and (dropped := overview.dropped_files(settings)):
            file_ledger.changed_by_table(connection, dropped, now)
        return status.rows(connection, settings, now)

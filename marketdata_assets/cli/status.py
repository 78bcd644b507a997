"""`marketdata status`: every asset at a glance."""

import datetime as dt
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from marketdata_assets import overview
from marketdata_assets.bars import schema
from marketdata_assets.cli import flows, output, stores
from marketdata_assets.cli.instance import dagster_instance, of_each_domain
from marketdata_assets.loading.file_ledger import FileEntry, FileState, summary
from marketdata_assets.loading.reports import and_more
from marketdata_assets.overview import ALPHA_STATES, REFERENCE_STATES, STATES, TICK_STATES
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect

BARS = ("asset", *STATES, "rows", "codes", "stale_codes", "newest", "quarantine")
TICKS = ("asset", *TICK_STATES, "rows", "newest", "quarantine")
REFERENCE = ("asset", *REFERENCE_STATES, "rows", "newest", "unknown_days")
FLOWS = ("asset", *STATES, "rows", "newest", "quarantine")
RECONCILIATION = ("asset", "ok", "empty", "disagreements", "stocks", "newest", "last_compared")
EXCHANGES = ("asset", *STATES, "open", "rows", "newest", "quarantine", "open_gaps")
NAMED_CODES = 10
DUE = ("domain", "job", "first", "last")
ALPHAS = ("asset", "account", *ALPHA_STATES, "files", "documents", "newest", "quarantine")


def status(
    as_json: output.Json = False,
    due: Annotated[bool, typer.Option("--due", help="also list what the nightly repair would run now")] = False,
) -> None:
    """Show what is loaded, and which partitions are missing, stale or failed."""
    rows = of_each_domain(
        reference_rows, bars_rows, alphas_rows, ticks_rows, exchanges_rows, flows_rows, reconciliation_rows
    )
    runs = due_runs() if due else []
    if as_json:
        assets = [{name: value for name, value in row.items() if name != "newest_at"} for row in rows]
        output.as_json({"assets": assets} | ({"due": runs} if due else {}))
    else:
        shapes = {
            "reference": REFERENCE,
            "bars": BARS,
            "alphas": ALPHAS,
            "ticks": TICKS,
            "exchanges": EXCHANGES,
            "flows": FLOWS,
            "reconciliation": RECONCILIATION,
        }
        for title, columns in shapes.items():
            shown = [[row[name] for name in columns] for row in rows if row["group"] == title]
            if shown:
                output.table(title, columns, shown)
        for row in rows:
            if row.get("files_summary"):
                output.console().print(f"files of {row['group']}: {row['files_summary']}", markup=False)
        stale: dict[str, str] = next((row["two_bases"] for row in rows if row.get("two_bases")), {})
        if stale:
            files = sorted({seam for seams in stale.values() for seam in seams.split(", ")})
            codes, seams = and_more(list(stale), NAMED_CODES), and_more(files, NAMED_CODES)
            remedy = "have all years of these stocks delivered again, on one date"
            output.console().print(f"stale: two price bases in {codes}, between {seams}; {remedy}")
        if runs:
            output.table("due", DUE, [[run[name] for name in DUE] for run in runs])
        elif due:
            output.console().print("nothing is due")
    if any(row["failed"] or (row["group"] == "bars" and row.get("files_failed")) for row in rows):
        raise typer.Exit(1)


def due_runs() -> list[dict[str, Any]]:
    """The runs that the nightly repair would request, with their first and last partition."""
    from marketdata_assets.defs.repair import nightly
    from marketdata_assets.defs.selection import months_of
    from marketdata_assets.partitions import RANGE_END, RANGE_START
    from marketdata_assets.resources import by_name

    with dagster_instance(Settings()) as instance:
        found = list(nightly.due_now(instance, flows.readable(), SimpleNamespace(**by_name())))
    rows = []
    for domain, request in found:
        months: list[str | None] = [*sorted(months_of(request.run_config))] or [None]
        first, last = (request.tags.get(name) for name in (RANGE_START, RANGE_END))
        rows.append(
            {"domain": domain, "job": request.job_name, "first": first or months[0], "last": last or months[-1]}
        )
    return rows


def bars_rows() -> list[overview.Row]:
    """The rows of the bars domain."""
    with connect(stores.postgres_dsn()) as connection:
        schema.ensure(connection)
        return overview.bars(connection, Settings().bars_folder, dt.datetime.now(dt.UTC))


def alphas_rows() -> list[overview.Row]:
    """The rows of the alphas domain."""
    from marketdata_assets.alphas.status import entries
    from marketdata_assets.stores import mongo

    with mongo.databases(stores.mongo_server()) as databases:
        tell_files("alphas", entries(databases, Settings().alphas_folder))
        return overview.alphas(databases, Settings(), dt.datetime.now(dt.UTC))


def reference_rows() -> list[overview.Row]:
    """The rows of the reference data."""
    from marketdata_assets.reference import file_states

    with stores.clickhouse() as client:
        rows = overview.reference(client, Settings().ticks_months, dt.datetime.now(dt.UTC))
        tell_files("reference", file_states.entries(client, Settings().reference_folder))
    return rows


def ticks_rows() -> list[overview.Row]:
    """The rows of the ticks domain; why files are not loaded is printed."""
    from marketdata_assets.ticks.tables import ensure

    settings, now = Settings(), dt.datetime.now(dt.UTC)
    with stores.clickhouse() as client:
        ensure(client)
        changed = overview.changed_files(client, settings, now)
        rows = overview.ticks(client, settings.ticks_months, now, changed)
        problems = overview.file_problems(client, changed)
    for problem in problems:
        output.notes().print(problem, markup=False)
    return rows


def exchanges_rows() -> list[overview.Row]:
    """The rows of the exchanges domain."""
    from marketdata_assets.exchanges.tables import captures

    settings = Settings()
    with stores.exchange_tables() as client:
        tell_files("captures", captures.entries(client, settings.captures_folder))
        return overview.exchanges(client, settings.captures_folder, settings.exchange_days, dt.datetime.now(dt.UTC))


def flows_rows() -> list[overview.Row]:
    """The rows of the flows."""
    from marketdata_assets.flows.status import entries

    with connect(stores.postgres_dsn()) as connection:
        for one in flows.readable():
            tell_files(one.name, entries(connection, one, Settings().flows_data_folder))
        return overview.flows(connection, flows.found(), Settings().flows_data_folder)


def tell_files(whose: str, files: Sequence[FileEntry]) -> None:
    """Print the states of the files of a folder, where one has failed or is not taken."""
    if any(one.state in (FileState.FAILED, FileState.NOT_TAKEN) for one in files):
        output.notes().print(f"{whose}: {summary(files)}", markup=False)


def reconciliation_rows() -> list[overview.Row]:
    """The rows of the reconciliation."""
    with connect(stores.postgres_dsn()) as connection:
        return overview.reconciliation(connection)

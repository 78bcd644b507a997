"""`marketdata status`: every asset at a glance."""

import datetime as dt
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from marketdata_assets import overview
from marketdata_assets.bars import schema
from marketdata_assets.cli import flows, output, stores
from marketdata_assets.cli.instance import dagster_instance, of_each_domain
from marketdata_assets.loading.reports import and_more
from marketdata_assets.overview import ALPHA_STATES, FILE_STATES, REFERENCE_STATES, STATES, TICK_STATES
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect

FILES = ("asset", *FILE_STATES)
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
    files = [row for row in rows if "named" in row]
    runs = due_runs() if due else []
    if as_json:
        shown = [{name: value for name, value in row.items() if name != "newest_at"} for row in rows]
        assets, folders = ([row for row in shown if ("named" in row) is of_files] for of_files in (False, True))
        output.as_json({"assets": assets, "files": folders} | ({"due": runs} if due else {}))
    else:
        if files:
            output.table("files", FILES, [[row[name] for name in FILES] for row in files])
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
            lines = [[row[name] for name in columns] for row in rows if row["group"] == title and row not in files]
            if lines:
                output.table(title, columns, lines)
        for row in files:
            if row["failed"] or row["not_taken"]:
                output.console().print(f"{row['asset']}: {row['summary']}", markup=False)
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
    from marketdata_assets.stores import mongo

    with mongo.databases(stores.mongo_server()) as databases:
        return overview.alphas(databases, Settings(), dt.datetime.now(dt.UTC))


def reference_rows() -> list[overview.Row]:
    """The rows of the reference data."""
    with stores.clickhouse() as client:
        return overview.reference(client, Settings(), dt.datetime.now(dt.UTC))


def ticks_rows() -> list[overview.Row]:
    """The rows of the ticks domain."""
    from marketdata_assets.ticks.tables import ensure

    settings, now = Settings(), dt.datetime.now(dt.UTC)
    with stores.clickhouse() as client:
        ensure(client)
        return overview.ticks(client, settings, now, overview.changed_files(client, settings, now))


def exchanges_rows() -> list[overview.Row]:
    """The rows of the exchanges domain."""
    settings = Settings()
    with stores.exchange_tables() as client:
        return overview.exchanges(client, settings.captures_folder, settings.exchange_days, dt.datetime.now(dt.UTC))


def flows_rows() -> list[overview.Row]:
    """The rows of the flows."""
    with connect(stores.postgres_dsn()) as connection:
        return overview.flows(connection, flows.found(), Settings().flows_data_folder)


def reconciliation_rows() -> list[overview.Row]:
    """The rows of the reconciliation."""
    with connect(stores.postgres_dsn()) as connection:
        return overview.reconciliation(connection)

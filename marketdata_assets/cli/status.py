"""`marketdata status`, `files` and `quarantine show`: every asset at a glance, every delivered file, rejected rows."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import islice
from threading import Thread
from typing import Annotated, Any

import typer

from marketdata_assets import databases, domains, overview, stores
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import among
from marketdata_assets.cli.instance import dagster_instance
from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.file_ledger import FileEntry, with_file
from marketdata_assets.loading.reports import and_more
from marketdata_assets.local.errors import NoServer
from marketdata_assets.overview import FILE_STATES
from marketdata_assets.settings import Settings

FILES = ("asset", *FILE_STATES)
ROWS = ("read", "loaded", "rejected", "duplicates", "left_out", "replaced")
DUE = ("domain", "job", "first", "last")
NAMED_CODES = 10
REJECTED = ("dataset", "place", "reason", "row")
SHOWN_CHARACTERS = 200  # --json prints whole rows


def status(
    as_json: output.Json = False,
    due: Annotated[bool, typer.Option("--due", help="also list what the nightly repair would run now")] = False,
) -> None:
    """Show what is loaded, and how many partitions are missing, stale or failed."""
    rows, unread = of_each_domain(rows_of, Settings().domain_names)
    files = [row for row in rows if "named" in row]
    runs = due_runs() if due else []
    if as_json:
        shown = [{name: value for name, value in row.items() if name != "newest_at"} for row in rows]
        assets, folders = ([row for row in shown if ("named" in row) is of_files] for of_files in (False, True))
        output.as_json({"assets": assets, "files": folders, **unread, **({"due": runs} if due else {})})
    else:
        if files:
            output.table("files", FILES, [[row[name] for name in FILES] for row in files])
        for about in domains.every():
            if lines := overview.lines_of(about.name, rows):
                output.table(about.name, about.columns, lines)
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
    if unread or any(row["failed"] for row in rows):
        raise typer.Exit(1)


def due_runs() -> list[dict[str, Any]]:
    """The runs that the nightly repair would request, with their first and last partition."""
    from marketdata_assets.defs.repair import nightly
    from marketdata_assets.defs.selection import months_of
    from marketdata_assets.partitions import RANGE_END, RANGE_START
    from marketdata_assets.resources import Resources

    settings = Settings()
    with dagster_instance(settings) as instance:
        found = list(nightly.due_now(instance, Resources(), settings.domain_names))
    rows = []
    for domain, request in found:
        months: list[str | None] = [*sorted(months_of(request.run_config))] or [None]
        first, last = (request.tags.get(name) for name in (RANGE_START, RANGE_END))
        rows.append(
            {"domain": domain, "job": request.job_name, "first": first or months[0], "last": last or months[-1]}
        )
    return rows


def rows_of(domain: str) -> list[overview.Row]:
    """The rows of a domain. New and changed files are registered first, where its database has files on record."""
    about, settings, now = domains.find(domain), Settings(), dt.datetime.now(dt.UTC)
    with databases.connected(about.store, about.name, *about.needs) as connection:
        if about.register_files:
            about.register_files(connection, settings, now)
        return about.rows(connection, settings, now)


def files(
    domain: Annotated[str | None, typer.Argument(metavar="[DOMAIN]", help="bars, reference ...; all if none")] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="|".join(FILE_STATES), help="only files in these states")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """List every file of the watched folders: its state, and what became of its rows.

    Rows read are loaded, rejected, duplicates, left out by a rule of a flow, or replaced by a newer file.
    """
    known = tuple(name for name in Settings().domain_names if domains.find(name).files)
    chosen = among(known, [domain] if domain else (), "DOMAIN") or known
    states = among(FILE_STATES, state, "--state") or FILE_STATES
    rows, unread = of_each_domain(_files_of, chosen)
    rows = [row for row in rows if row["state"].replace(" ", "_") in states]
    output.result(as_json, {"files": rows, **unread}, show=partial(_show_files, rows), success=not unread)


def _show_files(rows: Sequence[dict[str, Any]]) -> None:
    shown = [{**row, "replaced": sum(row["replaced"].values())} for row in rows]
    columns = ("folder", "file", "state", *ROWS)
    output.table("files", columns, [[row[name] for name in columns] for row in shown])
    for row in rows:
        by = ", ".join(f"{count:,} rows replaced by {newer}" for newer, count in row["replaced"].items())
        if cause := "; ".join(filter(None, (row["reason"], by))):
            output.console().print(f"{row['folder']}: {with_file(row['file'], cause)}")


def _files_of(domain: str) -> list[dict[str, Any]]:
    return [{"folder": folder, **vars(one)} for folder, found in _folders(domain).items() for one in found]


def delivered(domain: str) -> list[FileEntry]:
    """The files of a domain, as they are after a load."""
    return [one for found in _folders(domain).values() for one in found]


def _folders(domain: str) -> overview.Folders:
    about = domains.find(domain)
    with databases.connected(about.store, about.name, *about.needs) as connection:
        return about.files(connection, Settings(), dt.datetime.now(dt.UTC)) if about.files else {}


def quarantine(
    domain: Annotated[str | None, typer.Argument(metavar="[DOMAIN]", help="bars, reference ...; all if none")] = None,
    limit: Annotated[int, typer.Option(min=1, help="rows of a dataset at most")] = 20,
    as_json: output.Json = False,
) -> None:
    """Show rejected rows: source, reason and content."""
    among([one.name for one in domains.every() if one.rejected], [domain] if domain else (), "DOMAIN")
    chosen = [domain] if domain else [name for name in Settings().domain_names if domains.find(name).rejected]
    found, unread = of_each_domain(partial(rejected_of, limit=limit + 1), chosen)
    counts = Counter(row["dataset"] for row in found)
    rows = [row for name in counts for row in islice((one for one in found if one["dataset"] == name), limit)]
    more = [name for name, count in counts.items() if count > limit]
    document = {"rows": rows, "limit": limit, "more": more, **unread}
    output.result(as_json, document, show=partial(_show_rejected, rows, limit, more), success=not unread)


def _show_rejected(rows: Sequence[dict[str, Any]], limit: int, more: Sequence[str]) -> None:
    shown = []
    for row in rows:
        place, raw = row["place"], row["raw"]
        if "/primeval_data/" in place or "/final_data/" in place:
            place = place.rpartition("/")[2]  # the name of a raw file of alphas has the account and the time
        if len(raw) > SHOWN_CHARACTERS:
            raw = f"{raw[:SHOWN_CHARACTERS]} ..."
        shown.append([row["dataset"], place, row["reason"], raw])
    output.table("quarantine", REJECTED, shown)
    for dataset in more:
        output.console().print(f"{dataset}: its first {limit:,} rows; more with --limit")


def rejected_of(domain: str, limit: int) -> list[overview.Row]:
    """The rejected rows of a domain, so many of a dataset at most."""
    about = domains.find(domain)
    with databases.connected(about.store, about.name, *about.needs) as connection:
        return about.rejected(connection, Settings(), limit) if about.rejected else []


def of_each_domain(
    read: Callable[[str], list[dict[str, Any]]], names: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """The rows of all domains, read at once, and as `unread` why others failed; those without a server are named.

    Raises an error that is all there is. Drivers are imported first: threads that do so wait for each other.
    """
    for name in names:
        import_module(f"{stores.__name__}.{domains.find(name).store}")
    answers: dict[str, list[dict[str, Any]] | Exception] = {}

    def ask(name: str) -> None:
        try:
            answers[name] = read(name)
        except Exception as error:
            answers[name] = error

    threads = [Thread(target=ask, args=(name,), daemon=True) for name in names]  # Ctrl-C waits for no server
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows: list[dict[str, Any]] = []
    errors: dict[str, Exception] = {}
    for name in names:
        match answers[name]:
            case Exception() as error:
                errors[name] = error
            case found:
                rows += found
    if len(errors) == len(names):
        raise next((one for one in errors.values() if not isinstance(one, NoServer)), errors[names[0]])
    failed = {}
    for name, error in errors.items():
        if isinstance(error, NoServer):
            output.notes().print(f"left out: {error}")
        else:
            failed[name] = str(error) if isinstance(error, MarketDataError) else f"{type(error).__name__}: {error}"
            output.fail(f"{name} cannot be shown: {failed[name]}")
    return rows, {"unread": failed} if failed else {}

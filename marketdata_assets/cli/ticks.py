"""`marketdata ingest ticks` and `symbols`: loads of ticks, and the registry of symbols, refreshed and listed."""

import datetime as dt
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from marketdata_assets import databases
from marketdata_assets.cli import output, reference
from marketdata_assets.cli.arguments import among, existing_folder, wrong
from marketdata_assets.cli.instance import CannotRun, RunOutcome, dagster_instance, finish, run_job
from marketdata_assets.cli.status import delivered
from marketdata_assets.declarations.ticks import dropped_files
from marketdata_assets.loading.file_ledger import name_in
from marketdata_assets.local.errors import NoServer
from marketdata_assets.progress import report
from marketdata_assets.reference.exchanges import Exchange
from marketdata_assets.reference.records import Listing
from marketdata_assets.settings import Settings
from marketdata_assets.ticks import providers_file
from marketdata_assets.ticks.providers_file import DELIVERS, Table

ALL = "ALL"
REMOVAL, FORGET = "symbols remove", "ticks forget"  # in place of the id of a run, in the log of attempts
REGISTRY = "symbol_registry"
COLUMNS = ("symbol", "name", "listed", "delisted", "status")
TABLES: Sequence[Table] = ("tick_data", "factors")
MAX_NAMED = 20
FIRST_DAY = dt.date(1990, 12, 1)  # the Shenzhen exchange opened
STATUSES = ("listed", "delisted", "paused")

Symbols = Annotated[list[str] | None, typer.Option(help="600000.SH 000001.SZ ..., or ALL that are registered")]
Start = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="first day; the last closed one if none")]
End = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="last day, included")]
DataTypes = Annotated[
    list[str] | None,
    typer.Option(metavar="tick_data|order_book|factors", help="tick_data and factors when left out"),
]
Providers = Annotated[
    list[str] | None, typer.Option("--provider", metavar="tushare|yahoo|alpaca|files", help="use only these providers")
]


def ingest(
    symbols: Symbols = None,
    start_date: Start = None,
    end_date: End = None,
    data_types: DataTypes = None,
    workers: Annotated[int, typer.Option(min=0, help="concurrent requests at most; 0 is the setting")] = 0,
    providers_config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="a providers file")] = None,
    provider: Providers = None,
    refetch: Annotated[bool, typer.Option("--refetch", help="fetch days again that are complete")] = False,
    accept_empty: Annotated[
        bool, typer.Option("--accept-empty", help="allow an empty response to delete existing bars")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Load ticks of some symbols and days.

    With --provider files alone, and neither days nor symbols, all of the dropped files that is due is loaded. The run
    shows in the UI.
    """
    named = [] if symbols == [ALL] else symbols or []
    first, last = days(start_date and start_date.date(), end_date and end_date.date(), dt.datetime.now(dt.UTC), named)
    if providers_config:
        providers_file.read(providers_config)
        os.environ["MARKETDATA_PROVIDERS"] = str(providers_config.absolute())
    config = {
        "first_day": str(first),
        "last_day": str(last),
        "providers": known_providers(provider),
        "workers": workers,
        "refetch": refetch,
        "accept_empty": accept_empty,
    }
    named = [symbol.strip().upper() for symbol in symbols or (ALL,)]
    tables = among(providers_file.TABLES, data_types, "--data-types") or TABLES
    if ALL in named and len(named) > 1:
        raise typer.BadParameter("ALL is every symbol; name it alone", param_hint="--symbols")
    of_files = config["providers"] == ["files"] and named == [ALL] and not (start_date or end_date or refetch)
    settings = Settings()
    _check_folder(settings, known_providers(provider))
    wanted = [] if named == [ALL] else known_symbols(settings, named)
    with output.bar("ticks", quiet=as_json):
        if of_files:
            options = {key: value for key, value in config.items() if not key.endswith("_day")}
            outcome = _load_due_files(settings, None if data_types is None else tables, options)
        else:
            outcome = run(settings, wanted, first, last, tables, config)
        outcome = replace(outcome, files=delivered("ticks"))
    finish(outcome, as_json, loaded_json, tell)


def _load_due_files(settings: Settings, tables: Sequence[Table] | None, config: dict[str, Any]) -> RunOutcome:
    """One run over the symbol-months that new and changed files have, of every day; none where nothing is due."""
    from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config
    from marketdata_assets.ticks import file_ledger

    files = dropped_files(settings)
    if files is None:
        raise CannotRun("the providers file does not use dropped files: enable its section files")
    with databases.clickhouse("ticks") as client:
        changed = file_ledger.changed_by_table(client, files, dt.datetime.now(dt.UTC))
    taken = [table for table, found in changed.items() if found and table in (tables or changed)]
    months: dict[str, set[str]] = {}
    for unit in (unit for table in taken for unit in changed[table]):
        months.setdefault(unit.month, set()).add(unit.symbol)
    if not months:
        return RunOutcome(True, None, {})
    derived: list[Table] = ["factors"] if "tick_data" in taken else []
    wanted = tables or [*taken, *derived]
    selected = {month: sorted(names) for month, names in sorted(months.items())}
    return run_job(settings, JOB, None, adhoc_config(selected, wanted, **config)["ops"])


def run(
    settings: Settings,
    symbols: Sequence[str],
    first: dt.date,
    last: dt.date,
    tables: Sequence[Table],
    config: dict[str, Any],
) -> RunOutcome:
    """One run over the months of these days; without `symbols`, over all that are registered."""
    from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config
    from marketdata_assets.months import months_from

    if not symbols and not listings():
        raise CannotRun(
            'no symbol is registered. Fill the registry with "marketdata symbols refresh", or name symbols:'
            " --symbols 600000.SH 000001.SZ"
        )
    months = dict.fromkeys(months_from(f"{first:%Y-%m}", f"{last:%Y-%m}"), symbols)
    return run_job(settings, JOB, None, adhoc_config(months, tables, **config)["ops"])


def days(
    start: dt.date | None, end: dt.date | None, now: dt.datetime, symbols: Sequence[str] = ()
) -> tuple[dt.date, dt.date]:
    """The days to load, both included: as requested; only the end without a start, the last closed day without both.

    Closed is a day at the exchange of the symbols where all are of one, else at the mainland's.
    """
    from marketdata_assets.reference.calendar import last_closed
    from marketdata_assets.reference.exchanges import MAINLAND, by_exchange, is_known

    named = list(by_exchange(filter(is_known, symbols)))
    exchange = named[0] if len(named) == 1 else MAINLAND
    closed = last_closed(now, exchange)
    if start and start > closed:
        raise typer.BadParameter(f"{start} is not over yet; the last closed day is {closed}", param_hint="--start-date")
    first, last = (
        start or end or _last_session(closed, exchange),
        end or (closed if start else _last_session(closed, exchange)),
    )
    if last < first:
        raise typer.BadParameter(f"{last} is before {first}", param_hint="--end-date")
    if last > now.astimezone(exchange.zone).date():
        raise typer.BadParameter(f"{last} is in the future; the last closed day is {closed}", param_hint="--end-date")
    if first < FIRST_DAY:
        raise typer.BadParameter(f"{first} is before {FIRST_DAY}, the first trading day", param_hint="--start-date")
    return first, last


def _last_session(closed: dt.date, exchange: Exchange) -> dt.date:
    """By the stored calendar, or by the library's where no server is named."""
    from marketdata_assets.reference import stored
    from marketdata_assets.reference.calendar import calendar_of
    from marketdata_assets.reference.records import Days

    try:
        with databases.clickhouse() as client:
            calendar = calendar_of(exchange.example, stored.calendar(client))
    except NoServer:
        calendar = calendar_of(exchange.example)
    return calendar.trading_days(Days(closed - dt.timedelta(days=30), closed))[-1]


def known_providers(named: Sequence[str] | None) -> list[str]:
    """The names, each once; rejects unknown providers."""
    return among(tuple(DELIVERS), named, "--provider")


def known_symbols(settings: Settings, named: Sequence[str]) -> list[str]:
    """The symbols; rejects one that no provider can have, and one that neither the registry nor a dropped file names.

    While the registry is empty, nothing is known of symbols but their form.
    """
    from marketdata_assets.errors import MarketDataError
    from marketdata_assets.reference.codes import exchange
    from marketdata_assets.reference.exchanges import canonical, misspelt
    from marketdata_assets.ticks import file_ledger, registry
    from marketdata_assets.ticks.tables import TICK_DATA

    config = providers_file.chosen(settings.providers)
    sections = [one for one in (config.tushare, config.yahoo, config.files) if one and one.enabled]
    registered = {listing.symbol for listing in listings(vanished=True)}
    for name in named:
        has_form = providers_file.SYMBOL.fullmatch(name) and not misspelt(name)
        if has_form and any(one.symbol_mapping.theirs(name) is not None for one in sections):
            continue
        digits = name[:6]
        meant = canonical(name) or (f"{digits}.{exchange(digits)}" if exchange(digits) else None)
        raise wrong("--symbols", name, "is no symbol such as 600000.SH", [meant] if meant else registered)
    with databases.clickhouse() as client:
        removed = registry.removed(client)
    for name in sorted(removed & set(named)):
        cause = f"{name} was removed from the registry; first: marketdata symbols restore {name}"
        raise typer.BadParameter(cause, param_hint="--symbols")
    unknown = set(named) - registered if registered else set[str]()
    files = dropped_files(settings) if unknown else None
    if files is not None:
        with suppress(MarketDataError), databases.clickhouse("ticks") as client:  # the run names an unreadable file
            file_ledger.FileLedger(client, files, TICK_DATA).see(now_ns=time.time_ns())
            registered |= set(file_ledger.symbols(client, TICK_DATA))
    for name in sorted(unknown - registered):
        raise wrong("--symbols", name, "is not registered (marketdata symbols refresh)", registered)
    return list(named)


def _check_folder(settings: Settings, providers: Sequence[str]) -> None:
    """Reject a folder of dropped files that is missing, where it is named or nothing else would be read."""
    if (settings.ticks_dir and (not providers or "files" in providers)) or [*providers] == ["files"]:
        existing_folder(settings.ticks_folder, "MARKETDATA_TICKS_DIR")


def listings(*, vanished: bool = False) -> "list[Listing]":
    """The registry; `vanished` includes the symbols that no source names any more."""
    from marketdata_assets.ticks import registry

    with databases.clickhouse("ticks") as client:
        return registry.listed(client, vanished=vanished)


def loaded_json(outcome: RunOutcome) -> dict[str, Any]:
    """How a load ended, for machines."""
    report = _report(outcome)
    return {
        **outcome.as_json(),
        "symbols": report.get("symbols", 0),
        "successful": report.get("symbols", 0) - report.get("symbols_failed", 0),
        "tables": report.get("tables", {}),
        "checks_passed": sum(report.get("checks", {}).values()),
        "checks_failed": _failed_checks(report),
    }


def tell(outcome: RunOutcome) -> None:
    """Print how a load ended: the failures, a line for each table, and how many symbols had none."""
    report = _report(outcome)
    if outcome.run_id is None and outcome.success:
        output.console().print("nothing to load: no dropped file is due")
        return
    if not report:
        output.fail(outcome.error or "the run failed before anything was loaded")
        return
    for name in _failed_checks(report):
        outcome.print_check(name)
    for line in failures(report["tables"]):
        output.fail(line)
    for name, table in report["tables"].items():
        endings = ("ok", "empty", "provisional", "unsupported", "failed")
        counts = ", ".join(f"{table[ending]:,} {ending}" for ending in endings)
        who = "".join(f", {count:,} from {provider}" for provider, count in table["providers"].items())
        output.console().print(
            f"{name:<13} {table['rows']:,} rows loaded, {table['rejected']:,} rejected, {table['skipped']:,} duplicates"
            f"; {counts}, {table['changed']:,} changed, {table['provisional_days']:,} provisional days;"
            f" {table['requests']:,} requests, {table['seconds']:.1f} s{who}"
        )
    output.console().print(f"{'checks':<13} {sum(report['checks'].values())} of {len(report['checks'])} passed")
    output.console().print(f"Successful: {report['symbols'] - report['symbols_failed']}/{report['symbols']}")


def failures(tables: dict[str, Any]) -> list[str]:
    """The symbol-months that failed and why, the first of them."""
    lines = [
        f"{name} of {one['symbol']} {one['month']}: {one['error']}"
        for name, table in tables.items()
        for one in table["failures"]
    ]
    count = sum(table["failed"] for table in tables.values())
    more = [f"and {count - MAX_NAMED:,} more; --json names them"] if count > MAX_NAMED else []
    return [*lines[:MAX_NAMED], *more]


def _failed_checks(report: dict[str, Any]) -> list[str]:
    return [name for name, passed in report.get("checks", {}).items() if not passed]


def _report(outcome: RunOutcome) -> dict[str, Any]:
    from marketdata_assets.defs.ticks.run_config import OP

    return outcome.metadata.get(OP, {})


def refresh_symbols(provider: Providers = None, as_json: output.Json = False) -> None:
    """Refresh the symbol registry from its providers.

    Those are Tushare, or MARKETDATA_TICKS_SYMBOLS instead of it, and dropped files.
    """

    def document(outcome: RunOutcome) -> dict[str, Any]:
        metadata = dict(outcome.metadata.get(REGISTRY, {}))
        metadata.pop("dagster/column_schema", None)
        return {**outcome.as_json(), "symbols": metadata.pop("dagster/row_count", 0), **metadata}

    def show(outcome: RunOutcome) -> None:
        outcome.print_problems()
        if outcome.success:
            metadata = outcome.metadata[REGISTRY]
            sources = ", ".join(f"{count:,} from {name}" for name, count in metadata["sources"].items())
            changes = f"{metadata['added']:,} added, {metadata['vanished']:,} vanished"
            output.console().print(f"symbols       {metadata['dagster/row_count']:,} ({sources}), {changes}")
            if metadata["removed"]:
                names = metadata["removed_symbols"]
                output.console().print(f"not registered, since a person removed them: {names}")

    named = known_providers(provider)
    _check_folder(Settings(), named)
    finish(refresh_registry(Settings(), named), as_json, document, show)


def refresh_registry(settings: Settings, providers: list[str]) -> RunOutcome:
    """One run of the registry."""
    config = {name: {"config": {"providers": providers}} for name in (*reference.WHOLE, REGISTRY)}
    return run_job(settings, "symbols", None, config)


def remove_symbols(
    symbols: Annotated[list[str], typer.Argument(metavar="CODE...", help="600000.SH 000001.SZ ...")],
    rows: Annotated[
        bool, typer.Option("--rows", help="also delete their rows and their entries in the ledger")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Remove symbols from the registry, and with --rows what is loaded of them.

    They are no partitions any more, and nothing loads them until they are restored. Run it again after an interruption.
    """
    from marketdata_assets.defs.ticks import symbols as partitions
    from marketdata_assets.ticks import registry

    settings, now = Settings(), dt.datetime.now(dt.UTC)
    with dagster_instance(settings) as instance, databases.clickhouse("ticks") as client:
        known = {one.symbol for one in registry.listed(client, vanished=True)} | set(partitions.known(instance))
        named = _of(known, symbols)
        registry.remove(client, named, now=now)
        partitions_removed = partitions.discard(instance, named)
        deleted: dict[str, int] = {}
        if rows:
            with output.bar("months", quiet=as_json):
                deleted = registry.delete_loaded(
                    client, named, run_id=REMOVAL, now=now, turns=settings.turns_folder, progress=report
                )
    count = len(partitions_removed)
    output.result(
        as_json,
        {"removed": named, "partitions_removed": count, "rows_deleted": deleted},
        f"{len(named)} symbols removed, {count} of them were partitions",
        *(f"{table:<13} {number:,} rows deleted" for table, number in deleted.items()),
        *([] if rows else ["Their rows are kept; --rows deletes them."]),
    )


def restore_symbols(
    symbols: Annotated[list[str], typer.Argument(metavar="CODE...", help="600000.SH 000001.SZ ...")],
    as_json: output.Json = False,
) -> None:
    """Let the next refresh register removed symbols again.

    It does so if a source names them.
    """
    from marketdata_assets.ticks import registry

    with databases.clickhouse("ticks") as client:
        named = _of(registry.removed(client), symbols)
        registry.restore(client, named, now=dt.datetime.now(dt.UTC))
    text = f"{len(named)} symbols restored; register them: marketdata symbols refresh"
    output.result(as_json, {"restored": named}, text)


def _of(known: Collection[str], symbols: Sequence[str]) -> list[str]:
    """The symbols, each once; rejects one that is not known."""
    named = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
    for name in named:
        if name not in known:
            raise wrong("CODE", name, "is not one of them", sorted(known))
    return named


def forget(
    files: Annotated[
        list[str], typer.Argument(help="paths below MARKETDATA_TICKS_DIR, as status and reports name them")
    ],
    undo: Annotated[bool, typer.Option(help="let the next load take forgotten files again")] = False,
    as_json: output.Json = False,
) -> None:
    """Take wrong files back: delete their rows, and do not load them again.

    Rows of other files that they had replaced come back at once. A file whose content changes is loaded as usual. After
    an interruption, the next load does the rest.
    """
    from marketdata_assets.ticks import forget as forgetting

    settings, done = Settings(), []
    files = [name_in(settings.ticks_folder, file) for file in files]
    folder = dropped_files(settings)
    if folder is None:
        cause = "the providers file does not use dropped files: enable its section files"
        raise typer.BadParameter(cause, param_hint="MARKETDATA_PROVIDERS")
    with databases.clickhouse("ticks") as client:
        for file in files:
            if undo:
                forgetting.undo(client, file)
                continue
            now = dt.datetime.now(dt.UTC)
            done.append(forgetting.forget(client, folder, file, run_id=FORGET, now=now, turns=settings.turns_folder))
    lines = [f"{file}: the next load takes it; now: marketdata ingest ticks --provider files" for file in files if undo]
    lines += [
        f"{one.file}: {one.rows:,} rows deleted, {one.restored:,} of other files are back, in {len(one.units):,}"
        " symbol-months"
        for one in done
    ]
    if any(one.units for one in done):
        lines.append("factors of these months are stale until the next run or the nightly repair")
    output.result(as_json, {"forgotten": [asdict(one) for one in done], "remembered": files if undo else []}, *lines)


def list_symbols(
    status: Annotated[str | None, typer.Option(help="listed, delisted or paused; all when left out")] = None,
    as_json: output.Json = False,
) -> None:
    """List registered symbols."""
    among(STATUSES, [status] if status else (), "--status")
    rows = [{name: getattr(one, name) for name in COLUMNS} for one in listings() if status in (None, one.status)]
    shown = [["" if value is None else str(value) for value in row.values()] for row in rows]
    output.result(as_json, {"symbols": rows}, show=partial(output.table, f"{len(rows)} symbols", COLUMNS, shown))

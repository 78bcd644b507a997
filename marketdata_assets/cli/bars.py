"""`marketdata ingest bars`, `bars preview`, `bars forget`, and `kline`: minute bars from the command line."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from marketdata_assets import databases
from marketdata_assets.bars import kline, layout, profiles, status
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import existing_files, existing_folder
from marketdata_assets.cli.instance import RunOutcome, finish, months_between, months_listed, run_job
from marketdata_assets.cli.status import delivered
from marketdata_assets.loading.file_ledger import NAMED, name_in
from marketdata_assets.loading.files import Unit, everything, file_at
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.states import State
from marketdata_assets.months import month_ranges
from marketdata_assets.settings import Settings


def ingest(
    months: Annotated[
        str | None, typer.Option(help="2024-01, 2024-01:2024-06, or several with commas; every month when left out")
    ] = None,
    force: Annotated[bool, typer.Option(help="reload files that have not changed")] = False,
    workers: Annotated[int, typer.Option(help="processes; 0 is one per core")] = 0,
    as_json: output.Json = False,
) -> None:
    """Load minute bars of some months and refresh their monthly K-line.

    The run, one whatever the months, shows in the UI.
    """
    wanted = months_listed(months)
    settings = Settings()
    databases.postgres_dsn()  # raises when there is no server, which is the first thing to know
    _check_files(settings.bars_folder, wanted if months else ())
    if workers:
        settings = settings.model_copy(update={"workers": workers})
    with output.bar("minute bars", quiet=as_json):
        outcome = None if force else up_to_date(settings, wanted)
        if outcome is None:
            outcome = replace(_load(settings, wanted, force), files=delivered("bars"))
    finish(outcome, as_json, loaded_json, tell)


def _load(settings: Settings, months: Sequence[str], force: bool) -> RunOutcome:
    """One run, over a range or over months that are none."""
    if len(month_ranges(months)) == 1:
        ops: dict[str, Any] = {"stock_1min_qfq": {"config": {"force": force}}}
        return run_job(settings, "bars_and_kline", (months[0], months[-1]), ops)
    from marketdata_assets.defs.bars.assets import JOB, OP
    from marketdata_assets.defs.selection import config_of

    outcome = run_job(settings, JOB, None, config_of(OP, list(months), force=force)["ops"])
    bars = outcome.metadata.get(OP, {})
    lines = bars.pop("kline", {})
    return replace(outcome, metadata={"stock_1min_qfq": bars, "stock_monthly_kline": lines})


def _check_files(folder: Path, months: Sequence[str]) -> None:
    """Reject a folder without files, and months of which no file can be."""
    found = everything(existing_folder(folder, "MARKETDATA_BARS_DIR"))
    files = [one for one in found if not layout.why_not_taken(one)]
    if not files:
        others = "".join(f"; {one.name}: {layout.why_not_taken(one)}" for one in found[:NAMED])
        cause = f"{folder} has no zip or CSV of minute bars; put them there, or name their folder{others}"
        raise typer.BadParameter(cause, param_hint="MARKETDATA_BARS_DIR")
    years = {str(layout.year_of_unit(Unit(file)) or "") for file in files}
    if months and "" not in years and years.isdisjoint(month[:4] for month in months):
        known = f"there are files of {', '.join(sorted(years))}"
        raise typer.BadParameter(
            f"no file in {folder} is of {months[0]} to {months[-1]}; {known}", param_hint="--months"
        )


def up_to_date(settings: Settings, months: Sequence[str]) -> RunOutcome | None:
    """The result without a run when every file is loaded and the K-line is complete; None when there is work to do."""
    started = time.monotonic()
    with databases.postgres("bars") as connection:
        shapes = profiles.read(settings.bars_profiles, settings.bars_label)
        found = status.survey(connection, settings.bars_folder, months_between(None), shapes)
        bars = {month: found.months[month] for month in months}
        klines = status.kline_states(connection, bars)
    if found.due(months) or any(state.outdated for state in (*bars.values(), *klines.values())):
        return None
    loaded = sum(state == State.OK for state in bars.values())
    seconds = time.monotonic() - started
    metadata = {"rows": 0, "rejected": 0, "seconds": seconds, "months_unchanged": loaded}
    return RunOutcome(True, None, {"stock_1min_qfq": metadata}, files=found.files)


def loaded_json(outcome: RunOutcome) -> dict[str, Any]:
    """How a load ended, for machines."""
    bars = outcome.metadata.get("stock_1min_qfq", {})
    lines = outcome.metadata.get("stock_monthly_kline", {})
    return {
        **outcome.as_json(),
        "bars": {k: v for k, v in bars.items() if k != "preview"},
        "kline": {k: v for k, v in lines.items() if k not in ("preview", "candlesticks")},
    }


def tell(outcome: RunOutcome) -> None:
    """Print how a load ended: the failures, then one line of rows, rejects, seconds and speed."""
    bars = outcome.metadata.get("stock_1min_qfq", {})
    lines = outcome.metadata.get("stock_monthly_kline", {})
    outcome.print_problems()
    if bars:
        if outcome.run_id:
            extra = f"; {bars['codes']} codes, {bars['files_unchanged']} files unchanged"
            extra += f"; replaced {bars['replaced_by']}" if bars["replaced"] else ""
            if bars["removed"]:
                extra += f"; removed {bars['removed_of']}: the new delivery has none of them"
        else:
            extra = f"; nothing to load, {bars['months_unchanged']} months are up to date"
        output.console().print(
            "minute bars   " + output.summary(bars["rows"], bars["rejected"], bars["seconds"], extra)
        )
    for remark in bars.get("remarks", ()):
        output.warn("remark", remark)
    if lines:
        output.console().print(
            f"monthly kline {lines['rows']:,} rows by {lines['engine']}, {lines['seconds']:.1f} s;"
            f" {outcome.checks_passed} checks passed"
        )


def forget(
    files: Annotated[
        list[str], typer.Argument(help="paths below MARKETDATA_BARS_DIR, as status and reports name them")
    ],
    undo: Annotated[bool, typer.Option(help="let the next run load forgotten files again")] = False,
    as_json: output.Json = False,
) -> None:
    """Take wrong files back: delete their rows, and do not load them again.

    A file whose content changes is loaded as usual. Minutes that they had replaced come back with the next load of
    these months, from the newest files that have them.
    """
    from marketdata_assets.bars import forget as forgetting

    folder = Settings().bars_folder
    files = [name_in(folder, file) for file in files]
    with databases.postgres("bars") as connection:
        done = [] if undo else [forgetting.forget(connection, folder, file, "forget") for file in files]
        for file in files if undo else ():
            forgetting.undo(connection, file)
    lines = [f"{file}: the next run loads it; now: marketdata ingest bars" for file in files if undo]
    lines += [f"{one.file}: {one.rows:,} rows deleted" for one in done]
    if due := sorted({month for one in done for month in one.due}):
        lines.append(f"older files have minutes of these: marketdata ingest bars --months {','.join(due)}")
    output.result(as_json, {"forgotten": [asdict(one) for one in done], "remembered": files if undo else []}, *lines)


def preview(
    file: Annotated[Path, typer.Argument(help="a file of minute bars, or a zip of them")],
    rows: Annotated[int, typer.Option(min=0, help="rows to show as they would be stored")] = 5,
    as_json: output.Json = False,
) -> None:
    """Show what a load would make of a file: profile, columns, units, label, and its first rows.

    Nothing is loaded and no server is needed. Of a zip, one member of each kind is read. Exits with 1 when a part of
    the file would not be loaded.
    """
    from marketdata_assets.bars import preview as previews

    [path], settings = existing_files([file], "FILE"), Settings()
    delivered_file = file_at(path, name_in(settings.bars_folder, str(path)))
    shapes = profiles.read(settings.bars_profiles, settings.bars_label)
    found = previews.of_file(delivered_file, shapes, rows)
    if as_json:
        output.as_json({"file": delivered_file.name, "kinds": found})
    for one in () if as_json else found:
        first, problems = one.pop("first", []), one["problems"]
        for name, fact in one.items():
            texts = [f"{ours} = {theirs}" for ours, theirs in fact.items()] if isinstance(fact, dict) else fact
            shown = and_more(texts, NAMED * 4) if isinstance(texts, list) else texts
            output.console().print(f"{name:11} {shown}" if name != "problems" else "")
        if first:
            output.table("as it would be stored", list(first[0]), [list(row.values()) for row in first])
        for problem in problems:
            output.warn("is not loaded", problem)
    if any(one["problems"] for one in found):
        raise typer.Exit(1)


def refresh_kline(
    months: Annotated[
        str | None, typer.Option(help="2024-01 or 2024-01:2024-06; the stale months when left out")
    ] = None,
    force: Annotated[bool, typer.Option(help="recompute months whose minutes have not changed")] = False,
    as_json: output.Json = False,
) -> None:
    """Refresh the monthly K-line of stale months, or of those given.

    No run is started; Dagster shows the months as refreshed after its next run of them.
    """
    dsn, wanted = databases.postgres_dsn(), set(months_between(months))
    if months is None and not force:
        with databases.postgres("bars") as connection:
            wanted = status.kline_due(connection, wanted)
    report = kline.refresh(dsn, wanted, force=force)
    output.result(
        as_json,
        {"months": report.months, "rows": report.rows, "seconds": round(report.seconds, 2)},
        f"monthly kline of {len(report.months)} months refreshed: {report.rows:,} rows, {report.seconds:.1f} s",
    )


def rebuild_kline(as_json: output.Json = False) -> None:
    """Rebuild the monthly K-line for every month.

    Readers see the old rows until all are computed; views on it and grants are kept.
    """
    report = kline.refresh(databases.postgres_dsn(), (), rebuild=True)
    with databases.postgres() as connection:
        rows = status.kline_summary(connection).rows
    document = {"rows": rows, "engine": report.engine, "seconds": round(report.seconds, 2)}
    output.result(as_json, document, f"monthly kline rebuilt as {report.engine}: {rows:,} rows, {report.seconds:.1f} s")

"""`marketdata flows`: write, list, check, preview and run pipelines of files."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marketdata_assets import databases
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import existing_folder
from marketdata_assets.cli.instance import RunOutcome, finish, run_job
from marketdata_assets.errors import MarketDataError, did_you_mean
from marketdata_assets.loading.file_ledger import name_in
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.flows.definition import FlowDefinition
    from marketdata_assets.flows.discovery import FlowFile
    from marketdata_assets.loading.files import Unit

LISTED = ("flow", "table", "mode", "partitions", "schedule", "sensor", "file")
CHECKED = ("flow", "result", "tried", "read", "rejected")  # the keys of --json
EXAMPLES = 3

Name = Annotated[str, typer.Argument(help="the flow's name; marketdata flows list shows all")]


def new(
    name: Annotated[str, typer.Argument(help="small letters, digits and _")],
    source: Annotated[Path | None, typer.Option("--from", help="a file to make the definition of")] = None,
    encoding: Annotated[str | None, typer.Option(help="of the file; by default it is guessed")] = None,
    as_json: output.Json = False,
) -> None:
    """Scaffold a new pipeline, made of a file or as an example with a test."""
    from marketdata_assets.flows import scaffold
    from marketdata_assets.flows.errors import FlowError

    folder = Settings().flows_folder
    if name in _taken():
        raise FlowError(f"no new flow {name!r}: an asset has this name already; take another")
    if source is not None:
        _new_from(folder, name, source, encoding, as_json)
        return
    written, home = scaffold.write(folder, name), _short(folder / name)
    next_steps = (
        f"\nTry it:     marketdata flows check {name}\nLoad it:    marketdata flows run {name} --data-dir {home}/sample"
        f"\nTest it:    python -m pytest {home}"
    )
    document = {"flow": name, "files": [str(path) for path in written], "unsure": []}
    output.result(as_json, document, *(f"written {path}" for path in written), next_steps)


def _new_from(folder: Path, name: str, source: Path, encoding: str | None, as_json: bool) -> None:
    """Write a definition for files such as `source`, and print what was guessed and what is unsure about it."""
    from marketdata_assets.flows import sample, scaffold
    from marketdata_assets.flows.draft import draft

    if not source.is_file():
        raise typer.BadParameter(f"{source}: no such file", param_hint="--from")
    try:
        made = draft(name, sample.read(source, encoding), source)
    except LookupError:
        raise typer.BadParameter(
            f"unknown encoding {encoding!r}; such as gb18030, big5, latin-1", param_hint="--encoding"
        ) from None
    written = scaffold.write(folder, name, made.text)
    document = {"flow": name, "files": [str(path) for path in written], "unsure": made.unsure} | made.guessed
    output.result(as_json, document, *(f"written {path}" for path in written))
    if as_json:
        return
    for remark in made.unsure:
        output.warn("check", remark)
    output.console().print(
        f"\nSee it:     marketdata flows preview {name} --file {source}"
        f"\nLoad it:    marketdata flows run {name} --data-dir {source.parent}\n"
    )
    output.console().print("\n".join(made.summary), highlight=False)


def preview(
    name: Name,
    file: Annotated[Path | None, typer.Option(help="one file; by default the smallest of the flow")] = None,
    rows: Annotated[int, typer.Option(min=1, help="rows after each step")] = 10,
    as_json: output.Json = False,
) -> None:
    """Show the rows of one file after each step, without a database."""
    from marketdata_assets.flows import trial

    flow = _valid(name, found())
    if file and not file.is_file():
        raise typer.BadParameter(f"{file}: no such file", param_hint="--file")
    units = trial.units_at(flow, file.absolute()) if file else _delivered(flow, None)[2]
    if not units:
        raise typer.BadParameter(f"{file}: it has no member that may be data", param_hint="--file")
    unit = min(units, key=lambda unit: unit.size)
    steps = list(trial.preview(flow, unit, rows))
    if as_json:
        shown = [{"step": step.title, "count": step.count, "rows": step.rows.to_dicts()} for step in steps]
        output.as_json({"flow": name, "file": unit.place, "steps": shown})
        return
    for step in steps:
        cells = [["" if cell is None else str(cell) for cell in row] for row in step.rows.rows()]
        output.table(f"{step.title}: {step.count} rows", step.rows.columns, cells)


def schema() -> None:
    """Print the JSON schema of a flow's defs.yaml, for editors."""
    from marketdata_assets.flows.definition import schema_text

    typer.echo(schema_text(), nl=False)


def show(as_json: output.Json = False) -> None:
    """List the flows of the package and your own."""
    _show("flows", LISTED, [_listed(one) for one in found(checked=True)], as_json)


def check(
    name: Annotated[str | None, typer.Argument(help="one flow; all when left out")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="try the smallest file of this folder")] = None,
    as_json: output.Json = False,
) -> None:
    """Validate flows without a database, and try one file.

    Checks the definition, the functions, and the smallest file.
    """
    if data_dir is not None:
        existing_folder(data_dir, "--data-dir")
    every = found(_taken(), checked=True)
    _show("checked", CHECKED, [_checked(one, data_dir) for one in ([_named(name, every)] if name else every)], as_json)


def _show(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print a row for each flow. Exits with code 1 when one has an error."""
    if not as_json:
        output.table(title, columns, [[_short(row[name]) for name in columns] for row in rows])
    for row in () if as_json else rows:
        for line in row.get("examples", ()):
            output.warn("rejected", f"{row['tried']}: {line}")
        if row["error"]:
            output.fail(row["error"])
    output.result(as_json, {"flows": rows}, success=not any(row["error"] for row in rows))


def run(
    name: Annotated[str | None, typer.Argument(help="the flow's name; marketdata flows list shows all")] = None,
    every: Annotated[bool, typer.Option("--all", help="all flows, one after the other")] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="folder of the files; default the flow's own below MARKETDATA_FLOWS_DATA"),
    ] = None,
    force: Annotated[bool, typer.Option(help="reload files that have not changed")] = False,
    max_workers: Annotated[int, typer.Option(min=0, help="processes; 0 is one per core")] = 0,
    as_json: output.Json = False,
) -> None:
    """Load the new and changed files of a flow, or with --all of every flow.

    The run shows in the UI. With --all a flow that fails stops no other, and the exit code is 1.
    """
    settings = Settings()
    if max_workers:
        settings = settings.model_copy(update={"workers": max_workers})
    if every:
        if name or data_dir:
            raise typer.BadParameter("goes with no name and no --data-dir: each flow has its own", param_hint="--all")
        _run_all(settings, force, as_json)
        return
    if not name:
        raise typer.BadParameter("name a flow, or give --all for every flow", param_hint="NAME")
    outcome = _load(settings, _valid(name, found()), data_dir, force, as_json)
    finish(outcome, as_json, partial(loaded_json, name), partial(tell, name))
    if outcome.checks_in_error:
        raise typer.Exit(1)


def _load(settings: Settings, flow: "FlowDefinition", data_dir: Path | None, force: bool, as_json: bool) -> RunOutcome:
    """Run one flow when it has something to load."""
    from marketdata_assets.flows.status import entries

    fetches = flow.source is not None and data_dir is None
    if not fetches:
        _delivered(flow, data_dir)
    with output.bar(f"flow {flow.name}", quiet=as_json):
        outcome = None if force or fetches else _up_to_date(flow, data_dir)
        if outcome is None:
            _valid(flow.name, found(checked=True))
            outcome = execute(settings, flow, data_dir, force)
        with databases.postgres() as connection:
            return replace(outcome, files=entries(connection, *_at(flow, data_dir)))


def _run_all(settings: Settings, force: bool, as_json: bool) -> None:
    """Run the flows one after the other; those of the package only where their folder exists."""
    from marketdata_assets.flows.discovery import SHIPPED

    outcomes: dict[str, RunOutcome] = {}
    for one in found():
        shipped = one.flow if one.file.is_relative_to(SHIPPED) else None
        if shipped and not (settings.flows_data_folder / shipped.loader.folder).is_dir():
            continue
        try:
            outcome = _load(settings, _readable(one), None, force, as_json)
        except (MarketDataError, typer.BadParameter) as error:
            outcome = RunOutcome(False, None, {}, error=str(error))
        outcomes[one.name] = outcome
        if not as_json:
            tell(one.name, outcome, one.name)
            outcome.print_files()
    failed = [name for name, outcome in outcomes.items() if not outcome.success or outcome.checks_in_error]
    line = f"{len(outcomes)} flows, {len(failed)} failed" + "".join(f" {name}" for name in failed)
    document = {"flows": [loaded_json(name, outcome) for name, outcome in outcomes.items()]}
    output.result(as_json, document, line, success=not failed)


def plan(
    name: Name,
    data_dir: Annotated[Path | None, typer.Option(help="folder of the files, as for run")] = None,
    as_json: output.Json = False,
) -> None:
    """Show what a run of a flow would alter in its table and load, and do nothing.

    Exits with code 1 when a run would stop, since the table needs a rebuild.
    """
    from marketdata_assets.flows import status

    with databases.postgres() as connection:
        seen = status.plan(connection, *_at(_valid(name, found()), data_dir))
    changes = [{"change": str(change), "done": change.done} for change in seen.alterations]
    files = {
        "new": len(seen.new),
        "stale": len(seen.stale),
        "bytes": sum(unit.size for unit in (*seen.new, *seen.stale)),
    }
    if as_json:
        known = {"flow": name, "table": seen.table, "exists": seen.exists, "rows": seen.rows}
        columns = [vars(column) for column in seen.new_columns]
        changed = {"needs_rebuild": seen.needs_rebuild, "changes": changes, "new_columns": columns}
        output.as_json({**known, **changed, "files": files})
    else:
        state = f"{seen.rows} rows" if seen.exists else "would be created"
        output.console().print(f"table {seen.table}: {state}, {len(changes)} changes")
        if changes:
            output.table("changes", ("change", "done"), [[str(cell) for cell in one.values()] for one in changes])
        output.console().print(
            f"files to load: {files['new']} new, {files['stale']} again; {files['bytes'] / 1e6:.1f} MB"
        )
        if seen.new_columns:
            print_new_columns([str(column) for column in seen.new_columns])
    if seen.needs_rebuild:
        output.notes().print(f"a run would stop; apply the changes with: marketdata flows rebuild {name}")
        raise typer.Exit(1)


def rebuild(
    name: Name,
    data_dir: Annotated[Path | None, typer.Option(help="folder of the files, as for run")] = None,
    drop_rows: Annotated[bool, typer.Option(help="drop rows of the table that are in no file now")] = False,
    max_workers: Annotated[int, typer.Option(min=0, help="processes; 0 is one per core")] = 0,
    as_json: output.Json = False,
) -> None:
    """Rebuild the table of a flow from its files, beside it, then swap them.

    Readers see the old rows until all are loaded. Views, grants and indexes are kept; one that is killed is continued.
    """
    from marketdata_assets.fanout import Fanout
    from marketdata_assets.flows import run
    from marketdata_assets.flows.rebuild import rebuild as rebuild_table
    from marketdata_assets.progress import report

    settings = Settings()
    flow = _valid(name, found(checked=True))
    at, folder, _ = _delivered(flow, data_dir)
    fanout = Fanout(max_workers or settings.workers or 0, run.PRELOAD, settings.ray_address)
    with output.bar(f"flow {name}", quiet=as_json):
        done = rebuild_table(
            at, databases.postgres_dsn(), folder, run_id="rebuild", fanout=fanout, drop_rows=drop_rows, progress=report
        )
    dropped = f", {done.dropped} dropped" if done.dropped else ""
    text = f"table {done.table} rebuilt: {done.rows:,} rows of {done.files} files{dropped}, {done.seconds:.1f} s"
    output.result(as_json, {"flow": name, **vars(done)}, text)


def forget(
    name: Name,
    files: Annotated[
        list[str], typer.Argument(help="paths below the flow's folder, as etl_metadata and reports name them")
    ],
    as_json: output.Json = False,
) -> None:
    """Delete the rows of files that a flow has loaded, and what is recorded of them.

    The files themselves are not touched; one that is still in the folder is loaded again by the next run.
    """
    from marketdata_assets.flows.forget import forget as forget_files
    from marketdata_assets.flows.owners import to_reload

    flow = _valid(name, found())
    files = [name_in(Settings().flows_data_folder / flow.loader.folder, file) for file in files]
    with databases.postgres() as connection:
        forgotten = forget_files(connection, flow, files)
        stale = len(to_reload(connection, flow.dataset))
    rows = [{"file": one.unit, "rows": one.rows} for one in forgotten]
    lines = [f"{one.unit}: {one.rows} rows deleted" for one in forgotten]
    if stale:
        lines.append(f"{stale} files had rows that these replaced; load them again: marketdata flows run {name}")
    output.result(as_json, {"flow": name, "forgotten": rows, "files_to_reload": stale}, *lines)


def _at(flow: "FlowDefinition", data_dir: Path | None) -> tuple["FlowDefinition", Path]:
    """The flow as it reads `data_dir`, or its own folder, and the folder that this one is below."""
    from marketdata_assets.flows.run import at_folder

    return at_folder(flow, str(data_dir or ""), Settings().flows_data_folder)


def _delivered(flow: "FlowDefinition", data_dir: Path | None) -> tuple["FlowDefinition", Path, "list[Unit]"]:
    """What `_at` gives, and the files there. Raises BadParameter without the folder, FlowError without a file."""
    from marketdata_assets.flows.run import delivered

    at, folder = _at(flow, data_dir)
    existing_folder(folder / at.loader.folder, "--data-dir" if data_dir else "MARKETDATA_FLOWS_DATA")
    return at, folder, delivered(at, folder)


def _up_to_date(flow: "FlowDefinition", data_dir: Path | None) -> RunOutcome | None:
    """The result without a run when table and files are as they should be; None when there is work to do."""
    from marketdata_assets.flows import new_columns, storage
    from marketdata_assets.flows.status import summary

    started = time.monotonic()
    at, folder = _at(flow, data_dir)
    with databases.postgres() as connection:
        states = summary(connection, at, folder).states
        if at.target.kind == "postgres" and storage.drift(connection, new_columns.present(connection, at)):
            return None
    if any(states[state] for state in ("missing", "stale", "failed")):
        return None
    metadata = {"rows": 0, "rejected": 0, "files_loaded": 0, "files_unchanged": states["ok"] + states["empty"]}
    seconds = time.monotonic() - started
    return RunOutcome(True, None, {flow.name: {**metadata, "files_failed": 0, "seconds": seconds}})


def execute(
    settings: Settings, flow: "FlowDefinition", data_dir: Path | None = None, force: bool = False
) -> RunOutcome:
    """Run the job of `flow` in this process, over all files."""
    from marketdata_assets.defs.flows import automation
    from marketdata_assets.flows.definition import Month
    from marketdata_assets.flows.run import find_units

    config: dict[str, Any] = {"force": force, "data_dir": str(data_dir.absolute()) if data_dir else ""}
    span, dynamic = None, None
    if isinstance(flow.partitions, Month):
        span = (automation.current_month(flow),) * 2
    elif flow.partitions == "file":
        names = sorted(unit.place for unit in find_units(*_at(flow, data_dir)))
        span, dynamic = (names[0], names[-1]) if names else None, (automation.dynamic_name(flow), names)
    return run_job(settings, automation.job_name(flow), span, {flow.name: {"config": config}}, dynamic=dynamic)


def loaded_json(name: str, outcome: RunOutcome) -> dict[str, Any]:
    """How a run ended, for machines."""
    metadata = outcome.metadata.get(name, {})
    return {**outcome.as_json(), "flow": name, **{k: v for k, v in metadata.items() if k != "preview"}}


def tell(name: str, outcome: RunOutcome, whose: str = "") -> None:
    """Print how a run ended: the failures, of `whose` flow where there are several, then one line."""
    metadata = outcome.metadata.get(name, {})
    outcome.print_problems(whose)
    if metadata:
        for change in metadata.get("table_altered", ()):
            output.notes().print(f"table altered: {change}")
        for rows in metadata.get("rows_replaced", ()):
            output.notes().print(rows)
        for file in metadata.get("files_deleted", ()):
            output.notes().print(f"deleted with its file: {file}")
        if columns := metadata.get("new_columns"):
            print_new_columns(columns)
        if kept := metadata.get("rows_kept"):
            output.notes().print(
                f"{kept} rows stay in the table that their files no longer have; to delete them: removed_rows: delete"
            )
        if repeated := metadata.get("files_repeated"):
            output.notes().print(f"{repeated} files have the bytes of another file, and were not loaded again")
        for remark in metadata.get("remarks", ()):
            output.warn("remark", remark)
        left_out = f", {count:,} left out by rules" if (count := metadata.get("rows_left_out")) else ""
        files = (
            f"{left_out}; {metadata['files_loaded']} files loaded, {metadata['files_unchanged']} unchanged,"
            f" {metadata['files_failed']} failed; {outcome.checks_passed} checks passed"
        )
        line = output.summary(metadata["rows"], metadata["rejected"], metadata["seconds"], files)
        output.console().print(f"{name:<13} {line}")


def print_new_columns(columns: Sequence[str]) -> None:
    """Say which columns of the files are not loaded, and what to do about it."""
    remedy = "name them in loader.columns or loader.ignored_columns"
    output.notes().print(f"new columns, not loaded: {'; '.join(columns)}; {remedy}")


def found(taken: Collection[str] = (), checked: bool = False) -> list["FlowFile"]:
    """The flows of the package and the user's own; `checked` ones also by Dagster, whose import takes a second."""
    from marketdata_assets.flows.discovery import Check
    from marketdata_assets.local import flow_addresses

    check: Check | None = None
    if checked:
        from marketdata_assets.defs.flows.build import check as check_for_dagster

        check = check_for_dagster
    return flow_addresses.found(Settings().flows_folder, taken, check)


def _named(name: str, flows: Sequence["FlowFile"]) -> "FlowFile":
    for one in flows:
        if name in (one.name, one.file.parent.name):
            return one
    hint = did_you_mean(name, [one.name for one in flows])
    raise typer.BadParameter(
        f"no flow {name!r}: {hint} Your own flows are read from {Settings().flows_folder} (MARKETDATA_FLOWS_DIR);"
        f" create one with: marketdata flows new {name}",
        param_hint="NAME",
    )


def _valid(name: str, flows: Sequence["FlowFile"]) -> "FlowDefinition":
    return _readable(_named(name, flows))


def _readable(file: "FlowFile") -> "FlowDefinition":
    """The definition in a file. Raises InvalidConfigFile."""
    if file.error is not None:
        raise file.error
    assert file.flow is not None
    return file.flow


def _taken() -> set[str]:
    """The names of all assets except those of the user's own flows."""
    from marketdata_assets.definitions import project_definitions
    from marketdata_assets.defs import catalog
    from marketdata_assets.flows import discovery

    shipped = {flow.name for flow in discovery.shipped()}
    return catalog.names(project_definitions()) - shipped


def _listed(one: "FlowFile") -> dict[str, Any]:
    flow = one.flow
    partitions = getattr(flow.partitions, "month", flow.partitions) if flow else ""
    return {
        "flow": one.name,
        "table": flow.target.table if flow else "",
        "mode": flow.target.mode if flow else "cannot be read",
        "partitions": f"month of {partitions}" if flow and partitions not in ("none", "file") else partitions,
        "schedule": f"{flow.schedule} {flow.timezone}" if flow and flow.schedule else "",
        "sensor": "yes" if flow and flow.sensor else "",
        "file": str(one.file),
        "error": str(one.error) if one.error else None,
    }


def _checked(one: "FlowFile", data_dir: Path | None) -> dict[str, Any]:
    row: dict[str, Any] = {"flow": one.name, "result": "ok", "tried": "", "read": None, "rejected": None}
    row |= {"examples": [], "error": None}
    try:
        row |= _tried(_readable(one), data_dir)
    except MarketDataError as error:
        row |= {"result": "wrong", "error": str(error)}
    return row


def _tried(flow: "FlowDefinition", data_dir: Path | None) -> dict[str, Any]:
    """Check the flow, and run the smallest of its files through it, if there is one."""
    from marketdata_assets.flows import trial
    from marketdata_assets.flows.run import find_units

    trial.check(flow)
    at, folder = _at(flow, data_dir)
    sample = flow.file.parent / "sample" if flow.file else None
    if not data_dir and not (folder / at.loader.folder).is_dir() and sample and sample.is_dir():
        at, folder = _at(flow, sample)
    units = find_units(at, folder) if (folder / at.loader.folder).is_dir() else []
    if not units:
        return {}
    unit = min(units, key=lambda unit: unit.size)
    place = f"{unit.file.path}!{unit.member}" if unit.member else str(unit.file.path)
    tried = trial.try_unit(at, unit)
    said = [f"line {line}: {reason}" for line, reason in list(tried.rejects.items())[:EXAMPLES]]
    result: dict[str, Any] = {"tried": place, "read": tried.read, "rejected": len(tried.rejects), "examples": said}
    if tried.too_many:
        result |= {
            "result": "wrong",
            "error": f"{place}: {len(tried.rejects)} of {tried.read} rows are rejected, more than"
            f" {flow.quality.limit}: a run would load nothing of the file. Correct the flow or the file.",
        }
    return result


def _short(value: Any) -> Any:
    """A path relative to the working directory, if it is inside it."""
    path = Path(value) if isinstance(value, str | Path) and str(value).startswith("/") else None
    return str(path.relative_to(Path.cwd())) if path and path.is_relative_to(Path.cwd()) else value

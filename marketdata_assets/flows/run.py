"""A flow over the files of a folder: which have to be read, spreading them over workers, one report.

Whether a failed unit fails a run is the caller's business.
"""

import json
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import accumulate
from pathlib import Path

import psycopg

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import claims, code, new_columns, owners, storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import Forgotten, forget_deleted, forget_renamed
from marketdata_assets.flows.targets import unit_store
from marketdata_assets.flows.unit import FileReport, Job, load_batch, record_failure
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Delivered, Unit, units_of, walk
from marketdata_assets.loading.member_names import is_documentation
from marketdata_assets.loading.reports import LoadReport, batches, run_batches
from marketdata_assets.progress import Progress
from marketdata_assets.stores import ledger, schema_version
from marketdata_assets.stores.postgres import connect

PRELOAD = ("marketdata_assets.flows.unit",)
BATCH_BYTES = 32 * 1024 * 1024  # each costs a connection, and a wait for the server's disk at its end
BIG_BYTES = 8 * 1024 * 1024
BATCH_UNITS = 100
BATCHES_OF_WORKER = 4
SAME_NAME = "another file has the same name once it is decoded; rename one of them"
MAKES_ROWS = {"loader", "handlers", "target", "partitions", "quality"}
MAKES_NONE = {
    "loader": {"folder", "new_columns", "ignored_columns", "optional_columns"},
    "partitions": {"since"},
    "quality": {"columns", "rows"},
}


@dataclass(frozen=True)
class FlowReport(LoadReport[FileReport]):
    """What one run did. `units` were read; `unchanged` counts those of which nothing was read."""

    altered: tuple[str, ...] = ()
    """What was altered of the table before."""
    forgotten: tuple[Forgotten, ...] = ()
    """Files that are gone, and how many rows were deleted of them: by `removed_rows`, or since they were renamed."""


def run_flow(
    flow: FlowDefinition,
    dsn: str,
    folder: Path,
    *,
    run_id: str,
    fanout: Fanout,
    force: bool = False,
    units: Collection[str] | None = None,
    follow_deleted: bool = True,
    progress: Progress | None = None,
    loaded: Callable[[FileReport], None] = lambda report: None,
) -> FlowReport:
    """Bring the flow's table up to date with the files below `folder`, reading only what is new or changed.

    `units` are the names of some; None takes all. With `follow_deleted` the rows of deleted files are deleted where the
    flow declares `removed_rows: delete`, and those of a renamed file that its new name has too; off, where `folder` has
    only some of its files. `loaded` is called with each unit that did not fail, when it is committed. A unit that fails
    does not stop the others. Raises FlowError when the flow cannot run at all, StoreAway or StoreFull when the database
    gives up; units loaded by then stay loaded.
    """
    started = time.monotonic()
    flow = unit_store.pinned(flow)
    version = code_version(flow)
    found = delivered(flow, folder)
    if unknown := sorted({*(units or ())} - {unit.place for unit in found}):
        raise FlowError(
            f"flow {flow.name}: no file {unknown[0]!r} in {folder / flow.loader.folder}. Deliver it, or request an"
            " existing file."
        )
    with connect(dsn) as connection:
        altered = prepare_table(connection, flow)
        flow = new_columns.present(connection, flow)
        forgotten: list[Forgotten] = []
        root, present = folder / flow.loader.folder, [unit.place for unit in found]
        if follow_deleted and flow.target.removed_rows == "delete":
            forgotten = forget_deleted(connection, flow, root, present)
        owners.settle_gone(connection, flow.dataset, present)
        owners.reload(connection, flow.dataset, new_columns.waiting(connection, flow))
        if units is not None:
            found = [unit for unit in found if unit.place in units]
        if force and flow.target.mode == "upsert" and flow.target.kind == "postgres":
            owners.recount(connection, flow, [unit.place for unit in found])
        todo = found if force else _outdated(connection, flow, found)
        claims.register(connection, flow.dataset, todo)
    job = Job(dsn, flow, version, run_id, force)
    ended: dict[str, FileReport] = {}
    added: list[str] = []
    while todo:
        for report in _spread(job, todo, fanout, folder, progress):
            ended[report.unit] = report
            if report.outcome != "failed":
                loaded(report)
        with connect(dsn) as connection:
            again = owners.to_reload(connection, flow.dataset)
            added = new_columns.of_run(connection, flow, run_id)
        todo = [unit for unit in found if unit.place in again]
    if follow_deleted:
        with connect(dsn) as connection:
            forgotten += forget_renamed(connection, flow, root, present)
    read = tuple(report for report in ended.values() if report.outcome != "unchanged")
    unchanged = len(found) - len(read)
    seconds, changes = time.monotonic() - started, (*altered, *added)
    return FlowReport(read, unchanged, seconds, changes, tuple(forgotten))


def prepare_table(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """Create what is missing and alter what is otherwise, all or nothing; what was altered."""
    with connection.transaction():
        schema_version.lock(connection)
        storage.ensure_books(connection)
        other = owners.register(connection, flow)
        if store := unit_store.of(flow):
            unit_store.ensure(connection, flow, store)
            return []
        known = new_columns.present(connection, flow)
        while True:
            try:
                altered = storage.ensure(connection, known)
                break
            except FlowError:
                before, known = known, new_columns.present(connection, flow)
                if known == before:  # else another run has added columns meanwhile
                    raise
        if other and flow.target.mode == "upsert":
            owners.recount(connection, flow)
    return altered


def _spread(
    job: Job, units: list[Unit], fanout: Fanout, folder: Path, progress: Progress | None
) -> Iterator[FileReport]:
    """The reports of `units`, loaded by workers: small files together, big ones alone."""
    work = _batches(units, fanout.width)

    def record_dead_worker(unit: Unit, cause: str) -> FileReport:
        with connect(job.dsn) as connection:
            return record_failure(connection, job, unit, f"{unit.place}: {cause}")

    load = partial(load_batch, job)
    return run_batches(load, work, record_dead_worker, fanout=fanout, folder=folder, progress=progress)


def _batches(units: list[Unit], workers: int) -> list[list[Unit]]:
    """Units that one worker loads after another; the last batches are smaller, so that all workers end together."""
    sizes = list(accumulate(unit.size for unit in units))
    share = min(BATCH_BYTES, sizes[-1] // (workers * BATCHES_OF_WORKER) + 1)
    most = bisect(sizes, sizes[-1] - share * workers)
    return [
        batch
        for part, max_bytes in ((units[:most], share), (units[most:], share // BATCHES_OF_WORKER))
        for batch in batches(part, lambda unit: unit.size, max_bytes=max_bytes, max_items=BATCH_UNITS)
    ]


def find_units(flow: FlowDefinition, folder: Path) -> list[Unit]:
    """The flow's units below the data folder: big ones first, so that none is last, and the others by name.

    Rows of files in the order of their names are often in the order of the key, which the index is built faster in.
    Raises FlowError without the folder. A zip whose members cannot be listed is a unit of its own, which fails when
    it is opened.
    """
    root = folder / flow.loader.folder
    if not root.is_dir():
        raise FlowError(f"{root}: no such folder. Create it, or correct loader.folder or MARKETDATA_FLOWS_DATA.")
    found: list[Unit] = []
    for file in walk(root, flow.loader.glob):
        try:
            found += _data(flow, file)
        except BadFile as error:
            found.append(Unit(file, size=file.size, problem=error.cause))
    times = Counter(unit.place for unit in found)
    found = [replace(unit, problem=SAME_NAME) if times[unit.place] > 1 else unit for unit in found]
    return sorted(found, key=lambda unit: (-unit.size if unit.size > BIG_BYTES else 0, unit.place))


def delivered(flow: FlowDefinition, folder: Path) -> list[Unit]:
    """`find_units`, of which there is at least one. Raises FlowError."""
    if found := find_units(flow, folder):
        return found
    raise FlowError(
        f"{folder / flow.loader.folder}: no file matches {', '.join(flow.loader.glob)}. Deliver files, or correct"
        " loader.folder or loader.glob; rows loaded before are kept."
    )


def _data(flow: FlowDefinition, file: Delivered) -> list[Unit]:
    """A file, or the members of an archive that the flow names, by default all that are no documentation.

    An archive without any is a unit of its own, which says so.
    """
    patterns = flow.loader.members
    chosen = [
        unit
        for unit in units_of(file)
        if not unit.member
        or (any(fnmatchcase(unit.member, name) for name in patterns) if patterns else not is_documentation(unit.member))
    ]
    cause = f"no member matches {', '.join(patterns)}" if patterns else "it has no data"
    return chosen or [Unit(file, size=file.size, problem=f"{cause}; correct loader.members or the file")]


def at_folder(flow: FlowDefinition, data_dir: str, data: Path) -> tuple[FlowDefinition, Path]:
    """The flow and its data folder `data`; a `data_dir` replaces both, as the folder of the files itself."""
    if not data_dir:
        return flow, data
    loader = flow.loader.model_copy(update={"folder": "."})
    return flow.model_copy(update={"loader": loader}), Path(data_dir).absolute()


def outdated(connection: psycopg.Connection, flow: FlowDefinition, folder: Path) -> list[Unit]:
    """The units that a run would read: new, failed, loaded by another version, changed since, or lost.

    None where there is no folder. Raises FlowError.
    """
    storage.ensure_books(connection)
    if not (folder / flow.loader.folder).is_dir():
        return []
    units = find_units(flow, folder)
    store = unit_store.of(flow)
    if store is None and storage.lost_its_rows(connection, flow):
        return units
    return _outdated(connection, flow, units, unit_store.lost(connection, flow, store) if store else ())


def _outdated(
    connection: psycopg.Connection, flow: FlowDefinition, units: Sequence[Unit], lost: Collection[str] = ()
) -> list[Unit]:
    states, version = claims.states(connection, flow.dataset), code_version(flow)
    loaded = {
        entry.unit: entry.content_hash
        for entry in ledger.entries(connection, flow.dataset)
        if entry.outcome in ("ok", "empty") and (entry.code_version == version or not flow.target.replaceable)
    }
    again = {*lost, *new_columns.waiting(connection, flow)}

    def unchanged(unit: Unit) -> bool:
        size, changed, content = states.get(unit.place, (None, None, None))
        same_file = (size, changed) == (unit.size, unit.file.changed_ns)
        loads_the_same = content is not None and same_file and loaded.get(unit.place) == content
        return loads_the_same and unit.place not in again

    return [unit for unit in units if not unchanged(unit)]


def code_version(flow: FlowDefinition) -> str:
    """What the flow's rows are made by: a text that changes when they could.

    It is made of what the flow declares of loader, handlers and target, of the code of the functions it calls and of
    the user's modules that they import, and of the code of this package that makes rows; not of where the files are,
    nor since when there are partitions.
    """
    declared = flow.model_dump(mode="json", include=MAKES_ROWS, exclude=MAKES_NONE, exclude_defaults=True)
    declared = {section: values for section, values in declared.items() if values}
    text = json.dumps(declared, sort_keys=True, default=str, ensure_ascii=False)
    theirs = [code.of_function(path, flow.file) for path in flow.functions]
    return f"{code.of_library()}:{code.digest(text, *theirs)}"

"""Files of records and the ledger: which are loaded, by their content, and how the load of one ended.

Reading a file is the business of `captures` and `dumps`.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Self

from marketdata_assets.exchanges.tables.record_batches import RecordBatches
from marketdata_assets.loading.file_ledger import Delivered, FileEntry, FileState, Recorded, state_of
from marketdata_assets.loading.reports import LoadReport, UnitReport
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.errors import StoreAway, StoreFull

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True)
class FileReport(UnitReport):
    """How one file ended. `by_type` are its rows by record type; copies of rows loaded before are included.

    `rejected` records do not fit into their table; `skipped` are messages or rows that differ from the documentation;
    `notes` say what of the file was left out.
    """

    path: Path = Path()
    by_type: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, batches: RecordBatches, error: str | None, notes: Sequence[str], unit: str = "") -> Self:
        """The report of a file whose records went into these batches; `unit` is its name in the ledger."""
        by_type = dict(sorted(batches.rows.items()))
        rows = sum(by_type.values())
        return cls(
            unit=unit or path.name,
            outcome="failed" if error else "ok" if rows else "empty",
            read=rows + batches.rejected,
            rows=rows,
            rejected=batches.rejected,
            skipped=batches.dead_letters,
            error=error,
            path=path,
            by_type=by_type,
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class FilesReport(LoadReport[FileReport]):
    """How each file ended, unchanged ones included, in the order in which they were given."""

    @property
    def by_type(self) -> dict[str, int]:
        """Rows by record type."""
        return dict(sorted(sum((Counter(unit.by_type) for unit in self.units), Counter[str]()).items()))


@dataclass(frozen=True)
class FileLedger:
    """The ledger of one kind of files; a file is known by its content, or by name, size and time without reading it.

    A unit is a content, so that files of one name do not hide each other; attempts have the size and time.
    """

    dataset: str
    unit: str
    code_version: str

    def loaded_hashes(self, client: "Client") -> set[str | None]:
        """The SHA-256 of the contents that are loaded."""
        loads = clickhouse_ledger.entries(client, self.dataset)
        return {load.content_hash for load in loads if load.outcome in ("ok", "empty")}

    def state(self, found: Delivered, loads: Sequence[Load], waiting: bool = False) -> FileEntry:
        """The state of a delivered file, given the whole ledger.

        A file of a size that was loaded, with another time or name, is read to compare its content.
        """
        name = Path(found.path).name
        own = [load for load in loads if load.source == name and load.attempted_hash == found.identity]
        if not own and not found.problem:
            sized = [load for load in loads if (load.attempted_hash or "").startswith(f"{found.size}:")]
            digest = _hash_or_none(found.path) if sized else None
            own = [load for load in sized if digest and load.unit == _unit(digest)]
        if own:
            return state_of(found, Recorded(found.identity, _entry(found.name, max(own, key=_finished))))
        entry = state_of(found, None, waiting=waiting)
        changed = entry.state is FileState.DUE and any(load.source == name for load in loads)
        return replace(entry, reason="changed since it was loaded") if changed else entry

    def failures(self, client: "Client", limit: int) -> list[dict[str, str]]:
        """Up to `limit` files whose last load failed, the newest first, of whatever folder: as rows of a quarantine."""
        newest = {load.source: load for load in sorted(clickhouse_ledger.entries(client, self.dataset), key=_finished)}
        failed = sorted((load for load in newest.values() if load.outcome == "failed"), key=_finished, reverse=True)
        reason = "{} (load failed at {:%Y-%m-%d %H:%M} UTC)"
        return [
            {
                "dataset": self.dataset,
                "place": load.source,
                "reason": reason.format(load.error or "failed", load.finished),
                "raw": "",
            }
            for load in failed[:limit]
        ]

    def unchanged_and_due(
        self, client: "Client", paths: Sequence[Path], force: bool
    ) -> tuple[dict[Path, FileReport], dict[Path, str]]:
        """Reports of the files that are not to be read, and the hashes of the others."""
        loaded = self.loaded_hashes(client)
        reports, hashes = {}, {}
        for path in paths:
            try:
                digest = hash_of(path)
            except OSError as error:
                cause = f"{path}: {error.strerror or error}"
                reports[path] = FileReport(path.name, "failed", error=cause, path=path)
                continue
            if digest in loaded and not force:
                reports[path] = FileReport(path.name, "unchanged", path=path)
            else:
                hashes[path] = digest
        return reports, hashes

    def write(
        self,
        client: "Client",
        report: FileReport,
        digest: str | None,
        run_id: str,
        started: dt.datetime,
        finished: dt.datetime,
    ) -> None:
        """Record how a file ended."""
        load = Load(
            dataset=self.dataset,
            source=report.unit,
            unit=_unit(digest) if digest else self.unit,
            content_hash=digest,
            read=report.read,
            skipped=report.skipped,
            rows=report.rows,
            rejected=report.rejected,
            outcome="failed" if report.outcome == "failed" else ("ok" if report.rows else "empty"),
            attempted_hash=_identity(report.path),
            error=report.error,
            code_version=self.code_version,
            run_id=run_id,
            started=started,
            finished=finished,
        )
        if report.outcome == "failed":
            clickhouse_ledger.record_attempts(client, [load])
        else:
            clickhouse_ledger.record(client, [load], clickhouse_ledger.next_version(client))


def _unit(digest: str) -> str:
    return digest[:16]


def _finished(load: Load) -> dt.datetime:
    return load.finished


def _entry(name: str, load: Load) -> FileEntry:
    if load.outcome == "failed":
        return FileEntry(name, FileState.FAILED, load.error or "the last load failed")
    state = FileState.LOADED if load.rows else FileState.EMPTY
    return FileEntry(name, state, "", load.read, load.rows, load.rejected)


def _identity(path: Path) -> str:
    """Size and modification time, as a listing has them; empty for a file that is gone."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return Delivered(path.name, str(path), stat.st_size, stat.st_mtime_ns).identity


def _hash_or_none(path: str) -> str | None:
    try:
        return hash_of(Path(path))
    except OSError:
        return None


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def error_of(call: Callable[[], None]) -> str | None:
    """The text of any error but one of the store, which ends the whole load."""
    try:
        call()
    except (StoreAway, StoreFull):
        raise
    except Exception as error:
        return str(error) or type(error).__name__
    return None

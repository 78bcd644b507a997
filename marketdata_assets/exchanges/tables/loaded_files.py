"""Files of records and the ledger: which are loaded, by their content, and how the load of one ended.

Reading a file is the business of `captures` and `dumps`.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Self

from marketdata_assets.exchanges.tables.record_batches import RecordBatches
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
    """The ledger of one kind of files; a file is known by its content."""

    dataset: str
    unit: str
    code_version: str

    def loaded_hashes(self, client: "Client") -> set[str | None]:
        """The SHA-256 of the contents that are loaded."""
        loads = clickhouse_ledger.entries(client, self.dataset)
        return {load.content_hash for load in loads if load.outcome in ("ok", "empty")}

    def all_loaded(self, client: "Client", paths: Iterable[Path]) -> bool:
        """Whether the content of every file is in the ledger, which must exist.

        Files are read newest first, up to one that is not.
        """
        loaded = self.loaded_hashes(client)
        try:
            newest_first = sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)
            return all(hash_of(path) in loaded for path in newest_first)
        except OSError:
            return False

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
            unit=self.unit,
            content_hash=digest,
            read=report.read,
            skipped=report.skipped,
            rows=report.rows,
            rejected=report.rejected,
            outcome="failed" if report.outcome == "failed" else ("ok" if report.rows else "empty"),
            attempted_hash=digest,
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

"""Files of records and the ledger: which are loaded, by their content, and how the load of one ended.

Reading a file is the business of `captures` and `dumps`.
"""

import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import file_digest
from pathlib import Path
from typing import Self

from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import RecordBatches
from marketdata_assets.loading.file_ledger import FileEntry, FileState, Recorded, other_suffix, outcome_of, state_of
from marketdata_assets.loading.files import Delivered, file_at, walk
from marketdata_assets.loading.overwrites import OVERWRITTEN
from marketdata_assets.loading.reports import LoadReport, UnitReport
from marketdata_assets.loading.watch import fingerprint
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway, StoreFull


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
        """The report of a file whose records went into these batches; `unit` is its name in the ledger.

        A file of which more than a few messages were rejected has failed, and so has one that broke off before any.
        """
        by_type = dict(sorted(batches.rows.items()))
        rows = sum(by_type.values())
        if not error and (fault := batches.fault()):
            error = f"{path}: {fault}"
        elif not error and not rows and notes:
            error, notes = f"{notes[0]}, and no record comes before that: deliver the file again, or delete it", ()
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
            notes=(*notes, *([f"{path}: {errors}"] if (errors := batches.rejections()) else [])),
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
    """The ledger of one kind of files; a file is known by its content, or by place, size and times without reading it.

    A unit is a content, so that files of one name do not hide each other; attempts have the place, size and times.
    """

    dataset: str
    unit: str
    code_version: str
    suffixes: tuple[str, ...]
    """What the names of its files end with, in any case."""

    def files(self, folder: Path) -> list[Delivered]:
        """Those of a folder and the folders below it, by name."""
        return walk(folder, keep=lambda name: name.lower().endswith(self.suffixes))

    def not_taken(self, name: str) -> str:
        """Why a file of this name is none of them; empty where it is one."""
        return other_suffix(name, self.suffixes, f"{self.unit}s")

    def load(
        self,
        client: Client,
        paths: Iterable[Path],
        read: Callable[[Sequence[Path]], Iterable[FileReport]],
        *,
        run_id: str,
        force: bool,
        now: Callable[[], dt.datetime],
    ) -> FilesReport:
        """Have `paths` read whose content is not in the ledger, or all with `force`, and record how each ended."""
        began, given = time.monotonic(), list(dict.fromkeys(paths))
        schema.ensure(client)
        reports, contents = self.unchanged_and_due(client, given, force)
        for unread in reports.values():
            if unread.outcome == "failed":
                self._record(client, unread, None, run_id, now(), now())
        started = now()
        for report in read(list(contents)):
            reports[report.path] = self._record(client, report, contents[report.path], run_id, started, ended := now())
            started = ended
        units = tuple(reports[path] for path in given)
        return FilesReport(units, sum(unit.outcome == "unchanged" for unit in units), time.monotonic() - began)

    def known(self, client: Client) -> "KnownFiles":
        """What is on record of all files. The ledger must exist."""
        return KnownFiles(sorted(clickhouse_ledger.entries(client, self.dataset), key=lambda load: load.finished))

    def record_compared(self, client: Client, known: "KnownFiles", files: Iterable[Delivered]) -> None:
        """Record where contents are that were compared for this listing, so that the next one reads none of them.

        A copy of a file that is still there has none of its own, and is compared each time.
        """
        places, now = {_place(file.location) for file in files}, dt.datetime.now(dt.UTC)
        moved = [
            replace(load, attempted_hash=identity, read=0, rows=0, started=now, finished=now)
            for load, identity in known.compared
            if _place_in(load.attempted_hash) not in places - {_place_in(identity)}
        ]
        if moved:
            clickhouse_ledger.record_attempts(client, moved)

    def failures(self, client: Client, limit: int) -> list[dict[str, str]]:
        """Up to `limit` files whose last load failed, the newest first, of whatever folder: as rows of a quarantine."""
        failed = [load for load in self.known(client).by_place.values() if load.outcome == "failed"]
        reason = "{} (load failed at {:%Y-%m-%d %H:%M} UTC)"
        return [
            {
                "dataset": self.dataset,
                "place": load.source,
                "reason": reason.format(load.error or "failed", load.finished),
                "raw": "",
            }
            for load in sorted(failed, key=lambda load: load.finished, reverse=True)[:limit]
        ]

    def unchanged_and_due(
        self, client: Client, paths: Sequence[Path], force: bool
    ) -> tuple[dict[Path, FileReport], dict[Path, "Content"]]:
        """Reports of the files that are not to be read, and the contents of the others."""
        loads = self.known(client).loads
        loaded = {load.content_hash for load in loads if load.outcome in ("ok", "empty")}
        reports, contents = {}, {}
        for path in paths:
            try:
                content = Content(_identity(path), hash_of(path))
            except OSError as error:
                cause = f"{path}: {error.strerror or error}"
                reports[path] = FileReport(path.name, "failed", error=cause, path=path)
                continue
            if content.digest in loaded and not force:
                reports[path] = FileReport(path.name, "unchanged", path=path)
            else:
                contents[path] = content
        return reports, contents

    def _record(
        self, client: Client, report: FileReport, content: "Content | None", run_id: str, *at: dt.datetime
    ) -> FileReport:
        """Record how a file ended, and return it: as failed where the file has changed since it was hashed."""
        if content and report.outcome != "failed" and _identity(report.path) != content.identity:
            report = replace(report, outcome="failed", error=f"{report.path}: {OVERWRITTEN}")
        load = Load(
            dataset=self.dataset,
            source=report.unit,
            unit=_unit(content.digest) if content else self.unit,
            content_hash=content.digest if content else None,
            read=report.read,
            skipped=report.skipped,
            rows=report.rows,
            rejected=report.rejected,
            outcome="failed" if report.outcome == "failed" else ("ok" if report.rows else "empty"),
            attempted_hash=content.identity if content else _identity(report.path),
            error=report.error,
            code_version=self.code_version,
            run_id=run_id,
            started=at[0],
            finished=at[1],
        )
        if report.outcome == "failed":
            clickhouse_ledger.record_attempts(client, [load])
        else:
            clickhouse_ledger.record(client, [load], clickhouse_ledger.next_version(client))
        return report


@dataclass(frozen=True)
class Content:
    """A content, and the size, times and place of its file before it was read: a file that changes meanwhile is due."""

    identity: str
    digest: str


@dataclass(frozen=True)
class KnownFiles:
    """The whole ledger of files, the oldest load first.

    `compared` gathers loads whose content was found by reading a file, with the identity of that file.
    """

    loads: Sequence[Load]
    compared: list[tuple[Load, str]] = field(default_factory=list)

    @cached_property
    def by_place(self) -> dict[str, Load]:
        """The last load of each place."""
        return {_place_in(load.attempted_hash): load for load in self.loads}

    @cached_property
    def _by_content(self) -> dict[str, Load]:
        return {load.unit: load for load in self.loads}

    @cached_property
    def _sizes(self) -> set[str]:
        return {(load.attempted_hash or "").partition(":")[0] for load in self.loads}

    def state(self, found: Delivered) -> FileEntry:
        """The state of a delivered file. One of a size that was loaded, with another time or place, is read to compare
        its content."""
        at_place, identity = self.by_place.get(_place(found.location)), _identified(found)
        if at_place and at_place.attempted_hash == identity:
            load: Load | None = at_place
        else:
            digest = _hash_or_none(found.location) if str(found.size) in self._sizes and not found.problem else None
            load = self._by_content.get(_unit(digest)) if digest else None
            self.compared.extend([(load, identity)] if load else [])
        entry = state_of(found, Recorded(found.identity, _entry(found.name, load)) if load else None)
        changed = entry.state is FileState.DUE and at_place
        return replace(entry, reason="changed since it was loaded") if changed else entry


def _unit(digest: str) -> str:
    return digest[:16]


def _entry(name: str, load: Load) -> FileEntry:
    """Messages that were skipped are rejected rows."""
    read, rejected = load.read + load.skipped, load.rejected + load.skipped
    return outcome_of(replace(load, read=read, rejected=rejected, skipped=0), name)


def _place(path: Path | str) -> str:
    return fingerprint(os.path.abspath(path))  # noqa: PTH100 - a link is a place of its own


def _place_in(identity: str | None) -> str:
    return (identity or "").rpartition(":")[2]


def _identified(file: Delivered) -> str:
    return f"{file.identity}:{_place(file.location)}"


def _identity(path: Path) -> str:
    """Size, times and place of a file; one that is gone has the place only."""
    try:
        return _identified(file_at(path))
    except OSError:
        return f":{_place(path)}"


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

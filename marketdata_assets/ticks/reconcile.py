"""What becomes of the answer to a unit: the rows to write, the ledger entry and the report. Nothing is written here."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import polars as pl

from marketdata_assets.reference.calendar import ZONE
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.bookkeeping import Outcome as Recorded
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import MAX_REJECTS, Load
from marketdata_assets.ticks.errors import UnknownSymbol
from marketdata_assets.ticks.existing import MODULUS, ExistingRows, digest, digest_of_books
from marketdata_assets.ticks.fallback import Answer
from marketdata_assets.ticks.files import NAME as FILES
from marketdata_assets.ticks.plan import Due
from marketdata_assets.ticks.records import Delivery, too_many
from marketdata_assets.ticks.reports import Outcome, Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, TICK_DATA, Table

CODE_VERSIONS = {TICK_DATA.name: "ticks-1", ORDER_BOOK.name: "order_book-1", FACTORS.name: "factors-1"}


@dataclass(frozen=True)
class FetchResult:
    """A unit, the days that were fetched, and the answer; `started` is when, UTC."""

    unit: Unit
    days: Days
    due: Due | None
    answer: Answer | None
    started: dt.datetime
    reason: str = ""
    """Why the days are covered without a request."""
    error: str | None = None

    @property
    def replaces(self) -> Days:
        """The days whose rows the answer replaces; of dropped files, from the first to the last that they have.

        The file of another day may have been archived, or is not dropped yet.
        """
        delivery = self.answer.delivery if self.answer else None
        if delivery is not None and delivery.provider == FILES and not delivery.rows.is_empty():
            first, last = (delivery.rows["ts"].dt.convert_time_zone(ZONE.key).dt.date()[at] for at in (0, -1))
            return Days(first, last)
        return self.due.replaces if self.due else self.days

    @property
    def rows(self) -> int:
        """Rows held in memory, rejected ones included."""
        delivery = self.answer.delivery if self.answer else None
        return delivery.rows.height + len(delivery.rejected) if delivery else 0


@dataclass(frozen=True)
class Decision:
    """What to write, and what to report once it is written."""

    report: UnitReport
    write: UnitWrite


def report_before(unit: Unit, load: Load | None, outcome: Outcome | None = None) -> UnitReport:
    """The report of a unit whose rows were not touched, from its ledger entry."""
    if load is None:
        return UnitReport(*unit, outcome or "empty")
    return UnitReport(*unit, outcome or ("ok" if load.rows else "empty"), load.rows, load.rejected, load.origin or None)


def ledger_entry(
    table: Table, unit: Unit, run_id: str, started: dt.datetime, finished: dt.datetime, **fields: Any
) -> Load:
    """A ledger entry of a unit; without `fields` that of an attempt which wrote nothing."""
    return Load(
        **{"outcome": "failed", **fields},
        dataset=table.name,
        source=unit.symbol,
        unit=unit.month,
        code_version=CODE_VERSIONS[table.name],
        run_id=run_id,
        started=started,
        finished=finished,
    )


@dataclass(frozen=True)
class Reconciler:
    """Decides for one run over bars or order books.

    `rank` is the priority of every provider, including those that are not used. `replace_missing_files` treats days
    without a dropped file as empty days; otherwise their rows are kept, since the file may have been archived.
    """

    table: Table
    rank: Mapping[str, int]
    accept_empty: bool
    replace_missing_files: bool
    run_id: str

    def decide(self, result: FetchResult, load: Load | None, existing: ExistingRows, finished: dt.datetime) -> Decision:
        """What becomes of `result`, given the ledger entry and the existing rows of the days it replaces."""
        unit = _Unit(self, result, load, existing, finished)
        answer = result.answer
        if result.error is not None:
            return unit.failed(result.error)
        if answer is None:
            return unit.empty("", result.reason)
        if answer.outcome == "failed":
            return unit.failed(answer.why)
        if answer.outcome == "unsupported":
            return unit.unsupported(answer.why)
        if answer.delivery is not None:
            return unit.delivered(answer.delivery, answer.why)
        if any(tried.outcome == "empty" and tried.provider != FILES for tried in answer.tried):
            return unit.empty(answer.tried[-1].provider, answer.why)
        if any(tried.error and not isinstance(tried.error, UnknownSymbol) for tried in answer.tried):
            return unit.failed(answer.why)
        return unit.without_file(answer.why)


@dataclass(frozen=True)
class _Unit:
    reconciler: Reconciler
    result: FetchResult
    load: Load | None
    existing: ExistingRows
    finished: dt.datetime

    def failed(self, cause: str, rejected: tuple[Reject, ...] = (), attempted: str | None = None) -> Decision:
        """Existing rows are kept."""
        entry = self._entry("failed", error=cause, attempted_hash=attempted, **_rejects(rejected))
        return self._decision(replace(self._before("failed"), error=cause), None, entry)

    def unsupported(self, note: str) -> Decision:
        """No provider reaches these days. Order books are optional, so existing ones stay a success."""
        kept = self.reconciler.table is ORDER_BOOK and self.load is not None and self.load.rows > 0
        return self._noted("ok" if kept else "unsupported", note)

    def empty(self, provider: str, why: str) -> Decision:
        """No provider has a row in these days."""
        if self.existing.rows and not self.reconciler.accept_empty:
            return self.failed(self._lost(provider or "the registry", set(self.existing.days), why))
        kept = self.existing.kept
        entry = self._entry("ok" if kept else "empty", content_hash=self._content(0), slices=self._slices)
        rewrite = bool(self.existing.rows) or self._pending
        frame = self.reconciler.table.columns.to_frame() if rewrite else None
        outcome: Outcome = "ok" if kept else "empty"
        report = replace(self._before(outcome), rows=kept, note=why, changed=bool(self.existing.rows))
        return self._decision(report, frame, entry)

    def without_file(self, why: str) -> Decision:
        """Only dropped files were tried and none has a row in these days; one may be dropped later."""
        if self.existing.rows:
            return self.empty(FILES, why) if self.reconciler.replace_missing_files else self._noted("ok", why)
        decision = self.empty(FILES, why)
        return replace(decision, write=replace(decision.write, load=replace(decision.write.load, slices=[])))

    def delivered(self, delivery: Delivery, why: str) -> Decision:
        """A provider has rows."""
        frame = self._frame(delivery)
        days = self.result.replaces
        new = digest(frame) if self.reconciler.table is TICK_DATA else digest_of_books(frame, days)
        attempted = f"{new:032x}"
        if flaw := too_many(delivery.provider, self.result.unit.symbol, frame.height, delivery.rejected):
            return self.failed(flaw, delivery.rejected, attempted)
        if better := self._better(delivery.provider):
            return self._noted("ok", "; ".join(filter(None, (better, why))))
        lost = set(self.existing.days) - set(frame["date"].unique())
        if lost and not self.reconciler.accept_empty:
            return self.failed(self._lost(delivery.provider, lost, why), attempted=attempted)
        kept, load = self.existing.kept, self.load
        entry = self._entry(
            "ok",
            content_hash=self._content(new),
            attempted_hash=attempted,
            slices=self._slices,
            read=self.result.rows,
            rows=frame.height,
            origin=self._origin(delivery.provider),
            **_rejects(delivery.rejected),
        )
        if self.reconciler.table is TICK_DATA:
            same = load is not None and load.content_hash == entry.content_hash
        else:
            same = load is not None and load.outcome == "ok" and load.attempted_hash == entry.attempted_hash
        unchanged = same and not self._pending
        note = "; ".join(filter(None, ("unchanged" if unchanged else "", why)))
        rejected = len(delivery.rejected) + (load.rejected if load and kept else 0)
        report = UnitReport(
            *self.result.unit, "ok", kept + frame.height, rejected, delivery.provider, note, changed=not unchanged
        )
        if unchanged and load is not None:
            entry = replace(entry, content_hash=load.content_hash)
        return self._decision(report, None if unchanged else frame, entry)

    def _frame(self, delivery: Delivery) -> pl.DataFrame:
        columns = self.reconciler.table.columns
        frame = delivery.rows.with_columns(
            symbol=pl.lit(self.result.unit.symbol),
            date=pl.col("ts").dt.convert_time_zone(ZONE.key).dt.date(),
            label=pl.lit(delivery.label, pl.String),
            currency=pl.lit(delivery.currency, pl.String),
        )
        return frame.select(columns.names()).cast(columns)

    def _content(self, new: int) -> str:
        """The content hash of the whole month: of bars a sum over its days, of books a chain of what was written."""
        if self.reconciler.table is TICK_DATA:
            return f"{(self.existing.kept_digest + new) % MODULUS:032x}"
        if not self.existing.kept or self.load is None:
            return f"{new:032x}"
        return blake2b(f"{self.load.content_hash} {new:032x}".encode(), digest_size=16).hexdigest()

    def _better(self, provider: str) -> str:
        """Why rows of `provider` do not replace the existing ones; empty when they do."""
        load, rank = self.load, self.reconciler.rank
        if load is None or load.pending or not self.existing.rows or load.origin == provider:
            return ""
        if rank.get(load.origin, rank[provider]) >= rank[provider]:
            return ""
        return f"{provider} has rows, but those of {load.origin}, which comes before it, are kept"

    def _origin(self, provider: str) -> str:
        if not self.existing.kept or self.load is None or self.load.origin not in self.reconciler.rank:
            return provider
        return min(provider, self.load.origin, key=self.reconciler.rank.__getitem__)

    def _lost(self, provider: str, days: set[dt.date], why: str) -> str:
        rows = sum(self.existing.days[day] for day in days)
        where = f"{min(days)}" if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"
        reason = f" ({why})" if why else ""
        return (
            f"{self.result.unit}: {provider} now returns no rows for {where}, where {rows} are loaded; kept{reason}."
            f" To delete them, load the month again with --refetch --accept-empty."
        )

    def _noted(self, outcome: Recorded, note: str) -> Decision:
        reported: Outcome = "unsupported" if outcome == "unsupported" else "ok"
        load = self.load
        entry = self._entry(
            outcome,
            content_hash=load.content_hash if load else None,
            attempted_hash=load.attempted_hash if load and self.reconciler.table is ORDER_BOOK else None,
        )
        return self._decision(replace(self._before(reported), note=note), None, entry)

    @property
    def _pending(self) -> bool:
        return self.load is not None and self.load.pending

    @property
    def _slices(self) -> list[str]:
        return [day.isoformat() for day in self.result.replaces]

    def _before(self, outcome: Outcome) -> UnitReport:
        return report_before(self.result.unit, self.load, outcome)

    def _entry(self, outcome: Recorded, **fields: Any) -> Load:
        fields.setdefault("origin", self.load.origin if self.load else "")
        started, run_id = self.result.started, self.reconciler.run_id
        return ledger_entry(
            self.reconciler.table, self.result.unit, run_id, started, self.finished, outcome=outcome, **fields
        )

    def _decision(self, report: UnitReport, frame: pl.DataFrame | None, entry: Load) -> Decision:
        unit = self.result.unit
        return Decision(report, UnitWrite(unit.symbol, unit.month, self.result.replaces, frame, entry))


def _rejects(rejected: tuple[Reject, ...]) -> dict[str, Any]:
    return {"rejected": len(rejected), "rejects": rejected[:MAX_REJECTS]}

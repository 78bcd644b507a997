"""What becomes of the answer to a unit: the rows to write, the ledger entry and the report. Nothing is written here."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import polars as pl

from marketdata_assets.reference.exchanges import exchange_of
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.bookkeeping import Outcome as Recorded
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import MAX_REJECTS, Load, SliceState
from marketdata_assets.ticks.errors import UnknownSymbol
from marketdata_assets.ticks.existing import MODULUS, ExistingRows, digests, total
from marketdata_assets.ticks.fallback import Answer
from marketdata_assets.ticks.file_drop import NAME as FILES
from marketdata_assets.ticks.finality import Finality, complete_days, count
from marketdata_assets.ticks.plan import Due, Loaded
from marketdata_assets.ticks.records import Delivery, Dropped, too_many
from marketdata_assets.ticks.reports import Outcome, Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, TICK_DATA, Table

CODE_VERSIONS = {TICK_DATA.name: "ticks-1", ORDER_BOOK.name: "order_book-1", FACTORS.name: "factors-1"}


@dataclass(frozen=True)
class FetchResult:
    """A unit, the days that were fetched, and the answer; `started` is when, UTC.

    `better` are providers that may have the days later and come before the one that answered.
    """

    unit: Unit
    days: Days
    due: Due | None
    answer: Answer | None
    started: dt.datetime
    reason: str = ""
    """Why the days are covered without a request."""
    covers: Sequence[dt.date] = ()
    """The days that are covered without a request."""
    error: str | None = None
    better: tuple[str, ...] = ()

    @property
    def replaces(self) -> Days:
        """The days whose rows the answer replaces; of dropped files, from the first to the last that they have.

        The file of another day may have been archived, or is not dropped yet; a forgotten one may have had any day. Of
        a provider that does not reach the first days, those that it reaches.
        """
        delivery = self.answer.delivery if self.answer else None
        if self.due is not None and delivery is not None and delivery.days.first > self.due.fetch.first:
            return Days(delivery.days.first, self.due.replaces.last)
        withdrawn = delivery is not None and delivery.dropped is not None and delivery.dropped.withdrawn
        if delivery is not None and delivery.provider == FILES and not delivery.rows.is_empty() and not withdrawn:
            timezone = exchange_of(self.unit.symbol).timezone
            first, last = (delivery.rows["ts"].dt.convert_time_zone(timezone).dt.date()[at] for at in (0, -1))
            return Days(first, last)
        return self.due.replaces if self.due else self.days

    @property
    def rows(self) -> int:
        """Rows held in memory, rejected ones included."""
        delivery = self.answer.delivery if self.answer else None
        return delivery.rows.height + len(delivery.rejected) if delivery else 0


@dataclass(frozen=True)
class Decision:
    """What to write, and what to report once it is written, see `of_entry`; without a write no attempt is recorded."""

    report: UnitReport
    write: UnitWrite | None
    replaced: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How many rows of a dropped file, by its name, are those of each newer file, or better provider, now."""


def report_before(unit: Unit, load: Load | None) -> UnitReport:
    """The report of a unit whose rows were not touched, from its ledger entry."""
    outcome = "provisional" if load is None else "ok" if load.rows else without_rows(load.states)
    return of_entry(UnitReport(*unit, outcome), load)


def of_entry(report: UnitReport, load: Load | None) -> UnitReport:
    """A report with the facts of the whole unit, as its ledger entry has them; zeros without one."""
    if load is None:
        return report
    return replace(
        report,
        rows=load.rows,
        rejected=load.rejected,
        provider=load.origin or None,
        provisional=count(load.states, "provisional"),
        incomplete=count(load.states, "incomplete"),
    )


def without_rows(states: Sequence[SliceState]) -> Outcome:
    """The outcome of a unit without rows: empty is proven."""
    return "provisional" if count(states, "provisional") else "unsupported" if states else "empty"


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
    `finality` is None for order books, whose days are final.
    """

    table: Table
    rank: Mapping[str, int]
    accept_empty: bool
    replace_missing_files: bool
    run_id: str
    finality: Finality | None = None

    def decide(self, result: FetchResult, load: Load | None, existing: ExistingRows, finished: dt.datetime) -> Decision:
        """What becomes of `result`, given the ledger entry and the existing rows of the days it replaces."""
        known = load or ledger_entry(self.table, result.unit, self.run_id, finished, finished, outcome="empty")
        unit, answer = _Unit(self, result, known, load is not None, existing, finished), result.answer
        if result.error is not None:
            return unit.failed(result.error)
        if answer is None:
            return unit.covered(result.reason)
        if answer.outcome == "failed":
            return unit.failed(answer.why, transient=answer.transient)
        if answer.outcome == "unsupported":
            return unit.unsupported(answer.why)
        if answer.delivery is not None:
            return unit.delivered(answer.delivery, answer.why)
        said = [tried.provider for tried in answer.tried if tried.outcome == "empty" and tried.provider != FILES]
        if said:
            return unit.empty(said[0], answer.why)
        if any(tried.error and not isinstance(tried.error, UnknownSymbol) for tried in answer.tried):
            return unit.failed(answer.why)
        return unit.without_file(answer.why)


@dataclass(frozen=True)
class _Unit:
    """`load` is the ledger entry where it `is_recorded`, else one of nothing."""

    reconciler: Reconciler
    result: FetchResult
    load: Load
    is_recorded: bool
    existing: ExistingRows
    finished: dt.datetime

    def failed(
        self, cause: str, rejected: tuple[Reject, ...] = (), attempted: str | None = None, *, transient: bool = False
    ) -> Decision:
        """Existing rows are kept."""
        entry = self._entry(
            "failed", error=cause, attempted_hash=attempted, **_rejects(rejected, self.result.replaces.first)
        )
        return self._decision("failed", None, entry, error=cause, transient=transient)

    def unsupported(self, note: str) -> Decision:
        """No provider reaches these days. Order books are optional, so existing ones stay a success."""
        kept = self.reconciler.table is ORDER_BOOK and self.load.rows > 0
        return self._noted("ok" if kept else "unsupported", note)

    def covered(self, reason: str) -> Decision:
        """The days are known to have no rows, without a request: before a listing, or in a suspension."""
        lost = {day for day in self.existing.days if day in self.result.covers}
        if lost and not self.reconciler.accept_empty:
            return self.failed(self._lost("the registry", lost, reason))
        if lost or self.load.pending:
            return self._emptied(reason)
        outcome: Literal["ok", "empty"] = "ok" if self.load.rows else "empty"
        content = self.load.content_hash if self.is_recorded else self._content(0)
        entry = self._entry(outcome, content_hash=content, slices=[day.isoformat() for day in self.result.covers])
        return self._decision(outcome, None, entry, note=reason)

    def empty(self, provider: str, why: str) -> Decision:
        """No provider has a row in these days."""
        lost = set(self.existing.days) - self._open
        if lost and not self.reconciler.accept_empty:
            return self.failed(self._lost(provider, lost, why))
        if not self.existing.rows or self.reconciler.accept_empty:
            return self._emptied(why)
        states = self._states({}, {}, set(self.existing.days))
        entry = self._entry("ok", content_hash=self.load.content_hash, slices=self._slices, states=states)
        return self._decision("ok", None, entry, note=why)

    def _emptied(self, why: str) -> Decision:
        """The days have no rows any more."""
        kept, states = self.existing.kept, self._states({}, {}, set())
        fields: dict[str, Any] = {"slices": self._slices, "states": states}
        entry = self._entry("ok" if kept else "empty", content_hash=self._content(0), **fields)
        rewrite = bool(self.existing.rows) or self.load.pending
        frame = self.reconciler.table.columns.to_frame() if rewrite else None
        outcome = "ok" if kept else without_rows(states)
        return self._decision(outcome, frame, entry, note=why, changed=bool(self.existing.rows))

    def without_file(self, why: str) -> Decision:
        """Only dropped files were tried and none has a row in these days; one may be dropped later."""
        if not self.existing.rows:
            outcome: Outcome = "ok" if self.load.rows else "unsupported"
            return Decision(UnitReport(*self.result.unit, outcome, note=why), None)
        return self.empty(FILES, why) if self.reconciler.replace_missing_files else self._noted("ok", why)

    def delivered(self, delivery: Delivery, why: str) -> Decision:
        """A provider has rows."""
        frame = self._frame(delivery)
        flaw = too_many(delivery.provider, self.result.unit.symbol, frame.height, delivery.rejected)
        if flaw and delivery.provider != FILES:  # of files, the limit is that of a whole file
            return self.failed(flaw, delivery.rejected, f"{total(digests(frame)):032x}")
        better, dropped = self._better(delivery.provider), delivery.dropped
        if dropped is not None:
            frame = self._with_kept(frame, dropped)
        fresh = set(frame["date"].unique())
        if better and better >= fresh | set(self.existing.days):
            note = "; ".join(filter(None, (self._kept_note(delivery.provider, better), why)))
            return replace(self._noted("ok", note), replaced=self._replaced_rows(dropped, frame, better))
        kept_days = better | self._not_an_answer(delivery, fresh)
        lost = set(self.existing.days) - fresh - kept_days
        if lost and dropped is None and not self.reconciler.accept_empty:
            attempted = f"{total(digests(frame)):032x}"
            return self.failed(self._lost(delivery.provider, lost, why), attempted=attempted)
        if kept_days and self.existing.frame is not None:
            here = pl.col("date").is_in(sorted(kept_days))
            frame = pl.concat([frame.filter(~here), self.existing.frame.filter(here)]).sort("ts")
        by_day = digests(frame)
        states = self._states(by_day, self._complete(delivery, kept_days), kept_days)
        note = "; ".join(filter(None, (self._kept_note(delivery.provider, better), why)))
        decision = self._replaced(frame, total(by_day), delivery, states, note)
        return replace(decision, replaced=self._replaced_rows(dropped, frame, better))

    def _with_kept(self, frame: pl.DataFrame, dropped: Dropped) -> pl.DataFrame:
        """The rows of the files read, and those of others that stay: of days that the files do not have any more or
        never had, and of instants that no newer file has."""
        if self.existing.frame is None or self.reconciler.accept_empty:
            return frame
        replaced = dropped.brought.select("file", date=self._day).unique()
        stay = (pl.col("provider") == FILES) & ~pl.col("file").is_in(sorted(dropped.withdrawn))
        kept = self.existing.frame.filter(stay).join(replaced, on=["file", "date"], how="anti")
        ages = {**dropped.ages, **{file.name: file.modified_ns for file in dropped.files}}
        age = pl.col("file").replace_strict(ages, default=0, return_dtype=pl.Int64)
        both = pl.concat([frame, kept]).sort("ts", age, "file")
        return both.unique("ts", keep="last", maintain_order=True)

    def _replaced_rows(
        self, dropped: Dropped | None, frame: pl.DataFrame, better: Collection[dt.date]
    ) -> dict[str, dict[str, int]]:
        """`Decision.replaced`, where the rows of the days are `frame` but for those of `better` ones."""
        found: dict[str, dict[str, int]] = {}
        if dropped is None:
            return found
        of_day = {day: self.existing.providers[day] for day in better}
        owner = pl.coalesce(self._day.replace_strict(of_day, default=None, return_dtype=pl.String), "owner")
        owners = frame.select("ts", owner="file")
        lost = dropped.brought.join(owners, on="ts", how="left").with_columns(owner=owner)
        lost = lost.filter(pl.col("owner") != pl.col("file")).group_by("file", "owner").len().sort("file", "owner")
        for name, by, rows in lost.iter_rows():
            found.setdefault(name, {})[by] = rows
        return found

    def _replaced(
        self, frame: pl.DataFrame, new: int, delivery: Delivery, states: Sequence[SliceState], why: str
    ) -> Decision:
        """`frame`, with the digest `new`, takes the place of the rows of the days, unless they are the same."""
        # Once the last file is forgotten, nothing proves that there are no rows.
        outcome: Literal["ok", "unsupported"] = "ok" if self.existing.kept or not frame.is_empty() else "unsupported"
        entry = self._entry(
            outcome,
            content_hash=self._content(new),
            attempted_hash=f"{new:032x}",
            slices=self._covered(frame) if delivery.dropped else self._slices,
            states=tuple(states),
            read=frame.height + len(delivery.rejected) + delivery.skipped,
            skipped=delivery.skipped,
            rows=frame.height,
            origin=self._origin(frame),
            **_rejects(delivery.rejected, self.result.replaces.first),
        )
        unchanged = self.load.content_hash == entry.content_hash
        note = "; ".join(filter(None, ("unchanged" if unchanged else "", why)))
        facts: dict[str, Any] = {"note": note, "changed": not unchanged, "skipped": delivery.skipped}
        return self._decision(outcome, None if unchanged else frame, entry, **facts)

    def _covered(self, frame: pl.DataFrame) -> list[str]:
        """The days that dropped files answer: from the first to the last that they have, and those covered before."""
        days, answer = set(frame["date"]), self.result.answer
        before = self._before.days & set(self.result.replaces) - (set(self.existing.days) - days)
        if answer and answer.delivery and not answer.delivery.rows.is_empty():
            times = answer.delivery.rows.select(self._day)["ts"]
            days |= set(Days(times[0], times[-1]))
        return sorted(map(str, days | before))

    def _frame(self, delivery: Delivery) -> pl.DataFrame:
        frame = delivery.rows.with_columns(
            symbol=pl.lit(self.result.unit.symbol),
            date=self._day,
            label=pl.lit(delivery.label, pl.String),
            currency=pl.lit(delivery.currency, pl.String),
        )
        return self.reconciler.table.fit(frame)

    def _content(self, new: int) -> str:
        """The content hash of the whole month."""
        return f"{(self.existing.kept_digest + new) % MODULUS:032x}"

    def _better(self, provider: str) -> set[dt.date]:
        """The days whose rows are of a better provider, so that rows of `provider` do not replace them."""
        if not self.is_recorded or self.load.pending:
            return set()
        rank, of = self.reconciler.rank, self.existing.providers
        return {day for day in self.existing.days if rank.get(of.get(day, ""), rank[provider]) < rank[provider]}

    def _kept_note(self, provider: str, days: Collection[dt.date]) -> str:
        if not days:
            return ""
        names = ", ".join(sorted({self.existing.providers[day] for day in days}))
        return f"{provider} has rows, but those of {names}, which comes before it, are kept"

    def _not_an_answer(self, delivery: Delivery, fresh: set[dt.date]) -> set[dt.date]:
        """The days without a row in the delivery whose rows are kept: provisional ones, and those of a fallback."""
        if self.reconciler.accept_empty:
            return set()
        missing = set(self.existing.days) - fresh
        others = {day for day in missing if self.existing.providers[day] != delivery.provider}
        return others if delivery.dropped else (missing & self._open) | others

    def _complete(self, delivery: Delivery, kept: Collection[dt.date]) -> dict[dt.date, bool]:
        """Whether each judged day of the delivery has every expected minute."""
        finality, days = self._finality, [day for day in self._judged if day not in kept]
        if finality is None or delivery.label is None or not days:
            return {}
        return complete_days(finality.suspended, self.result.unit.symbol, days, delivery.label, delivery.rows["ts"])

    @property
    def _day(self) -> pl.Expr:
        """The day of `ts` at the exchange."""
        return pl.col("ts").dt.convert_time_zone(exchange_of(self.result.unit.symbol).timezone).dt.date()

    @property
    def _finality(self) -> Finality | None:
        finality = self.reconciler.finality
        return finality and finality.of(self.result.unit.symbol)

    @cached_property
    def _judged(self) -> list[dt.date]:
        """The requested trading days whose finality the answer may change."""
        finality, due = self._finality, self.result.due
        if finality is None or due is None:
            return []
        days = finality.moment.trading_days(self.result.replaces)
        return [day for day in days if day in due.fetch and finality.undecided(day)]

    @cached_property
    def _open(self) -> set[dt.date]:
        """The days that were provisional before."""
        return {day for day, state in self._before.states.items() if state.state == "provisional"}

    @cached_property
    def _before(self) -> Loaded:
        return Loaded.of(self.load)

    def _states(
        self, by_day: Mapping[dt.date, int], complete: Mapping[dt.date, bool], kept: Collection[dt.date]
    ) -> tuple[SliceState, ...]:
        """The states of the days after the answer; `kept` are days of which it says nothing."""
        finality = self._finality
        if finality is None or (self._from_file and not self.result.better):
            return ()
        symbol, before, old = self.result.unit.symbol, self._before, self.existing.by_day
        found = list[SliceState | None]()
        for day in self._judged:
            state = before.states.get(day)
            was_final = day in before.days and state is None and not self.load.pending
            if was_final and (day in kept or (day in old and old[day] == by_day.get(day))):
                continue
            if day in kept and state is not None:
                found.append(finality.unanswered(day, state))
                continue
            if day not in by_day and finality.suspended.all_day(symbol, day):
                continue
            rows = f"{by_day[day]:032x}" if day in by_day else ""
            known, fallback = day in finality.suspended.known, bool(self.result.better)
            whole = complete.get(day, False)
            found.append(finality.judge(day, rows, state, complete=whole, fallback=fallback, known=known))
        return (*(state for state in found if state is not None), *self._unsupported_days())

    def _unsupported_days(self) -> list[SliceState]:
        """The requested trading days that the provider does not reach."""
        finality, due = self._finality, self.result.due
        if finality is None or due is None or self._from_file or due.fetch.first >= self.result.replaces.first:
            return []
        days = Days(due.fetch.first, self.result.replaces.first - dt.timedelta(days=1))
        return [SliceState(str(day), "unsupported") for day in finality.moment.trading_days(days)]

    @property
    def _from_file(self) -> bool:
        """Whether the answer is a dropped file: it does not change unless another one is dropped."""
        return self.result.answer is not None and self.result.answer.provider == FILES

    def _origin(self, frame: pl.DataFrame) -> str:
        rank = self.reconciler.rank
        names = set(frame["provider"].unique()) or {self.load.origin}
        if self.existing.kept and self.load.origin in rank:
            names.add(self.load.origin)
        return str(min(names, key=lambda name: rank.get(name, max(rank.values()) + 1)))

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
        entry = self._entry(outcome, content_hash=self.load.content_hash)
        return self._decision(reported, None, entry, note=note)

    @property
    def _slices(self) -> list[str]:
        return [day.isoformat() for day in self.result.replaces]

    def _entry(self, outcome: Recorded, **fields: Any) -> Load:
        reconciler, facts = self.reconciler, {"origin": self.load.origin, "outcome": outcome, **fields}
        started, finished = self.result.started, self.finished
        return ledger_entry(reconciler.table, self.result.unit, reconciler.run_id, started, finished, **facts)

    def _decision(self, outcome: Outcome, frame: pl.DataFrame | None, entry: Load, **facts: Any) -> Decision:
        report = UnitReport(*self.result.unit, outcome, **facts)
        return Decision(report, UnitWrite(self.result.replaces, frame, entry))


def _rejects(rejected: tuple[Reject, ...], first: dt.date) -> dict[str, Any]:
    """Of a row without a time only the days of its answer are known: it is replaced with the first of them."""
    dated = tuple(replace(reject, slice=reject.slice or f"{first}") for reject in rejected[:MAX_REJECTS])
    return {"rejected": len(rejected), "rejects": dated}

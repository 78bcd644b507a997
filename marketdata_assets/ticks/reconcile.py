"""What becomes of an answer: rows that land, a line in the ledger, a line in the report. Nothing is written here."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import polars as pl

from marketdata_assets.stores.bookkeeping import Outcome as Recorded
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import MAX_REJECTS, Load
from marketdata_assets.ticks.errors import UnknownSymbol
from marketdata_assets.ticks.fallback import Answer
from marketdata_assets.ticks.files import NAME as FILES
from marketdata_assets.ticks.records import Days, Delivery, too_many
from marketdata_assets.ticks.reports import Outcome, Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import TICK_DATA
from marketdata_assets.ticks.windows import ZONE, Due

CODE_VERSION = "ticks-1"

_NUMBERS = ("open", "high", "low", "close", "volume", "turnover", "flags")  # finite, and whole ones below 2 ** 53
_NAMES = ("provider", "label", "interval", "currency")  # one of each a day
_MODULUS = 2**128


@dataclass(frozen=True)
class FetchResult:
    """A unit, the days it was asked for, and what came; `started` is when, UTC."""

    unit: Unit
    days: Days
    due: Due | None
    answer: Answer | None
    started: dt.datetime
    reason: str = ""
    """Why nothing was asked: the days are covered so."""
    error: str | None = None

    @property
    def replaces(self) -> Days:
        """The days whose rows the answer replaces; of dropped files, from the first to the last that they have.

        The file of another day may have been archived, or not come yet.
        """
        delivery = self.answer.delivery if self.answer else None
        if delivery is not None and delivery.provider == FILES and not delivery.bars.is_empty():
            ends = (delivery.bars["ts"].dt.convert_time_zone(ZONE.key).dt.date()[at] for at in (0, -1))
            return Days(*ends)
        return self.due.replaces if self.due else self.days

    @property
    def rows(self) -> int:
        """How much of it there is to hold."""
        delivery = self.answer.delivery if self.answer else None
        return delivery.bars.height + len(delivery.rejected) if delivery else 0


@dataclass(frozen=True)
class ExistingRows:
    """The rows of one symbol that an answer would replace: how many on each day.

    `beside` are rows and digest of the month's other days.
    """

    days: Mapping[dt.date, int] = field(default_factory=dict)
    beside: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> int:
        return sum(self.days.values())


@dataclass(frozen=True)
class Decision:
    """What is to be written, and what to say of it once it is."""

    report: UnitReport
    landing: UnitWrite


@dataclass(frozen=True)
class Reconciler:
    """Decides for one run. `rank` is the priority of every known provider, of those too that are not asked."""

    rank: Mapping[str, int]
    accept_empty: bool
    run_id: str

    def settle(self, asked: FetchResult, known: Load | None, stood: ExistingRows, finished: dt.datetime) -> Decision:
        """What becomes of what was `asked`, given what is `known` and what `stood` in those days."""
        case = _Case(self, asked, known, stood, finished)
        answer = asked.answer
        if asked.error is not None:
            return case.failed(asked.error)
        if answer is None:
            return case.empty("", asked.reason)
        if answer.outcome == "failed":
            return case.failed(answer.why)
        if answer.outcome == "unsupported":
            return case.noted("unsupported", answer.why)
        if answer.delivery is not None:
            return case.delivered(answer.delivery, answer.why)
        if _sure(answer):
            return case.empty(answer.tried[-1].provider, answer.why)
        if any(one.error and not isinstance(one.error, UnknownSymbol) for one in answer.tried):
            return case.failed(answer.why)
        return case.unknown(answer.why)


@dataclass(frozen=True)
class _Case:
    judge: Reconciler
    asked: FetchResult
    known: Load | None
    stood: ExistingRows
    finished: dt.datetime

    def failed(self, cause: str, rejected: tuple[Reject, ...] = (), attempted: str | None = None) -> Decision:
        """What stands stays."""
        load = self._load("failed", error=cause, attempted=attempted, rejected=rejected)
        report = replace(self._standing("failed"), error=cause)
        return Decision(report, self._landing(None, load))

    def noted(self, outcome: Recorded, note: str) -> Decision:
        """No row is touched and no day covered."""
        told: Outcome = "unsupported" if outcome == "unsupported" else "ok"
        load = replace(self._load(outcome), content_hash=self.known.content_hash if self.known else None, slices=[])
        return Decision(replace(self._standing(told), note=note), self._landing(None, load))

    def empty(self, provider: str, why: str) -> Decision:
        """Nobody has a bar in these days."""
        if self.stood.rows and not self.judge.accept_empty:
            return self.failed(self._lost(provider or "the registry", set(self.stood.days), why))
        rows, digest = self.stood.beside
        must_write = bool(self.stood.rows) or self._in_doubt
        load = self._load("ok" if rows else "empty", digest=digest)
        frame = TICK_DATA.columns.to_frame() if must_write else None
        report = replace(self._standing("ok" if rows else "empty"), rows=rows, note=why, changed=bool(self.stood.rows))
        return Decision(report, self._landing(frame, load))

    def unknown(self, why: str) -> Decision:
        """Only dropped files have no bar in these days, which may be dropped yet."""
        if self.stood.rows:
            return self.empty(FILES, why) if self.judge.accept_empty else self.noted("ok", why)
        settled = self.empty(FILES, why)
        return replace(settled, landing=replace(settled.landing, load=replace(settled.landing.load, slices=[])))

    def delivered(self, delivery: Delivery, why: str) -> Decision:
        """Somebody has bars."""
        frame = rows_of(delivery, self.asked.unit.symbol)
        new = digest(frame)
        attempted = f"{new:032x}"
        if flaw := too_many(delivery.provider, self.asked.unit.symbol, delivery.bars.height, delivery.rejected):
            return self.failed(flaw, delivery.rejected, attempted)
        if kept := self._better_stands(delivery.provider):
            return self.noted("ok", "; ".join(filter(None, (kept, why))))
        lost = set(self.stood.days) - set(frame["date"].unique())
        if lost and not self.judge.accept_empty:
            return self.failed(self._lost(delivery.provider, lost, why), attempted=attempted)
        rows, beside = self.stood.beside
        whole = (beside + new) % _MODULUS
        load = self._load("ok", digest=whole, attempted=attempted, rejected=delivery.rejected)
        load = replace(load, read=self.asked.rows, rows=frame.height, origin=self._origin(delivery.provider, rows))
        unchanged = self.known is not None and not self._in_doubt and self.known.content_hash == load.content_hash
        note = "; ".join(filter(None, ("unchanged" if unchanged else "", why)))
        report = UnitReport(
            *self.asked.unit,
            "ok",
            rows + frame.height,
            len(delivery.rejected) + (self.known.rejected if self.known and rows else 0),
            delivery.provider,
            note,
            changed=not unchanged,
        )
        return Decision(report, self._landing(None if unchanged else frame, load))

    @property
    def _in_doubt(self) -> bool:
        return self.known is not None and self.known.pending

    def _better_stands(self, provider: str) -> str:
        """Why bars of `provider` do not replace what stands; empty when they do."""
        known, rank = self.known, self.judge.rank
        if known is None or known.pending or not self.stood.rows or known.origin == provider:
            return ""
        if rank.get(known.origin, rank[provider]) >= rank[provider]:
            return ""
        return f"{provider} has bars, but what stands is from {known.origin}, which comes before it; kept"

    def _origin(self, provider: str, rows: int) -> str:
        """Of two providers in one month, the one that comes first."""
        if not rows or self.known is None or self.known.origin not in self.judge.rank:
            return provider
        return min(provider, self.known.origin, key=self.judge.rank.__getitem__)

    def _lost(self, provider: str, days: set[dt.date], why: str) -> str:
        rows = sum(self.stood.days[day] for day in days)
        where = f"{min(days)}" if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"
        said = f" ({why})" if why else ""
        return (
            f"{self.asked.unit}: {rows} rows stand on {where}, and {provider} has none there now{said}. They stay. If"
            f" they are to go, load it again with --refetch --accept-empty."
        )

    def _standing(self, outcome: Outcome) -> UnitReport:
        return standing(self.asked.unit, self.known, outcome)

    def _load(
        self,
        outcome: Recorded,
        *,
        digest: int = 0,
        error: str | None = None,
        attempted: str | None = None,
        rejected: tuple[Reject, ...] = (),
    ) -> Load:
        return Load(
            dataset=TICK_DATA.name,
            source=self.asked.unit.symbol,
            unit=self.asked.unit.month,
            content_hash=f"{digest:032x}",
            previous_hash=None,
            slices=[] if error else [day.isoformat() for day in self.asked.replaces],
            read=0,
            skipped=0,
            rows=0,
            rejected=len(rejected),
            outcome=outcome,
            attempted_hash=attempted,
            error=error,
            code_version=CODE_VERSION,
            run_id=self.judge.run_id,
            started=self.asked.started,
            finished=self.finished,
            origin=self.known.origin if self.known else "",
            rejects=rejected[:MAX_REJECTS],
        )

    def _landing(self, frame: pl.DataFrame | None, load: Load) -> UnitWrite:
        return UnitWrite(self.asked.unit.symbol, self.asked.unit.month, self.asked.replaces, frame, load)


def standing(unit: Unit, known: Load | None, outcome: Outcome) -> UnitReport:
    """The report of a unit whose rows were not touched."""
    if known is None:
        return UnitReport(*unit, outcome)
    return UnitReport(*unit, outcome, known.rows, known.rejected, known.origin or None)


def rows_of(delivery: Delivery, symbol: str) -> pl.DataFrame:
    """The bars as the table has them. The day of a bar is the exchange's."""
    return delivery.bars.with_columns(
        symbol=pl.lit(symbol),
        date=pl.col("ts").dt.convert_time_zone(ZONE.key).dt.date(),
        label=pl.lit(delivery.label),
        currency=pl.lit(delivery.currency, pl.String),
    ).select(TICK_DATA.columns.names())


def digest(frame: pl.DataFrame) -> int:
    """A number for rows of one symbol, sorted by time. Those of two sets of days add up, modulo 2 ** 128."""
    if frame.is_empty():
        return 0
    numbers = [pl.col("ts").cast(pl.Int64), *map(pl.col, _NUMBERS)]
    exact = frame.select(number.cast(pl.Float64).fill_null(float("nan")) for number in numbers)
    values = np.ascontiguousarray(exact.to_numpy())
    total = at = 0
    for length in frame["date"].rle().struct.field("len"):
        head = "|".join(str(frame[name][at]) for name in _NAMES)
        total += int.from_bytes(blake2b(head.encode() + values[at : at + length].tobytes(), digest_size=16).digest())
        at += length
    return total % _MODULUS


def _sure(answer: Answer) -> bool:
    """Whether somebody who would know says that there is no bar."""
    return any(one.outcome == "empty" and one.provider != FILES for one in answer.tried)

"""Order books of symbol-months into `order_book`: real snapshots only, from providers that have them.

Of the providers we know only dropped files have books of the past; for the others a month is `unsupported`, which is
no failure. What makes a row of a file a book is in `books`.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import polars as pl

from marketdata_assets.errors import MarketDataError
from marketdata_assets.progress import Progress
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import Outcome, Reject
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.batch_runner import BatchReport, BatchRunner
from marketdata_assets.ticks.books import BookDelivery
from marketdata_assets.ticks.fallback import Provider, in_order
from marketdata_assets.ticks.load import LoadOptions
from marketdata_assets.ticks.reconcile import standing
from marketdata_assets.ticks.records import Days, too_many
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite, land
from marketdata_assets.ticks.tables import ORDER_BOOK
from marketdata_assets.ticks.windows import ZONE, last_closed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CODE_VERSION = "order_book-1"
ROWS_A_PUBLISH = 500_000


@runtime_checkable
class Books(Protocol):
    """A provider that has order books of the past."""

    async def books(self, symbol: str, days: Days) -> BookDelivery: ...


def load(
    client: "Client",
    providers: Sequence[Provider],
    units: Iterable[Unit],
    *,
    options: LoadOptions | None = None,
    run_id: str,
    now: dt.datetime,
    progress: Progress | None = None,
) -> LoadReport:
    """Make `order_book` hold what the providers have of the closed days of `units`, and tell how each ended.

    The days from the first to the last that have books are replaced; books of other days stay, though their files are
    gone, unless the month is fetched again. Of `options`, refetch, accept_empty, days, providers and turns count.
    """
    work = _Work(client, providers, options or LoadOptions(), run_id, now)
    return asyncio.run(work.all(sorted(set(units)), progress))


@dataclass(frozen=True)
class _Ended:
    report: UnitReport
    landing: UnitWrite | None


class _Work:
    """One load under way."""

    def __init__(
        self, client: "Client", providers: Sequence[Provider], options: LoadOptions, run_id: str, now: dt.datetime
    ) -> None:
        wanted = [one for one in providers if not options.providers or one.name in options.providers]
        self._providers = in_order(wanted, "order_book")
        self._others = [one.name for one in wanted if one not in self._providers]
        self._client, self.options, self.run_id, self._now = client, options, run_id, now
        self._began = time.monotonic()
        self._store = BatchRunner()

    async def all(self, units: Sequence[Unit], progress: Progress | None) -> LoadReport:
        told = BatchReport(len(units), progress)
        months: dict[str, list[str]] = {}
        for symbol, month in units:
            months.setdefault(month, []).append(symbol)
        for month, symbols in sorted(months.items()):
            days = self._days(month)
            known = {one.source: one for one in ledger.entries(self._client, ORDER_BOOK.name, [month], symbols)}
            counts = self._counts(month, symbols)
            batch, rows = list[_Ended](), 0
            for symbol in symbols:
                unit = Unit(symbol, month)
                batch.append(await self._ended(unit, days, known.get(symbol), counts.get(symbol, {})))
                rows += _height(batch[-1])
                if rows >= ROWS_A_PUBLISH:
                    told.end(*self._landed(month, batch, known))
                    batch, rows = [], 0
            told.end(*self._landed(month, batch, known))
        return LoadReport(told.in_order(), time.monotonic() - self._began)

    def _days(self, month: str) -> Days | None:
        """The closed days of a month that are asked for."""
        whole, only = Days.month(month), self.options.days
        first = max(whole.first, only.first) if only else whole.first
        last = min(whole.last, last_closed(self._now), only.last if only else whole.last)
        return Days(first, last) if first <= last else None

    def _counts(self, month: str, symbols: Sequence[str]) -> dict[str, dict[dt.date, int]]:
        """How many books of each symbol and day stand."""
        sql = (
            "SELECT toString(symbol) AS name, date, count() AS books FROM order_book"
            " WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s GROUP BY name, date"
        )
        days = Days.month(month)
        found: dict[str, dict[dt.date, int]] = {}
        bound = {"symbols": list(symbols), "first": days.first, "last": days.last}
        for name, date, books in clickhouse.read(self._client, sql, bound).iter_rows():
            found.setdefault(name, {})[date] = books
        return found

    def _landed(self, month: str, batch: Sequence[_Ended], known: dict[str, Load]) -> list[UnitReport]:
        stands = [standing(one.report.unit, known.get(one.report.symbol), "ok") for one in batch]

        def write() -> list[UnitReport]:
            landings = [one.landing for one in batch if one.landing is not None]
            if landings:
                land(self._client, ORDER_BOOK, month, landings, turns=self.options.turns)
            return [one.report for one in batch]

        return self._store.land(stands, write)

    async def _ended(self, unit: Unit, days: Days | None, known: Load | None, counts: dict[dt.date, int]) -> _Ended:
        if days is None:
            return _Ended(UnitReport(*unit, "empty", note=f"no day of {unit.month} is closed yet"), None)
        case = _Case(self, unit, days, known, counts, self.moment())
        tried: list[str] = []
        for provider in self._providers:
            if not isinstance(provider, Books):
                continue
            try:
                delivery = await provider.books(unit.symbol, days)
            except MarketDataError as error:
                return case.failed(str(error))
            if delivery.outcome == "ok":
                return case.delivered(delivery)
            tried.append(f"{provider.name} {delivery.outcome}: {delivery.reason}")
            if delivery.outcome == "empty":
                return case.empty("; ".join(tried))
        tried += [f"{name} unsupported: it has no order books of the past" for name in self._others]
        return case.unsupported("; ".join(tried) or "no provider of order books is in use")

    def moment(self) -> dt.datetime:
        return self._now + dt.timedelta(seconds=time.monotonic() - self._began)


@dataclass(frozen=True)
class _Case:
    """One unit, and what came of it."""

    work: _Work
    unit: Unit
    days: Days
    known: Load | None
    counts: dict[dt.date, int]
    started: dt.datetime

    def failed(self, cause: str, rejected: tuple[Reject, ...] = ()) -> _Ended:
        """What stands stays."""
        report = replace(standing(self.unit, self.known, "failed"), error=cause)
        load = replace(
            self._load("failed", error=cause), rejected=len(rejected), rejects=rejected[: ledger.MAX_REJECTS]
        )
        return self._ended(report, None, load)

    def unsupported(self, why: str) -> _Ended:
        if self.known and self.known.rows:
            return _Ended(replace(standing(self.unit, self.known, "ok"), note=f"what stands stays; {why}"), None)
        if self.known and self.known.outcome == "unsupported":
            return _Ended(UnitReport(*self.unit, "unsupported", note=why), None)
        report = replace(standing(self.unit, self.known, "unsupported"), note=why)
        return self._ended(report, None, self._load("unsupported"))

    def empty(self, why: str) -> _Ended:
        """No provider has a book in these days."""
        stand = sum(self.counts.get(day, 0) for day in self.days)
        if stand and not self.work.options.refetch:
            note = f"{stand} books stand, and their files are gone; they stay"
            return _Ended(replace(standing(self.unit, self.known, "ok"), note=note), None)
        if stand and not self.work.options.accept_empty:
            return self.failed(self._lost(set(self.counts)))
        known = self.known
        if known and known.outcome == "empty" and {str(day) for day in self.days} <= set(known.slices):
            return _Ended(UnitReport(*self.unit, "empty", note=why), None)
        gone = ORDER_BOOK.columns.to_frame() if stand or (self.known and self.known.pending) else None
        load = self._load("empty", slices=self.days)
        return self._ended(UnitReport(*self.unit, "empty", note=why, changed=stand > 0), gone, load)

    def delivered(self, delivery: BookDelivery) -> _Ended:
        """A provider has books."""
        if flaw := too_many(delivery.provider, self.unit.symbol, delivery.books.height, delivery.rejected):
            return self.failed(flaw, delivery.rejected)
        date = pl.col("ts").dt.convert_time_zone(ZONE.key).dt.date()
        frame = delivery.books.with_columns(date=date).select(ORDER_BOOK.columns.names()).cast(ORDER_BOOK.columns)
        dates = frame["date"].unique().sort().to_list()
        days = self.days if self.work.options.refetch else Days(dates[0], dates[-1])
        lost = {day for day in self.counts if day in days and day not in dates}
        if lost and not self.work.options.accept_empty:
            return self.failed(self._lost(lost))
        attempted = _digest(frame, days)
        known = self.known
        if known and known.outcome == "ok" and known.attempted_hash == attempted and not known.pending:
            return _Ended(replace(standing(self.unit, known, "ok"), note="unchanged"), None)
        others = sum(count for day, count in self.counts.items() if day not in days)
        content = _chained(known.content_hash, attempted) if known and others else attempted
        rejected = delivery.rejected
        load = replace(
            self._load("ok", attempted=attempted, slices=days),
            content_hash=content,
            read=frame.height + len(rejected),
            rows=frame.height,
            rejected=len(rejected),
            rejects=rejected[: ledger.MAX_REJECTS],
            origin=delivery.provider,
        )
        report = UnitReport(*self.unit, "ok", others + frame.height, len(rejected), delivery.provider, changed=True)
        return self._ended(report, frame, load, days)

    def _lost(self, lost: set[dt.date]) -> str:
        books = sum(self.counts[day] for day in lost)
        where = f"{min(lost)}" if len(lost) == 1 else f"{len(lost)} days from {min(lost)} to {max(lost)}"
        return (
            f"{self.unit}: {books} books stand on {where}, and no file has any there now. They stay. If they are to go,"
            f" load it again with --refetch --accept-empty."
        )

    def _ended(self, report: UnitReport, frame: pl.DataFrame | None, load: Load, days: Days | None = None) -> _Ended:
        return _Ended(report, UnitWrite(self.unit.symbol, self.unit.month, days or self.days, frame, load))

    def _load(
        self,
        outcome: Outcome,
        *,
        error: str | None = None,
        attempted: str | None = None,
        slices: Iterable[dt.date] = (),
    ) -> Load:
        return Load(
            dataset=ORDER_BOOK.name,
            source=self.unit.symbol,
            unit=self.unit.month,
            content_hash=self.known.content_hash if self.known else None,
            previous_hash=None,
            slices=[day.isoformat() for day in slices],
            read=0,
            skipped=0,
            rows=0,
            rejected=0,
            outcome=outcome,
            attempted_hash=attempted,
            error=error,
            code_version=CODE_VERSION,
            run_id=self.work.run_id,
            started=self.started,
            finished=self.work.moment(),
            origin=self.known.origin if self.known else "",
        )


def _height(one: _Ended) -> int:
    return one.landing.frame.height if one.landing is not None and one.landing.frame is not None else 0


def _digest(frame: pl.DataFrame, days: Days) -> str:
    found = blake2b(f"{days}".encode(), digest_size=16)
    found.update(frame["ts"].to_physical().to_numpy().tobytes())
    for name in ("bid_price", "bid_size", "ask_price", "ask_size"):
        found.update(frame[name].list.len().to_numpy().tobytes())
        found.update(frame[name].explode(empty_as_null=False).to_numpy().tobytes())
    found.update("|".join(frame["provider"].unique().sort()).encode())
    return found.hexdigest()


def _chained(before: str | None, attempted: str) -> str:
    return blake2b(f"{before} {attempted}".encode(), digest_size=16).hexdigest()

"""Load the calendar and the instruments into ClickHouse, from a provider and from dropped files.

A table is replaced as a whole, and only when its rows have changed: `seen` of a row is when its values were first seen.
What a file has is taken from the file. Tables with rows for each trading day are loaded in `daily`.
"""

import asyncio
import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import polars as pl

from marketdata_assets.errors import MarketDataError, is_outage
from marketdata_assets.logs import get_logger
from marketdata_assets.reference import file_states, stored
from marketdata_assets.reference.calendar import ZONE, Calendar, ashares
from marketdata_assets.reference.errors import IncompleteAnswer, NoReferenceSource, NotOffered
from marketdata_assets.reference.files import NAME as FILES
from marketdata_assets.reference.files import Dropped, ReferenceFiles
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import (
    CODE_CHANGES,
    INSTRUMENTS,
    NAME_HISTORY,
    TRADING_CALENDAR,
    DailyName,
    Table,
    ensure,
)
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clickhouse_rewrite import staged
from marketdata_assets.stores.clients import Client

log = get_logger(__name__)

SOURCE = "ashares"
"""The source of all units in the ledger: the stocks of the three exchanges."""
WHOLE = "all"
"""The unit, and the partition, of a table that is not daily."""
CODE_VERSION = "reference-1"
FIRST_DAY = dt.date(1990, 12, 19)
MOST_VANISHED = 0.1
"""A list without a larger share of the instruments of an exchange is not complete."""

Outcome = Literal["ok", "empty", "unsupported", "failed"]


class Provider(Protocol):
    """Who has reference data. A frame has the columns `Table.values` of its table.

    A method raises NotOffered when the account may not use it, and an error of the provider when it fails.
    """

    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def trading_calendar(self, days: Days) -> pl.DataFrame: ...

    async def instruments(self) -> pl.DataFrame: ...

    async def name_history(self) -> pl.DataFrame: ...

    async def code_changes(self) -> pl.DataFrame: ...

    async def day(self, table: DailyName, day: dt.date) -> pl.DataFrame:
        """The rows of all stocks on one trading day."""
        ...


@dataclass(frozen=True)
class Sources:
    """Where reference data comes from. `provider` makes a client for one load; it is None without a token."""

    files: ReferenceFiles
    provider: Callable[[], Provider] | None = None


@dataclass(frozen=True)
class UnitReport:
    """How a table, or a month of a daily one, ended. `rows` are those of the unit after the load.

    Of a month, `days` are its trading days until now, and `covered` those that are answered in full.
    A failure is `transient` when it is an outage, so that another attempt some minutes later may succeed.
    """

    table: str
    unit: str
    outcome: Outcome
    rows: int = 0
    days: int = 0
    covered: int = 0
    changed: bool = False
    origin: str = ""
    note: str = ""
    error: str | None = None
    transient: bool = False


@dataclass(frozen=True)
class Run:
    """What all units of one load share. `turns` is where the writers of this machine wait for each other."""

    client: Client
    sources: Sources
    run_id: str
    now: dt.datetime
    turns: Path | None = None
    workers: int = 8

    @property
    def today(self) -> dt.date:
        return self.now.astimezone(ZONE).date()

    def attempt(self, table: str, unit: str, outcome: Outcome, **facts: Any) -> Load:
        """A ledger entry of this run."""
        return Load(
            dataset=table,
            unit=unit,
            source=SOURCE,
            outcome=outcome,
            code_version=CODE_VERSION,
            run_id=self.run_id,
            started=self.now,
            **facts,
        )

    def entry(self, table: str, unit: str) -> Load:
        """The ledger's entry of a unit, or one of nothing."""
        found = ledger.entries(self.client, table, [unit], [SOURCE])
        return found[0] if found else self.attempt(table, unit, "empty")

    def dropped(self, table: Table, calendar: Calendar) -> Dropped:
        """What the files have of a table; those that cannot be read are recorded."""
        found = self.sources.files.read(table, calendar)
        file_states.record_failures(self, table.name, found)
        return found

    def failed(self, table: str, unit: str, error: MarketDataError) -> UnitReport:
        """Record that a unit failed, or that nobody has it; the loaded rows are kept."""
        unsupported = isinstance(error, NotOffered | NoReferenceSource)
        outcome: Outcome = "unsupported" if unsupported else "failed"
        ledger.record_attempts(self.client, [self.attempt(table, unit, outcome, error=str(error))])
        before = self.entry(table, unit)
        if not unsupported:
            log.warning("reference_failed", table=table, unit=unit, error=error)
            return UnitReport(table, unit, outcome, before.rows, error=str(error), transient=is_outage(error))
        return UnitReport(table, unit, outcome, before.rows, note=str(error))

    def publish(self, table: Table, partition: str, rows: pl.DataFrame, load: Load, days: list[dt.date] | None) -> Load:
        """Replace a partition with `rows`, or only its rows of `days` with those in `rows`; returns the ledger's entry.

        The days that `load` covers are added to those of the ledger at the time of the publish.
        """
        with staged(self.client, table.name, partition, turns=self.turns) as stage:
            if days is None:
                stage.clear()
            else:
                stage.delete("date IN %(days)s", {"days": days})
            stage.insert(rows if days is None else rows.filter(pl.col("date").is_in(days)), table.dictionaries)
            count, version = stage.read(f"SELECT count(), {ledger.NEXT_VERSION} FROM {{stage}}").row(0)
            before = self.entry(table.name, load.unit)
            done = merged(load, before, count, fingerprint(rows))
            # During the publish the days that are written are not covered.
            named = {str(day) for day in days or ()}
            pending = replace(done, slices=[day for day in before.slices if day not in named])
            ledger.record_pending(self.client, [pending], version)
            stage.publish()
            ledger.record(self.client, [done], version + ledger.STEP)
        return done

    def note(self, load: Load) -> Load:
        """Record a load that changed no row."""
        before = self.entry(load.dataset, load.unit)
        done = replace(merged(load, before, before.rows, before.content_hash or fingerprint()), version=before.version)
        ledger.record_unwritten(self.client, [done])
        return done


def merged(load: Load, before: Load, rows: int, content: str) -> Load:
    """The entry after a load: what it adds to the one before."""
    return replace(
        load,
        rows=rows,
        read=rows,
        slices=sorted({*before.slices, *load.slices}),
        content_hash=content,
        previous_hash=before.content_hash,
        attempted_hash=content,
    )


def fingerprint(rows: pl.DataFrame | None = None) -> str:
    """A hash of rows without when they were seen."""
    text = "" if rows is None else rows.drop("seen").write_csv()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def first_seen(fresh: pl.DataFrame, before: pl.DataFrame, table: Table, now: dt.datetime) -> pl.DataFrame:
    """`fresh`, which lacks the column `seen`, with that of equal rows of `before`, else `now`; ordered by the keys."""
    names = fresh.columns
    joined = fresh.join(before.select(*names, "seen").unique(names), on=names, how="left", nulls_equal=True)
    now_utc = pl.lit(now.astimezone(dt.UTC)).cast(table.columns["seen"])
    return joined.with_columns(pl.col("seen").fill_null(now_utc)).select(table.columns.names()).sort(table.keys)


def load_calendar(run: Run) -> UnitReport:
    """Load `trading_calendar`: all days since 1990 at first, afterwards this year and the next."""
    return _load_whole(run, TRADING_CALENDAR, _calendar)


def load_instruments(run: Run) -> list[UnitReport]:
    """Load `instruments`, `name_history` and `code_changes`; one that fails does not stop the others."""
    sources = {INSTRUMENTS: _instruments, NAME_HISTORY: _history, CODE_CHANGES: _history}
    return [_load_whole(run, table, rows) for table, rows in sources.items()]


_Rows = Callable[[Run, Table, pl.DataFrame, Provider | None], Awaitable[pl.DataFrame]]
"""All rows that a table must have, with their source, given those that files have."""


def _load_whole(run: Run, table: Table, rows: _Rows) -> UnitReport:
    ensure(run.client)
    dropped = run.dropped(table, ashares())
    bad = next(iter(dropped.failed.values()), None)
    try:
        before = stored.rows(run.client, table)
        fresh = asyncio.run(_fetched(run, table, dropped.over(before, table), rows))
        wanted = first_seen(fresh, before, table, run.now)
        origin = ",".join(wanted["source"].unique().sort())
        load = run.attempt(table.name, WHOLE, "ok" if wanted.height else "empty", origin=origin)
        changed = not wanted.equals(before)
        done = run.publish(table, WHOLE, wanted, load, None) if changed else run.note(load)
        file_states.record(run, table.name, dropped)
    except MarketDataError as error:
        return run.failed(table.name, WHOLE, bad if bad and isinstance(error, NoReferenceSource) else error)
    outcome: Outcome = "ok" if done.rows else "empty"
    return UnitReport(table.name, WHOLE, outcome, done.rows, changed=changed, origin=origin, error=dropped.error)


async def _fetched(run: Run, table: Table, dropped: pl.DataFrame, rows: _Rows) -> pl.DataFrame:
    if run.sources.provider is None:
        return await rows(run, table, dropped, None)
    async with run.sources.provider() as provider:
        return await rows(run, table, dropped, provider)


async def _calendar(run: Run, table: Table, dropped: pl.DataFrame, provider: Provider | None) -> pl.DataFrame:
    before = stored.rows(run.client, table)
    kept = before.filter(pl.col("source") != FILES).drop("seen")
    if provider is not None:
        begin = FIRST_DAY if kept.is_empty() else run.today.replace(month=1, day=1)
        span = Days(begin, dt.date(run.today.year + 1, 12, 31))
        said = (await provider.trading_calendar(span)).with_columns(source=pl.lit(provider.name))
        kept = _over(kept.filter(~pl.col("date").is_in(said["date"].implode())), said)
    elif dropped.is_empty() and kept.is_empty():
        raise NoReferenceSource(table.name)
    return _over(kept.filter(~pl.col("date").is_in(dropped["date"].implode())), dropped)


async def _instruments(run: Run, table: Table, dropped: pl.DataFrame, provider: Provider | None) -> pl.DataFrame:
    """Those that no source names any more are marked as vanished."""
    fresh = dropped.filter(pl.col("status") != "vanished")  # of a file that cannot be read now
    if fresh.is_empty() and provider is not None:
        fresh = (await provider.instruments()).with_columns(source=pl.lit(provider.name))
    if fresh.is_empty():
        raise NoReferenceSource(table.name)
    before = stored.rows(run.client, table).drop("seen")
    gone = before.filter(~pl.col("symbol").is_in(fresh["symbol"].implode()))
    _check_vanished(before.filter(pl.col("status") != "vanished"), gone, fresh["source"][0])
    return _over(gone.with_columns(status=pl.lit("vanished")), fresh)


def _check_vanished(before: pl.DataFrame, gone: pl.DataFrame, source: str) -> None:
    """Raise IncompleteAnswer when too many instruments of one exchange are not named any more."""
    exchange = pl.col("symbol").str.split(".").list.last()
    present = dict(before.group_by(exchange).len().iter_rows())
    missing = dict(gone.filter(pl.col("status") != "vanished").group_by(exchange).len().iter_rows())
    for name, count in missing.items():
        if count > max(1, MOST_VANISHED * present[name]):
            what = f"names {present[name] - count} of {present[name]} known instruments of {name}"
            raise IncompleteAnswer(INSTRUMENTS.name, source, what)


async def _history(run: Run, table: Table, fresh: pl.DataFrame, provider: Provider | None) -> pl.DataFrame:
    if fresh.is_empty() and provider is not None:
        fetch = provider.name_history if table is NAME_HISTORY else provider.code_changes
        fresh = (await fetch()).with_columns(source=pl.lit(provider.name))
    elif fresh.is_empty():
        raise NoReferenceSource(table.name)
    if fresh.is_empty() and (known := stored.rows(run.client, table).height):
        raise IncompleteAnswer(table.name, provider.name if provider else FILES, f"has no row, {known} are loaded")
    return fresh


def _over(kept: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([kept.select(fresh.columns), fresh])

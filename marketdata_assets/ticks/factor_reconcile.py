"""What becomes of the factors of a symbol-month: computed ones, those of providers, and existing rows that are kept.

The ledger keeps what factors were made from in a line such as `5f0c41...e2 tushare:2026-10-30 yahoo:failed`: a digest
of the definitions and of the loaded bars, then for each provider the last day requested. Equal inputs give
equal factors. Nothing is read or written here.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import polars as pl

from marketdata_assets.reference.records import Days
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.factor_sql import DEFINITIONS
from marketdata_assets.ticks.provider_factors import ProviderFactors
from marketdata_assets.ticks.reconcile import Decision, ledger_entry
from marketdata_assets.ticks.reports import Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS

FAILED = "failed"
PENDING = "?"
KEYS = ["symbol", "date", "factor", "provider"]
SUPERSEDED = "another run wrote the same factors at the same time, and its rows of providers may be lost; run it again"


@dataclass(frozen=True)
class Inputs:
    """`bars` is a digest; `answered` are providers and the last day of the month that was requested, or FAILED."""

    bars: str
    answered: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.bars, *(f"{name}:{self.answered[name]}" for name in sorted(self.answered))])

    @classmethod
    def of(cls, load: Load | None) -> "Inputs":
        """Those of the last attempt; PENDING without one, or while its write is pending."""
        if load is None or load.pending or not load.attempted_hash:
            return cls(PENDING)
        bars, *answered = load.attempted_hash.split()
        pairs = (text.rpartition(":") for text in answered)
        return cls(bars, {name: until for name, _, until in pairs})

    def missing(self, providers: Iterable[str], until: str) -> set[str]:
        """Those of `providers` that have not responded up to the day `until`."""
        return {name for name in providers if self.answered.get(name, FAILED) == FAILED or self.answered[name] < until}


def months_of(month: str) -> tuple[str, str]:
    """A month and the one before it, whose last days its first factors use."""
    return month, f"{Days.month(month).first - dt.timedelta(days=1):%Y-%m}"


def bars_digest(loads: Iterable[Load | None]) -> str:
    """A digest of the loaded bars of some months; PENDING while one of them is pending."""
    return digest_of((load.content_hash, ",".join(load.slices)) if load else None for load in loads)


def digest_of(contents: Iterable[tuple[str | None, str] | None]) -> str:
    """The same of content hashes and covered days, as the ledger has them; None is a month that has none."""
    result = blake2b(DEFINITIONS.encode(), digest_size=16)
    for content in contents:
        content_hash, days = content or (None, "")
        if content_hash == "":
            return PENDING
        result.update(f"|{content_hash or ''}|{days}".encode())
    return result.hexdigest()


@dataclass(frozen=True)
class Task:
    """A symbol-month that is due: its ledger entry, and what its factors are to be made from."""

    symbol: str
    load: Load | None
    inputs: Inputs


@dataclass(frozen=True)
class MonthRun:
    """What all batches of a month have in common.

    `until` is its last closed trading day, `covered` its last closed day of any kind.
    """

    month: str
    until: str
    covered: dt.date
    accept_empty: bool
    run_id: str
    started: dt.datetime
    finished: dt.datetime


def decide(
    run: MonthRun,
    tasks: Sequence[Task],
    computed: pl.DataFrame,
    existing: pl.DataFrame,
    provided: Sequence[ProviderFactors],
) -> list[Decision]:
    """Merge `computed` factors, those that providers returned, and `existing` ones of providers."""
    rows, failures = _merged(run, computed, existing, provided)
    nothing = FACTORS.columns.to_frame()
    return [
        _decision(run, task, rows.get(task.symbol, nothing), failures.get(task.symbol, {}), provided) for task in tasks
    ]


def superseded(write: UnitWrite) -> UnitWrite:
    """The write as a failed attempt, after another run wrote between our read and our publish."""
    entry = replace(write.load, outcome="failed", error=SUPERSEDED, attempted_hash=None)
    return replace(write, frame=None, load=entry)


def digest(rows: pl.DataFrame) -> str:
    """A digest of sorted rows of one symbol."""
    result = blake2b(digest_size=16)
    result.update(rows["date"].to_physical().to_numpy().tobytes())
    result.update(rows["value"].to_numpy().tobytes())
    result.update("\n".join(rows["factor"]).encode())
    result.update("\n".join(rows["provider"]).encode())
    return result.hexdigest()


def _merged(
    run: MonthRun, computed: pl.DataFrame, existing: pl.DataFrame, provided: Sequence[ProviderFactors]
) -> tuple[dict[str, pl.DataFrame], dict[str, dict[str, str]]]:
    """All rows by symbol, and by symbol and provider why some are missing.

    Existing days that a provider did not return again are kept, and a failure if it answered.
    """
    failures: dict[str, dict[str, str]] = {}
    answered = []
    for factors in provided:
        for symbol, cause in factors.failed.items():
            failures.setdefault(symbol, {})[factors.provider] = cause
        answered += [(symbol, factors.provider) for symbol in factors.requested if symbol not in factors.failed]
    new = pl.concat([FACTORS.columns.to_frame(), *(factors.rows for factors in provided)])
    old = existing.join(new, on=KEYS, how="anti")
    pairs = pl.DataFrame(answered, {"symbol": pl.String, "provider": pl.String}, orient="row")
    of_answered = old.join(pairs, on=["symbol", "provider"], how="semi")
    lost = of_answered.join(new, on=["symbol", "provider", "date"], how="anti")
    if not run.accept_empty:
        for symbol, provider, days in lost.group_by("symbol", "provider").agg(pl.col("date").n_unique()).iter_rows():
            failures.setdefault(symbol, {})[provider] = (
                f"{provider} now returns no factors for {days} {'days' if days > 1 else 'day'} that have some; kept. To"
                f" delete them, run it again with --accept-empty"
            )
    gone = of_answered if run.accept_empty else of_answered.join(lost, on=KEYS, how="anti")
    kept = old.join(gone, on=KEYS, how="anti")
    rows = pl.concat([computed, new, kept]).sort(KEYS)
    return {str(key[0]): part for key, part in rows.partition_by("symbol", as_dict=True).items()}, failures


def _decision(
    run: MonthRun, task: Task, rows: pl.DataFrame, failures: Mapping[str, str], provided: Sequence[ProviderFactors]
) -> Decision:
    load = task.load
    requested = {factors.provider: run.until for factors in provided if task.symbol in factors.requested}
    inputs = Inputs(task.inputs.bars, {**task.inputs.answered, **requested, **dict.fromkeys(failures, FAILED)})
    owed = sorted(name for name, until in inputs.answered.items() if until == FAILED and name not in failures)
    error = "; ".join(f"{name}: {cause}" for name, cause in sorted(failures.items())) or None
    recorded = error or (load.error if load and owed else None)
    content = digest(rows)
    unit, days = Unit(task.symbol, run.month), Days.month(run.month)
    origin = ",".join(rows["provider"].unique().sort())
    entry = ledger_entry(
        FACTORS,
        unit,
        run.run_id,
        run.started,
        run.finished,
        content_hash=content,
        previous_hash=(load.content_hash or load.previous_hash) if load else None,
        slices=[str(day) for day in Days(days.first, run.covered)],
        read=rows.height,
        rows=rows.height,
        outcome="failed" if recorded else "ok" if rows.height else "empty",
        attempted_hash=str(inputs),
        error=recorded,
        origin=origin,
    )
    same = load is not None and load.content_hash == content
    changed = not same and (rows.height > 0 or (load is not None and (load.rows > 0 or load.pending)))
    report = UnitReport(
        *unit,
        "failed" if error else "ok" if rows.height else "empty",
        rows.height,
        provider=origin or None,
        note=_note(task, owed, provided),
        error=error,
        changed=changed,
    )
    return Decision(report, UnitWrite(*unit, days, rows if changed else None, entry))


def _note(task: Task, owed: Sequence[str], provided: Sequence[ProviderFactors]) -> str:
    notes = [f"{name} failed in an earlier run and was not requested now" for name in owed]
    notes += [f"{factors.provider} does not know it" for factors in provided if task.symbol in factors.unknown]
    if not any(task.symbol in factors.requested for factors in provided):
        notes.append("no provider of factors was requested")
    return "; ".join(notes)

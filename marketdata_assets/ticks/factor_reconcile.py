"""What becomes of a batch of symbols in a month: computed factors, what providers sent, and what stays of theirs.

Nothing is read or written here; see `factors`.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import polars as pl

from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.factor_inputs import FAILED, Inputs
from marketdata_assets.ticks.provider_factors import ProviderFactors
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.reports import UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS

CODE_VERSION = "factors-1"
KEYS = ["symbol", "date", "factor", "provider"]
OVERTAKEN = (
    "another run wrote the same factors at the same time, and what it had of providers may be lost; run it again"
)


@dataclass(frozen=True)
class Task:
    """A symbol-month that is due: what the ledger says of it, and what it is to be made from."""

    symbol: str
    known: Load | None
    inputs: Inputs


@dataclass(frozen=True)
class Run:
    """What all batches of a month have in common.

    `until` is its last trading day that is over, `covered` the last day of any kind.
    """

    month: str
    until: str
    covered: dt.date
    accept_empty: bool
    run_id: str
    started: dt.datetime
    finished: dt.datetime


@dataclass(frozen=True)
class Ended:
    """What is to be written of a symbol, and what to say of it once it is."""

    report: UnitReport
    landing: UnitWrite


@dataclass(frozen=True)
class _Merged:
    rows: Mapping[str, pl.DataFrame]
    troubles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By symbol and provider, why not all of it is there."""


def settle(
    run: Run, tasks: Sequence[Task], fresh: pl.DataFrame, stands: pl.DataFrame, sent: Sequence[ProviderFactors]
) -> list[Ended]:
    """Merge what is `fresh` from bars, what `stands` of providers and what they `sent`, and judge each task."""
    merged = _merged(run, fresh, stands, sent)
    return [_ended(run, task, merged, sent) for task in tasks]


def standing(task: Task, month: str) -> UnitReport:
    """A report of what stands already."""
    known = task.known
    if known is None:
        return UnitReport(task.symbol, month, "empty")
    return UnitReport(task.symbol, month, "ok" if known.rows else "empty", known.rows, provider=known.origin or None)


def _merged(run: Run, fresh: pl.DataFrame, stands: pl.DataFrame, sent: Sequence[ProviderFactors]) -> _Merged:
    """All rows by symbol. A provider's day that stands and was not sent again stays, and is trouble if it answered."""
    troubles: dict[str, dict[str, str]] = {}
    answered = []
    for one in sent:
        for symbol, cause in one.failed.items():
            troubles.setdefault(symbol, {})[one.provider] = cause
        answered += [(symbol, one.provider) for symbol in one.asked if symbol not in one.failed]
    new = pl.concat([FACTORS.columns.to_frame(), *(one.rows for one in sent)])
    old = stands.join(new, on=KEYS, how="anti")
    pairs = pl.DataFrame(answered, {"symbol": pl.String, "provider": pl.String}, orient="row")
    of_answered = old.join(pairs, on=["symbol", "provider"], how="semi")
    lost = of_answered.join(new, on=["symbol", "provider", "date"], how="anti")
    if not run.accept_empty:
        for symbol, provider, days in lost.group_by("symbol", "provider").agg(pl.col("date").n_unique()).iter_rows():
            troubles.setdefault(symbol, {})[provider] = _lost(provider, days)
    gone = of_answered if run.accept_empty else of_answered.join(lost, on=KEYS, how="anti")
    kept = old.join(gone, on=KEYS, how="anti")
    rows = pl.concat([fresh, new, kept]).sort(KEYS)
    return _Merged({str(key[0]): part for key, part in rows.partition_by("symbol", as_dict=True).items()}, troubles)


def _lost(provider: str, days: int) -> str:
    plural = "days have" if days > 1 else "day has"
    return (
        f"{days} {plural} factors of {provider}, which now has none for them; they stay. If it is right, run it again"
        f" with --accept-empty"
    )


def _ended(run: Run, task: Task, merged: _Merged, sent: Sequence[ProviderFactors]) -> Ended:
    known, rows = task.known, merged.rows.get(task.symbol, FACTORS.columns.to_frame())
    troubles = merged.troubles.get(task.symbol, {})
    asked = {one.provider: run.until for one in sent if task.symbol in one.asked}
    inputs = Inputs(task.inputs.bars, {**task.inputs.answered, **asked, **dict.fromkeys(troubles, FAILED)})
    owed = sorted(name for name, until in inputs.answered.items() if until == FAILED and name not in troubles)
    error = "; ".join(f"{name}: {cause}" for name, cause in sorted(troubles.items())) or None
    recorded = error or (known.error if known and owed else None)
    content = digest(rows)
    same = known is not None and known.content_hash == content
    origin = ",".join(rows["provider"].unique().sort())
    days = Days.month(run.month)
    load = Load(
        dataset=FACTORS.name,
        source=task.symbol,
        unit=run.month,
        content_hash=content,
        previous_hash=(known.content_hash or known.previous_hash) if known else None,
        slices=[str(day) for day in Days(days.first, run.covered)],
        read=rows.height,
        skipped=0,
        rows=rows.height,
        rejected=0,
        outcome="failed" if recorded else "ok" if rows.height else "empty",
        attempted_hash=str(inputs),
        error=recorded,
        code_version=CODE_VERSION,
        run_id=run.run_id,
        started=run.started,
        finished=run.finished,
        origin=origin,
    )
    must_write = not same and (rows.height > 0 or (known is not None and (known.rows > 0 or known.pending)))
    report = UnitReport(
        task.symbol,
        run.month,
        "failed" if error else "ok" if rows.height else "empty",
        rows.height,
        provider=origin or None,
        note=_note(task, owed, sent),
        error=error,
        changed=must_write,
    )
    return Ended(report, UnitWrite(task.symbol, run.month, days, rows if must_write else None, load))


def _note(task: Task, owed: Sequence[str], sent: Sequence[ProviderFactors]) -> str:
    notes = [f"{name} failed in an earlier run and was not asked now" for name in owed]
    notes += [f"{one.provider} does not know it" for one in sent if task.symbol in one.unknown]
    if not any(task.symbol in one.asked for one in sent):
        notes.append("no provider of factors was asked")
    return "; ".join(notes)


def digest(rows: pl.DataFrame) -> str:
    """A digest of sorted rows of one symbol."""
    found = blake2b(digest_size=16)
    found.update(rows["date"].to_physical().to_numpy().tobytes())
    found.update(rows["value"].to_numpy().tobytes())
    found.update("\n".join(rows["factor"]).encode())
    found.update("\n".join(rows["provider"]).encode())
    return found.hexdigest()


def overtaken(one: UnitWrite) -> UnitWrite:
    """The landing as a failure, after somebody else landed between our look and our publish."""
    load = replace(one.load, outcome="failed", error=OVERTAKEN, attempted_hash=None)
    return replace(one, frame=None, load=load)

"""What becomes of the factors of a symbol-month: computed ones, those of providers, and existing rows that are kept.

Nothing is read or written here. The ledger has, as the hash of an attempt, what the factors were made from; see Inputs.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import msgspec
import polars as pl

from marketdata_assets.reference.calendar import TradingDays
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.clickhouse_ledger import Load, SliceState
from marketdata_assets.ticks.factor_sql import DEFINITIONS, window
from marketdata_assets.ticks.finality import Finality, Moment
from marketdata_assets.ticks.provider_factors import ProviderFactors
from marketdata_assets.ticks.reconcile import Decision, ledger_entry, without_rows
from marketdata_assets.ticks.reports import Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS

PENDING = "?"
KEYS = ["symbol", "date", "factor", "provider"]
SUPERSEDED = "another run wrote the same factors at the same time, and its rows of providers may be lost; run it again"


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the answers of a provider go; days are ISO dates.

    `final` is the last day of the month up to which they are final, empty before the first; `closed` was the last
    closed trading day at the last answer and `requested` the date of it; `short` says that a closed day had no figures.
    Nothing else is known of a provider that has `failed`.
    """

    final: str = ""
    closed: str = ""
    requested: str = ""
    short: bool = False
    failed: bool = False

    def due(self, until: str, moment: Moment) -> bool:
        """Whether days up to `until` are requested again: with the next closing, and short ones on the next day."""
        if self.failed or self.final >= until:
            return self.failed
        return self.closed < str(moment.closed) or (self.short and self.requested < str(moment.today))


FAILED = Answered(failed=True)


class Inputs(msgspec.Struct, frozen=True):
    """What factors are made from: `bars` is a digest, see `input_digests`, and PENDING without one; and the answers of
    providers, by name. Equal inputs give equal factors."""

    bars: str = PENDING
    answered: dict[str, Answered] = {}

    @classmethod
    def of(cls, load: Load | None) -> "Inputs":
        """Those of the last attempt; none without one, or while its write is pending."""
        return cls.parse("" if load is None or load.pending else load.attempted_hash or "")

    @classmethod
    def parse(cls, text: str) -> "Inputs":
        """Those of a ledger entry, as JSON; none when it is empty."""
        return msgspec.json.decode(text, type=cls) if text else cls()

    def missing(self, providers: Iterable[str], until: str, moment: Moment) -> set[str]:
        """Those of `providers` that have not responded up to the day `until`, or are requested again."""
        return {name for name in providers if self.answered.get(name, FAILED).due(until, moment)}


def months_of(month: str) -> tuple[str, str]:
    """A month and the one before it, whose last days its first factors use."""
    return month, f"{Days.month(month).first - dt.timedelta(days=1):%Y-%m}"


def input_digests(
    units: Iterable[Unit], bars: pl.DataFrame, limits: Mapping[tuple[str, str], str], trading_days: TradingDays
) -> dict[Unit, str]:
    """By unit a digest of the definitions, of the loaded bars of its month and of the one before, of the trading days
    and of the limits of prices; PENDING while a write of these bars is.

    `bars` are rows of the ledger, `limits` the digests of limits by symbol and month. Trading days after the last
    covered one have no factor yet, and do not count.
    """
    columns = bars.select("source", "unit", "content_hash", "slices")
    loaded = {(symbol, month): (content, days) for symbol, month, content, days in columns.iter_rows()}
    sessions, before = dict[str, list[str]](), dict[str, tuple[str, str]]()
    found = dict[Unit, str]()
    for unit in units:
        symbol, month = unit
        if month not in sessions:
            sessions[month], before[month] = [str(day) for day in window(month, trading_days)], months_of(month)
        contents = [loaded.get((symbol, name), (None, "")) for name in before[month]]
        last = contents[0][1].rpartition(",")[2]
        result = blake2b(DEFINITIONS.encode(), digest_size=16)
        result.update(",".join(sessions[month][: bisect_right(sessions[month], last)]).encode())
        result.update("".join(f"|{content or ''}|{days}" for content, days in contents).encode())
        result.update("".join(f"|{limits.get((symbol, name), '')}" for name in before[month]).encode())
        found[unit] = PENDING if any(content == "" for content, _ in contents) else result.hexdigest()
    return found


@dataclass(frozen=True)
class Task:
    """A symbol-month that is due: its ledger entry, and the digest of the bars to compute its factors from."""

    symbol: str
    load: Load | None
    bars: str

    @cached_property
    def before(self) -> Inputs:
        """What its factors were made from last."""
        return Inputs.of(self.load)


@dataclass(frozen=True)
class MonthRun:
    """What all batches of a month have in common."""

    month: str
    finality: Finality
    accept_empty: bool
    run_id: str
    started: dt.datetime
    finished: dt.datetime

    @cached_property
    def sessions(self) -> list[dt.date]:
        """The closed trading days."""
        return self.finality.moment.closed_days(Days.month(self.month))

    @property
    def covered(self) -> dt.date:
        """The last closed day of any kind."""
        return min(Days.month(self.month).last, self.finality.moment.last)


def decide(
    run: MonthRun,
    tasks: Sequence[Task],
    computed: pl.DataFrame,
    existing: pl.DataFrame,
    provided: Sequence[ProviderFactors],
) -> list[Decision]:
    """Merge `computed` factors, those that providers returned, and `existing` ones of providers."""
    rows, lost = _merged(run, computed, existing, provided)
    nothing = FACTORS.columns.to_frame()
    return [_decision(run, task, rows.get(task.symbol, nothing), lost.get(task.symbol, {}), provided) for task in tasks]


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
    """All rows by symbol, and by symbol and provider why some are lost.

    Existing days that a provider did not return again are kept, and a failure if it answered.
    """
    lost_of: dict[str, dict[str, str]] = {}
    answered = [
        (symbol, factors.provider, factors.days.first, factors.days.last)
        for factors in provided
        for symbol in factors.requested - factors.failed.keys()
    ]
    new = pl.concat([FACTORS.columns.to_frame(), *(factors.rows for factors in provided)])
    old = existing.join(new, on=KEYS, how="anti")
    schema = {"symbol": pl.String, "provider": pl.String, "first": pl.Date, "until": pl.Date}
    spans = pl.DataFrame(answered, schema, orient="row")
    of_answered = old.join(spans, on=["symbol", "provider"]).filter(pl.col("date").is_between("first", "until"))
    of_answered = of_answered.select(old.columns)
    lost = of_answered.join(new, on=["symbol", "provider", "date"], how="anti")
    if not run.accept_empty:
        for symbol, provider, days in lost.group_by("symbol", "provider").agg(pl.col("date").n_unique()).iter_rows():
            lost_of.setdefault(symbol, {})[provider] = (
                f"{provider} now returns no factors for {days} {'days' if days > 1 else 'day'} that have some; kept. To"
                f" delete them, run it again with --accept-empty"
            )
    gone = of_answered if run.accept_empty else of_answered.join(lost, on=KEYS, how="anti")
    kept = old.join(gone, on=KEYS, how="anti")
    rows = pl.concat([computed, new, kept]).sort(KEYS)
    return {str(key[0]): part for key, part in rows.partition_by("symbol", as_dict=True).items()}, lost_of


def _decision(
    run: MonthRun, task: Task, rows: pl.DataFrame, lost: Mapping[str, str], provided: Sequence[ProviderFactors]
) -> Decision:
    load, symbol = task.load, task.symbol
    unanswered = {one.provider: one.failed[symbol] for one in provided if symbol in one.failed}
    causes = {**unanswered, **lost}
    answered = {
        one.provider: _answered(run, task, one) for one in provided if symbol in one.requested - one.failed.keys()
    }
    inputs = Inputs(task.bars, {**task.before.answered, **answered, **dict.fromkeys(causes, FAILED)})
    owed = sorted(name for name, answer in inputs.answered.items() if answer.failed and name not in causes)
    why = "; ".join(f"{name}: {cause}" for name, cause in sorted(causes.items()))
    # Of several providers, one that answered is a success: the other is requested again by the next run.
    alone = all(answer.failed for answer in inputs.answered.values())
    error = why if lost or (causes and alone) else None
    recorded = error or (load.error if load and owed else None)
    content = digest(rows)
    unit, days = Unit(symbol, run.month), Days.month(run.month)
    states = _states(run, inputs, rows)
    entry = ledger_entry(
        FACTORS,
        unit,
        run.run_id,
        run.started,
        run.finished,
        content_hash=content,
        previous_hash=(load.content_hash or load.previous_hash) if load else None,
        slices=[str(day) for day in Days(days.first, run.covered)],
        states=states,
        read=rows.height,
        rows=rows.height,
        outcome="failed" if recorded else "ok" if rows.height else "empty",
        attempted_hash=msgspec.json.encode(inputs).decode(),
        error=recorded,
        origin=",".join(rows["provider"].unique().sort()),
    )
    same = load is not None and load.content_hash == content
    changed = not same and (rows.height > 0 or (load is not None and (load.rows > 0 or load.pending)))
    report = UnitReport(
        *unit,
        "failed" if error else "ok" if rows.height else without_rows(states),
        note=_note(task, inputs, owed, provided, "" if error else why),
        error=error,
        changed=changed,
    )
    return Decision(report, UnitWrite(days, rows if changed else None, entry))


def _answered(run: MonthRun, task: Task, factors: ProviderFactors) -> Answered:
    """How far the answers of a provider go now. A day is final by the rule of bars; answers have no digest here, so two
    in a row count as the same."""
    finality, moment, symbol = run.finality, run.finality.moment, task.symbol
    before = task.before.answered.get(factors.provider, FAILED)

    def has(day: dt.date) -> bool:
        if factors.complete is None or finality.suspended.all_day(symbol, day):
            return True
        return (symbol, day) in factors.complete

    def is_final(day: dt.date) -> bool:
        if str(day) <= before.final or day < factors.days.first:
            return True
        asked = SliceState(str(day), "provisional", since=before.closed) if str(day) <= before.closed else None
        state = finality.judge(day, "", asked, complete=has(day), known=day in finality.suspended.known)
        return state is None or state.state == "incomplete"

    still_open = [day for day in run.sessions if not is_final(day)]
    final = [day for day in run.sessions if not still_open or day < still_open[0]]
    short = not all(map(has, still_open))
    return Answered(str(final[-1]) if final else "", str(moment.closed), str(moment.today), short)


def _states(run: MonthRun, inputs: Inputs, rows: pl.DataFrame) -> tuple[SliceState, ...]:
    """The closed days of which a provider may still answer; all are unsupported without any request or row."""
    if not inputs.answered and rows.is_empty():
        return tuple(SliceState(str(day), "unsupported") for day in run.sessions)
    final = min((one.final for one in inputs.answered.values() if not one.failed), default=str(run.covered))
    return tuple(SliceState(str(day), "provisional") for day in run.sessions if str(day) > final)


def _note(task: Task, inputs: Inputs, owed: Sequence[str], provided: Sequence[ProviderFactors], why: str) -> str:
    notes = [why] if why else []
    notes += [f"{name} failed in an earlier run and was not requested now" for name in owed]
    notes += [f"{factors.provider} does not know it" for factors in provided if task.symbol in factors.unknown]
    if not inputs.answered:
        notes.append("no provider of factors was requested")
    return "; ".join(notes)

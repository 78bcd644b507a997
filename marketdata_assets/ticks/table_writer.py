"""Write rows of some symbols and days of one month to a table and its ledger, in one publish.

Why a publish is safe is explained in `stores.clickhouse_rewrite`; what is written is decided in `reconcile`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from marketdata_assets.backoff import delay, delays, retry
from marketdata_assets.logs import get_logger
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import Load, SliceState
from marketdata_assets.stores.clickhouse_rewrite import COURTESY_SECONDS, Stage, Superseded, staged
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks.tables import Table

_DAYS = "date BETWEEN %(first)s AND %(last)s"
_SYMBOLS = "symbol IN %(symbols)s"

log = get_logger(__name__)


@dataclass(frozen=True)
class UnitWrite:
    """The new rows of one symbol in some days of a month, and its ledger entry, which names both.

    `frame` has the table's columns and replaces all rows of the symbol in `days`; it may be empty. Without a frame no
    row is touched and only the outcome (`ok` for unchanged rows, `empty`, `unsupported` or `failed`) is recorded.

    `load` is about `days` only. The ledger's facts of other days, and the row count of the month, are taken from the
    ledger and the table at the time of the publish. A rejected row of a known day has that day as its `slice`.
    """

    days: Days
    frame: pl.DataFrame | None
    load: Load

    @property
    def symbol(self) -> str:
        return self.load.source


@dataclass(frozen=True)
class WriteRetries:
    """How often to retry when another writer was faster, and when the server is unavailable."""

    contended: int = 30
    away: int = 6
    first_pause_s: float = 0.5  # of an unavailable server; doubles
    longest_pause_s: float = 10.0
    courtesy_s: float = COURTESY_SECONDS
    """How long to wait for another machine's unfinished write of the month."""

    @property
    def waits(self) -> tuple[float, ...]:
        """Seconds to wait after each failure of an unavailable server but the last."""
        return delays(self.first_pause_s, self.longest_pause_s, self.away - 1)


def write(
    client: Client,
    table: Table,
    month: str,
    writes: Sequence[UnitWrite],
    *,
    turns: Path | None = None,
    retries: WriteRetries = WriteRetries(),
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Load]:
    """Replace the rows of all `writes` with one publish, and write the ledger; returns what this has of the rows, by
    symbol.

    Idempotent and atomic. Raises Superseded or StoreAway when the retries are used up, ValueError for a frame that does
    not belong to its symbol and days.
    """
    _check(table, month, writes)

    contended = 0

    def uncontended() -> dict[str, Load]:
        nonlocal contended
        while True:
            started = time.monotonic()
            try:
                return _write(client, table, month, writes, turns, retries.courtesy_s)
            except Superseded as error:
                contended += 1
                if contended >= retries.contended:
                    raise
                log.info("write_contended", table=table.name, month=month, attempt=contended, error=error)
                # In proportion to the work, so that one of two can end while the other waits.
                took = time.monotonic() - started + 0.05
                sleep(delay(min(contended, 5) + 1, took, retries.longest_pause_s))

    return retry(uncontended, StoreAway, retries.waits, sleep, table=table.name, month=month)


def _write(
    client: Client, table: Table, month: str, writes: Sequence[UnitWrite], turns: Path | None, courtesy_s: float
) -> dict[str, Load]:
    found: dict[str, Load] = {}
    written = sorted((write for write in writes if write.frame is not None), key=lambda write: write.symbol)
    noted = [write for write in writes if write.frame is None]
    if written:
        with staged(client, table.name, month.replace("-", ""), turns=turns, courtesy_s=courtesy_s) as stage:
            with ThreadPoolExecutor(1) as beside:
                entries = beside.submit(_recorded, client, table, month, written)
                version, totals = _replace(stage, table, written)
            recorded = entries.result()
            loads = [_after(write, recorded.get(write.symbol), totals.get(write.symbol, 0)) for write in written]
            # During the publish, the days that are written are not covered.
            pending = [
                replace(load, slices=[day for day in load.slices if day not in _names(write.days)])
                for write, load in zip(written, loads, strict=True)
            ]
            ledger.record_pending(client, pending, version)
            stage.publish()
            ledger.record(client, loads, version + ledger.STEP)
            found |= {load.source: load for load in loads}
    if noted:
        found |= _note(client, table, month, noted)
    return found


def _replace(stage: Stage, table: Table, writes: Sequence[UnitWrite]) -> tuple[int, dict[str, int]]:
    """Write the rows to the stage; returns a version, and the rows of each symbol in the whole partition.

    The version is taken after the clone and before the last check of the stage, so versions are ordered as publishes.
    """
    fresh = pl.concat([write.frame for write in writes if write.frame is not None])
    count = f"SELECT count() AS hit, (SELECT count() FROM {{stage}}) AS all, {ledger.NEXT_VERSION} AS version"
    version = 0
    for days, group in _by_days(writes).items():
        bound = _bound(days, group)
        hit, everything, version = stage.read(f"{count} FROM {{stage}} WHERE {_SYMBOLS} AND {_DAYS}", bound).row(0)
        if hit and hit == everything and fresh.height:
            stage.clear()
        elif hit:
            # The server evaluates the condition for every row of the partition, which is of this month.
            whole = days == Days.month(group[0].load.unit)
            stage.delete(_SYMBOLS if whole else f"{_SYMBOLS} AND {_DAYS}", bound)
    if fresh.height:
        stage.insert(fresh, table.dictionaries)
    return version, _counted(stage, table, writes)


def _counted(stage: Stage, table: Table, writes: Sequence[UnitWrite]) -> dict[str, int]:
    totals: dict[str, int] = {}
    counts = f"SELECT toString(symbol) AS name, count() AS total, countIf({_DAYS}) AS fresh"
    for days, group in _by_days(writes).items():
        counted = stage.read(f"{counts} FROM {{stage}} WHERE {_SYMBOLS} GROUP BY name", _bound(days, group))
        by_symbol = {name: (total, fresh) for name, total, fresh in counted.iter_rows()}
        for write in group:
            totals[write.symbol], fresh = by_symbol.get(write.symbol, (0, 0))
            if fresh != _height(write):
                cause = f"{fresh} rows of {write.symbol} in {days} are staged and {_height(write)} were sent"
                raise Superseded(table.name, stage.partition, cause)
    return totals


def _recorded(client: Client, table: Table, month: str, writes: Iterable[UnitWrite]) -> dict[str, Load]:
    loads = ledger.entries(client, table.name, [month], [write.symbol for write in writes])
    with_rejects = [load.source for load in loads if load.rejected]
    rejects = ledger.rejects(client, table.name, month, with_rejects) if with_rejects else {}
    return {load.source: replace(load, rejects=rejects.get(load.source, ())) for load in loads}


def _after(write: UnitWrite, before: Load | None, total: int) -> Load:
    """The ledger entry after the publish, with the rejected rows of other days."""
    kept = _kept_rejects(write, before)
    others = total - _height(write) + len(kept)
    return replace(
        write.load,
        slices=_slices(write, before),
        states=_states(write, before),
        read=write.load.read + others,
        rows=total,
        rejected=write.load.rejected + len(kept),
        rejects=(*write.load.rejects, *kept),
        previous_hash=None if before is None else before.content_hash or before.previous_hash,
    )


def _kept_rejects(write: UnitWrite, before: Load | None) -> list[Reject]:
    """The rejected rows of days that are not written."""
    mine, new = _names(write.days), write.load.rejects
    return [row for row in before.rejects if row.slice and row.slice not in mine and row not in new] if before else []


def _note(client: Client, table: Table, month: str, writes: Sequence[UnitWrite]) -> dict[str, Load]:
    recorded = _recorded(client, table, month, writes)
    attempts, unwritten = [], []
    for write in writes:
        before = recorded.get(write.symbol)
        outcome = write.load.outcome
        same = before is not None and write.load.content_hash == before.content_hash
        if outcome == "empty" or (outcome == "ok" and same):
            unwritten.append(_extended(write, before))
        else:
            attempts.append(write.load)
    if attempts:
        ledger.record_attempts(client, attempts)
    if unwritten:
        ledger.record_unwritten(client, unwritten)
    return recorded | {load.source: load for load in unwritten}


def _extended(write: UnitWrite, before: Load | None) -> Load:
    if before is None:
        return replace(
            write.load, slices=_slices(write, before), previous_hash=None, read=0, rows=0, rejected=0, rejects=()
        )
    attempt = {name: getattr(write.load, name) for name in ledger.ATTEMPT}
    slices = sorted({*before.slices, *_slices(write, before)})
    extended = replace(before, **attempt, slices=slices, states=_states(write, before))
    if not write.load.slices:
        return extended
    rejects = (*write.load.rejects, *_kept_rejects(write, before))
    rejected, skipped = write.load.rejected + len(rejects) - len(write.load.rejects), write.load.skipped
    read = before.rows + rejected + skipped
    return replace(extended, read=read, skipped=skipped, rejected=rejected, rejects=rejects)


def _slices(write: UnitWrite, before: Load | None) -> list[str]:
    days = _names(write.days)
    covered: set[str] = set() if before is None else set(before.slices)
    return sorted((covered - days) | (days & set(write.load.slices)))


def _states(write: UnitWrite, before: Load | None) -> tuple[SliceState, ...]:
    """Those of the load, and of the slices that it says nothing of."""
    said = {*write.load.slices, *(state.slice for state in write.load.states)}
    others = () if before is None else (state for state in before.states if state.slice not in said)
    return tuple(sorted((*others, *write.load.states), key=lambda state: state.slice))


@lru_cache(maxsize=256)
def _names(days: Days) -> frozenset[str]:
    return frozenset(day.isoformat() for day in days)


def _height(write: UnitWrite) -> int:
    return 0 if write.frame is None else write.frame.height


def _by_days(writes: Iterable[UnitWrite]) -> Mapping[Days, list[UnitWrite]]:
    groups: dict[Days, list[UnitWrite]] = {}
    for write in writes:
        groups.setdefault(write.days, []).append(write)
    return groups


def _bound(days: Days, group: Sequence[UnitWrite]) -> dict[str, Any]:
    return {"first": days.first, "last": days.last, "symbols": [write.symbol for write in group]}


def _check(table: Table, month: str, writes: Sequence[UnitWrite]) -> None:
    whole = Days.month(month)
    if len({write.symbol for write in writes}) != len(writes):
        raise ValueError(f"{table.name} {month}: duplicate symbol")
    for write in writes:
        place = f"{table.name} {month} {write.symbol}"
        if write.days.first < whole.first or write.days.last > whole.last:
            raise ValueError(f"{place}: {write.days} is not in the month")
        if (write.load.dataset, write.load.unit) != (table.name, month):
            raise ValueError(f"{place}: its load is of {write.load.dataset} {write.load.unit}")
        if write.frame is not None and write.frame.schema != table.columns:
            raise ValueError(f"{place}: columns {write.frame.schema} instead of {table.columns}")
        if write.frame is not None:
            mine = (write.frame["symbol"] == write.symbol) & write.frame["date"].is_between(*astuple(write.days))
            if not mine.fill_null(False).all():
                raise ValueError(f"{place}: rows of another symbol, or outside {write.days}")

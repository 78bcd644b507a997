"""Rows of some symbols and days of one month into a table and its ledger, in one publish.

How a publish is safe is in `stores.clickhouse_rewrite`; what to land, and with which outcome, is the loader's business.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.backoff import delay
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clickhouse_rewrite import COURTESY_SECONDS, Stage, Superseded, staged
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.tables import Table, partition

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_WITHIN = "date BETWEEN %(first)s AND %(last)s"
_MINE = "symbol IN %(symbols)s"


@dataclass(frozen=True)
class UnitWrite:
    """What becomes of one symbol in some days of a month.

    `frame` has the table's columns and replaces all rows of the symbol in `days`; it may have no row. Without a frame
    no row is touched: `ok` (what came is what stands), `empty`, `unsupported` or `failed` is only written down.

    `load` tells of `days` only. What the ledger keeps of the other days, and the rows of the whole month, are taken
    from what stands when it is published. A refused row of a known day has that day as its `slice`.
    """

    symbol: str
    month: str
    days: Days
    frame: pl.DataFrame | None
    load: Load


@dataclass(frozen=True)
class Patience:
    """How often to begin anew when another writer was faster, and when the server is away."""

    contended: int = 30
    away: int = 6
    first_pause_s: float = 0.5  # of a server that is away; doubles
    longest_pause_s: float = 10.0
    courtesy_s: float = COURTESY_SECONDS
    """How long another machine's half-done work on the month is waited for."""

    def pause(self, away: int) -> float:
        """Seconds to wait when the server was away so many times in a row."""
        return delay(away, self.first_pause_s, self.longest_pause_s, None)


def land(
    client: "Client",
    table: Table,
    month: str,
    landings: Sequence[UnitWrite],
    *,
    turns: Path | None = None,
    patience: Patience = Patience(),
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Replace the rows of all `landings` with one publish, and write the ledger.

    Safe to repeat. Raises Superseded or StoreAway when patience ends, ValueError for a frame that is not of its symbol
    and days; nothing of the landings stands then that did not stand before, or all of it does.
    """
    _check(table, month, landings)
    contended = away = 0
    while True:
        started = time.monotonic()
        try:
            _land(client, table, month, landings, turns, patience.courtesy_s)
            return
        except Superseded:
            contended += 1
            if contended >= patience.contended:
                raise
            # In proportion to the work, so that one of two can end while the other waits.
            took = time.monotonic() - started + 0.05
            sleep(delay(min(contended, 5) + 1, took, patience.longest_pause_s))
        except StoreAway:
            away += 1
            if away >= patience.away:
                raise
            sleep(patience.pause(away))


def interrupted(client: "Client", table: Table) -> list[Load]:
    """The symbol-months whose writer never came back."""
    return ledger.interrupted(client, table.name)


def _land(
    client: "Client", table: Table, month: str, landings: Sequence[UnitWrite], turns: Path | None, courtesy_s: float
) -> None:
    written = sorted((one for one in landings if one.frame is not None), key=lambda one: one.symbol)
    noted = [one for one in landings if one.frame is None]
    if written:
        with staged(client, table.name, partition(month), turns=turns, courtesy_s=courtesy_s) as stage:
            with ThreadPoolExecutor(1) as beside:
                known = beside.submit(_standing, client, table, month, written)
                version, totals = _replace(stage, table, written)
            standing = known.result()
            loads = [_after(one, standing.get(one.symbol), totals.get(one.symbol, 0)) for one in written]
            ledger.record_pending(client, [_doubtful(*pair) for pair in zip(written, loads, strict=True)], version)
            stage.publish()
            ledger.record(client, loads, version + ledger.STEP)
    if noted:
        _note(client, table, month, noted)


def _replace(stage: Stage, table: Table, landings: Sequence[UnitWrite]) -> tuple[int, dict[str, int]]:
    """Put the rows into the stage; a version, and the rows of each symbol in the whole partition.

    The version is taken after the clone and before the last look at the stage, so versions are ordered as publishes.
    """
    fresh = pl.concat([one.frame for one in landings if one.frame is not None])
    look = f"SELECT count() AS hit, (SELECT count() FROM {{stage}}) AS all, {ledger.NEXT_VERSION} AS version"
    version = 0
    for days, group in _by_days(landings).items():
        bound = _bound(days, group)
        hit, everything, version = stage.read(f"{look} FROM {{stage}} WHERE {_MINE} AND {_WITHIN}", bound).row(0)
        if hit and hit == everything and fresh.height:
            stage.clear()
        elif hit:
            stage.delete(f"{_MINE} AND {_WITHIN}", bound)
    if fresh.height:
        stage.insert(fresh, table.dictionaries)
    return version, _counted(stage, table, landings)


def _counted(stage: Stage, table: Table, landings: Sequence[UnitWrite]) -> dict[str, int]:
    totals: dict[str, int] = {}
    counts = f"SELECT toString(symbol) AS name, count() AS total, countIf({_WITHIN}) AS fresh"
    for days, group in _by_days(landings).items():
        found = stage.read(f"{counts} FROM {{stage}} WHERE {_MINE} GROUP BY name", _bound(days, group))
        by_symbol = {name: (total, fresh) for name, total, fresh in found.iter_rows()}
        for one in group:
            totals[one.symbol], fresh = by_symbol.get(one.symbol, (0, 0))
            if fresh != _height(one):
                cause = f"{fresh} rows of {one.symbol} in {days} are staged and {_height(one)} were sent"
                raise Superseded(table.name, stage.partition, cause)
    return totals


def _standing(client: "Client", table: Table, month: str, landings: Iterable[UnitWrite]) -> dict[str, Load]:
    found = ledger.entries(client, table.name, [month], [one.symbol for one in landings])
    refused = [load.source for load in found if load.rejected]
    rejects = ledger.rejects(client, table.name, month, refused) if refused else {}
    return {load.source: replace(load, rejects=rejects.get(load.source, ())) for load in found}


def _after(one: UnitWrite, standing: Load | None, total: int) -> Load:
    """What the ledger says once the landing is published."""
    kept = () if standing is None else _kept_rejects(one, standing)
    others = total - _height(one) + len(kept)
    return replace(
        one.load,
        slices=_slices(one, standing),
        read=one.load.read + others,
        rows=total,
        rejected=one.load.rejected + len(kept),
        rejects=(*one.load.rejects, *kept),
        previous_hash=None if standing is None else standing.content_hash or standing.previous_hash,
    )


def _kept_rejects(one: UnitWrite, standing: Load) -> tuple[Reject, ...]:
    """The refused rows of other days."""
    mine = _names(one.days)
    if mine.issuperset(standing.slices):
        return ()
    return tuple(row for row in standing.rejects if row.slice not in mine and row not in one.load.rejects)


def _doubtful(one: UnitWrite, after: Load) -> Load:
    """What the ledger says while the landing is published: nothing of its days."""
    mine = _names(one.days)
    return replace(after, slices=[day for day in after.slices if day not in mine])


def _note(client: "Client", table: Table, month: str, landings: Sequence[UnitWrite]) -> None:
    standing = _standing(client, table, month, landings)
    attempts, known = [], []
    for one in landings:
        before = standing.get(one.symbol)
        said = one.load.outcome
        same = before is not None and one.load.content_hash == before.content_hash
        if said == "empty" or (said == "ok" and same):
            known.append(_extended(one, before))
        else:
            attempts.append(one.load)
    if attempts:
        ledger.record_attempts(client, attempts)
    if known:
        ledger.record_unwritten(client, known)


def _extended(one: UnitWrite, before: Load | None) -> Load:
    """What the ledger says when more days are known and no row has changed."""
    if before is None:
        return replace(
            one.load, slices=_slices(one, before), previous_hash=None, read=0, rows=0, rejected=0, rejects=()
        )
    attempt = {name: getattr(one.load, name) for name in ledger.ATTEMPT}
    return replace(before, **attempt, slices=sorted({*before.slices, *_slices(one, before)}))


def _slices(one: UnitWrite, standing: Load | None) -> list[str]:
    mine = _names(one.days)
    before: set[str] = set() if standing is None else set(standing.slices)
    return sorted((before - mine) | (mine & set(one.load.slices)))


@lru_cache(maxsize=256)
def _names(days: Days) -> frozenset[str]:
    return frozenset(day.isoformat() for day in days)


def _height(one: UnitWrite) -> int:
    return 0 if one.frame is None else one.frame.height


def _by_days(landings: Iterable[UnitWrite]) -> Mapping[Days, list[UnitWrite]]:
    groups: dict[Days, list[UnitWrite]] = {}
    for one in landings:
        groups.setdefault(one.days, []).append(one)
    return groups


def _bound(days: Days, group: Sequence[UnitWrite]) -> dict[str, Any]:
    return {"first": days.first, "last": days.last, "symbols": [one.symbol for one in group]}


def _check(table: Table, month: str, landings: Sequence[UnitWrite]) -> None:
    whole = Days.month(month)
    if len({one.symbol for one in landings}) != len(landings):
        raise ValueError(f"{table.name} {month}: a symbol is there twice")
    for one in landings:
        place = f"{table.name} {month} {one.symbol}"
        if one.month != month or one.days.first < whole.first or one.days.last > whole.last:
            raise ValueError(f"{place}: {one.month}, {one.days} is not in the month")
        if (one.load.dataset, one.load.source, one.load.unit) != (table.name, one.symbol, month):
            raise ValueError(f"{place}: its load is of {one.load.dataset} {one.load.source} {one.load.unit}")
        if one.frame is not None and one.frame.schema != table.columns:
            raise ValueError(f"{place}: columns {one.frame.schema} instead of {table.columns}")
        if one.frame is not None and not _belongs(one.frame, one):
            raise ValueError(f"{place}: rows of another symbol, or outside {one.days}")


def _belongs(frame: pl.DataFrame, one: UnitWrite) -> bool:
    date, symbol = frame["date"], frame["symbol"]
    if frame.is_empty():
        return True
    first, last = date.min(), date.max()
    return (
        not symbol.has_nulls()
        and not date.has_nulls()
        and bool(
            (symbol == one.symbol).all() and first >= one.days.first and last <= one.days.last  # type: ignore[operator]
        )
    )

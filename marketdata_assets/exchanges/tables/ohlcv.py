"""One-minute bars, computed day by day in ClickHouse from the stored trades.

The definition of a bar is in docs/exchanges.md, the query in `sql/bars_of_day.sql`. A day is replaced
atomically. The ledger keeps a fingerprint of the trades and gaps that a day was computed from.
"""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.tables import gaps
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS, trade_streams
from marketdata_assets.exchanges.tables.schema import OHLCV_1M, OHLCV_COLUMNS, TRADES, day_span, sql
from marketdata_assets.loading.states import State
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.stores.bookkeeping import Outcome
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clickhouse_rewrite import staged
from marketdata_assets.stores.clients import Client

CODE_VERSION = "bars-1"


@dataclass(frozen=True)
class DayReport:
    """A day of bars. `kept` says that its trades have expired, or are about to, and its bars were left unchanged."""

    day: dt.date
    outcome: Outcome
    bars: int
    trades: int  # rows of the table of trades
    instruments: int
    uncertain: int  # bars that an open gap touches
    kept: bool
    seconds: float


def compute(
    client: Client,
    day: dt.date,
    *,
    run_id: str,
    now: dt.datetime,
    turns: Path | None = None,
    keep_days: int | None = None,
) -> DayReport:
    """Recompute the bars of a UTC day. Raises what the stores raise; then the day is unchanged.

    `keep_days` is how long trades are kept: bars of a day whose trades have started to expire are kept.
    """
    began = time.monotonic()
    fingerprint = fingerprints(client, [day])[day]
    trades = int(clickhouse.read(client, sql("trades_counted"), day_span(day))["n"].item())
    loads = clickhouse_ledger.entries(client, OHLCV_1M, [str(day)])
    going = keep_days is not None and day + dt.timedelta(days=keep_days) <= now.date()
    kept = (not trades or going) and bool(loads) and loads[0].rows > 0
    if not kept:
        query, parameters = bars_query(client, day_span(day))
        with staged(client, OHLCV_1M, f"{day:%Y%m%d}", turns=turns) as stage:
            stage.clear()
            stage.fill(f"({', '.join(OHLCV_COLUMNS)}) {query}", parameters)
            stage.publish()
    [counts] = clickhouse.read(client, sql("bars_counted"), {"day": day}).to_dicts()
    if not kept:
        _record(client, day, fingerprint, trades, counts["bars"], run_id, now)
    outcome: Outcome = "ok" if counts["bars"] else "empty"
    return DayReport(day, outcome, trades=trades, kept=kept, seconds=time.monotonic() - began, **counts)


def bars_query(
    client: Client, span: Mapping[str, Any], only: str = "true", without: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The query of the bars of minutes from `first` to `end`, and its parameters.

    They are of trades on which `only` holds, and that have none of the flags `without`.
    """
    unordered = [venue.name for venue in venues.every() if not venue.ordered_trades]
    by_receipt = [one for name in unordered for one in venues.with_apart(name)]
    both_forms = clickhouse.read(client, sql("instruments_with_both_forms"), span).height
    if without:
        flagged = sql("aggregates_with_flagged_trades").replace("{only}", only) if both_forms else ""
        only = f"{only} AND NOT hasAny(flags, {{flags:Array(String)}}) {flagged}"
    duplicates = sql("duplicate_single_trades").replace("{only}", only) if both_forms else ""
    other = f"{duplicates} AND ({only})"
    parameters = {
        **span,
        "flags": [*without],
        "slack": CLOCKS_DIFFER_NS,
        "trades": trade_streams(),
        "by_receipt": by_receipt,
    }
    return sql("bars_of_day").replace("{other}", other), parameters


def states(client: Client, days: Sequence[dt.date]) -> dict[dt.date, State]:
    """The state of each day. A day is stale when its trades or gaps were written after its bars were computed.

    A day without trades and without bars is left out.
    """
    loads = {load.unit: load for load in clickhouse_ledger.entries(client, OHLCV_1M)}
    by_day: dict[dt.date, State] = {}
    for day, fingerprint in fingerprints(client, days).items():
        load = loads.get(str(day))
        if load is None:
            if fingerprint:
                by_day[day] = State.MISSING
        elif load.outcome == "failed":
            by_day[day] = State.FAILED
        elif fingerprint and fingerprint != load.content_hash:
            by_day[day] = State.STALE
        else:
            by_day[day] = State.OK if load.rows else State.EMPTY
    return by_day


def fingerprints(client: Client, days: Sequence[dt.date]) -> dict[dt.date, str]:
    """A text that changes when trades of a day are written, or gaps of trades opened or closed; "" without trades.

    Parts of a partition are numbered as they come, and merges give no new numbers.
    """
    newest = newest_parts(client)
    holes = gaps.open_gaps(client)
    by_day = {}
    for day in days:
        number = newest.get(day)
        touching = [gap for gap in holes if gaps.touches(gap, day)]
        digest = blake2b(msgspec.json.encode(touching), digest_size=8).hexdigest() if touching else "none"
        by_day[day] = "" if number is None else f"{CODE_VERSION} {number} {digest}"
    return by_day


def trades_were_moved(client: Client, days: Sequence[dt.date]) -> None:
    """Mark the bars of `days` as computed from the stored trades, after a restore of the same trades from a backup."""
    fingerprint_of = {str(day): fingerprint for day, fingerprint in fingerprints(client, days).items()}
    before = clickhouse_ledger.entries(client, OHLCV_1M, list(fingerprint_of))
    loads = [replace(load, content_hash=fingerprint_of[load.unit] or load.content_hash) for load in before]
    clickhouse_ledger.record(client, loads, clickhouse_ledger.next_version(client))


def days_with_trades(client: Client) -> list[dt.date]:
    """The days that have trades, oldest first."""
    return list(newest_parts(client))


def newest_parts(client: Client) -> dict[dt.date, int]:
    """The days that have trades, oldest first, each with a number that grows when trades of it are written."""
    parts = clickhouse.read(client, sql("newest_parts"), {"table": TRADES.name}).iter_rows()
    return {dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC).date(): number for text, number in parts}


def _record(
    client: Client, day: dt.date, fingerprint: str, trades: int, bars: int, run_id: str, now: dt.datetime
) -> None:
    load = Load(
        dataset=OHLCV_1M,
        source=TRADES.name,
        unit=str(day),
        content_hash=fingerprint or "no trades",
        slices=[str(day)],
        read=trades,
        rows=bars,
        outcome="ok" if bars else "empty",
        attempted_hash=fingerprint or "no trades",
        code_version=CODE_VERSION,
        run_id=run_id,
        started=now,
    )
    clickhouse_ledger.record(client, [load], clickhouse_ledger.next_version(client))

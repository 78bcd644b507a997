"""The state of the exchange tables: what `marketdata status` shows, and what the hourly schedule decides by.

Rows are counted as stored, copies that ClickHouse has not merged yet included.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketdata_assets.exchanges.tables import gaps, ohlcv
from marketdata_assets.exchanges.tables.gaps import candle_streams, is_trade_gap, trade_streams
from marketdata_assets.exchanges.tables.history import DATASET, loaded_days
from marketdata_assets.exchanges.tables.schema import DAY_NS, GAPS, OHLCV_1M, REJECTS, TABLES, sql
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

RETRIED_NS = 3 * DAY_NS  # for so long the history is requested again for gaps that it could not close


@dataclass(frozen=True)
class TableStatus:
    """A table: its rows, the newest time in it, rejected records, and of bars and gaps the days by state.

    A day of gaps is ok when all gaps of trades that began on it are closed, else `open`. `open_gaps` counts those
    gaps on all days.
    """

    table: str
    rows: int
    newest: dt.datetime | None
    rejected: int
    days: Mapping[str, int]
    open_gaps: int = 0


def overview(client: Client, days: Sequence[dt.date]) -> list[TableStatus]:
    """The status of all tables; `days` are the daily partitions."""
    counted = f"SELECT toString(type) AS kind, toInt64(count()) AS records FROM {REJECTS} FINAL GROUP BY kind"
    rejected = dict(clickhouse.read(client, counted).iter_rows())
    gap_days = Counter(
        "open" if any(gap.healed_at is None and is_trade_gap(gap) for gap in gaps.of_day(client, day)) else "ok"
        for day in set(gaps.days(client)) & set(days)
    )
    by_day: dict[str, Mapping[Any, int]] = {GAPS.name: gap_days, OHLCV_1M: Counter(ohlcv.states(client, days).values())}
    open_gaps = {GAPS.name: len(gaps.open_gaps(client))}
    statuses = []
    for kind, name in (*((kind, table.name) for kind, table in TABLES.items()), ("", OHLCV_1M)):
        [row] = clickhouse.read(client, f"SELECT toInt64(count()) AS rows, max(time) AS newest FROM {name}").to_dicts()
        newest, counts = row["newest"] if row["rows"] else None, dict(by_day.get(name, {}))
        statuses.append(TableStatus(name, row["rows"], newest, rejected.get(kind, 0), counts, open_gaps.get(name, 0)))
    return statuses


def history(client: Client) -> TableStatus | None:
    """The days of instruments that were loaded from histories, by outcome; None when there are none."""
    days, rows, last = loaded_days(client)
    newest = dt.datetime.combine(last, dt.time(), dt.UTC) if last else None
    return TableStatus(DATASET, rows, newest, 0, days) if days else None


def newest(client: Client, table: str) -> dt.datetime | None:
    """The newest time in a table; None when it is empty."""
    query = f"SELECT max(time) AS newest, toInt64(count()) AS rows FROM {clickhouse.quoted(table)}"
    [row] = clickhouse.read(client, query).to_dicts()
    return row["newest"] if row["rows"] else None


def outdated_days(client: Client, days: Sequence[dt.date]) -> list[dt.date]:
    """Days whose bars are missing, failed, or older than their trades or gaps, oldest first."""
    return sorted(day for day, state in ohlcv.states(client, days).items() if state.outdated)


def with_open_gaps(client: Client, days: Sequence[dt.date], now_ns: int, settled_ns: int) -> list[dt.date]:
    """Days, oldest first, on which gaps of trades or candles began that are open, settled, and still retried."""
    began = {
        dt.datetime.fromtimestamp(gap.ts_from // 1_000_000_000, dt.UTC).date()
        for gap in gaps.open_gaps(client, f"{trade_streams()}|{candle_streams()}")
        if settled_ns <= now_ns - gap.ts_to < RETRIED_NS
    }
    return sorted(began & set(days))


def rejected(client: Client, limit: int) -> list[dict[str, str]]:
    """Up to `limit` rejected records of each type, the newest first: dataset, place, reason, raw."""
    rows = clickhouse.read(client, sql("newest_rejects"), {"limit": limit}).iter_rows(named=True)
    return [
        {"dataset": TABLES[row["kind"]].name if row["kind"] in TABLES else row["kind"]}
        | {name: row[name] for name in ("place", "reason", "raw")}
        for row in rows
    ]

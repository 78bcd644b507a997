"""Delete what is loaded of symbols: their rows, month by month, and then their entries in the ledger.

Taking a symbol out of the registry is in `registry`; do that first, so that nothing loads it again.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from marketdata_assets.progress import Progress
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks import table_writer
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, TICK_DATA, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_CODE_VERSION = "removal-1"


def delete(
    client: "Client",
    symbols: Sequence[str],
    *,
    run_id: str,
    now: dt.datetime,
    turns: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Delete all rows of `symbols` and their entries in the ledger; returns the deleted rows by table.

    A reader sees a month with the rows of all `symbols` or with none. Idempotent: after a kill, the same call deletes
    the rest. Raises Superseded or StoreAway like any write.
    """
    deleted: dict[str, int] = {}
    for table in (TICK_DATA, ORDER_BOOK, FACTORS):
        months = _months(client, table, symbols)
        for number, (month, rows) in enumerate(months.items(), 1):
            named = list(rows)
            table_writer.write(
                client, table, month, [_nothing(table, symbol, month, run_id, now) for symbol in named], turns=turns
            )
            if progress:
                progress(number, len(months), f"{table.name} {month}: {sum(rows.values())} rows deleted")
        ledger.forget(client, table.name, symbols)
        deleted[table.name] = sum(sum(rows.values()) for rows in months.values())
    return deleted


def _months(client: "Client", table: Table, symbols: Sequence[str]) -> dict[str, dict[str, int]]:
    """The rows of each symbol, by month, the newest first."""
    sql = f"""
        SELECT formatDateTime(date, '%%Y-%%m') AS month, toString(symbol) AS name, toInt64(count()) AS rows
        FROM {table.name} WHERE symbol IN %(symbols)s GROUP BY ALL ORDER BY month DESC, name"""
    months: dict[str, dict[str, int]] = {}
    for month, name, rows in clickhouse.read(client, sql, {"symbols": list(symbols)}).iter_rows():
        months.setdefault(month, {})[name] = rows
    return months


def _nothing(table: Table, symbol: str, month: str, run_id: str, now: dt.datetime) -> UnitWrite:
    load = Load(
        dataset=table.name,
        source=symbol,
        unit=month,
        outcome="empty",
        code_version=_CODE_VERSION,
        run_id=run_id,
        started=now,
        finished=now,
    )
    return UnitWrite(symbol, month, Days.month(month), table.columns.to_frame(), load)

"""What is loaded of each table of Postgres at a glance, from coverage, ledger and quarantine."""

from dataclasses import dataclass
from typing import Any

import psycopg

from marketdata_assets.bars.schema import DATASET
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.stocks import exists

KLINE = "stock_monthly_kline"


@dataclass(frozen=True)
class Table:
    """One table: its rows, months or files that are loaded, last instant, files that failed, rejected rows.

    `last` is the newest minute or month of bars, on the exchange's clock; of other tables when they were last loaded.
    """

    table: str
    rows: int
    parts: int
    unit: str
    last: str | None
    failed: int
    quarantined: int


def tables(connection: psycopg.Connection) -> list[Table]:
    """All tables of which anything is on record; none in a database without our tables."""
    ledger: dict[str, Any] = {}
    rejected: dict[str, int] = {}
    if exists(connection, "marketdata_ledger"):
        ledger = {row[0]: row[1:] for row in _rows(connection, "ledger_state")}
        rejected = dict(_rows(connection, "quarantine_state"))
    found = []
    if exists(connection, "stock_1min_coverage"):
        [(rows, months, last)] = _rows(connection, "bars_state")
        failed = ledger.pop(DATASET, (0, 0))[1]
        found.append(Table(DATASET, rows, months, "months", _text(last), failed, rejected.get(DATASET, 0)))
    if exists(connection, KLINE):
        [(rows, months, last)] = _rows(connection, "kline_state")
        found.append(Table(KLINE, rows, months, "months", last and f"{last:%Y-%m}", 0, 0))
    for dataset, (units, failed, rows, finished) in ledger.items():
        found.append(Table(dataset, rows, units, "files", _text(finished), failed, rejected.get(dataset, 0)))
    return found


def _rows(connection: psycopg.Connection, name: str) -> list[Any]:
    return connection.execute(statement(__package__, f"{name}.sql")).fetchall()


def _text(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat(" ", "minutes")

"""Which units of a period failed, lost rows to the quarantine or have days that are not final, with the reason.

The rows behind a cell of `quality`, the failed ones first, and at most one more than MOST_UNITS, which are shown.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.status import is_of_month
from marketdata_assets.settings import MONGO_DATASETS
from marketdata_assets.stores import clickhouse, mongo_ledger
from marketdata_assets.stores.clickhouse_ledger import states_of
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement

if TYPE_CHECKING:
    from marketdata_assets.stores.mongo import Databases

MOST_UNITS = 500


@dataclass(frozen=True)
class Unit:
    """A unit of a ledger: a symbol's month, a file, a day of an account. `days` are those that are not final."""

    source: str
    unit: str
    outcome: str
    rejected: int
    days: str
    error: str | None
    finished: str  # UTC


def in_postgres(connection: psycopg.Connection, dataset: str, period: str) -> list[Unit]:
    """Members of files of bars, or files of a flow."""
    values = {"dataset": dataset, "period": period, "most": MOST_UNITS + 1}
    if dataset != DATASET:
        return [Unit(*row) for row in connection.execute(statement(__package__, "ledger_units.sql"), values)]
    rows = connection.execute(statement(__package__, "bars_units.sql"), values).fetchall()
    units = [Unit(*row) for *row, slices in rows if row[3] or is_of_month(row[0], row[1], slices, period)]
    return units[: MOST_UNITS + 1]


def in_clickhouse(client: Client, dataset: str, period: str) -> list[Unit]:
    """Months of symbols, of reference data, or captured files and days of exchanges."""
    values = {"dataset": dataset, "period": period, "most": MOST_UNITS + 1}
    found = clickhouse.read(client, statement(__package__, "clickhouse_units.sql"), values)
    return [Unit(**{**row, "days": _days(row["days"])}) for row in found.iter_rows(named=True)]


def _days(states: str) -> str:
    """`2026-11-24 provisional, 2026-11-25 incomplete`, of the states of slices as the ledger has them."""
    return ", ".join(f"{one.slice} {one.state}" for one in states_of(states) if one.state != "unsupported")


def in_mongo(databases: "Databases", dataset: str, period: str) -> list[Unit]:
    """Days of an account's alphas, or months of their record sets; none of another database."""
    if dataset not in MONGO_DATASETS:
        return []
    found = [
        Unit(one.source, one.unit, one.outcome, one.rejected, "", one.error, f"{one.finished:%Y-%m-%d %H:%M}")
        for one in mongo_ledger.entries(databases[dataset], dataset)
        if one.unit[:7] == period and (one.outcome == "failed" or one.rejected)
    ]
    return sorted(found, key=lambda one: one.outcome != "failed")[: MOST_UNITS + 1]

"""How good what was loaded is, over time: rows, rejected rows, failed units, gaps and days that are not final.

It is what ledgers, coverage and gap tables have on record, by month, or of exchanges by day; no data are checked here.
Behind each period are its units that failed, have rejected rows or days that are not final, the failed ones first.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.status import is_of_month, stale_stocks
from marketdata_assets.exchanges.tables import captures, history
from marketdata_assets.exchanges.tables.schema import GAPS, OHLCV_1M, REJECTS, TABLES
from marketdata_assets.reference import file_states
from marketdata_assets.reference.tables import TABLES as REFERENCE_TABLES
from marketdata_assets.settings import MONGO_DATASETS
from marketdata_assets.stores import clickhouse, mongo_ledger
from marketdata_assets.stores.clickhouse_ledger import states_of
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement
from marketdata_assets.ticks import file_ledger
from marketdata_assets.web.stocks import exists

if TYPE_CHECKING:
    from marketdata_assets.stores.mongo import Databases

EXCHANGE_DAYS = 92
MOST_UNITS = 500
"""Of a period are shown; the functions give one more where there are more."""
MOST_PERIODS = 20_000
_LEDGER = "marketdata_ledger"
_ALPHAS = frozenset(map(database_name, KINDS))
_DELIVERIES = frozenset((captures.LEDGER.dataset, history.DATASET, file_states.DATASET, file_ledger.DATASET))


@dataclass
class Period:
    """A month, or of exchanges a day, of one dataset; `failed` are units whose last load failed.

    `provisional` and `incomplete` are days of symbols; `gaps` touch the day, and of them `open_gaps` were not closed.
    """

    domain: str
    dataset: str
    period: str
    rows: int = 0
    rejected: int = 0
    failed: int = 0
    provisional: int = 0
    incomplete: int = 0
    gaps: int = 0
    open_gaps: int = 0


def in_postgres(connection: psycopg.Connection) -> list[Period]:
    """Bars by month, from coverage and quarantine; other datasets by the month of their unit, or of their last load."""
    found: list[Period] = []
    if exists(connection, "stock_1min_coverage"):
        months = connection.execute(statement(__package__, "bars_quality.sql"), {"dataset": DATASET}).fetchall()
        stale = stale_stocks(connection, [month for month, _, _ in months])
        found += [
            Period("bars", DATASET, month, rows, rejected, len(stale.get(month, ())))
            for month, rows, rejected in months
        ]
    if exists(connection, _LEDGER):
        values = {"dataset": DATASET, "most": MOST_PERIODS}
        units = connection.execute(statement(__package__, "ledger_quality.sql"), values).fetchall()
        found += [Period("reconciliation" if row[0] == "reconciliation" else "flows", *row) for row in units]
    return found


def in_clickhouse(client: Client, now: dt.datetime | None = None) -> list[Period]:
    """Reference data and ticks by month, from the ledger; records of exchanges by day, of the last EXCHANGE_DAYS."""
    since = ((now or dt.datetime.now(dt.UTC)) - dt.timedelta(days=EXCHANGE_DAYS)).astimezone(dt.UTC).date()
    sql = "SELECT name, create_table_query AS made FROM system.tables WHERE database = currentDatabase()"
    present = dict(clickhouse.read(client, sql).iter_rows())
    found: list[Period] = []
    if _LEDGER in present:
        values = {"since": str(since), "most": MOST_PERIODS}
        rows = clickhouse.read(client, statement(__package__, "clickhouse_quality.sql"), values)
        found += [Period(_domain(row[0]), *row) for row in rows.iter_rows()]
    for table in (*(one.name for one in TABLES.values() if one is not GAPS), OHLCV_1M):
        if table in present:
            found = _add(found, _counted(client, table, "PARTITION BY toDate(time)" in present[table], since))
    if REJECTS in present:
        found = _add(found, _rejects(client, since))
    if GAPS.name in present:
        rows = clickhouse.read(client, statement(__package__, "gaps_quality.sql"), {"since": str(since)})
        found += [
            Period("exchanges", GAPS.name, day, gaps=gaps, open_gaps=open_) for day, gaps, open_ in rows.iter_rows()
        ]
    return sorted(found, key=lambda one: (one.domain, one.dataset, one.period))


def in_mongo(databases: "Databases") -> list[Period]:
    """Alphas and their record sets, by month of the ledger's units."""
    found: dict[tuple[str, str], Period] = {}
    for dataset in (*map(database_name, KINDS), *map(asset_name, RECORD_SETS)):
        for entry in mongo_ledger.entries(databases[dataset], dataset):
            month = entry.unit[:7]
            one = found.setdefault((dataset, month), Period("alphas", dataset, month))
            one.rows += entry.rows
            one.rejected += entry.rejected
            one.failed += entry.outcome == "failed"
    return [found[key] for key in sorted(found)]


def _domain(dataset: str) -> str:
    if dataset in REFERENCE_TABLES or dataset == file_states.DATASET:
        return "reference"
    return "exchanges" if dataset.startswith("exchange") else "ticks"


def _counted(client: Client, table: str, by_day: bool, since: dt.date) -> Iterable[Period]:
    """Rows of a table by day: of one with daily partitions by their names, without reading times."""
    day = "_partition_id" if by_day else "formatDateTime(time, '%Y%m%d', 'UTC')"
    sql = (
        f"SELECT {day} AS day, toInt64(count()) AS rows FROM {clickhouse.quoted(table)}"
        " WHERE time >= {since:DateTime64(9, 'UTC')} GROUP BY day ORDER BY day"
    )
    for name, rows in clickhouse.read(client, sql, {"since": f"{since} 00:00:00"}).iter_rows():
        yield Period("exchanges", table, f"{name[:4]}-{name[4:6]}-{name[6:]}", rows)


def _rejects(client: Client, since: dt.date) -> Iterable[Period]:
    rows = clickhouse.read(client, statement(__package__, "rejects_quality.sql"), {"since": f"{since} 00:00:00"})
    for kind, day, records in rows.iter_rows():
        yield Period("exchanges", TABLES[kind].name if kind in TABLES else kind, day, rejected=records)


def _add(found: list[Period], more: Iterable[Period]) -> list[Period]:
    """Both, with the counts of the same period in one; rows that were counted replace those of a ledger."""
    by_key = {(one.dataset, one.period): one for one in found}
    for one in more:
        known = by_key.setdefault((one.dataset, one.period), one)
        if known is not one:
            known.rows = one.rows or known.rows
            known.rejected += one.rejected
    return list(by_key.values())


def counted(domain: str, dataset: str) -> bool:
    """Whether its rows are those of the domain: of files and histories they are in tables too; of alphas, alphas."""
    return dataset not in _DELIVERIES and (domain != "alphas" or dataset in _ALPHAS)


def as_json(periods: Iterable[Period]) -> list[dict[str, Any]]:
    """The periods, without counts that are 0, and whether their rows are `counted`."""
    return [
        {name: value for name, value in vars(one).items() if value != 0} | {"counted": counted(one.domain, one.dataset)}
        for one in periods
    ]


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


def units_in_postgres(connection: psycopg.Connection, dataset: str, period: str) -> list[Unit]:
    """Members of files of bars, or files of a flow."""
    values = {"dataset": dataset, "period": period, "most": MOST_UNITS + 1}
    if dataset != DATASET:
        return [Unit(*row) for row in connection.execute(statement(__package__, "ledger_units.sql"), values)]
    rows = connection.execute(statement(__package__, "bars_units.sql"), values).fetchall()
    units = [Unit(*row) for *row, slices in rows if row[3] or is_of_month(row[0], row[1], slices, period)]
    return units[: MOST_UNITS + 1]


def units_in_clickhouse(client: Client, dataset: str, period: str) -> list[Unit]:
    """Months of symbols, of reference data, or captured files and days of exchanges."""
    values = {"dataset": dataset, "period": period, "most": MOST_UNITS + 1}
    found = clickhouse.read(client, statement(__package__, "clickhouse_units.sql"), values)
    return [Unit(**{**row, "days": _days(row["days"])}) for row in found.iter_rows(named=True)]


def _days(states: str) -> str:
    """`2026-11-24 provisional, 2026-11-25 incomplete`, of the states of slices as the ledger has them."""
    return ", ".join(f"{one.slice} {one.state}" for one in states_of(states) if one.state != "unsupported")


def units_in_mongo(databases: "Databases", dataset: str, period: str) -> list[Unit]:
    """Days of an account's alphas, or months of their record sets; none of another database."""
    if dataset not in MONGO_DATASETS:
        return []
    found = [
        Unit(one.source, one.unit, one.outcome, one.rejected, "", one.error, f"{one.finished:%Y-%m-%d %H:%M}")
        for one in mongo_ledger.entries(databases[dataset], dataset)
        if one.unit[:7] == period and (one.outcome == "failed" or one.rejected)
    ]
    return sorted(found, key=lambda one: one.outcome != "failed")[: MOST_UNITS + 1]

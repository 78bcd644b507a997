"""Symbols of ticks: their list, which minutes of one are loaded by month, and which of its days are not final."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import calendar_of, last_closed
from marketdata_assets.reference.exchanges import MAINLAND, exchange_of
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import states_of
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement
from marketdata_assets.ticks import registry
from marketdata_assets.ticks.coverage import minutes_by_day
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, TICK_DATA
from marketdata_assets.web.coverage import Counted, Month, months
from marketdata_assets.web.errors import Unknown

OTHERS = (ORDER_BOOK.name, FACTORS.name)


@dataclass(frozen=True)
class Symbol:
    """A registered symbol, with its name and whether it is listed."""

    code: str
    name: str | None
    status: str


def all_symbols(client: Client) -> list[Symbol]:
    """Every symbol that is registered or was ever loaded, by code. Raises NothingLoaded."""
    known = {
        one.symbol: Symbol(one.symbol, one.name or None, one.status) for one in registry.listed(client, vanished=True)
    }
    sql = f"SELECT DISTINCT source FROM {clickhouse_ledger.LEDGER} WHERE dataset = {{table:String}} LIMIT 200000"
    for code in clickhouse.read(client, sql, {"table": TICK_DATA.name})["source"]:
        known.setdefault(code, Symbol(code, None, "not registered"))
    return [known[code] for code in sorted(known)]


def coverage(client: Client, symbol: str, now: dt.datetime) -> list[dict[str, Any]]:
    """Every month from the first to the last that has rows or a load, see `coverage.Month`, with that load.

    Its outcome, error, provider and rejected rows, and the days that are `provisional`, `incomplete` or `unsupported`.
    Nothing is expected after the last day that is closed `now`. Raises Unknown.
    """
    sql = statement(__package__, "symbol_days.sql")
    days = dict(clickhouse.read(client, sql, {"symbol": symbol}).iter_rows())
    loads = _loads(client, symbol)
    if not days and not loads:
        raise Unknown(
            f"no ticks of {symbol!r} are loaded, and no load of it is on record. Search for its code, such as"
            " 600000.SH, or its name; or load it: marketdata ingest ticks."
        )
    closed = last_closed(now, exchange_of(symbol))
    empty = [Days.month(month) for month, load in loads.items() if not load["rows"]]
    ends = [*days, *(day for month in empty for day in (month.first, max(month.first, min(month.last, closed))))]
    calendar = calendar_of(symbol, stored.calendar(client))
    lengths = None
    if calendar.exchange is not MAINLAND:  # bars before and after its session make up for none of a session
        lengths, span = calendar.length, Days(min(ends), max(ends))
        days |= minutes_by_day(client, symbol, [day for day in calendar.trading_days(span) if day in days])
    found = months(Days(min(ends), max(ends)), _by_month(days.items()), calendar.trading_days, lengths)
    return [_row(month, loads.get(month.month)) for month in found]


def _loads(client: Client, symbol: str) -> dict[str, dict[str, Any]]:
    """What the ledger has of each month of the bars."""
    columns = ("unit", "rows", "rejected", "outcome", "error", "origin", "slice_states", "finished")
    table = clickhouse_ledger.table(client, TICK_DATA.name, sources=[symbol]).select(columns)
    return {row["unit"]: row for row in table.iter_rows(named=True)}


def _by_month(days: Iterable[tuple[dt.date, int]]) -> dict[str, Counted]:
    counts: dict[str, list[int]] = {}
    for day, bars in days:
        counts.setdefault(f"{day:%Y-%m}", [0] * 31)[day.day - 1] = bars
    return {month: (sum(by_day), by_day) for month, by_day in counts.items()}


def _row(month: Month, load: Mapping[str, Any] | None) -> dict[str, Any]:
    row = vars(month) | dict.fromkeys(("outcome", "error", "provider", "finished"))
    days: dict[str, list[int]] = {"provisional": [], "incomplete": [], "unsupported": []}
    if load is None:
        return {**row, "rejected": 0, **days}
    for state in states_of(load["slice_states"]):
        days[state.state].append(int(state.slice[8:10]))
    finished = f"{load['finished']:%Y-%m-%d %H:%M}"
    facts = {"outcome": load["outcome"], "error": load["error"], "provider": load["origin"], "finished": finished}
    return {**row, **facts, "rejected": load["rejected"], **days}


def others(client: Client, symbol: str) -> dict[str, dict[str, Any]]:
    """Of factors and delivered order books of a symbol: rows, first and last day."""
    found = {}
    for table in OTHERS:
        sql = f"SELECT toInt64(count()), min(date), max(date) FROM {table} WHERE symbol = {{symbol:String}}"
        rows, first, last = clickhouse.read(client, sql, {"symbol": symbol}).row(0)
        found[table] = {"rows": rows, "first": str(first) if rows else None, "last": str(last) if rows else None}
    return found

"""The state of the tables of reference data: the basis of `marketdata status` and of `doctor`.

It is computed from the ledger and the calendar; of the tables only rows and days are counted.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from marketdata_assets.loading.states import State
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import Calendar, ashares, last_closed
from marketdata_assets.reference.load import SOURCE, WHOLE
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import DAILY, INSTRUMENTS, TRADING_CALENDAR, DailyName
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client

WARNING = dt.timedelta(days=60)
REMEDY = (
    'run "marketdata ingest reference" with TUSHARE_TOKEN set, drop trading_calendar.csv into MARKETDATA_REFERENCE_DIR,'
    " or upgrade exchange_calendars"
)


@dataclass(frozen=True)
class TableStatus:
    """A table: its months of a window, or the whole of it, by state; its rows, and the last day that is known.

    `unknown_days` are closed trading days of the window that are not answered in full; a month with some of them is
    stale, one without any answered day is missing.
    """

    table: str
    states: Mapping[str, int]
    rows: int
    newest: dt.date | None
    unknown_days: int = 0


@dataclass(frozen=True)
class KnownCalendar:
    """How far trading days are known. `source` is who says the last of them; `warning` is empty when it is far off."""

    known_until: dt.date
    source: str
    warning: str


def overview(client: Client, months: Sequence[str], now: dt.datetime) -> list[TableStatus]:
    """The status of all tables over a window of months."""
    calendar = stored.calendar(client)
    newest = {TRADING_CALENDAR.name: calendar.known.last}
    whole = [_whole(client, name, newest.get(name)) for name in (TRADING_CALENDAR.name, INSTRUMENTS.name)]
    return whole + [_daily(client, name, months, now, calendar) for name in DAILY]


def known_calendar(client: Client | None, today: dt.date) -> KnownCalendar:
    """How far trading days are known by the stored calendar, or by the library alone without a client."""
    library = ashares().known.last
    last = library if client is None else stored.calendar(client).known.last
    warning = ""
    if last < today + WARNING:
        warning = f"trading days are known until {last}; weekdays after it are provisional trading days"
    return KnownCalendar(last, "the library" if last == library else "the stored calendar", warning)


def _whole(client: Client, name: str, newest: dt.date | None) -> TableStatus:
    entries = ledger.entries(client, name, [WHOLE], [SOURCE])
    state = State.MISSING
    if entries:
        state = _outcome(entries[0])
        newest = newest or entries[0].finished.date()
    return TableStatus(name, {state: 1}, _rows(client, name), newest)


def _daily(client: Client, name: DailyName, months: Sequence[str], now: dt.datetime, calendar: Calendar) -> TableStatus:
    states, unknown, loads = Counter[str](), 0, ledger.entries(client, name)
    entries = {load.unit: load for load in loads if load.source == SOURCE}
    for _, entry, open_days in _by_month(entries, months, now, calendar):
        states[_month_state(entry, open_days)] += 1
        unknown += open_days
    newest = max((day for load in loads for day in load.slices), default=None)
    return TableStatus(name, states, _rows(client, name), dt.date.fromisoformat(newest) if newest else None, unknown)


def due_months(entries: Mapping[str, Load], months: Sequence[str], now: dt.datetime, calendar: Calendar) -> list[str]:
    """The months with a closed trading day that is not covered, by a table's `entries`; a provisional trading day is
    not missed."""
    found = _by_month(entries, months, now, calendar)
    return [month for month, entry, open_days in found if open_days or (entry and entry.pending)]


def _by_month(
    entries: Mapping[str, Load], months: Sequence[str], now: dt.datetime, calendar: Calendar
) -> Iterator[tuple[str, Load | None, int]]:
    """Each month that is due or was loaded: its entry, and how many closed trading days are not answered in full."""
    closed = last_closed(now)
    for month in months:
        sessions = [day for day in calendar.trading_days(Days.month(month)) if day <= closed]
        certain = {str(day) for day in sessions if not calendar.is_provisional(day)}
        entry = entries.get(month)
        if certain or entry:
            yield month, entry, len(certain - set(entry.slices if entry else ()))


def _month_state(entry: Load | None, open_days: int) -> State:
    if entry is None:
        return State.MISSING
    state = _outcome(entry)
    if state in (State.OK, State.EMPTY) and open_days:
        return State.STALE if entry.slices else State.MISSING
    return state


def _outcome(entry: Load) -> State:
    if entry.outcome == "failed" or entry.pending:
        return State.FAILED
    if entry.outcome == "unsupported":
        return State.UNSUPPORTED
    return State.OK if entry.rows else State.EMPTY


def _rows(client: Client, name: str) -> int:
    return int(clickhouse.read(client, f"SELECT count() AS n FROM {clickhouse.quoted(name)}")["n"][0])

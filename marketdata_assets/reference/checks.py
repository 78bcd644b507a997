"""Checks of the tables of reference data; a finding without objections has passed.

`defs.reference.assets` decides what a finding means for a run.
"""

import datetime as dt
from collections.abc import Collection, Iterable
from pathlib import Path

import polars as pl

from marketdata_assets.loading.file_ledger import FileState
from marketdata_assets.reference import file_states, stored
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.files import SYMBOL, table_of
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import (
    ADJUST_FACTORS,
    INSTRUMENTS,
    NAME_HISTORY,
    PRICE_LIMITS,
    SUSPENSIONS,
    TRADING_CALENDAR,
    Table,
)
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding
from marketdata_assets.stores.clients import Client

DAYS_AHEAD = 60
TIMING = r"^(\d{2}:\d{2}-\d{2}:\d{2})?$"


def calendar_agrees(client: Client) -> Finding:
    """Days on which the stored calendar and the library's differ; both are known there."""
    library = ashares()
    said = stored.rows(client, TRADING_CALENDAR)
    both = said.filter(pl.col("date").is_between(library.known.first, library.known.last))
    sessions = pl.Series(library.sessions, dtype=pl.Date)
    differ = both.filter(pl.col("open") != pl.col("date").is_in(sessions.implode()))
    return _finding(differ.select("date", "open", "source"), both.height)


def known_ahead(client: Client, today: dt.date) -> Finding:
    """Whether the trading days of the next DAYS_AHEAD days are known."""
    calendar = stored.calendar(client)
    missing = calendar.known.last < today + dt.timedelta(days=DAYS_AHEAD)
    frame = pl.DataFrame({"known_until": [calendar.known.last]}).head(int(missing))
    return _finding(frame, 1)


def instruments_consistent(client: Client) -> Finding:
    """Instruments that are twice in the table, have no valid symbol or are delisted before they are listed; names that
    overlap."""
    known, names = stored.rows(client, INSTRUMENTS), stored.rows(client, NAME_HISTORY)
    wrong = (
        pl.col("symbol").is_duplicated()
        | ~pl.col("symbol").str.contains(f"^{SYMBOL}$")
        | (pl.col("delisted") < pl.col("listed")).fill_null(False)
        | ((pl.col("status") == "listed") & pl.col("delisted").is_not_null())
    )
    following = pl.col("first").shift(-1).over("symbol")
    overlap = (pl.col("last") >= following) | (pl.col("last") < pl.col("first"))
    odd_names = names.sort(NAME_HISTORY.keys).filter(overlap.fill_null(False))
    bad = pl.concat([known.filter(wrong).select("symbol", "name"), odd_names.select("symbol", "name")])
    return _finding(bad, known.height + names.height)


def files_read(client: Client, folder: Path, tables: Collection[str]) -> Finding:
    """Dropped files of some tables that cannot be read, so that nothing of them is loaded."""
    found = [one for one in file_states.entries(client, folder) if table_of(one.file) in tables]
    failed = [{"file": one.file, "cause": one.reason} for one in found if one.state is FileState.FAILED]
    return Finding(len(failed), tuple(failed[:EXAMPLES]), len(found))


def suspensions_consistent(client: Client, months: Iterable[str]) -> Finding:
    """Suspensions on a day without trading, or at a time that is no span such as 09:30-10:00."""
    rows, sessions = _months(client, SUSPENSIONS, months), stored.calendar(client).sessions
    closed = ~pl.col("date").is_in(pl.Series(sessions, dtype=pl.Date).implode())
    provisional = pl.col("date") > stored.calendar(client).known.last
    wrong = (closed & ~provisional) | ~pl.col("timing").str.contains(TIMING)
    return _finding(rows.filter(wrong).select("symbol", "date", "timing"), rows.height)


def factors_monotone(client: Client, months: Iterable[str]) -> Finding:
    """Cumulative factors that fall from a day to the next one loaded: only a consolidation of shares does that."""
    rows = _months(client, ADJUST_FACTORS, months).sort("symbol", "date")
    before = pl.col("adj_factor").shift(1).over("symbol")
    falls = rows.with_columns(before=before).filter(pl.col("adj_factor") < pl.col("before"))
    return _finding(falls.select("symbol", "date", "before", "adj_factor"), rows.height)


def limits_ordered(client: Client, months: Iterable[str]) -> Finding:
    """Limits of prices that are not positive, or the upper of which is not above the lower."""
    rows = _months(client, PRICE_LIMITS, months)
    wrong = (pl.col("down") <= 0) | (pl.col("up") <= pl.col("down"))
    return _finding(rows.filter(wrong).select("symbol", "date", "up", "down"), rows.height)


def _months(client: Client, table: Table, months: Iterable[str]) -> pl.DataFrame:
    frames = [stored.of_days(client, table, Days.month(month)) for month in sorted(set(months))]
    return pl.concat([table.columns.to_frame(), *frames])


def _finding(wrong: pl.DataFrame, checked: int) -> Finding:
    examples = [{name: str(value) for name, value in row.items()} for row in wrong.head(EXAMPLES).iter_rows(named=True)]
    return Finding(wrong.height, tuple(examples), checked)

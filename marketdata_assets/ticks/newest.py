"""The newest day of the tables of ticks, and whether trading days after it are missing.

A load of an old month does not change the newest day, so it does not make a table fresh.
"""

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DAILY = (TICK_DATA.name, FACTORS.name)
"""Tables that are loaded on every trading day; order books come when files bring them."""
MISSED = 2
"""How many trading days may be over and without rows before a table is overdue: the nightly repair fetches one."""


def newest_days(client: "Client") -> dict[str, dt.date]:
    """By table that has rows its newest day, from the metadata of its parts: no row is read."""
    rows = clickhouse.read(
        client,
        "SELECT table, toDate32(max(max_date)) AS newest FROM system.parts"
        " WHERE database = currentDatabase() AND active AND rows > 0 AND table IN {tables:Array(String)}"
        " GROUP BY table",
        {"tables": list(DAILY)},
    )
    return {row["table"]: row["newest"] for row in rows.rows(named=True)}


def overdue(client: "Client", now: dt.datetime) -> list[str]:
    """The tables in which the last trading days that are over have no rows; an empty table is none of them."""
    today = now.astimezone(ZoneInfo(EXCHANGE_CLOCK)).date()
    return sorted(table for table, newest in newest_days(client).items() if _missed(newest, today) >= MISSED)


def _missed(newest: dt.date, today: dt.date) -> int:
    after = newest + dt.timedelta(days=1)
    if (today - after).days < MISSED:  # the calendar takes half a second to load
        return 0
    return len(ashares().trading_days(Days(after, today - dt.timedelta(days=1))))

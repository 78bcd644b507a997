"""The daily partitions of the exchanges domain, and the names of its jobs and assets.

Imports nothing of Dagster, so that the command line starts quickly.
"""

import datetime as dt
from typing import TYPE_CHECKING

from marketdata_assets.months import last_days
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition

TABLES_JOB, DAYS_JOB = "exchange_tables", "exchange_days"
TABLES_STEP = "fill_exchange_tables"
FEED = "exchange_feed"
APIS = "exchange_apis"
HISTORY, HISTORY_JOB = "exchange_history", "exchange_history_days"
HISTORY_TABLES = ("exchange_trades", "exchange_klines", "exchange_funding_rates", "exchange_open_interest")
"""The tables of the types that venues have histories of."""
CAPTURE_OUTCOMES = ("ok", "empty", "unchanged", "failed")
REJECTED = "rejected"


def partitions() -> "DailyPartitionsDefinition":
    """The days up to and including this one."""
    from marketdata_assets.partitions import exchange_days

    return exchange_days(Settings().exchange_days, dt.datetime.now(dt.UTC).date())


def window() -> list[dt.date]:
    """The same as dates."""
    return last_days(Settings().exchange_days, dt.datetime.now(dt.UTC))

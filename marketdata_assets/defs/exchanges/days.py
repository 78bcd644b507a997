"""The daily partitions of the exchanges domain, and the names of its jobs.

No Dagster definition is created here, so that the command line can import it.
"""

import datetime as dt

import dagster as dg

from marketdata_assets.partitions import exchange_days
from marketdata_assets.settings import Settings

TABLES_JOB, DAYS_JOB = "exchange_tables", "exchange_days"
TABLES_STEP = "fill_exchange_tables"


def partitions() -> dg.DailyPartitionsDefinition:
    """The days up to and including today, UTC."""
    return exchange_days(Settings().exchange_days, dt.datetime.now(dt.UTC).date())


def window() -> list[dt.date]:
    """The same days as dates."""
    return [dt.date.fromisoformat(key) for key in partitions().get_partition_keys()]

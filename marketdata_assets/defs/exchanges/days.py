"""The days that are partitions, and the job over them.

Nothing is defined for Dagster in here, so that the command line may import it.
"""

import datetime as dt

import dagster as dg

from marketdata_assets.partitions import exchange_days
from marketdata_assets.settings import Settings

TABLES_JOB, DAYS_JOB = "exchange_tables", "exchange_days"
TABLES_STEP = "fill_exchange_tables"


def partitions() -> dg.DailyPartitionsDefinition:
    """The days up to and including this one."""
    return exchange_days(Settings().exchange_days, dt.datetime.now(dt.UTC).date())


def window() -> list[dt.date]:
    """The same as dates."""
    return [dt.date.fromisoformat(key) for key in partitions().get_partition_keys()]

"""Selections of symbol-months, as the config of the job over what is no rectangle.

Imports nothing of Dagster, so that the command line starts quickly.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from marketdata_assets.defs import selection
from marketdata_assets.months import EXCHANGE_CLOCK, last_months
from marketdata_assets.settings import Settings
from marketdata_assets.ticks.providers_file import Table

if TYPE_CHECKING:
    from dagster import MultiPartitionsDefinition

JOB = "ticks_selected"
OP = "load_selected"
DAILY: tuple[Table, ...] = ("tick_data", "factors")  # no network provider has order books


def adhoc_config(months: Mapping[str, Sequence[str]], tables: Sequence[Table], **options: Any) -> dict[str, Any]:
    """The run config of the job."""
    wanted = {month: list(names) for month, names in months.items()}
    return selection.config_of(OP, wanted, tables=list(tables), **options)


def grid_now() -> "MultiPartitionsDefinition":
    """The grid as it is today."""
    from marketdata_assets.partitions import tick_partitions

    today = dt.datetime.now(ZoneInfo(EXCHANGE_CLOCK)).date()
    return tick_partitions(Settings().ticks_months, today)


def window_now() -> list[str]:
    """The months that have partitions."""
    return last_months(Settings().ticks_months, dt.datetime.now(dt.UTC))

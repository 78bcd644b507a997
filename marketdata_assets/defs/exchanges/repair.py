"""What the nightly repair runs for the exchanges: days whose bars are missing, failed or stale, or that Dagster does
not show, and captures whose load never succeeded.

The hourly schedule covers new trades and open gaps; this module covers what the schedule cannot detect.
"""

from pathlib import Path

import dagster as dg

from marketdata_assets.defs.exchanges import days, ingest
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import failed_requests, range_requests
from marketdata_assets.partitions import day_ranges
from marketdata_assets.resources import ClickHouse

CAPTURES_SENSOR = "exchange_captures_sensor"


def captures(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """A run for each failed request over captures that still exist; loaded captures are skipped."""
    retries = []
    for request in failed_requests(instance, days.TABLES_JOB, CAPTURES_SENSOR):
        config = dict(request.run_config["ops"][days.TABLES_STEP]["config"])
        config["files"] = [file for file in config["files"] if Path(file).exists()]
        if config["files"]:
            wanted = {"ops": {days.TABLES_STEP: {"config": config}}}
            retries.append(request.with_replaced_attrs(run_config=wanted))
    return retries


def due(instance: dg.DagsterInstance, clickhouse: ClickHouse) -> list[dg.RunRequest]:
    """A run for each range of outdated days, and of days whose Dagster record differs from the ledger."""
    from marketdata_assets.exchanges.tables import ohlcv
    from marketdata_assets.loading.states import State

    partitions = days.partitions()
    window = {str(day): day for day in days.window()}
    with clickhouse.client() as client:
        ingest.ensure_tables(client)
        states = ohlcv.states(client, list(window.values()))
    wanted = {str(day) for day, state in states.items() if state.outdated}
    loaded = [str(day) for day, state in states.items() if state == State.OK]
    for asset in ("exchange_gaps", "exchange_ohlcv_1m"):
        wanted |= find_mismatches(instance, asset, partitions, loaded, window)
    return range_requests(day_ranges(window[key] for key in wanted), job_name=days.DAYS_JOB)

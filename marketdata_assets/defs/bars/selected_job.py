"""The job over months of bars that are no range: every third month, or those that failed at random, in one run.

It loads like the step of the asset, refreshes the K-line and evaluates the checks of both.
"""

import dagster as dg

from marketdata_assets.defs.bars import assets, checks, report
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.defs.selection import BadRunConfig, config_of
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_assets.resources import BarFiles, ClickHouse, Postgres, Workers

JOB, OP = "bars_selected", "load_selected_bars"
EXAMPLE = config_of(OP, ["2024-01", "2024-04", "2024-07"])
"""What the launchpad shows."""


class SelectedConfig(assets.LoadConfig):
    """Which months."""

    months: list[str]
    """Months such as 2024-01; those between them are not loaded."""


@dg.op(name=OP, pool="timescale", out=dg.Out(dg.Nothing))
def load_selected_bars(
    context: dg.OpExecutionContext,
    config: SelectedConfig,
    postgres: Postgres,
    clickhouse: ClickHouse,
    bar_files: BarFiles,
    workers: Workers,
) -> None:
    """Load minute bars of some months, refresh their K-line, and check both."""
    with as_dagster_failure():
        months = sorted(set(config.months))
        keys = set(BAR_MONTHS.get_partition_keys())
        if wrong := [month for month in months if month not in keys]:
            raise BadRunConfig(f"months: {wrong[0]!r} is no month from {min(keys)} to {max(keys)}; write 2024-01")
        if not months:
            raise BadRunConfig("months: there are none; write some, such as 2024-01")
        loaded = assets.load(context, config, months, postgres, bar_files, workers)
        metadata = report.mark_bars(context, postgres.dsn, loaded)
        refreshed = assets.refresh_changed(context, postgres.dsn, loaded)
        for evaluation in checks.bar_evaluations(postgres.dsn, clickhouse, months):
            context.log_event(evaluation)  # type: ignore[arg-type]  # taken, though its annotation does not say so
    metadata |= {"kline": dg.MetadataValue.json(report.kline_counts(refreshed))}
    report.raise_failures(loaded, metadata)
    context.add_output_metadata(metadata)


@dg.job(name=JOB, config=EXAMPLE, description="Load minute bars of months that are no range, and their K-line.")
def selected_job() -> None:
    load_selected_bars()

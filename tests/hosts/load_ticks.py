"""One host's load of ticks: symbols from..up to, months; everything else as the settings of the environment say."""

import datetime as dt
import sys

from marketdata_assets.reference.records import Days
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import tables
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import Limits
from marketdata_assets.ticks.reports import Unit

OFTEN = Limits(rows=100_000, items=10, seconds=1.0, held=200_000)
"""What is fetched is published after a second, so that a kill finds units of every kind."""
NOW = dt.datetime(2025, 7, 1, 1, tzinfo=dt.UTC)


def weekdays(days: Days) -> list[dt.date]:
    return [day for day in days if day.weekday() < 5]


def main(first: int, end: int, months: list[str]) -> None:
    ticks = Ticks().restricted(["tushare"])
    units = [Unit(f"{600000 + number}.SH", month) for month in months for number in range(first, end)]
    with clickhouse.connect(ClickHouse().dsn) as client:
        tables.ensure(client)
        report = load(
            client,
            ticks.providers(),
            units,
            options=ticks.options(limits=OFTEN),
            run_id="hosts",
            now=NOW,
            trading_days=weekdays,
        )
    if report.failed:
        raise SystemExit(f"{len(report.failed)} units failed, one: {report.failed[0].error}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

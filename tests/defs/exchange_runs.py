"""An environment of the exchanges: tables, a folder of captures and a Dagster instance, all still empty; and runs."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.defs.exchanges.days import DAYS_JOB, TABLES_JOB, TABLES_STEP
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.partitions import range_tags
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.captures import Written, write
from marketdata_demo.venues.market import Plan
from tests.defs.bar_runs import execute

TRADES, BARS, GAPS = map(dg.AssetKey, ("exchange_trades", "exchange_ohlcv_1m", "exchange_gaps"))
YESTERDAY = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
START = dt.datetime.combine(YESTERDAY, dt.time(), dt.UTC) - dt.timedelta(minutes=3)
"""A market across midnight, so of two days."""
FIRST, LAST = str(YESTERDAY - dt.timedelta(days=1)), str(YESTERDAY)


@dataclass(frozen=True)
class ExchangesEnv:
    """What there is."""

    client: Client
    home: Path
    instance: dg.DagsterInstance
    patch: pytest.MonkeyPatch

    @property
    def folder(self) -> Path:
        return self.home / "captures"

    def sample(self, minutes: int = 8, **options: Any) -> Written:
        """Captures of an invented market."""
        return write(self.folder, Plan(START, minutes=minutes, **options))

    def fill(self, *, checks: bool = False, **config: Any) -> dg.ExecuteInProcessResult:
        """Run the job that fills the tables; a failed run is returned, not raised."""
        return execute(self.instance, TABLES_JOB, {"ops": {TABLES_STEP: {"config": config}}}, checks=checks)

    def days(
        self, first: str = FIRST, last: str = LAST, *, fetch: bool = False, checks: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Close gaps and make bars."""
        config = {"ops": {"exchange_gaps": {"config": {"fetch": fetch}}}}
        return execute(self.instance, DAYS_JOB, config, range_tags(first, last), checks=checks)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return list(clickhouse.read(self.client, sql).iter_rows())

    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        schema.ensure(self.client)
        names = [*(table.name for table in schema.TABLES.values()), schema.OHLCV_1M]
        return {name: self.rows(f"SELECT toInt64(count()) FROM {name} FINAL")[0][0] for name in names}

    def materialized(self, asset: dg.AssetKey) -> set[str]:
        return set(self.instance.get_materialized_partitions(asset))

    def metadata(self, asset: dg.AssetKey, day: str | None = None) -> dict[str, Any]:
        """What the last run said of an asset, or of its partition."""
        filters = dg.AssetRecordsFilter(asset, asset_partitions=[day] if day else None)
        told = self.instance.fetch_materializations(filters, limit=1).records[0].asset_materialization
        assert told
        return {key: value.value for key, value in told.metadata.items()}

    def told(self) -> dict[str, Any]:
        """What the last run that fills the tables said of itself."""
        records = self.instance.fetch_observations(dg.AssetKey("exchange_feed"), limit=1).records
        event = records[0].asset_observation
        assert event
        return {key: value.value for key, value in event.metadata.items()}["round"]

    def last_materialized(self, table: str) -> float | None:
        """When (seconds since 1970) a run materialized a table last."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(table))
        return event.timestamp if event else None


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """By asset and check, whether it passed."""
    return {
        f"{one.asset_key.to_user_string()}:{one.check_name}": one.passed for one in result.get_asset_check_evaluations()
    }

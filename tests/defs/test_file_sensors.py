"""Every folder that a setting names for dropped files has a sensor that looks into it."""

from pathlib import Path

import dagster as dg
import pytest
from bar_runs import repository

from marketdata_assets import resources
from marketdata_assets.settings import Settings

SENSORS = {
    "bars_dir": "bars_files",
    "alphas_dir": "alphas_files",
    "ticks_dir": "ticks_files",
    "reference_dir": "reference_files",
    "captures_dir": "exchanges_captures",
    "flows_data": "flows_stock_daily_files",
}
NOT_DROPPED = {"flows_dir", "backup_dir"}
"""Definitions that a person writes, and what the project writes itself."""


def test_every_folder_of_the_settings_has_a_sensor() -> None:
    folders = {name for name in Settings.model_fields if name.endswith(("_dir", "flows_data"))}
    assert folders - NOT_DROPPED == SENSORS.keys()
    assert set(SENSORS.values()) <= {one.name for one in repository().sensor_defs}


@pytest.mark.parametrize("setting", SENSORS)
def test_the_sensor_looks_into_the_folder(
    setting: str, tmp_path: Path, dsn: str, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_POSTGRES_DSN", dsn)
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv(f"MARKETDATA_{setting.upper()}", str(tmp_path))
    found = repository().get_sensor_def(SENSORS[setting])
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, repository_def=repository(), resources=dict(resources.by_name())
        ) as context,
    ):
        said = found.evaluate_tick(context)
    assert said.skip_message
    assert str(tmp_path) in said.skip_message

"""Every folder that a setting names for dropped files has a sensor that looks into it."""

from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets import resources
from marketdata_assets.defs.partition_results import failure_reason
from marketdata_assets.errors import TerminalError
from marketdata_assets.settings import Settings
from tests.defs.bar_runs import execute, repository

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


def test_a_new_file_is_requested_within_two_minutes_as_pages_say() -> None:
    """It has to be quiet at a look, and the one before may just have missed that."""
    quiet = [field.default for name, field in Settings.model_fields.items() if name.endswith("_quiet_seconds")]
    for name in SENSORS.values():
        assert max(quiet) + repository().get_sensor_def(name).minimum_interval_seconds <= 120, name


def look(setting: str) -> str:
    """Why the sensor of a folder asks for nothing."""
    found = repository().get_sensor_def(SENSORS[setting])
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, repository_def=repository(), resources=dict(resources.by_name())
        ) as context,
    ):
        return str(found.evaluate_tick(context).skip_message)


@pytest.fixture
def servers(dsn: str, clickhouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MARKETDATA_POSTGRES_DSN", dsn)
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", clickhouse_url)


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("setting", SENSORS)
def test_the_sensor_looks_into_the_folder_and_names_one_that_is_missing(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong name, or a disk that is not mounted, does not look like a folder without files."""
    variable = f"MARKETDATA_{setting.upper()}"
    assert f"there is no {tmp_path}/home/" in look(setting)
    if setting != "flows_data":
        assert variable in look(setting)
    monkeypatch.setenv(variable, str(tmp_path))
    assert str(tmp_path) in look(setting)
    monkeypatch.setenv(variable, str(tmp_path / "typo"))
    with pytest.raises(TerminalError, match=f"^{variable}: {tmp_path}/typo is no folder; create it"):
        look(setting)


JOBS = {
    "bars_dir": ("bars_and_kline", "2024-01"),
    "reference_dir": ("reference_days", "2024-01"),
    "flows_data": ("flow_stock_daily", "2024-01"),
}


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("setting", JOBS)
def test_a_run_over_a_folder_that_does_not_exist_fails_with_the_variable(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, month = JOBS[setting]
    monkeypatch.setenv(f"MARKETDATA_{setting.upper()}", str(tmp_path / "typo"))
    with dg.DagsterInstance.ephemeral() as instance:
        ended = execute(instance, job, {}, partition=month)
    assert not ended.success
    texts = [failure_reason(event) for event in ended.all_events if event.is_step_failure]
    assert any(f"{tmp_path}/typo is no folder; create it" in text for text in texts), texts

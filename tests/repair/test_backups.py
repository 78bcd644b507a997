"""The daily backup: a job that runs when a folder is named, and fails visibly."""

from pathlib import Path

import dagster as dg
import pytest
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.backup import files
from marketdata_assets.defs.repair import housekeeping

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def folder(dsn: str, mongo_uri: str, clickhouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where backups go; all databases are named."""
    found = conninfo_to_dict(dsn)
    storage = {"HOST": "host", "PORT": "port", "DB": "dbname", "USER": "user"}
    variables = {f"DAGSTER_PG_{name}": str(found[key]) for name, key in storage.items()} | {
        "DAGSTER_PG_PASSWORD": str(found.get("password", "trust")),
        "MARKETDATA_HOME": str(tmp_path / "home"),
        "MARKETDATA_POSTGRES_DSN": dsn,
        "MARKETDATA_MONGO_URI": mongo_uri,
        "MARKETDATA_CLICKHOUSE_URL": clickhouse_url,
        "MARKETDATA_BACKUP_DIR": str(tmp_path / "backups"),
        "MARKETDATA_BACKUP_KEEP": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "backups"


def test_job_writes_a_dated_backup_and_keeps_the_newest(folder: Path, on_postgres: dg.DagsterInstance) -> None:
    old = folder / "2026-01-01T020000Z"
    old.mkdir(parents=True)
    files.end(old, files.Manifest(files.FORMAT, "", []))
    done = housekeeping.backup.execute_in_process(instance=on_postgres, run_config=QUIET)
    assert done.success
    [taken] = folder.iterdir()
    assert taken != old
    assert {"runs", "event_logs"} <= {one.name for one in files.read(taken).of("Dagster")}


def test_job_fails_with_the_cause_and_keeps_what_is_there(
    folder: Path, on_postgres: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder / "2026-01-01T020000Z"
    old.mkdir(parents=True)
    files.end(old, files.Manifest(files.FORMAT, "", []))
    monkeypatch.delenv("MARKETDATA_MONGO_URI")
    done = housekeeping.backup.execute_in_process(instance=on_postgres, run_config=QUIET, raise_on_error=False)
    assert not done.success
    [failure] = [event for event in done.all_events if event.is_step_failure]
    assert "MARKETDATA_MONGO_URI" in str(failure.step_failure_data.user_failure_data)
    assert [one.name for one in folder.iterdir()] == [old.name]


def test_schedule_skips_until_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKETDATA_BACKUP_DIR", raising=False)
    skipped = housekeeping.system_backup_daily(dg.build_schedule_context())
    assert "MARKETDATA_BACKUP_DIR" in str(skipped.skip_message)
    monkeypatch.setenv("MARKETDATA_BACKUP_DIR", str(tmp_path))
    assert isinstance(housekeeping.system_backup_daily(dg.build_schedule_context()), dg.RunRequest)

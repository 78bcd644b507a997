"""dagster.yaml: Dagster accepts it, and its pools are those that the assets name."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from marketdata_assets.cli.instance import CannotRun, environment
from marketdata_assets.dagster_internals import POOLS
from marketdata_assets.definitions import defs
from marketdata_assets.defs.exchanges.days import TABLES_STEP
from marketdata_assets.local.endpoints import Endpoints
from marketdata_assets.settings import Settings
from tests.deploy.compose_file import PACKAGE

FILE = PACKAGE / "dagster.yaml"
POOL_OF = {"timescaledb": "timescale", "postgres": "timescale", "mongodb": "mongo", "clickhouse": "clickhouse"}


def test_dagster_accepts_every_key_and_rejects_an_unknown_one(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(FILE.read_text())
    config, _ = dagster_instance_config(str(tmp_path))
    assert not {"run_launcher", "run_coordinator"} & config.keys(), "Dagster's own"
    (tmp_path / "dagster.yaml").write_text(FILE.read_text().replace("poll_interval_seconds", "pol_interval_seconds"))
    with pytest.raises(dg.DagsterInvalidConfigError):
        dagster_instance_config(str(tmp_path))


def test_every_asset_has_the_pool_of_its_database() -> None:
    seen = set()
    for asset in defs().get_repository_def().assets_defs_by_key.values():
        if not asset.is_executable:
            continue
        pools = {node.pool for node in asset.node_def.iterate_node_defs() if isinstance(node, dg.OpDefinition)}
        kinds = {kind for spec in asset.specs for kind in spec.kinds}
        wanted = {POOL_OF[kind] for kind in kinds if kind in POOL_OF}
        if wanted == {"mongo"} and "http" in kinds:
            wanted = {"alpha_api"}  # BRAIN's budget is less than what MongoDB bears
        if asset.node_def.name == TABLES_STEP:
            wanted = {"live"}  # what arrives now waits for no load of the past
        assert not wanted or pools == wanted, [key.to_user_string() for key in asset.keys]
        seen |= pools - {None}
    assert seen == set(POOLS)


def test_runs_are_monitored_limited_and_retried() -> None:
    config = yaml.safe_load(FILE.read_text())
    assert config["run_monitoring"]["enabled"]
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] <= 300
    assert config["run_retries"] == {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}
    pools, most = config["concurrency"]["pools"], config["concurrency"]["runs"]["max_concurrent_runs"]
    assert 0 < pools["default_limit"] * len(POOLS) < most, "live data has a place beside all loads of the past"
    assert pools["granularity"] == "run", "no slot stays claimed by a process that was killed"


def test_another_dagster_yaml_is_used_where_it_is_and_its_folder_only_read(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    settings = Settings(home=tmp_path / "home", dagster_home=folder)
    with pytest.raises(CannotRun, match=r"MARKETDATA_DAGSTER_HOME.*has no dagster\.yaml"):
        environment(settings, Endpoints())
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}")
    found = environment(settings, Endpoints())
    assert found["DAGSTER_HOME"] == str(folder)
    assert found["DAGSTER_COMPUTE_LOG_DIR"] == str(tmp_path / "home" / "dagster" / "logs"), "which is written to"
    assert [file.name for file in folder.iterdir()] == ["dagster.yaml"]
    assert not (tmp_path / "home" / "dagster" / "dagster.yaml").exists()

"""MARKETDATA_DOMAINS: nothing of the other domains is loaded, started or listed."""

from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets import domains
from marketdata_assets.definitions import defs
from marketdata_assets.defs.repair.health import START
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import BadSettings, Settings

COMMON_JOBS = {"backup", "health", "housekeeping", "__ASSET_JOB"}
COMMON_SENSORS = {"repair_backfills", "repair_selected", "system_heartbeat", "system_killed_runs", "system_alert"}
SERVERS = {
    "bars": ["postgres"],
    "flows": ["postgres"],
    "alphas": ["postgres", "mongo"],
    "ticks": ["postgres", "clickhouse"],
    "exchanges": ["postgres", "clickhouse", "nats"],
    "bars,flows": ["postgres"],
    "": ["postgres", "mongo", "clickhouse", "nats"],
}
LOADED = {
    "bars": {"bars"},
    "alphas": {"alphas", "alpha_records", "alpha_correlations", "alpha_catalogues"},
    "reference": {"reference", "ticks"},
    "ticks": {"ticks", "reference"},
    "exchanges": {"exchanges"},
    "flows": {"flows"},
    "reconciliation": {"bars", "ticks", "reference", "flows"},
}


def repository(monkeypatch: pytest.MonkeyPatch, text: str) -> dg.RepositoryDefinition:
    monkeypatch.setenv("MARKETDATA_DOMAINS", text)
    return defs().get_repository_def()


@pytest.mark.parametrize("name", LOADED)
def test_only_assets_of_the_domain_are_loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded_here = repository(monkeypatch, name)
    graph = loaded_here.asset_graph
    assert all(loaded_here.get_job(job) for job in loaded_here.job_names)
    own = {*graph.get_all_asset_keys()} - {dg.AssetKey(START)}
    loaded = {key for key in own if graph.get(key).is_materializable}
    assert {graph.get(key).group_name for key in loaded} == LOADED[name]
    read = {parent for key in loaded for parent in graph.get(key).parent_keys}
    assert own - loaded <= read


def test_jobs_and_sensors_of_other_domains_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = repository(monkeypatch, "bars")
    assert {*bars.job_names} - COMMON_JOBS == {"bars", "bars_and_kline", "bars_selected", "kline"}
    assert {one.name for one in bars.sensor_defs} - COMMON_SENSORS == {"bars_files", "bars_kline"}
    assert {one.name for one in bars.schedule_defs} == {
        "system_backup_daily",
        "system_health",
        "system_housekeeping_daily",
    }


def test_all_of_them_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    named = repository(monkeypatch, ",".join(domains.OWN))
    monkeypatch.delenv("MARKETDATA_DOMAINS")
    every = defs().get_repository_def()
    assert {*named.job_names} == {*every.job_names}
    assert named.asset_graph.get_all_asset_keys() == every.asset_graph.get_all_asset_keys()


@pytest.mark.parametrize("text", SERVERS)
def test_only_its_servers_are_started(text: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, flows_dir=tmp_path / "flows", domains=text or None)
    assert list(LocalStack(settings).services) == SERVERS[text]


def test_a_flow_into_clickhouse_needs_its_server(tmp_path: Path) -> None:
    flow = tmp_path / "flows/closes/defs.yaml"
    flow.parent.mkdir(parents=True)
    flow.write_text(
        "type: marketdata_assets.components.Flow\nattributes:\n  loader:\n    columns: {code: code, day: day}\n"
        "    types: {day: date}\n  target:\n    kind: clickhouse\n    removed_rows: delete\n    table: closes\n"
        "    key: [code, day]\n"
        "    columns: {code: text, day: date}\n"
    )
    settings = Settings(home=tmp_path, flows_dir=tmp_path / "flows", domains="flows")
    assert list(LocalStack(settings).services) == ["postgres", "clickhouse"]


def test_an_unknown_domain_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_DOMAINS", "bars,alpha")
    with pytest.raises(BadSettings, match=r"MARKETDATA_DOMAINS: .*alpha is no domain; did you mean 'alphas'"):
        Settings()

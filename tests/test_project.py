"""The whole project: definitions load anywhere, assets say what they are, settings and secrets are documented."""

import datetime as dt
import inspect
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets import domains, resources
from marketdata_assets.cli import app
from marketdata_assets.cli.app import COMMANDS, Command, Group
from marketdata_assets.definitions import defs, project_definitions
from marketdata_assets.partitions import ALPHA_MONTHS, ALPHA_PARTITIONS, BAR_MONTHS
from marketdata_assets.secret_values import without_password
from marketdata_assets.server_health import check
from marketdata_assets.settings import Settings
from marketdata_demo import sample_bars

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "marketdata_assets"
CANARY = "canary"

RECORD_ASSETS = ("alpha_pnl", "alpha_daily_pnl", "alpha_turnover", "alpha_sharpe", "alpha_yearly_stats")
CORRELATION_ASSETS = ("alpha_self_correlation", "alpha_prod_correlation", "alpha_power_pool_correlation")
CATALOGUE_ASSETS = ("brain_operators", "brain_data_sets", "brain_data_fields")
CORRELATION_ASSETS += ("alpha_submission_check",)
ASSETS = {
    "minute_bar_files": "bars",
    "stock_1min_qfq": "bars",
    "stock_monthly_kline": "bars",
    "reconciliation": "bars",
    "brain_api": "alphas",
    "alpha_files": "alphas",
    "alpha_packages": "alphas",
    "regular_alphas": "alphas",
    "super_alphas": "alphas",
    "alpha_summary": "alphas",
    **dict.fromkeys(RECORD_ASSETS, "alpha_records"),
    **dict.fromkeys(CORRELATION_ASSETS, "alpha_correlations"),
    **dict.fromkeys(CATALOGUE_ASSETS, "alpha_catalogues"),
    "reference_files": "reference",
    "trading_calendar": "reference",
    "instruments": "reference",
    "suspensions": "reference",
    "adjust_factors": "reference",
    "price_limits": "reference",
    "tushare_api": "sources",
    "yahoo_chart": "sources",
    "alpaca_bars": "sources",
    "tick_files": "ticks",
    "symbol_registry": "ticks",
    "tick_data": "ticks",
    "order_book": "ticks",
    "factors": "ticks",
    "exchange_feed": "exchanges",
    "exchange_apis": "exchanges",
    "exchange_trades": "exchanges",
    "exchange_orderbooks": "exchanges",
    "exchange_klines": "exchanges",
    "exchange_tickers": "exchanges",
    "exchange_funding_rates": "exchanges",
    "exchange_open_interest": "exchanges",
    "exchange_liquidations": "exchanges",
    "exchange_instrument_states": "exchanges",
    "exchange_gaps": "exchanges",
    "exchange_history": "exchanges",
    "exchange_ohlcv_1m": "exchanges",
    "start_here": "start_here",
    "stock_daily_files": "flows",
    "stock_daily": "flows",
    "stock_daily_indicators": "flows",
}
EXTERNAL = {"minute_bar_files", "brain_api", "tushare_api", "yahoo_chart", "tick_files", "exchange_feed"}
EXTERNAL |= {"alpaca_bars", "stock_daily_files", "reference_files", "exchange_apis"}
FLOWS = ("stock_daily", "stock_daily_indicators")
REFERENCE_DAYS = ("suspensions", "adjust_factors", "price_limits")
TICK_TABLES = ("tick_data", "order_book", "factors")
BY_DAYS = ("exchange_gaps", "exchange_ohlcv_1m", "exchange_history")
RECORD_TABLES = tuple(name for name, group in ASSETS.items() if group == "exchanges" and name not in EXTERNAL)[:8]
ALPHA_CHECKS = {
    "every_id_landed",
    "unique_ids",
    "unique_check_names",
    "required_fields",
    "repeat_changes_nothing",
}
CHECKS = {
    "stock_1min_qfq": {"every_row_accounted", "bars_complete", "one_price_basis"},
    "reconciliation": {"no_disagreements"},
    "start_here": {"nothing_failed"},
    "stock_monthly_kline": {
        "month_gain",
        "negative_volume_or_amount",
        "ohlc_order",
        "volume_without_amount",
        "units",
        "missing_name",
        "kline_equals_minutes",
    },
    "regular_alphas": ALPHA_CHECKS,
    "super_alphas": ALPHA_CHECKS,
    **{name: {"records_complete", "records_valid"} for name in (*RECORD_ASSETS, *CORRELATION_ASSETS)},
    **{name: {"catalogue_complete"} for name in CATALOGUE_ASSETS},
    "trading_calendar": {"files_read", "calendar_agrees", "known_ahead"},
    "instruments": {"instruments_consistent", "files_read"},
    "suspensions": {"suspensions_consistent", "files_read"},
    "adjust_factors": {"factors_monotone", "files_read"},
    "price_limits": {"limits_ordered", "files_read"},
    "tick_data": {
        "duplicates",
        "ohlc_order",
        "price_bounds",
        "volume_bounds",
        "units_agree",
        "prices_in_limits",
        "ticks_complete",
        "ledger_agrees",
    },
    "factors": {"factors_recomputed"},
    **{name: {"nothing_refused"} for name in RECORD_TABLES},
    "exchange_trades": {"nothing_refused", "one_row_a_trade", "holes_on_record"},
    "exchange_orderbooks": {"nothing_refused", "changes_follow"},
    "exchange_gaps": {"none_open"},
    "exchange_history": {"history_stored", "candles_complete"},
    "exchange_ohlcv_1m": {"bars_equal_klines", "bars_recomputed", "price_order"},
    **{name: {"keys_unique", "every_row_accounted", "no_drift", "no_new_columns"} for name in FLOWS},
}
PARTITIONS = {
    "stock_1min_qfq": dg.MonthlyPartitionsDefinition,
    "stock_monthly_kline": dg.MonthlyPartitionsDefinition,
    "reconciliation": dg.MonthlyPartitionsDefinition,
    **dict.fromkeys(("alpha_files", "alpha_packages", "regular_alphas", "super_alphas"), dg.MultiPartitionsDefinition),
    **dict.fromkeys((*RECORD_ASSETS, *CORRELATION_ASSETS), dg.MultiPartitionsDefinition),
    **dict.fromkeys(("alpha_summary", "start_here", *CATALOGUE_ASSETS), type(None)),
    **dict.fromkeys(("symbol_registry", "trading_calendar", "instruments"), type(None)),
    **dict.fromkeys(REFERENCE_DAYS, dg.MonthlyPartitionsDefinition),
    **dict.fromkeys(TICK_TABLES, dg.MultiPartitionsDefinition),
    **dict.fromkeys(RECORD_TABLES, type(None)),
    **dict.fromkeys(FLOWS, dg.MonthlyPartitionsDefinition),
    **dict.fromkeys(BY_DAYS, dg.DailyPartitionsDefinition),
}
RELIED_ON = {"HOME", "POSTGRES_DSN", "MONGO_URI", "CLICKHOUSE_URL", "NATS_URL", "BARS_DIR"} | {
    "ALPHAS_DIR",
    "CAPTURES_DIR",
    "BRAIN_URL",
    "BRAIN_ACCOUNTS",
    "TICKS_DIR",
    "REFERENCE_DIR",
    "PROVIDERS",
    "TUSHARE_URL",
    "YAHOO_URL",
    "FLOWS_DIR",
}

LOAD_OFFLINE = """
import socket, sys
import psycopg

def refuse(*_, **__):
    raise AssertionError("the definitions went to the network")

for name in ("connect", "connect_ex", "bind", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = psycopg.connect = refuse
from marketdata_assets.definitions import defs
repository = defs().get_repository_def()
print(len(repository.asset_graph.get_all_asset_keys()), *repository.job_names)
print(*sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return defs().get_repository_def()


def computed(repository: dg.RepositoryDefinition) -> list[dg.AssetsDefinition]:
    """The assets that a run makes, without the external ones and the checks."""
    graph = repository.assets_defs_by_key
    return list({id(graph[key]): graph[key] for key in graph if graph[key].is_executable and graph[key].keys}.values())


def test_definitions_depend_on_few_settings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that decide whether a process builds them again."""
    read = set[str]()

    def recorded(settings: Settings, name: str) -> Any:
        read.add(name)
        return object.__getattribute__(settings, name)

    monkeypatch.setenv("MARKETDATA_TICKS_MONTHS", "7")
    monkeypatch.setattr(Settings, "__getattribute__", recorded)
    project_definitions()
    assert read & set(Settings.model_fields) == {"domains", "ticks_months", "exchange_days"}


def test_definitions_load_without_environment_and_network(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", LOAD_OFFLINE], env={}, cwd=tmp_path, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    loaded, modules = child.stdout.splitlines()
    assert loaded.startswith(f"{len(ASSETS)} ")
    jobs = {
        "bars",
        "bars_and_kline",
        "bars_selected",
        "alphas",
        "alphas_import",
        "alphas_selected",
        "alpha_records",
        "alpha_changes",
        "alpha_catalogues",
        "ticks",
        "ticks_selected",
        "symbols",
        "reference_days",
    }
    jobs |= {"exchange_tables", "exchange_days", *(f"flow_{name}" for name in FLOWS)}
    assert jobs <= set(loaded.split())
    heavy = {"matplotlib", "ray", "chdb", "pymongo", "httpx", "clickhouse_connect", "nats", "pandas"}
    heavy |= {"exchange_calendars"}
    assert heavy & set(modules.split()) == set()
    assert list(tmp_path.iterdir()) == []


def test_repository_loads_whole_as_a_code_server_loads_it(repository: dg.RepositoryDefinition) -> None:
    repository.load_all_definitions()


def test_assets_have_the_names_and_groups_that_outsiders_rely_on(repository: dg.RepositoryDefinition) -> None:
    nodes = repository.asset_graph.asset_nodes
    assert {node.key.to_user_string(): node.group_name for node in nodes} == ASSETS
    assert {node.key.to_user_string() for node in nodes if not node.is_executable} == EXTERNAL


def test_reference_data_are_upstream_of_every_table_of_ashares(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    for name in ("stock_1min_qfq", "stock_monthly_kline", "tick_data", "order_book", "factors", *FLOWS):
        above = {key.to_user_string() for key in graph.get_ancestor_asset_keys(dg.AssetKey(name))}
        assert "instruments" in above, (name, above)


def test_every_asset_says_what_it_is(repository: dg.RepositoryDefinition) -> None:
    for node in repository.asset_graph.asset_nodes:
        name = node.key.to_user_string()
        assert len(node.description or "") > 40, name
        assert node.owners, name
        assert 1 <= len(node.kinds) <= 3, name


def test_every_computed_asset_can_be_run_again_in_one_run(repository: dg.RepositoryDefinition) -> None:
    keys = {key.to_user_string() for asset in computed(repository) for key in asset.keys}
    assert keys == ASSETS.keys() - EXTERNAL
    for asset in computed(repository):
        names = [key.to_user_string() for key in asset.keys]
        assert asset.backfill_policy == dg.BackfillPolicy.single_run(), names
        assert all(isinstance(asset.partitions_def, PARTITIONS[name]) for name in names)
        assert all(spec.code_version for spec in asset.specs), names
        assert all("dagster/column_schema" in spec.metadata for spec in asset.specs), names
        body = asset.op.compute_fn.decorated_fn  # type: ignore[union-attr]
        if len(names) == 1:
            assert inspect.signature(body).return_annotation is dg.MaterializeResult, names
        else:
            assert all(spec.skippable for spec in asset.specs), "it logs what landed, and has no output"


def test_no_group_is_wider_than_a_screen() -> None:
    # but for the tables of records, of which there is one for each type
    groups = [group for name, group in ASSETS.items() if name not in EXTERNAL and name not in RECORD_TABLES]
    assert max(map(groups.count, groups)) <= 6


def test_months_of_bars_run_on_the_exchange_clock_up_to_the_current_one(repository: dg.RepositoryDefinition) -> None:
    for asset in computed(repository):
        months = asset.partitions_def
        if not isinstance(months, dg.MonthlyPartitionsDefinition) or {key.path[-1] for key in asset.keys} & {*FLOWS}:
            continue
        assert months.timezone == "Asia/Shanghai"
        new_year = months.get_first_partition_window()
        assert new_year is not None
        assert new_year.start.isoformat() == "2000-01-01T00:00:00+08:00"
        keys = months.get_partition_keys(current_time=new_year.start.replace(year=2026, month=2, day=28, hour=23))
        assert (keys[0], keys[-1], len(keys)) == ("2000-01", "2026-02", 26 * 12 + 2)


def test_alphas_are_cut_by_utc_month_and_account_up_to_the_current_one() -> None:
    assert ALPHA_PARTITIONS.partition_dimension_names == ["account", "month"]
    assert ALPHA_MONTHS.timezone == "UTC"
    late = dt.datetime(2026, 2, 28, 23, 59, tzinfo=dt.UTC)
    keys = ALPHA_MONTHS.get_partition_keys(current_time=late)
    assert (keys[0], keys[-1], len(keys)) == ("2015-01", "2026-02", 11 * 12 + 2)


def test_checks_jobs_and_automation_are_all_there(repository: dg.RepositoryDefinition) -> None:
    keys = repository.asset_graph.asset_check_keys
    assert {asset: {k.name for k in keys if k.asset_key.path == [asset]} for asset in CHECKS} == CHECKS
    assert len(keys) == sum(map(len, CHECKS.values()))
    running = dg.DefaultSensorStatus.RUNNING
    sensors = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}
    own = (
        "bars_files",
        "bars_kline",
        "alphas_accounts",
        "alphas_files",
        "alphas_follow",
        "reference_files",
        "ticks_files",
        "exchanges_captures",
        "repair_backfills",
        "repair_selected",
        "system_alert",
        "system_heartbeat",
        "system_killed_runs",
        *(f"flows_{name}_files" for name in FLOWS),
    )
    assert sensors == dict.fromkeys(own, running)
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "alphas_hourly",
        "alphas_daily",
        "alphas_rotation",
        "alphas_changes",
        "alphas_records_daily",
        "alphas_catalogues_weekly",
        "exchanges_drain",
        "exchanges_hourly",
        "ticks_daily",
        "ticks_symbols_daily",
        "reference_daily",
        "system_health",
        "system_housekeeping_daily",
        "system_backup_daily",
        *(f"flows_{name}_clock" for name in FLOWS),
    }
    assert {schedule.execution_timezone for schedule in repository.schedule_defs} == {"Asia/Shanghai"}
    assert all(one.default_status == dg.DefaultScheduleStatus.RUNNING for one in repository.schedule_defs)


def test_every_module_has_its_place_in_the_layers() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one["name"] == "Imports go down"]
    placed = {name.removeprefix("marketdata_assets.") for line in layers for name in line.split(" | ")}
    package = PROJECT / "marketdata_assets"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert placed == modules - {"__init__"}


def test_sensors_and_schedules_are_named_and_tagged_by_their_domain(repository: dg.RepositoryDefinition) -> None:
    known = {*domains.OWN, "repair", "system"}
    for one in (*repository.sensor_defs, *repository.schedule_defs):
        domain = one.name.partition("_")[0]
        assert domain in known, one.name
        assert one.tags["marketdata/domain"] == domain, one.name


def test_every_setting_is_described_and_read_nowhere_else() -> None:
    fields = Settings.model_fields
    assert {name.upper() for name in fields} >= RELIED_ON
    assert all(field.description for field in fields.values())
    known = {f"MARKETDATA_{name.upper()}" for name in fields}
    named = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"MARKETDATA_[A-Z]\w*[A-Z]", path.read_text())
        if path.name != "settings.py"
    }
    assert len(named) >= 5
    assert named <= known


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    child = subprocess.run([linter, "--no-cache"], cwd=PROJECT, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout
    assert "0 broken" in child.stdout


def test_help_names_every_command() -> None:
    program = Path(sys.executable).with_name("marketdata")
    child = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert all(f" {name} " in child.stdout for name in ("up", "demo", "status", "doctor", "ingest", "quarantine"))


def test_help_imports_nothing_heavy() -> None:
    check = "import sys, atexit; from marketdata_assets.cli import app; sys.argv = ['marketdata', '--help']"
    check += "; atexit.register(lambda: print(*sorted(sys.modules))); app()"
    child = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    heavy = {"matplotlib", "chdb", "pymongo", "ray", "dagster", "polars", "pydantic", "psycopg", "httpx", "yaml"}
    assert heavy & set(child.stdout.split()) == set()


def test_listed_help_is_the_first_line_of_each_commands_own() -> None:
    def check(entries: Mapping[str, Command | Group], loaded: Mapping[str, Any]) -> None:
        for name, entry in entries.items():
            if isinstance(entry, Group):
                check(entry.commands, loaded[name].commands)
            else:
                own = loaded[name].help.partition("\n\n")[0].replace("\n", " ")
                assert own.startswith(entry.summary), name

    check(COMMANDS, typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_that_reports_something_accepts_json() -> None:
    """The others serve until they are stopped, become another program, or print JSON anyway."""

    def without(command: Any, words: tuple[str, ...] = ()) -> set[str]:
        if hasattr(command, "commands"):
            return {name for word, one in command.commands.items() for name in without(one, (*words, word))}
        options = {flag for parameter in command.params for flag in getattr(parameter, "opts", ())}
        return set() if "--json" in options else {" ".join(words)}

    serving = {"ui", "web", "replay-server", "metrics", "code-server", "exec", "collect metrics", "flows schema"}
    assert without(typer.main.get_command(app)) <= serving


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:canary@db:5432/bars",
        "postgresql://me:can@nary:canary/x@db/bars",
        "postgresql://db/bars?user=me&password=canary&sslmode=require",
        "mongodb://me:canary@a:1,b:2/?journal=true",
        "http://me:canary@db:8123/marketdata",
        "nats://canary@db:4222",
        "no answer of nats://me:canary@db:4222 in 5 s",
        "host=db user=me password=canary dbname=bars",
        r"host=db password = 'it\'s canary' dbname=bars",
    ],
)
def test_password_is_taken_out_of_every_kind_of_url(url: str) -> None:
    shown = without_password(url)
    assert CANARY not in shown
    assert "***" in shown
    assert "db" in shown or "a:1,b:2" in shown


@pytest.mark.parametrize("url", ["postgresql://postgres@127.0.0.1:5432/x", "http://127.0.0.1:8123/m", "nats://a:4222"])
def test_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert without_password(url) == url


@pytest.mark.usefixtures("server_with_password")
def test_password_never_reaches_events_or_metadata(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: dg.RepositoryDefinition
) -> None:
    parts = conninfo_to_dict(dsn)
    where = f"{parts['host']}:{parts['port']}/{parts['dbname']}"
    canary = str(parts["password"])
    data = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", sample_bars.weekdays(2014)[:2], 7))
    with zipfile.ZipFile(tmp_path / "2014_1min.zip", "w") as archive:
        archive.writestr("sz000001_2014.csv", data)
    monkeypatch.setenv("MARKETDATA_BARS_DIR", str(tmp_path))
    monkeypatch.setenv("MARKETDATA_WORKERS", "1")
    (tmp_path / "instance").mkdir()
    said = {}
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "instance")) as instance:
        for outcome, address in ((True, where), (False, where.replace(str(parts["port"]), "1"))):
            monkeypatch.setenv("MARKETDATA_POSTGRES_DSN", f"postgresql://postgres:{canary}@{address}")
            job = repository.get_job("bars_and_kline")
            result = job.execute_in_process(instance=instance, partition_key="2014-01", raise_on_error=False)
            assert result.success is outcome
            run = instance.get_run_by_id(result.run_id)
            assert run is not None
            events = [entry.to_json() for entry in instance.all_logs(result.run_id)]
            said[outcome] = "\n".join([*events, json.dumps(run.run_config), json.dumps(run.tags)])
    assert "STEP_FAILURE" in said[False]
    assert "candlesticks" in said[True]
    assert canary not in said[True] + said[False]
    health = check("postgres", f"postgresql://postgres:{canary}@{where}")
    assert health.ok
    assert canary not in str(health)


@pytest.mark.parametrize("field", ["url", "folder", "urls", "providers_file"])
def test_run_config_names_no_address_and_no_folder(repository: dg.RepositoryDefinition, field: str) -> None:
    """Whoever reaches the UI can send run config, a page in the user's browser too; passwords go to these addresses."""
    for job in map(repository.get_job, repository.job_names):
        for name in job.resource_defs.keys() & resources.by_name().keys():
            with pytest.raises(dg.DagsterInvalidConfigError):
                dg.validate_run_config(job, {"resources": {name: {"config": {field: "http://127.0.0.1:1"}}}})


def test_groups_of_assets_have_no_cycle(repository: dg.RepositoryDefinition) -> None:
    """The global lineage shows groups as boxes: each edge goes from one that is drawn before to one after it."""
    graph = repository.asset_graph
    edges = {
        (graph.get(parent).group_name, graph.get(key).group_name)
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
    }
    after: dict[str, set[str]] = {}
    for one, other in edges:
        if one != other:
            after.setdefault(other, set()).add(one)
    assert [*TopologicalSorter(after).static_order()], "raises CycleError"
    assert {graph.get(dg.AssetKey(name)).group_name for name in ("tushare_api", "yahoo_chart", "alpaca_bars")} == {
        "sources"
    }


def test_selection_of_months_with_gaps_is_one_run_for_each_range_as_pages_say() -> None:
    """Dagster makes a run of each range of a backfill; no page promises one run for any selection."""
    months = ["2024-01", "2024-03", "2024-04", "2024-07"]
    subset = BAR_MONTHS.empty_subset().with_partition_keys(months)
    assert len(subset.get_partition_key_ranges(BAR_MONTHS)) == 3
    promises = re.compile(r"(any number|any size)[^.|]*\bone run\b", re.DOTALL)
    pages = [*(PROJECT / "docs").rglob("*.md"), *(PROJECT / "marketdata_assets" / "defs").glob("*.md")]
    assert [page.name for page in pages if promises.search(page.read_text())] == []

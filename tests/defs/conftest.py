"""An empty environment of a domain for each test: databases and a folder without anything, an instance in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from clickhouse_connect.driver.client import Client
from pymongo import MongoClient

from marketdata_assets.settings import MONGO_DATASETS
from marketdata_assets.ticks import providers_file
from marketdata_assets.ticks.providers_file import Providers
from marketdata_demo.servers.brain import BrainServer
from marketdata_demo.servers.tushare import TushareServer
from tests.defs.alpha_runs import AlphasEnv
from tests.defs.bar_runs import BarsEnv
from tests.defs.exchange_runs import ExchangesEnv
from tests.defs.flow_runs import FlowsEnv
from tests.defs.tick_runs import TicksEnv
from tests.ticks.unlimited import UNLIMITED


@pytest.fixture
def pictures() -> None:
    """For tests of pictures; in the others none is drawn, as where matplotlib is not installed."""
    pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("marketdata_assets.plotting.pyplot", lambda: None)


@pytest.fixture(scope="session")
def session_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """In memory; to make one takes as long as many tests, since it reads all of Dagster's migrations."""
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path_factory.mktemp("instance"))) as made:
        yield made


@pytest.fixture
def instance(session_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """It has seen nothing."""
    session_instance.wipe()
    return session_instance


def _warehouse(dsn: str, folder: Path, instance: dg.DagsterInstance, patch: pytest.MonkeyPatch) -> BarsEnv:
    patch.setenv("MARKETDATA_POSTGRES_DSN", dsn)
    patch.setenv("MARKETDATA_BARS_DIR", str(folder / "bars"))
    patch.setenv("MARKETDATA_HOME", str(folder / "home"))
    patch.setenv("MARKETDATA_WORKERS", "1")
    patch.setenv("MARKETDATA_BARS_QUIET_SECONDS", "0")  # one observation is enough
    (folder / "bars").mkdir()
    return BarsEnv(dsn, folder / "bars", instance)


@pytest.fixture
def bars_env(dsn: str, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> BarsEnv:
    """On plain PostgreSQL."""
    return _warehouse(dsn, tmp_path, instance, monkeypatch)


@pytest.fixture
def either_bars_env(
    either_dsn: str, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> BarsEnv:
    """On each of the two K-line engines."""
    return _warehouse(either_dsn, tmp_path, instance, monkeypatch)


@pytest.fixture
def alphas_env(
    mongo_uri: str,
    mongo_client: MongoClient[dict[str, Any]],
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AlphasEnv]:
    """No accounts, no alphas, an API that knows nobody."""
    for name in MONGO_DATASETS:
        mongo_client.drop_database(name)
    for name in ("BRAIN_ACCOUNTS", "BRAIN_CREDENTIALS", "ALPHAS_DIR", "ALPHAS_QUIET_SECONDS"):
        monkeypatch.delenv(f"MARKETDATA_{name}", raising=False)
    with BrainServer() as brain:
        monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("MARKETDATA_MONGO_URI", mongo_uri)
        monkeypatch.setenv("MARKETDATA_BRAIN_URL", brain.url)
        monkeypatch.setenv("MARKETDATA_BRAIN_REQUESTS_PER_MINUTE", "100000")
        monkeypatch.setenv("MARKETDATA_WORKERS", "1")
        yield AlphasEnv(mongo_client, brain, tmp_path / "home", instance, monkeypatch)


@pytest.fixture
def reference_at_night() -> None:
    """For tests of automatic loads of reference data; in the others they would be in the way."""


@pytest.fixture
def ticks_env(
    tables_url: str,
    tables_client: Client,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[TicksEnv]:
    """No symbol, no bar, no token; Tushare and files are the providers, without limits that would be in the way.

    Nothing is requested of reference data at night unless a test asks for `reference_at_night`.
    """
    for name in ("REFERENCE_DIR", "TICKS_DIR", "TICKS_SYMBOLS", "TICKS_MONTHS", "TICKS_WORKERS", "PROVIDERS"):
        monkeypatch.delenv(f"MARKETDATA_{name}", raising=False)
    monkeypatch.setenv("MARKETDATA_TICKS_QUIET_SECONDS", "0")
    monkeypatch.delenv("TUSHARE_TOKEN", raising=False)
    with TushareServer(()) as tushare:
        monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", tables_url)
        monkeypatch.setenv("MARKETDATA_TUSHARE_URL", tushare.url)
        monkeypatch.setattr("marketdata_assets.ticks.providers_file.shipped", _unlimited)
        if "reference_at_night" not in request.fixturenames:
            monkeypatch.setattr("marketdata_assets.defs.reference.automation.has_source", lambda _: False)
        yield TicksEnv(tables_client, tushare, tmp_path / "home", instance, monkeypatch)


@pytest.fixture
def exchanges_env(
    tables_url: str,
    tables_client: Client,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> ExchangesEnv:
    """No capture, no record, no stream."""
    for name in ("CAPTURES_DIR", "CAPTURES_QUIET_SECONDS", "EXCHANGE_DAYS", "EXCHANGE_HOSTS", "NATS_URL"):
        monkeypatch.delenv(f"MARKETDATA_{name}", raising=False)
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", tables_url)
    return ExchangesEnv(tables_client, tmp_path / "home", instance, monkeypatch)


@pytest.fixture
def flows_env(dsn: str, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> FlowsEnv:
    """No flow but the shipped ones, no file, no table."""
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MARKETDATA_POSTGRES_DSN", dsn)
    monkeypatch.setenv("MARKETDATA_FLOWS_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("MARKETDATA_FLOWS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MARKETDATA_WORKERS", "1")
    monkeypatch.setenv("MARKETDATA_FLOWS_QUIET_SECONDS", "0")  # one observation is enough
    (tmp_path / "data").mkdir()
    return FlowsEnv(dsn, tmp_path / "data", tmp_path / "own", instance)


def _unlimited() -> Providers:
    return providers_file.parse(UNLIMITED, "providers.yaml")

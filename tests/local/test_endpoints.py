"""Where clients look: the environment, then the running stack, then nowhere."""

import json
import os
from pathlib import Path

import pytest

from marketdata_assets.collector.servers import Servers, find
from marketdata_assets.local import proctable, record
from marketdata_assets.local.endpoints import Endpoints, as_environment, budgets, resolve
from marketdata_assets.local.errors import NoServer
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import CollectorSettings
from tests.cli.commands import settings as settings_of


def test_running_stack_is_found(local_stack: LocalStack) -> None:
    assert resolve(local_stack.settings) == local_stack.endpoints


def test_environment_wins_over_the_running_stack(local_stack: LocalStack) -> None:
    settings = local_stack.settings.model_copy(update={"nats_url": "nats://prod"})
    found = resolve(settings)
    assert found.nats_url == "nats://prod"
    assert found.mongo_uri == local_stack.endpoints.mongo_uri


def test_record_of_a_dead_stack_counts_for_nothing(local_home: Path) -> None:
    record.write(local_home, [], {"nats_url": "nats://127.0.0.1:1"})
    assert resolve(settings_of(local_home)).nats_url == "nats://127.0.0.1:1"
    raw = json.loads((local_home / "stack.json").read_text())
    (local_home / "stack.json").write_text(json.dumps(raw | {"mark": "another start"}))
    assert resolve(settings_of(local_home)) == Endpoints()


def test_no_record_and_a_broken_one_count_for_nothing(local_home: Path) -> None:
    assert resolve(settings_of(local_home)) == Endpoints()
    for broken in ("", "{", "[]", '{"pid": 1}'):
        (local_home / "stack.json").write_text(broken)
        assert resolve(settings_of(local_home)) == Endpoints()


def test_budgets_are_files_unless_the_settings_name_a_database(local_home: Path) -> None:
    here = settings_of(local_home)
    assert budgets(here, local_home / "brain", "brain.") == local_home / "brain"
    bars = here.model_copy(update={"budgets": "database", "postgres_dsn": "postgresql://me:secret@bars.example/bars"})
    assert repr(budgets(bars, local_home, "brain.")) == "PostgresBudgets('bars.example:5432/bars', 'brain.')"
    own = bars.model_copy(update={"budgets": "postgresql://me:secret@db.example:5433/budgets"})
    assert repr(budgets(own, local_home)) == "PostgresBudgets('db.example:5433/budgets', '')"
    with pytest.raises(NoServer, match="MARKETDATA_POSTGRES_DSN"):
        budgets(here.model_copy(update={"budgets": "database"}), local_home)


def test_the_address_of_clickhouse_has_its_cluster_for_every_process(local_home: Path) -> None:
    url = "http://node:8123/marketdata"
    settings = settings_of(local_home).model_copy(update={"clickhouse_url": url, "clickhouse_cluster": "main"})
    found = as_environment(resolve(settings))["MARKETDATA_CLICKHOUSE_URL"]
    assert found == f"{url}?cluster=main"
    assert resolve(settings.model_copy(update={"clickhouse_url": found})).clickhouse_url == found
    assert find(settings, CollectorSettings(), Servers()).clickhouse_url == found


def test_as_environment_names_only_what_there_is() -> None:
    assert as_environment(Endpoints(nats_url="nats://x")) == {"MARKETDATA_NATS_URL": "nats://x"}
    assert as_environment(Endpoints(dagster_pg="postgresql://postgres:pw@127.0.0.1:5/dagster")) == {
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_PORT": "5",
        "DAGSTER_PG_DB": "dagster",
        "DAGSTER_PG_USER": "postgres",
        "DAGSTER_PG_PASSWORD": "pw",
    }


def test_a_zombie_is_dead_and_we_are_alive() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    assert proctable.wait_gone([child], seconds=5)
    os.waitpid(child, 0)
    assert proctable.start_mark(os.getpid()) is not None

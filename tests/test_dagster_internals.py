"""Contracts with the parts of Dagster that are not public; `make test-dagster-latest` runs them on the newest minor.

Alerts, housekeeping, pool limits and the storage have tests of their own on the same functions.
"""

import ast
import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import httpx
import pytest

from marketdata_assets import dagster_internals as internals

if TYPE_CHECKING:
    from starlette.types import ASGIApp

PACKAGES = [Path(__file__).parents[1] / name for name in ("marketdata_assets", "marketdata_demo", "bench")]
DAYS = dg.StaticPartitionsDefinition(["a", "b", "c", "d"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@dg.asset(partitions_def=DAYS)
def prices() -> None: ...


@dg.op
def load(context: dg.OpExecutionContext) -> None:
    made = [dg.AssetMaterialization("prices", partition=key, metadata={"rows": 3}) for key in "abc"]
    internals.log_materializations(context, made)
    internals.plan_materialization(context, prices.key, "d")
    raise dg.Failure("d failed", allow_retries=False)


@dg.job
def loading() -> None:
    load()


@dg.asset
def checked() -> None: ...


@dg.asset_check(asset=checked)
def passes() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset_check(asset=checked)
def fails() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


MOST_PRIVATE_IMPORTS = 12
FILE = Path(internals.__file__)


def test_only_one_module_imports_what_is_private_and_not_much() -> None:
    private = []
    for file in (file for folder in PACKAGES for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith(("dagster._", "dagster.components.core")) for name in names):
                private.append(file.name)
    assert set(private) == {"dagster_internals.py"}
    assert FILE.read_text().count("from dagster._") <= MOST_PRIVATE_IMPORTS


def test_nothing_of_dagster_is_patched() -> None:
    found = [
        file.name for folder in PACKAGES[:2] for file in folder.rglob("*.py") if "unittest.mock" in file.read_text()
    ]
    assert found == []


def test_logged_partitions_are_materialized_and_a_planned_one_failed(instance: dg.DagsterInstance) -> None:
    result = loading.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    status = instance.get_status_by_partition(prices.key, ["a", "b", "c", "d"], DAYS)
    done, failed = dg.AssetPartitionStatus.MATERIALIZED, dg.AssetPartitionStatus.FAILED
    assert status == {"a": done, "b": done, "c": done, "d": failed}
    latest = instance.get_latest_materialization_event(prices.key)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.metadata["rows"].value == 3


def test_latest_result_of_each_check_that_ran(instance: dg.DagsterInstance) -> None:
    keys = [dg.AssetCheckKey(checked.key, name) for name in ("passes", "fails", "never_ran")]
    assert internals.latest_check_results(instance, keys) == {}
    dg.materialize([checked, passes, fails], instance=instance, raise_on_error=False)
    assert internals.latest_check_results(instance, keys) == {keys[0]: True, keys[1]: False}


def test_nothing_fails_where_nothing_runs(instance: dg.DagsterInstance) -> None:
    assert internals.failing_automation(instance, 3) == []
    assert internals.freshness_states(instance, [prices.key]) == {}


def test_event_tables_have_the_columns_that_housekeeping_uses(instance: dg.DagsterInstance) -> None:
    storage, events, checks = internals.event_tables(instance)
    assert {"id", "run_id", "dagster_event_type", "asset_key", "partition"} <= set(events.c.keys())
    assert {"id", "asset_key", "check_name", "execution_status", "evaluation_event_timestamp"} <= set(checks.c.keys())
    with storage.index_connection() as connection:
        assert connection.execute(events.select()).all() == []


def test_run_is_assigned_to_a_code_location(instance: dg.DagsterInstance) -> None:
    run_id = loading.execute_in_process(instance=instance, raise_on_error=False).run_id
    internals.assign_to_code_location(instance, run_id, "some.module", "location", "__repository__")
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.location_name == "location"
    assert run.remote_job_origin.job_name == "loading"


def test_tags_have_the_values_that_stored_runs_have() -> None:
    assert internals.DOCKER_IMAGE_TAG == "dagster/image"
    assert internals.GRPC_INFO_TAG == ".dagster/grpc_info"
    assert internals.REPOSITORY_LABEL_TAG == ".dagster/repository"
    assert internals.WILL_RETRY_TAG == "dagster/will_retry"


@pytest.mark.slow
def test_the_ui_of_code_and_a_read_only_one(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("import dagster as dg\n\n@dg.asset\ndef prices(): ...\n")
    (tmp_path / "workspace.yaml").write_text(f"load_from: [python_file: {tmp_path}/code.py]\n")
    for read_only in (False, True):
        with internals.ui_application(instance, tmp_path / "workspace.yaml", read_only=read_only) as application:
            answers = asyncio.run(asked(application, ["{assetNodes {id}}", LIMIT]))
        assert len(answers[0]["assetNodes"]) == 1
        assert answers[1] == (None if read_only else {"setConcurrencyLimit": True})


LIMIT = 'mutation {setConcurrencyLimit(concurrencyKey: "x", limit: 3)}'


async def asked(application: "ASGIApp", queries: Sequence[str]) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://ui") as client:
        found = [await client.post("/graphql", json={"query": query}) for query in queries]
    return [answer.json().get("data") for answer in found]

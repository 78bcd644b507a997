"""What the page of an asset in the UI counts: partitions with rows or a proven empty, and no others."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from bar_runs import BARS, KLINE, BarsEnv, deliver, failures, materializations
from nights import night

from marketdata_assets import dagster_internals as internals

QUERY = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionStats { numMaterialized numPartitions numFailed } } } }"""


def stats(instance: dg.DagsterInstance, folder: Path, *assets: dg.AssetKey) -> list[dict[str, Any]]:
    """The answer of the UI's own GraphQL for some assets."""

    async def asked() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://ui") as client:
            sent = [{"query": QUERY, "variables": {"key": {"path": asset.path}}} for asset in assets]
            answers = [(await client.post("/graphql", json=one)).json() for one in sent]
        return [answer["data"]["assetNodeOrError"]["partitionStats"] for answer in answers]

    workspace = folder / "workspace.yaml"
    workspace.write_text("load_from: [{python_module: {module_name: marketdata_assets.definitions}}]\n")
    with internals.ui_application(instance, workspace, read_only=True) as application:
        return asyncio.run(asked())


@pytest.fixture
def persistent(bars_env: BarsEnv, tmp_path: Path) -> Iterator[BarsEnv]:
    """With an instance that another process, as that of the code server, can use."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield replace(bars_env, instance=instance)


def test_months_that_no_file_covers_are_missing(persistent: BarsEnv, tmp_path: Path) -> None:
    deliver(persistent.folder, 2014, [3, 4])
    result = persistent.run("2013-11", "2014-05")
    assert result.success, failures(result)
    proven = {f"2014-0{number}" for number in range(1, 6)}
    for asset in (BARS, KLINE):
        assert persistent.materialized(asset) == proven
        found = materializations(persistent.instance, result, asset)
        rows = {month: own["dagster/partition_row_count"] for month, own in found.items()}
        assert {month for month, count in rows.items() if count} == {"2014-03", "2014-04"}
        [last] = [month for month, own in found.items() if "dagster/row_count" in own]
        assert last == max(found), "the figures of the table are with the last partition alone"
        assert not {"rows", "files_loaded", "seconds"} & {name for own in found.values() for name in own}
    for one in stats(persistent.instance, tmp_path, BARS, KLINE):
        assert (one["numMaterialized"], one["numFailed"]) == (len(proven), 0)
        assert one["numPartitions"] > len(proven)
    requests = night(persistent.instance).run_requests
    months = {one.tags.get("dagster/asset_partition_range_start", "") for one in requests if "bars" in one.job_name}
    assert not any(month.startswith("2013") for month in months), "a month that no file covers is requested by nobody"

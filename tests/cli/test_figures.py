"""What Prometheus is told: runs, assets and checks of a real instance, rows of status, and parts that fail."""

import datetime as dt
import os
import time
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from marketdata_assets.backup.files import MANIFEST
from marketdata_assets.cli.figures import (
    Figures,
    Value,
    exposition,
    gauges,
    of_assets,
    of_disks,
    of_runs,
    of_tables,
    serve,
)
from marketdata_assets.overview import instant
from marketdata_assets.settings import Settings


@dg.asset
def good() -> None: ...


@dg.asset(deps=[good])
def bad() -> None:
    raise ValueError("as it shall")


@dg.asset_check(asset=good)
def never() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


SMALL = dg.Definitions(
    assets=[good, bad],
    asset_checks=[never],
    jobs=[dg.define_asset_job("works", [good]), dg.define_asset_job("fails", [bad])],
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def told(values: Iterator[Value]) -> dict[tuple[str, ...], float]:
    return {(name.removeprefix("marketdata_"), *labels): value for name, labels, value in values}


def test_runs_and_assets_are_as_dagster_has_them(instance: dg.DagsterInstance) -> None:
    before = time.time()
    for job in ("works", "fails", "fails"):
        SMALL.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
    runs = told(of_runs(instance))
    assert runs["runs_ended_day", "works", "SUCCESS"] == 1
    assert runs["runs_ended_day", "fails", "FAILURE"] == 2
    assert runs["runs", "STARTED"] == runs["runs", "QUEUED"] == 0
    assert runs["oldest_run_timestamp_seconds",] >= before, "none is under way"
    instance.create_run_for_job(SMALL.resolve_job_def("works"), status=dg.DagsterRunStatus.STARTED)
    assert told(of_runs(instance))["runs", "STARTED"] == 1
    assets = told(of_assets(instance, SMALL.get_repository_def()))
    assert assets["check_passed", "good", "never"] == 0
    assert before <= assets["materialized_timestamp_seconds", "good"] <= time.time()
    assert ("materialized_timestamp_seconds", "bad") not in assets


DAYS = [
    instant(dt.date(2024, 6, 28), ZoneInfo("Asia/Shanghai")),
    instant(dt.date(2024, 6, 1), dt.UTC),
    instant(dt.datetime(2024, 6, 28, 9, 30), dt.UTC),
]


def test_a_day_in_shanghai_begins_eight_hours_before_that_of_utc() -> None:
    assert DAYS[0] == dt.datetime(2024, 6, 27, 16, tzinfo=dt.UTC)
    assert instant(DAYS[2], ZoneInfo("Asia/Shanghai")) == DAYS[2], "it has a time zone"


def test_rows_of_status_become_metrics() -> None:
    states = {"ok": 3, "empty": 1, "missing": 0, "stale": 2, "failed": 1}
    bars = {"group": "bars", "asset": "a", **states, "rows": 7, "newest_at": DAYS[0], "quarantine": 4}
    alphas = {"group": "alphas", "asset": "b", "account": "lk", **states, "documents": 9, "newest_at": DAYS[1]}
    gaps = {"group": "exchanges", "asset": "c", "rows": 1, "newest_at": DAYS[2], "open_gaps": 5}
    files = {
        "group": "alphas",
        "asset": "d",
        "account": "lk",
        **states,
        "files": 2,
        "documents": None,
        "newest_at": None,
    }
    found = told(of_tables([bars, alphas | {"quarantine": 0}, gaps | {"quarantine": 0}, files | {"quarantine": None}]))
    assert found["partitions", "bars", "a", "", "stale"] == 2
    assert found["rows", "bars", "a", ""] == 7
    assert found["quarantined_rows", "bars", "a", ""] == 4
    assert found["rows", "alphas", "b", "lk"] == 9
    assert found["open_gaps", "exchanges", "c", ""] == 5
    assert found["partitions", "alphas", "d", "lk", "failed"] == 1
    assert not {key for key in found if "d" in key and key[0] != "partitions"}
    newest = [found["newest_data_timestamp_seconds", row["group"], row["asset"], row.get("account", "")]
              for row in (bars, alphas, gaps)]  # fmt: skip
    assert newest == [day.timestamp() for day in DAYS]


def test_part_that_fails_keeps_its_figures_and_says_so() -> None:
    answers = [3.0, None, 5.0]

    def rows() -> Iterator[Value]:
        answer = answers.pop(0)
        if answer is None:
            raise ConnectionError("away")
        yield "marketdata_rows", ("bars", "a", ""), answer

    def up() -> Iterator[Value]:
        yield "marketdata_server_up", ("NATS",), 1.0

    figures = Figures({"bars": rows, "servers": up})
    seen = []
    for _ in range(3):
        figures.scrape()
        text = exposition(figures).decode()
        samples = {one.name: one for family in text_string_to_metric_families(text) for one in family.samples
                   if one.labels.get("look") != "servers"}  # fmt: skip
        seen.append((samples["marketdata_rows"].value, samples["marketdata_scrape_success"].value))
        assert samples["marketdata_server_up"].value == 1
    assert seen == [(3.0, 1.0), (3.0, 0.0), (5.0, 1.0)]


def test_every_figure_is_named_as_prometheus_wants_it() -> None:
    text = exposition(Figures({})).decode()
    assert [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")] == [
        one.name for one in gauges()
    ]


def test_disks_and_the_last_backup_become_metrics(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    settings = Settings(home=tmp_path, backup_dir=backups)
    found = {(name, *labels): value for name, labels, value in of_disks(settings)}
    assert found["marketdata_backup_timestamp_seconds",] == 0, "none was ever taken"
    assert ("marketdata_disk_free_bytes", "backups") not in found
    for name, age in (("2026-01-01T000000Z", 500), ("2026-01-02T000000Z", 900)):
        (backups / name).mkdir(parents=True)
        (backups / name / MANIFEST).touch()
        os.utime(backups / name / MANIFEST, (age, age))
    (backups / "2026-01-03T000000Z").mkdir()
    found = {(name, *labels): value for name, labels, value in of_disks(settings)}
    assert found["marketdata_backup_timestamp_seconds",] == 900
    for name in ("data", "backups"):
        assert 0 < found["marketdata_disk_free_bytes", name] <= found["marketdata_disk_size_bytes", name]
    assert not [name for name, *_ in of_disks(Settings(home=tmp_path, backup_dir=None)) if "backup" in name]


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "", "[::1"])
def test_a_request_under_a_foreign_name_is_shown_no_metric(name: str) -> None:
    """A page of a foreign name that resolves to this machine could read them."""
    url = f"http://127.0.0.1:{serve(Figures({}), '127.0.0.1', 0)}/metrics"
    assert httpx.get(url, headers={"Host": name}).status_code == 421
    assert "marketdata_" in httpx.get(url).text

"""A domain of another package, in `toy_domain`: one folder and one line, an entry point, and what it gets for that.

The laws of the graph that hold for every dataset are tested here; the other domains' tests have what is their own.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from marketdata_assets import dagster_internals, domains
from marketdata_assets.cli import figures
from marketdata_assets.cli.status import rows_of
from marketdata_assets.defs import runs
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.repair import health
from marketdata_assets.defs.runs import DOMAIN
from marketdata_assets.defs.selection import months_of
from marketdata_assets.domains import GROUP
from marketdata_assets.partitions import RANGE_END, RANGE_START
from marketdata_assets.web.application import application
from marketdata_assets.web.database import Servers
from tests.cli.commands import answer, marketdata
from tests.databases import Databases
from tests.defs.bar_runs import Database, execute, failures, materializations, repository
from tests.defs.nights import night
from tests.defs.toy_domain import library
from tests.defs.toy_domain.domain import FOLDER
from tests.ui.browser import browser, missing_browser
from tests.web.served_market import TOKEN, on, served

LINE = "toy = tests.defs.toy_domain.domain:DOMAIN"
"""All that another package says of its domain, in its entry points."""
ASSET = dg.AssetKey(library.TABLE)
JOB, SELECTED, OP, SENSOR = "toy_months", "toy_selected", "load_selected_toy", "toy_files"
GOOD = "station,day,celsius\nA,{month}-01,3.5\nB,{month}-02,-1\n"
STATS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { groupName jobNames
    partitionStats { numMaterialized numFailed } } } }"""


@dataclass(frozen=True)
class ToyEnv(Database):
    """An empty database and folder, and an instance that has seen nothing."""

    home: Path
    folder: Path
    instance: dg.DagsterInstance

    def deliver(self, month: str, text: str = GOOD) -> Path:
        file = self.folder / f"{month}.csv"
        file.write_text(text.format(month=month))
        os.utime(file, (time.time() - 60,) * 2)
        return file

    def run(self, first: str, last: str) -> dg.ExecuteInProcessResult:
        return execute(self.instance, JOB, {}, {RANGE_START: first, RANGE_END: last})

    def select(self, *months: str) -> dg.ExecuteInProcessResult:
        return execute(self.instance, SELECTED, {"ops": {OP: {"config": {"months": list(months)}}}})

    def materialized(self) -> set[str]:
        return self.instance.get_materialized_partitions(ASSET)

    def look(self, cursor: str | None = None) -> dg.SensorEvaluationContext | Any:
        """What the sensor of the files asks for."""
        with dg.build_sensor_context(instance=self.instance, repository_def=repository(), cursor=cursor) as context:
            return repository().get_sensor_def(SENSOR).evaluate_tick(context)

    def command(self, *words: str, dsn: str = "") -> dict[str, Any]:
        ended = marketdata(self.home, *words, "--json", **variables(dsn or self.dsn, self.folder))
        assert ended.returncode == 0, ended.stderr
        return answer(ended)


def variables(dsn: str, folder: Path) -> dict[str, str]:
    return {"MARKETDATA_POSTGRES_DSN": dsn, "MARKETDATA_DOMAINS": "toy", FOLDER: str(folder)}


@pytest.fixture
def toy(dsn: str, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEnv]:
    info = tmp_path / "site" / "toy_domain-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-domain\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{LINE}\n")
    monkeypatch.syspath_prepend(info.parent)
    paths = (str(info.parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    for name, value in {**variables(dsn, tmp_path / "files"), "PYTHONPATH": os.pathsep.join(paths)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    for folder in ("files", "home"):
        (tmp_path / folder).mkdir()
    forget_domains()
    yield ToyEnv(dsn, tmp_path / "home", tmp_path / "files", instance)
    forget_domains()


def asked(page: Any, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON that an application answers, to a document if one is given."""

    async def answered() -> dict[str, Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url="http://127.0.0.1") as client:
            reply = await (client.post(path, json=document) if document else client.get(path))
        found: dict[str, Any] = reply.raise_for_status().json()
        return found

    return asyncio.run(answered())


def forget_domains() -> None:
    domains.find.cache_clear()
    domains._registered.cache_clear()


def test_it_is_one_of_the_domains(toy: ToyEnv) -> None:
    assert domains.names() == (*domains.OWN, "toy")
    assert {one.name for one in repository().sensor_defs} >= {SENSOR, "repair_backfills", "repair_selected"}
    assert repository().get_sensor_def(SENSOR).tags[DOMAIN] == "toy"
    node = repository().asset_graph.get(ASSET)
    assert (node.group_name, node.tags["domain"], node.tags["cadence"]) == ("toy", "toy", "daily")


def test_good_months_stay_materialized_and_the_failure_names_the_rest(toy: ToyEnv) -> None:
    toy.deliver("2024-01")
    bad = toy.deliver("2024-02", "when,what\n")
    toy.deliver("2024-03", "station,day,celsius\nA,2024-03-01,cold\nB,2024-03-02,1\n")
    result = toy.run("2024-01", "2024-05")
    said = failures(result)[library.TABLE]
    assert "1 of 3 partitions failed, the others are done" in said
    assert "2024-02.csv: the columns are when,what; write station,day,celsius" in said
    assert toy.materialized() == {"2024-01", "2024-03"}
    found = materializations(toy.instance, result, ASSET)
    assert {month: own["dagster/partition_row_count"] for month, own in found.items()} == {"2024-01": 2, "2024-03": 1}
    partitions = repository().asset_graph.get(ASSET).partitions_def
    assert partitions is not None
    assert find_mismatches(toy.instance, library.TABLE, partitions, (), ["2024-02"]) == {"2024-02"}

    bad.write_text(GOOD.format(month="2024-02"))
    assert toy.run("2024-01", "2024-05").success
    assert toy.materialized() == {"2024-01", "2024-02", "2024-03"}
    assert toy.run("2024-01", "2024-05").success, "a second load changes nothing"
    assert toy.rows(f"SELECT count(*) FROM {library.TABLE}") == [(5,)]


def test_selected_months_are_one_run_and_nothing_between_is_loaded(toy: ToyEnv) -> None:
    for month in ("2024-01", "2024-02", "2024-03"):
        toy.deliver(month)
    toy.deliver("2024-05", "when\n")
    result = toy.select("2024-03", "2024-01", "2024-05")
    assert "2024-05.csv: the columns are when" in failures(result)[OP]
    assert toy.materialized() == {"2024-01", "2024-03"}
    for months, cause in ((["1999-01"], "'1999-01' is no month from 2024-01 to"), ([], "there are none; write some")):
        assert cause in failures(toy.select(*months))[OP]


def test_the_sensor_asks_for_new_files_once_and_waits_for_a_run_in_progress(toy: ToyEnv) -> None:
    assert toy.look().skip_message == "no new file"
    for month in ("2024-01", "2024-02", "2024-04"):
        toy.deliver(month)
    asked = toy.look()
    assert [(one.tags[RANGE_START], one.tags[RANGE_END]) for one in asked.run_requests] == [
        ("2024-01", "2024-02"),
        ("2024-04", "2024-04"),
    ]
    assert len({one.run_key for one in asked.run_requests}) == 2
    assert not toy.look(asked.cursor).run_requests
    assert toy.run("2024-01", "2024-04").success
    toy.deliver("2024-04", GOOD + "C,{month}-03,4\n")
    run = toy.instance.create_run_for_job(repository().get_job(JOB), status=dg.DagsterRunStatus.STARTED)
    waits = toy.look(asked.cursor)
    assert (waits.run_requests, "in progress" in waits.skip_message) == ([], True)
    toy.instance.report_run_failed(run)
    [again] = toy.look(waits.cursor).run_requests
    assert again.tags[RANGE_START] == "2024-04"


def test_the_nightly_repair_asks_for_what_is_due(toy: ToyEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    for month in ("2024-01", "2024-02", "2024-04"):
        toy.deliver(month)
    ranges = [(one.tags[RANGE_START], one.tags[RANGE_END]) for one in night(toy.instance).run_requests]
    assert ranges == [("2024-01", "2024-02"), ("2024-04", "2024-04")]
    monkeypatch.setattr(runs, "MOST_RANGES", 1)
    [one] = night(toy.instance).run_requests
    assert (one.job_name, months_of(one.run_config)) == (SELECTED, {"2024-01", "2024-02", "2024-04"})
    assert execute(toy.instance, SELECTED, one.run_config).success
    assert not night(toy.instance).run_requests
    toy.instance.wipe_assets([ASSET])
    assert night(toy.instance).run_requests, "rows are loaded, and Dagster shows none of it"
    assert execute(toy.instance, SELECTED, one.run_config).success

    toy.deliver("2024-02", "when\n")
    assert not toy.run("2024-02", "2024-03").success
    toy.deliver("2024-02")
    [both] = night(toy.instance).run_requests
    assert (both.tags[RANGE_START], both.tags[RANGE_END]) == ("2024-02", "2024-03")
    assert toy.run("2024-02", "2024-03").success, "of a month that no file covers, Dagster forgets the failure"
    assert not night(toy.instance).run_requests


def test_commands_and_metrics_show_it(toy: ToyEnv) -> None:
    toy.deliver("2024-01")
    toy.deliver("2024-02", "station,day,celsius\nA,2024-02-01,cold\nB,2024-02-02,1\n")
    toy.deliver("2024-03")
    (toy.folder / "notes.txt").write_text("x")
    assert toy.run("2024-01", "2024-02").success
    found = toy.command("status")
    [row] = found["assets"]
    assert (row["group"], row["asset"], row["ok"], row["missing"], row["rows"]) == ("toy", library.TABLE, 2, 1, 3)
    assert (row["newest"], row["quarantine"]) == ("2024-02-02", 1)
    [files] = found["files"]
    assert (files["loaded"], files["due"], files["not_taken"]) == (2, 1, 1)
    listed = {one["file"]: (one["state"], one["read"], one["loaded"]) for one in toy.command("files")["files"]}
    assert listed["2024-02.csv"] == ("loaded", 2, 1)
    [rejected] = toy.command("quarantine", "show", "toy")["rows"]
    assert (rejected["dataset"], rejected["place"], rejected["reason"]) == (
        library.TABLE,
        "2024-02.csv!2024-02:2",
        "celsius is no number",
    )
    values = {(name, *labels): value for name, labels, value in figures.of_tables(rows_of("toy"))}
    assert values["marketdata_rows", "toy", library.TABLE, ""] == 3
    assert values["marketdata_partitions", "toy", library.TABLE, "", "missing"] == 1
    with dg.DagsterInstance.ephemeral() as instance:
        assert "toy" in figures.all_figures(instance, repository()).parts
        shown = dg.materialize([health.start_here], instance=instance).asset_materializations_for_node(health.START)
    assert library.TABLE in str(shown[0].metadata["toy"].value)


def test_its_table_is_in_a_backup(toy: ToyEnv, databases: Databases, tmp_path: Path) -> None:
    toy.deliver("2024-01")
    assert toy.run("2024-01", "2024-01").success
    toy.command("backup", str(tmp_path / "backup"), "--store", "postgres")
    with databases.fresh() as other:
        toy.command("restore", str(tmp_path / "backup"), "--store", "postgres", dsn=other)
        restored = replace(toy, dsn=other).rows(f"SELECT * FROM {library.TABLE} ORDER BY 1")
        assert restored == toy.rows(f"SELECT * FROM {library.TABLE} ORDER BY 1")
        assert toy.command("status", dsn=other)["assets"][0]["ok"] == 1


def test_its_row_is_on_the_page_of_the_market(toy: ToyEnv) -> None:
    toy.deliver("2024-01")
    assert toy.run("2024-01", "2024-01").success
    page = application(Servers(lambda: toy.dsn, str, str))  # type: ignore[arg-type]
    [files, table] = asked(page, "/api/status/toy")["assets"]
    assert (files["loaded"], table["asset"], table["ok"], table["rows"]) == (1, library.TABLE, 1, 2)


def test_the_ui_shows_the_asset(toy: ToyEnv, tmp_path: Path) -> None:
    toy.deliver("2024-01")
    toy.deliver("2024-02", "when\n")
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from: [{python_module: {module_name: marketdata_assets.definitions}}]\n")
    (tmp_path / "ui").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "ui")) as instance:
        assert not replace(toy, instance=instance).run("2024-01", "2024-02").success
        with dagster_internals.ui_application(instance, workspace, read_only=True) as page:
            query = {"query": STATS, "variables": {"key": {"path": ASSET.path}}}
            shown = asked(page, "/graphql", query)["data"]["assetNodeOrError"]
    assert (shown["groupName"], JOB in shown["jobNames"]) == ("toy", True)
    assert shown["partitionStats"] == {"numMaterialized": 1, "numFailed": 1}


@pytest.mark.slow
@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_a_browser_shows_its_card(toy: ToyEnv) -> None:
    toy.deliver("2024-01")
    assert toy.run("2024-01", "2024-01").success
    with served(on(toy.dsn)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/")
        chromium.until(lambda: "2 rows" in chromium.find("#toy").text, "the rows of the toy's card")
        assert [one.text for one in chromium.driver.find_elements("css selector", ".domain h3")] == ["toy"]
        if shots := os.environ.get("MARKETDATA_TEST_SHOTS"):
            chromium.shot(Path(shots) / "toy.png")

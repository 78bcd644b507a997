"""Alerts and dashboards of servers, tables and runs: they use figures that are told, and fire where they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from compose_file import DOCKER, services

from marketdata_assets.cli.figures import FIGURES

RULES = DOCKER / "alerts-pipeline.yml"
DASHBOARDS = [DOCKER / "grafana" / f"{name}.json" for name in ("pipeline", "freshness")]
NAME = re.compile(r"\bmarketdata_[a-z_]+\b")
SELECTOR = re.compile(r"\b(marketdata_[a-z_]+)\{([^}]*)\}")
LABELS = {one.name: set(one.labels) for one in FIGURES}
OF_PROMETHEUS = {"instance", "job"}


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def expressions(file: Path) -> list[str]:
    if file == RULES:
        return [rule["expr"] for rule in rules().values()]
    board = json.loads(file.read_text())
    queries = [one["definition"] for one in board["templating"]["list"] if "definition" in one]
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())] + queries


@pytest.mark.parametrize("file", [RULES, *DASHBOARDS], ids=lambda file: file.name)
def test_every_figure_and_label_that_is_used_is_told(file: Path) -> None:
    found = 0
    for expression in expressions(file):
        assert set(NAME.findall(expression)) <= LABELS.keys(), expression
        for name, inside in SELECTOR.findall(expression):
            assert set(re.findall(r"(\w+)\s*[=!]~?\"", inside)) <= LABELS[name] | OF_PROMETHEUS, expression
            found += 1
    assert found > 2


def test_every_figure_has_a_use_and_alerts_say_what_to_do() -> None:
    used = {name for file in (RULES, *DASHBOARDS) for text in expressions(file) for name in NAME.findall(text)}
    assert LABELS.keys() - used == set()
    for one in FIGURES:
        if one.use.startswith("alert"):
            assert one.name in RULES.read_text(), f"{one.name} says that it is for an alert"
    for name, rule in rules().items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"].keys() == {"summary", "action"}, name


def test_promtool_accepts_rules_configuration_and_panels(tmp_path: Path) -> None:
    texts = [text for file in DASHBOARDS for text in expressions(file) if not text.startswith("label_values")]
    panels = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$(asset|job)", ".*", text)} for number, text in enumerate(texts)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    said = promtool("check", "rules", "--lint=none", str(RULES), str(file))
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(panels)} rules found" in said.stdout


def test_promtool_accepts_the_configuration_as_it_is_mounted(tmp_path: Path) -> None:
    """As the container has it, with the targets of the compose file."""
    mounts = [volume.split(":")[:2] for volume in services()["prometheus"]["volumes"] if volume.startswith("./")]
    for source, target in mounts:
        place = tmp_path / Path(target).relative_to("/etc/prometheus")
        copy = shutil.copytree if (DOCKER / source).is_dir() else shutil.copyfile
        copy(DOCKER / source, place)
    config = services()["prometheus"]["command"][0].removeprefix("--config.file=/etc/prometheus/")
    said = promtool("check", "config", str(tmp_path / config))
    assert said.returncode == 0, said.stdout + said.stderr
    assert "2 rule files found" in said.stdout
    named = yaml.safe_load((tmp_path / config).read_text())["scrape_configs"]
    files = [file for one in named for sd in one["file_sd_configs"] for file in sd["files"]]
    targets = [
        target for file in files for one in yaml.safe_load((tmp_path / file).read_text()) for target in one["targets"]
    ]
    for target in targets:
        host, port = target.split(":")
        one = services()[host]
        assert port in (*one["command"], one["environment"].get("HTTP_PORT")), target
        assert set(one["networks"]) & set(services()["prometheus"]["networks"])
    assert {*files} == {f"targets/{file.name}" for file in (DOCKER / "targets").iterdir()}, (
        "the same without containers"
    )


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    at = urlsplit(source["url"])
    assert at.hostname in services()
    assert f"127.0.0.1:{at.port}:{at.port}" in services()["prometheus"]["ports"]
    assert source["isDefault"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "marketdata.yaml").read_text())["providers"]
    mounts = dict(volume.split(":")[1::-1] for volume in services()["grafana"]["volumes"])
    folder = DOCKER / mounts[provider["options"]["path"]]
    boards = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    assert {board["title"] for board in boards} == {"Collector", "Pipeline", "Data freshness"}
    assert len({board["uid"] for board in boards}) == len(boards)
    for board in boards:
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers), board["title"]
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"


TOLD: dict[str, tuple[str, str, str]] = {  # by alert: the figure, how it goes when all is well, and when it is not
    "ExporterDown": ('up{job="pipeline"}', "1+0", "0+0"),
    "ScrapeFails": ('marketdata_scrape_success{look="runs"}', "1+0", "0+0"),
    "ServerUnavailable": ('marketdata_server_up{server="NATS"}', "1+0", "0+0"),
    "DaemonHeartbeatMissing": ('marketdata_daemon_heartbeat_timestamp_seconds{daemon="SENSOR"}', "0+900", "0+0"),
    "RunHangs": ("marketdata_oldest_run_timestamp_seconds", "0+900", "0+0"),
    "RunsQueued": ('marketdata_runs{status="QUEUED"}', "3+0", "30+0"),
    "JobFails": ('marketdata_runs_ended_day{job="a",status="FAILURE"}', "2+0", "4+0"),
    "PartitionsFailed": ('marketdata_partitions{group="bars",asset="a",state="failed"}', "0+0", "5+0"),
    "AssetOverdue": ('marketdata_freshness{asset="a",state="FAIL"}', "0+0", "1+0"),
    "CheckFailed": ('marketdata_check_passed{asset="a",check="b"}', "1+0", "0+0"),
}


def test_alerts_fire_where_they_should_and_nowhere_else(tmp_path: Path) -> None:
    """Two days of figures, by Prometheus' own evaluation."""
    assert TOLD.keys() == rules().keys()
    shutil.copyfile(RULES, tmp_path / "rules.yml")
    cases = []
    for name, (figure, well, bad) in TOLD.items():
        cases += [_case(name, [(figure, well)], False), _case(name, [(figure, bad)], True)]
    mended = ('marketdata_runs_ended_day{job="a",status="SUCCESS"}', "1+0")
    cases.append(_case("JobFails", [(TOLD["JobFails"][0], "4+0"), mended], False))
    text = {"rule_files": ["rules.yml"], "evaluation_interval": "15m", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(text))
    said = promtool("test", "rules", str(tmp_path / "tests.yml"))
    assert said.returncode == 0, said.stdout + said.stderr


def _case(alert: str, figures: list[tuple[str, str]], fires: bool) -> dict[str, Any]:
    series = [{"series": figure, "values": f"{values}x200"} for figure, values in figures]
    expected = [{"labels": "{}", "value": 1}] if fires else []
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) > 0'
    check = {"expr": expression, "eval_time": "40h", "exp_samples": expected}
    return {"name": f"{alert} {fires}", "interval": "15m", "input_series": series, "promql_expr_test": [check]}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool: apt-get install prometheus, or run make test as root")
    return subprocess.run([found, *arguments], capture_output=True, text=True)

"""Alerts and dashboards: they use metrics that exist, and those of servers, tables and runs fire where they should."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from marketdata_assets.cli.figures import gauges
from marketdata_assets.collector.metrics import FAMILIES, PROCESS
from tests.deploy.compose_file import DOCKER, services

RULES = DOCKER / "alerts-pipeline.yml"
ALERTMANAGER = DOCKER / "alertmanager.yml"
SELECTOR = re.compile(r"\b([a-z]+_[a-z_]+)\{([^}]*)\}")
OF_PROMETHEUS = {"instance", "job", "le"}


@dataclass(frozen=True)
class Monitored:
    """The alerts and dashboards of one process, and the metrics that it exposes, with their labels."""

    rules: Path
    dashboards: list[Path]
    metrics: Sequence[Any]
    names: re.Pattern[str]
    more: frozenset[str] = frozenset()

    def expressions(self) -> list[str]:
        texts = [rule["expr"] for rule in rules(self.rules).values()]
        for board in (json.loads(file.read_text()) for file in self.dashboards):
            texts += [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
            texts += [one["definition"] for one in board.get("templating", {}).get("list", ()) if "definition" in one]
        return texts


GRAFANA = DOCKER / "grafana"
PIPELINE = Monitored(
    RULES,
    [GRAFANA / f"{name}.json" for name in ("pipeline", "freshness")],
    gauges(),
    re.compile(r"\bmarketdata_[a-z_]+"),
)
COLLECTOR = Monitored(
    DOCKER / "alerts.yml",
    [GRAFANA / "collector.json"],
    FAMILIES,
    re.compile(r"\b(?:collector|process)_[a-z_]+"),
    frozenset(PROCESS),
)
each = pytest.mark.parametrize("one", [PIPELINE, COLLECTOR], ids=lambda one: one.rules.name)


def samples(metric: Any) -> list[str]:
    histogram = getattr(metric, "kind", "gauge") == "histogram"
    return [metric.name + suffix for suffix in (("_bucket", "_sum", "_count") if histogram else ("",))]


def rules(file: Path) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(file.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@each
def test_metrics_and_labels_that_are_used_exist_and_every_metric_has_a_use(one: Monitored) -> None:
    known = {name: set(metric.labels) for metric in one.metrics for name in samples(metric)}
    used, found = set[str](), 0
    for expression in one.expressions():
        used |= set(one.names.findall(expression))
        for name, inside in SELECTOR.findall(expression):
            labels = set(re.findall(r"(\w+)\s*[=!]~?\"", inside.replace("\\", "")))
            assert labels <= known.get(name, set()) | OF_PROMETHEUS, expression
            found += len(labels)
    assert found > 10
    assert used <= known.keys() | one.more
    for metric in one.metrics:
        assert used & {*samples(metric)}, metric.name
        if re.search(r"\balert\b", metric.use):
            assert metric.name in one.rules.read_text(), f"{metric.name} says that it is for an alert"
    for name, rule in rules(one.rules).items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"].keys() == {"summary", "action"}, name


@each
def test_promtool_accepts_rules_and_panels(one: Monitored, tmp_path: Path) -> None:
    texts = [text for text in one.expressions() if not text.startswith("label_values")]
    panels = [{"record": f"x:{number}", "expr": re.sub(r"\$\w+", ".*", text)} for number, text in enumerate(texts)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    said = promtool("check", "rules", "--lint=none", str(one.rules), str(file))
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(panels)} rules found" in said.stdout
    panels[0]["expr"] = f"rat({panels[0]['expr']})"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    said = promtool("check", "rules", str(file))
    assert said.returncode != 0 and 'unknown function with name "rat"' in said.stdout + said.stderr


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
    written = yaml.safe_load((tmp_path / config).read_text())
    named = [*written["scrape_configs"], *written["alerting"]["alertmanagers"]]
    files = [file for one in named for sd in one["file_sd_configs"] for file in sd["files"]]
    targets = [
        target for file in files for one in yaml.safe_load((tmp_path / file).read_text()) for target in one["targets"]
    ]
    for target in targets:
        host, port = target.split(":")
        one = services()[host]
        ports = (*one["command"], one.get("environment", {}).get("HTTP_PORT"))
        assert {port, f"--web.listen-address=:{port}"} & {*ports}, target
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
    "DiskNearlyFull": ('marketdata_disk_free_bytes{folder="data"}', "20+0", "9+0"),
    "DiskFillsInADay": ('marketdata_disk_free_bytes{folder="data"}', "900+0", "9000-50"),
    "BackupOverdue": ("marketdata_backup_timestamp_seconds", "0+900", "0+0"),
    "CheckFailed": ('marketdata_check_passed{asset="a",check="b"}', "1+0", "0+0"),
}


def test_alerts_fire_where_they_should_and_nowhere_else(tmp_path: Path) -> None:
    """Two days of figures, by Prometheus' own evaluation."""
    assert TOLD.keys() | {"Watchdog"} == rules(RULES).keys()
    shutil.copyfile(RULES, tmp_path / "rules.yml")
    size = ('marketdata_disk_size_bytes{folder="data"}', "100+0")
    cases = [_case(name, [(figure, bad), size], True) for name, (figure, _, bad) in TOLD.items()]
    well = {figure: values for figure, values, _ in TOLD.values()}
    cases.append(_case("Watchdog", [*well.items(), size], False, "!="))
    cases.append(_case("DiskNearlyFull", [TOLD["DiskNearlyFull"][:2], size], False))
    cases.append(_case("Watchdog", [], True))
    mended = ('marketdata_runs_ended_day{job="a",status="SUCCESS"}', "1+0")
    cases.append(_case("JobFails", [(TOLD["JobFails"][0], "4+0"), mended], False))
    text = {"rule_files": ["rules.yml"], "evaluation_interval": "15m", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(text))
    said = promtool("test", "rules", str(tmp_path / "tests.yml"))
    assert said.returncode == 0, said.stdout + said.stderr


def test_alertmanager_sends_every_alert_to_somebody_and_the_watchdog_outside() -> None:
    """The addresses are in files that prepare.sh keeps private."""
    config = yaml.safe_load(ALERTMANAGER.read_text())
    receivers = {one["name"]: one for one in config["receivers"]}
    watchdog, *others = config["route"]["routes"]
    assert watchdog["matchers"] == ['alertname="Watchdog"']
    assert watchdog["receiver"] == "heartbeat" and "continue" not in watchdog
    assert {config["route"]["receiver"], *(one["receiver"] for one in others)} == {"people"}
    people, heartbeat = receivers["people"]["slack_configs"][0], receivers["heartbeat"]["webhook_configs"][0]
    places = [people["api_url_file"], heartbeat["url_file"]]
    mounts = dict(volume.split(":")[1::-1] for volume in services()["alertmanager"]["volumes"])
    assert {mounts[str(Path(place).parent)] for place in places} == {"./providers"}
    assert (
        f"--config.file={next(path for path, file in mounts.items() if file == './alertmanager.yml')}"
        in (services()["alertmanager"]["command"])
    )


def test_amtool_accepts_the_configuration_and_routes_by_severity(tmp_path: Path) -> None:
    """Debian's Alertmanager is older than the image, and reads the address of a webhook from no file."""
    file = tmp_path / "alertmanager.yml"
    file.write_text(ALERTMANAGER.read_text().replace("url_file: /providers/heartbeat_url", "url: http://127.0.0.1/"))
    said = amtool("check-config", str(file))
    assert said.returncode == 0, said.stdout + said.stderr
    for labels, receiver in {
        ("alertname=Watchdog", "severity=warning"): "heartbeat",
        ("alertname=DiskNearlyFull", "severity=critical"): "people",
        ("alertname=RunHangs", "severity=warning"): "people",
    }.items():
        said = amtool("config", "routes", "test", f"--config.file={file}", *labels)
        assert said.stdout.strip() == receiver, said.stdout + said.stderr


def _case(alert: str, figures: list[tuple[str, str]], fires: bool, equal: str = "=") -> dict[str, Any]:
    series = [{"series": figure, "values": f"{values}x200"} for figure, values in figures]
    expected = [{"labels": "{}", "value": 1}] if fires else []
    expression = f'count(ALERTS{{alertname{equal}"{alert}", alertstate="firing"}}) > 0'
    check = {"expr": expression, "eval_time": "40h", "exp_samples": expected}
    return {"name": f"{alert} {fires}", "interval": "15m", "input_series": series, "promql_expr_test": [check]}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool: apt-get install prometheus, or run make test as root")
    return subprocess.run([found, *arguments], capture_output=True, text=True)


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("amtool")
    if found is None:
        pytest.skip("needs amtool: apt-get install prometheus-alertmanager, or run make test as root")
    return subprocess.run([found, *arguments], capture_output=True, text=True)

"""Metrics: every family is exposed and documented, and the alerts fire on their faults."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from marketdata_assets.collector.connections.state import MarketState
from marketdata_assets.collector.counters import LatencyHistogram, MarketCounters
from marketdata_assets.collector.health import Health, judge
from marketdata_assets.collector.jetstream.inspection import Backlog, TypeBacklog
from marketdata_assets.collector.metrics import FAMILIES, PROCESS, READS, Metrics, table
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.collector.status import Status
from marketdata_assets.exchanges.records import DeadLetter, Gap, Trade, VenueError
from marketdata_assets.local.process import free_port
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.in_loop import in_loop
from tests.collector.service_runs import SPOT, market, program, redis_server, running, text_of

NS = 1_000_000_000
PROJECT = Path(__file__).parents[2]
ALERTS = PROJECT / "docker" / "alerts.yml"
PAGE = PROJECT / "docs" / "reference" / "metrics.md"
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
KNOWN = {f"{one.name}{suffix}" for one in FAMILIES for suffix in SUFFIXES[one.kind]} | PROCESS.keys()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What a collector with a gap and a dead letter says, by the name of each sample."""
    home = tmp_path_factory.mktemp("metrics")

    async def scrape() -> str:
        with BinanceVenue("spot", ["ABCUSDT"], seed=5) as venue:
            text = text_of({"spot": market(venue, ["ABCUSDT"], SPOT)})
            async with running(text, home) as run:
                await run.subscribed()
                await run.emit(venue, 100)
                book = lambda: run.collector.status().markets[0].books  # noqa: E731
                await run.until(lambda: book() and book()[0].status == "live")
                venue.skip(1, "depth")
                venue.spoil(1, "trade")
                counters = run.collector.status().markets[0].counters
                while not (counters.gaps and counters.errors):
                    await run.emit(venue, 20)
                await run.client.get("/health")
                return (await run.client.get("/metrics")).text

    yield _samples(asyncio.run(asyncio.wait_for(scrape(), 60)))


def test_every_family_is_exposed(scraped: dict[str, dict[str, Any]]) -> None:
    of_stream = {name for name in KNOWN if name.startswith(("collector_stream_", "collector_backlog_"))}
    assert {name for name in scraped if not name.endswith("_created")} == KNOWN - of_stream, "and nothing else is"
    assert {
        name for name in _samples(Metrics(lambda: judged(faulty())).exposition().decode()) if name in of_stream
    } == of_stream


def test_counters_equal_what_arrived(scraped: dict[str, dict[str, Any]]) -> None:
    trades = 'collector_records_total{data_type="trade",exchange="binance",market_type="spot"}'
    values = {key: value for sample in scraped.values() for key, value in sample.items()}
    assert values[trades] > 20
    assert values['collector_sink_acked_total{sink="capture"}'] > values[trades]
    assert values['collector_errors_total{exchange="binance",kind="dead_letter",market_type="spot"}'] == 1
    assert values['collector_gaps_total{cause="sequence",exchange="binance",market_type="spot"}'] >= 1
    assert sum(values[f'collector_health{{status="{name}"}}'] for name in ("healthy", "degraded", "unhealthy")) == 1


def test_each_metric_has_a_unique_name_and_a_use() -> None:
    names = [one.name for one in FAMILIES]
    assert len(set(names)) == len(names)
    assert {*names} == READS.keys()
    for one in FAMILIES:
        assert one.text.endswith("."), one.name
        assert one.use, one.name
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert not {"job", "instance"} & set(one.labels), "Prometheus puts its own there"


def test_the_page_has_the_generated_table() -> None:
    text = PAGE.read_text()
    assert table() in text, "run: marketdata collect metrics"


def test_promtool_accepts_the_exposition(tmp_path: Path) -> None:
    promtool = _needed("promtool")
    exposed = Metrics(lambda: judged(faulty())).exposition()
    said = subprocess.run([promtool, "check", "metrics"], input=exposed, capture_output=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_alerts_fire_on_their_faults(tmp_path: Path) -> None:
    """A collector that was well for an hour, and one that loses records: by Prometheus' own evaluation."""
    promtool = _needed("promtool")
    well = _series(faulty(0), faulty(0), 60)
    bad = _series(faulty(0), faulty(1), 60)
    shutil.copy(ALERTS, tmp_path / "alerts.yml")
    lost = ["CollectorUnhealthy", "SinkUnavailable", "SinkStalled", "QueueNearlyFull", "BooksOutOfSync"]
    lost += ["SubscriptionsRejected", "NoOpenSocket", "TasksCrashing", "RecordsDropped", "SpoolGrowing"]
    lost += ["BacklogNearLimit", "DrainBehind", "PythonSinkFails"]
    tests = [_alert_test(well, lost, fire=False), _alert_test(bad, lost, fire=True)]
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": tests}))
    said = subprocess.run([promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def configured(folder: Path, target: str) -> Path:
    """The shipped configuration of Prometheus, with this collector as its target and a scrape each second."""
    config = yaml.safe_load(ALERTS.with_name("prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for rules in config["rule_files"]:
        shutil.copy(ALERTS.with_name(rules), folder)
    (folder / "targets").mkdir()
    (folder / "targets" / "collector.yml").write_text(yaml.safe_dump([{"targets": [target]}]))
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return file


async def asked(client: httpx.AsyncClient, path: str, **params: str) -> dict[str, Any]:
    """Until it is ready, Prometheus answers without JSON."""
    answer = await client.get(path, params=params)
    return dict(answer.json()["data"]) if answer.status_code == 200 else {}


@in_loop
async def test_real_prometheus_scrapes_collector_and_knows_its_rules(tmp_path: Path) -> None:
    _needed("prometheus")
    with BinanceVenue("spot", ["ABCUSDT"], seed=7) as venue:
        async with running(text_of({"spot": market(venue, ["ABCUSDT"], SPOT)}), tmp_path) as run:
            await run.subscribed()
            await run.emit(venue, 200)
            expected = len(venue.source().trades["ABCUSDT"])
            await run.until(lambda: run.collector.status().markets[0].counters.records["trade"] == expected)
            port = free_port()
            file = configured(tmp_path, f"127.0.0.1:{run.collector.server.port}")
            options = [f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
            options.append(f"--web.listen-address=127.0.0.1:{port}")
            with program("prometheus", *options, folder=tmp_path, port=port):
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client, asyncio.timeout(60):
                    trades = {"query": 'collector_records_total{data_type="trade"}'}
                    while not (found := (await asked(client, "/api/v1/query", **trades)).get("result")):
                        await asyncio.sleep(0.2)
                    assert float(found[0]["value"][1]) == expected > 0
                    [up] = (await asked(client, "/api/v1/query", query='up{job="collector"}'))["result"]
                    assert up["value"][1] == "1"
                    rules: list[dict[str, Any]] = []
                    while not rules or any(rule["health"] == "unknown" for rule in rules):
                        await asyncio.sleep(0.2)
                        groups = (await asked(client, "/api/v1/rules"))["groups"]
                        rules = [rule for group in groups for rule in group["rules"]]
    files = [ALERTS, ALERTS.with_name("alerts-pipeline.yml")]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert sorted(rule["name"] for rule in rules) == sorted(rule["alert"] for one in groups for rule in one["rules"])
    assert {rule["health"] for rule in rules} == {"ok"}


def test_a_redis_that_rejects_the_password_is_reported_without_the_password(tmp_path: Path) -> None:
    async def look() -> dict[str, Any]:
        with (
            BinanceVenue("spot", ["ABCUSDT"], seed=6) as venue,
            redis_server(tmp_path, 0, "--requirepass", "other") as port,
        ):
            text = text_of({"spot": market(venue, ["ABCUSDT"], SPOT)}, redis={"cache": True})
            servers = Servers(redis_url=f"redis://:canary@127.0.0.1:{port}/0")
            async with running(text, tmp_path, servers) as run:
                await run.subscribed()
                await run.emit(venue, 50)
                await run.until(lambda: run.collector.status().sinks[0].last_error)
                status = await run.get("/status")
                assert "canary" not in json.dumps([status, await run.get("/health")])
                return {one["name"]: one for one in status["sinks"]}

    found = asyncio.run(asyncio.wait_for(look(), 60))
    assert found.keys() == {"redis", "capture"}
    assert not found["redis"]["connected"]


def judged(status: Status) -> tuple[Status, Health]:
    return status, judge(status)


def faulty(fault: int = 1) -> Status:
    """A moment of a collector: well, or with one of each fault for each `fault`."""
    counters = MarketCounters()
    counters.count([Trade("binance", "spot", "A-B", "AB", 1, 2, "1", "1", "1", None, "buy")])
    for _ in range(fault):
        counters.count([Gap("binance", "spot", "A-B", "AB", "depth", 1, 2, 1, 2, "sequence")])
        counters.count_error(DeadLetter(b"", "", 1))
        counters.count_error(VenueError(429, "too many", rate_limited=True))
    sink = SinkState(
        "jetstream", 90 * fault, 100, not fault, "away" if fault else None, 1 if fault else None, fault, 1, 1, fault,
        spool_bytes=1000 * fault, errors=fault,
    )  # fmt: skip
    waiting = TypeBacklog(9, -3600 * NS, 0.9) if fault else TypeBacklog(0)
    return Status(
        now=200_000_000_000,
        started=0,
        version="1",
        shard="1/1",
        markets=(_market_state(fault, counters),),
        sinks=(sink,),
        loop_latency=LatencyHistogram(),
        restarts={"jetstream": fault},
        requests={("/health", 200): 1},
        backlog=Backlog(1, 100, 200, 4000.0, {"trade": waiting}),
    )


def _market_state(fault: int, counters: MarketCounters) -> MarketState:
    from tests.collector.collector_states import book, connection, job, market_state, subscription

    return market_state(
        counters=counters,
        connections=(connection(status="backoff" if fault else "open", last_message_at=199_000_000_000),),
        subscriptions=(subscription(status="rejected" if fault else "confirmed"),),
        books=(book(status="broken" if fault else "live"),),
        jobs=(job(failures=fault),),
    )


def _series(first: Status, then: Status, minutes: int) -> list[dict[str, str]]:
    """The samples of a first minute and of those that follow, as promtool takes them."""
    before, after = (_samples(Metrics(lambda one=one: judged(one)).exposition().decode()) for one in (first, then))
    series = []
    for name, rows in after.items():
        for key, value in rows.items():
            start = before.get(name, {}).get(key, value)
            grows = name.endswith(("_total", "spool_bytes")) and value != start
            step = value if grows else 0
            inside = key.partition("{")[2].rstrip("}")
            labels = f'{{{inside}{"," if inside else ""}instance="x",job="collector"}}'
            series.append({"series": name + labels, "values": f"{start}x2 {value}+{step}x{minutes}"})
    return series


def _alert_test(series: list[dict[str, str]], alerts: list[str], *, fire: bool) -> dict[str, Any]:
    rules = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    checks = [
        {
            "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) > 0',
            "eval_time": "30m",
            "exp_samples": _samples_wanted(fire),
        }
        for name in alerts
        if rules[name]
    ]
    return {"interval": "1m", "input_series": series, "promql_expr_test": checks}


def _samples_wanted(fire: bool) -> list[dict[str, Any]]:
    return [{"labels": "{}", "value": 1}] if fire else []


def _samples(text: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            inside = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[f"{sample.name}{{{inside}}}"] = sample.value
    return found


def _needed(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install prometheus, or run make test as root")
    return found

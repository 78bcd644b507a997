"""`marketdata collect`: its configuration as it is in effect, and a process that hands everything over at its end."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
import yaml

from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.config import parse
from marketdata_assets.local import password, servers
from marketdata_assets.local.process import free_port
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse
from marketdata_demo.collector_process import CollectorProcess, Place, is_ready, sink
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.cli.commands import PROGRAMS, answer, apart, environment, marketdata, until

TYPES = ["trade", "orderbook", "kline", "ticker"]


@pytest.fixture
def spot() -> Iterator[BinanceVenue]:
    with BinanceVenue("spot", ["ABCUSDT", "DEFUSDT"], seed=11) as venue:
        yield venue


def place(venue: BinanceVenue) -> Place:
    return Place("binance", "spot", ["ABCUSDT", "DEFUSDT"], TYPES, venue.url, venue.ws_url)


def stack(home: Path, port: int = 0) -> LocalStack:
    settings = Settings(home=home / "stack", nats_url=None, nats_port=port)
    return LocalStack(settings, services=("nats",))


def stored(url: str) -> dict[str, int]:
    """Messages of the stream by the type in their subject."""

    async def count() -> dict[str, int]:
        client = await nats.connect(url)
        subjects = (await client.jetstream().stream_info("MARKET", subjects_filter=">")).state.subjects or {}
        await client.close()
        counts: dict[str, int] = {}
        for subject, number in subjects.items():
            kind = subject.split(".")[1]
            counts[kind] = counts.get(kind, 0) + number
        return counts

    return asyncio.run(count())


def test_check_prints_what_is_in_effect_as_a_file_that_can_be_used(home: Path) -> None:
    run = marketdata(home, "collect", "check")
    assert run.returncode == 0, run.stderr
    assert parse(run.stdout, "printed") == configuration.read(None)
    assert "# sinks: capture" in run.stdout
    assert marketdata(home, "config", "check").stdout == run.stdout


def test_check_shows_the_environment_and_no_secret(home: Path) -> None:
    variables = {
        "SYMBOLS": "ABCUSDT, DEFUSDT",
        "ENABLE_OKX": "false",
        "ENABLE_DERIBIT": "0",
        "CLICKHOUSE_DIRECT_WRITE": "true",
        "REDIS_CACHE": "yes",
        "LOG_LEVEL": "WARNING",
        "HTTP_PORT": "8123",
        "NATS_URL": "nats://me:canary@nats.example:4222",
        "MARKETDATA_CLICKHOUSE_URL": "http://me:canary@house.example:8123/x",
        "MARKETDATA_REDIS_URL": "redis://:canary@redis.example:6379/0",
        "MARKETDATA_COLLECTOR_TOKEN": "canary",
    }
    run = marketdata(home, "collect", "check", "--json", **variables)
    found = answer(run)
    assert "canary" not in run.stdout + run.stderr
    config = found["config"]
    assert [name for name, venue in config["exchanges"].items() if venue["enabled"]] == ["binance"]
    assert config["exchanges"]["binance"]["markets"]["linear"]["symbols"] == ["ABCUSDT", "DEFUSDT"]
    assert (config["clickhouse"]["direct_write"], config["redis"]["cache"]) == (True, True)
    assert (config["log_level"], config["http"]["port"]) == ("warning", 8123)
    assert found["servers"]["sinks"] == "jetstream, clickhouse, redis"
    assert found["servers"]["nats"] == "nats://me:***@nats.example:4222"
    assert found["servers"]["token"] == "set"
    text = marketdata(home, "collect", "check", **variables)
    assert "canary" not in text.stdout + text.stderr
    assert "# nats: nats://me:***@nats.example:4222" in text.stdout


def test_check_tells_what_patterns_match_and_refuses_too_many(home: Path, spot: BinanceVenue) -> None:
    def configured(symbols: str, url: str = spot.url) -> str:
        market = f"{{symbols: {symbols}, max_instruments: 1, base_url: '{url}'}}"
        (home / "my.yaml").write_text(f"exchanges: {{binance: {{markets: {{spot: {market}}}}}}}")
        return str(home / "my.yaml")

    file = configured("['*USDT', '!def*']")
    run = marketdata(home, "collect", "check", "--config", file)
    assert "# binance spot: *USDT matches 1: ABCUSDT\n" in run.stdout, run.stderr
    assert parse(run.stdout, "printed") == configuration.read(Path(file))
    found = answer(marketdata(home, "collect", "check", "--config", file, "--json"))
    assert [one["matched"] for one in found["patterns"]] == [{"*USDT": ["ABCUSDT"]}]
    for symbols, message in (
        ("['*-USDT']", "exchanges.binance.markets.spot.symbols: *-USDT match 2 instruments, more than max_instruments"),
        ("['XYZ*']", "exchanges.binance.markets.spot.symbols: XYZ* matches no instrument of the list"),
    ):
        run = marketdata(home, "collect", "check", "--config", configured(symbols))
        assert (run.returncode, message in run.stderr) == (1, True), run.stderr
    spot.fail(400, 9)
    run = marketdata(home, "collect", "check", "--config", configured("['*USDT']"))
    assert (run.returncode, "# binance spot: patterns not matched, binance" in run.stdout) == (0, True), run.stderr


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        (
            "exchanges: {binance: {enabeld: true}}",
            {},
            "exchanges.binance.enabeld: unknown key; did you mean 'enabled'?",
        ),
        ("", {"LOG_LEVEL": "loud"}, "LOG_LEVEL: should be 'debug'"),
        ("", {"CLICKHOUSE_DIRECT_WRITE": "1"}, "clickhouse.direct_write: is enabled, but no server is set"),
        ("", {"REDIS_CACHE": "1"}, "redis.cache: is enabled, but no server is set. Set MARKETDATA_REDIS_URL"),
        ("exchanges: {deribit: {markets: {spot: {symbols: [A], data_types: [kline, nothing]}}}}", {}, "data_types"),
        ("exchanges: {deribit: {markets: {inverse: {kline_intervals: [4h]}}}}", {}, "has no candles of 4h; use 1m, 3m"),
        ("", {"MARKETDATA_EXCHANGE_HOSTS": '{"okxx": "https://host"}'}, "did you mean 'okx'?"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_an_error(
    home: Path, text: str, variables: dict[str, str], message: str
) -> None:
    file = home / "my.yaml"
    file.write_text(text or configuration.shipped())
    for command in (["collect", "check"], ["collect", "--duration", "0"]):
        run = marketdata(home, *command, "--config", str(file), **variables)
        assert run.returncode == 1, run.stdout
        assert message in run.stderr
        assert "Traceback" not in run.stderr


def test_a_shard_that_is_none_is_an_error(home: Path) -> None:
    run = marketdata(home, "collect", "--shard", "3/2", "--duration", "0")
    assert run.returncode == 1
    assert "'3/2'" in run.stderr or "3/2" in run.stderr
    assert "Traceback" not in run.stderr


def test_metrics_prints_the_table_of_the_page(home: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    assert marketdata(home, "collect", "metrics").stdout in page.read_text()


def test_without_a_server_captures_are_written_and_can_be_replayed(home: Path, spot: BinanceVenue) -> None:
    with CollectorProcess(home, [place(spot)]) as collector:
        collector.subscribed()
        spot.emit(300)
        trades = sum(map(len, spot.source().trades.values()))
        collector.until(lambda told: told["markets"][0]["records"].get("trade") == trades)
        report = collector.stop()
    assert report["records"]["trade"] == trades
    assert report["sinks"]["capture"]["remaining"] == report["remaining"] == 0
    captures = sorted(str(path) for path in (home / "captures").iterdir())
    replayed = answer(marketdata(home, "replay", *captures, "--json"))
    assert replayed["records"]["trade"] == trades
    assert replayed["errors"] == 0


def test_sigterm_hands_everything_over_to_every_sink(home: Path, spot: BinanceVenue, clickhouse_url: str) -> None:
    """Ended in the midst of what comes: what was taken in is in JetStream, in ClickHouse and in captures, each once."""
    with stack(home) as servers:
        more = {"clickhouse": {"direct_write": True, "batch_seconds": 60.0}, "capture": {"enabled": True}}
        url = servers.endpoints.nats_url
        assert url
        with CollectorProcess(home, [place(spot)], url, clickhouse_url, more=more) as collector:
            collector.subscribed()
            spot.rate = 2000.0
            collector.until(lambda told: told["markets"][0]["records"].get("trade", 0) > 1000)
            report = collector.stop()
            spot.rate = 0.0
        records = report["records"]
        assert records["trade"] > 1000
        assert {name: one["remaining"] for name, one in report["sinks"].items()} == {
            "jetstream": 0, "clickhouse": 0, "capture": 0,
        }  # fmt: skip
        assert report["sinks"]["clickhouse"]["spooled"] == report["sinks"]["jetstream"]["spooled"] == 0
        found = stored(url)
        assert found["trade"] == records["trade"]
        with clickhouse.connect(clickhouse_url) as client:
            counts = client.query("SELECT count(), uniqExact(instrument, trade_id) FROM exchange_trades").result_rows
        assert counts == [(records["trade"], records["trade"])]
        captures = sorted(str(path) for path in (home / "captures").iterdir())
        assert answer(marketdata(home, "replay", *captures, "--json"))["records"]["trade"] == records["trade"]


def test_what_no_server_takes_waits_on_disk_for_the_next_start(home: Path, spot: BinanceVenue) -> None:
    port = free_port()
    url = servers.NATS.url(port, password.of(home / "stack" / "nats"))
    with CollectorProcess(home, [place(spot)], url) as collector:
        collector.until(is_ready)
        spot.emit(200)
        trades = sum(map(len, spot.source().trades.values()))
        told = collector.until(lambda told: told["markets"][0]["records"].get("trade") == trades)
        assert not sink(told)["connected"]
        report = collector.stop()
        assert report["remaining"] == 0
        assert report["sinks"]["jetstream"]["spooled"] >= trades
        with stack(home, port):
            collector.start()
            collector.until(lambda told: sink(told)["connected"] and not sink(told)["spooled"])
            assert until(lambda: stored(url).get("trade") == trades)
            gaps = collector.stop()["gaps"]
            assert gaps == stored(url).get("gap", 0)


def test_a_run_of_some_seconds_ends_by_itself_and_says_what_it_did(
    home: Path, spot: BinanceVenue, caplog: pytest.LogCaptureFixture
) -> None:
    file = home / "my.yaml"
    sections = {"exchanges": {"binance": {"markets": {"spot": place(spot).section()}}}, "http": {"port": 0}}
    file.write_text(yaml.safe_dump(sections))
    command = ["collect", "--config", str(file), "--duration", "0.2"]
    run = marketdata(home, *command)
    assert run.returncode == 0, run.stderr
    assert "started url=http://127.0.0.1:" in caplog.text
    assert "records" in run.stdout.splitlines()[-1]
    quiet = apart(home, *command, "--json", LOG_LEVEL="error")
    assert answer(quiet)["remaining"] == 0
    assert quiet.stderr == ""


def test_simulated_venues_are_said_and_where_their_records_go(home: Path) -> None:
    (home / "my.yaml").write_text("exchanges: {okx: {markets: {spot: {kline_intervals: [1h]}}}}\nhttp: {port: 0}\n")
    run = marketdata(home, "collect", "--simulated", "--config", str(home / "my.yaml"), "--duration", "0.2")
    assert run.returncode == 0, run.stderr
    assert "okx-simulated spot: ABC-USDT, DEF-USDT at http://127.0.0.1:" in run.stderr
    assert f"invented records go into {home / 'captures'}, which marketdata ingest captures loads" in run.stderr
    assert not (home / "collector").exists()


def test_a_second_signal_does_not_wait(home: Path, spot: BinanceVenue) -> None:
    """Nothing answers at the address of NATS and the spool is small, so a drain would last."""
    text = yaml.safe_dump(
        {
            "exchanges": {"binance": {"markets": {"spot": place(spot).section()}}},
            "http": {"port": 0},
            "shutdown_seconds": 600.0,
            "capture": {"enabled": True, "folder": "/dev/null/nowhere"},
        }
    )
    (home / "my.yaml").write_text(text)
    command = [str(PROGRAMS / "marketdata"), "collect", "--config", str(home / "my.yaml")]
    process = subprocess.Popen(
        command, env=environment(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until(spot.subscribed)
        spot.emit(20)
        assert process.stderr
        lines: list[str] = []
        process.send_signal(signal.SIGTERM)
        while "draining" not in (line := process.stderr.readline()):
            assert line, lines
            lines.append(line)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
        assert process.returncode == 1
        assert "stopped immediately" in said
        assert "Traceback" not in said
    finally:
        process.kill()


def test_a_missing_package_is_named_with_its_extra(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "marketdata_assets.collector.metrics", raising=False)
    run = marketdata(home, "collect", "metrics")
    assert run.returncode == 1
    assert "prometheus_client is not installed; run: pip install 'marketdata-assets[live]'" in run.stderr

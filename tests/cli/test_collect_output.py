"""`marketdata collect --output` and `marketdata replay --records`: the same lines, live and from captures."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from marketdata_demo.collector_process import Place
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.cli.commands import PROGRAMS, environment, marketdata, until


@pytest.fixture
def spot() -> Iterator[BinanceVenue]:
    with BinanceVenue("spot", ["ABCUSDT"], seed=11) as venue:
        yield venue


@contextmanager
def collect(home: Path, venue: BinanceVenue, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A collector whose output goes to a pipe."""
    market = Place("binance", "spot", ["ABCUSDT"], ["trade", "orderbook", "kline", "ticker"], venue.url, venue.ws_url)
    file = home / "my.yaml"
    file.write_text(yaml.safe_dump({"exchanges": {"binance": {"markets": {"spot": market.section()}}}}))
    command = [str(PROGRAMS / "marketdata"), "collect", "--config", str(file), *arguments]
    variables = environment(home, HTTP_PORT=0)
    process = subprocess.Popen(command, env=variables, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until(venue.subscribed)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_stdout_has_the_records_that_a_replay_of_the_captures_prints(home: Path, spot: BinanceVenue) -> None:
    with collect(home, spot, "--output", "-", "--json") as process:
        spot.emit(300)
        total = len(spot.source().trades["ABCUSDT"])
        assert process.stdout
        live = []
        while sum(one["type"] == "trade" for one in live) < total:
            live.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        rest, said = process.communicate(timeout=60)
        live += map(json.loads, rest.splitlines())
        assert process.returncode == 0, said
        report = json.loads(next(line for line in said.splitlines() if line.startswith(b"{")))
    assert report["sinks"]["stdout"]["acked"] == len(live) == sum(report["records"].values()) + report["gaps"]
    captures = sorted(str(path) for path in (home / "captures").iterdir())
    run = marketdata(home, "replay", *captures, "--records")
    assert run.returncode == 0, run.stderr
    assert [json.loads(line) for line in run.stdout.splitlines()] == live
    assert "messages of" in run.stderr


def test_it_ends_in_order_when_the_reader_of_its_stdout_has_gone(home: Path, spot: BinanceVenue) -> None:
    with collect(home, spot, "--output", "-") as process:
        spot.emit(20)
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        spot.rate = 100.0
        said = process.stderr.read()
        assert process.wait(60) == 0, said
        assert b"Traceback" not in said
        assert b"items_lost=0" in said
    assert list((home / "captures").iterdir())


def test_a_reader_that_reads_nothing_delays_neither_the_captures_nor_the_end(home: Path, spot: BinanceVenue) -> None:
    with collect(home, spot, "--output", "-", "--json") as process:
        for _ in range(20):  # more than a pipe holds
            spot.emit(200)
        total = len(spot.source().trades["ABCUSDT"])
        folder = home / "captures"
        until(lambda: replayed(home, folder) == total)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr
        report = json.loads(next(line for line in process.stderr.read().splitlines() if line.startswith(b"{")))
        assert report["sinks"]["stdout"]["remaining"] > 0
        assert report["remaining"] == 0, "those are in the captures"


def replayed(home: Path, folder: Path) -> int:
    """Trades in the captures so far."""
    run = marketdata(home, "replay", *sorted(map(str, folder.glob("*"))), "--json")
    return int(json.loads(run.stdout)["records"].get("trade", 0)) if run.returncode == 0 else 0


def test_another_output_than_stdout_is_bad_usage(home: Path) -> None:
    run = marketdata(home, "collect", "--output", "tcp://127.0.0.1:9001", "--duration", "0")
    assert run.returncode == 2
    assert "is not -, the standard output" in run.stderr
    assert "JetStream" in run.stderr

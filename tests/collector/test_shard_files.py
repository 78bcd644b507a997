"""A change of the number of processes loses nothing: spools are delivered, and the stop is a gap."""

import json
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.collector import assembly
from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.jetstream.spool import Spool, StoredMessage
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.shard_files import moments
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.in_loop import in_loop
from tests.collector.service_runs import SPOT, market, running, text_of

WHOLE = Shard(1, 1)
SERVERS = Servers(nats_url="nats://127.0.0.1:1", clickhouse_url="http://127.0.0.1:1")
EXCHANGES = {"binance": {"markets": {"spot": {}}}}


def spooled(folder: Path, *numbers: int) -> Spool:
    spool = Spool(folder, 1 << 20)
    spool.append([StoredMessage("s", str(number), b"x", number) for number in numbers])
    return spool


def sinks_of(home: Path, shard: Shard, **sections: Any) -> dict[str, Any]:
    text = json.dumps({"exchanges": EXCHANGES, **sections})
    places = Places(home / "collector", home / "budgets", home / "captures")
    config = configuration.parse(text, "test.yaml")
    made = assembly.sinks(config, SERVERS, places, shard, lambda *_: None, lambda *_: None)
    found = {sink.name: sink.state() for sink in made}
    for sink in made:
        sink.close()
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_the_spools_of_another_number_of_processes_are_delivered(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "collector"
    for name in ("jetstream", "clickhouse"):
        spooled(folder / f"{name}-1-of-2", 1, 2).close()
        spooled(folder / f"{name}-2-of-2", 3).close()
    found = sinks_of(tmp_path, Shard(1, count), clickhouse={"direct_write": True})
    assert {name: found[name].spooled for name in ("jetstream", "clickhouse")} == {"jetstream": 3, "clickhouse": 3}
    assert not list(folder.glob("*-of-2/*.spool"))


def test_the_spool_of_a_process_that_runs_is_left_to_it(tmp_path: Path) -> None:
    other = spooled(tmp_path / "collector" / "jetstream-2-of-2", 1)
    assert sinks_of(tmp_path, WHOLE)["jetstream"].spooled == 0
    other.close()


def test_a_spool_whose_sink_is_not_enabled_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spooled(tmp_path / "collector" / "clickhouse-2-of-2", 1).close()
    sinks_of(tmp_path, WHOLE)
    assert "clickhouse-2-of-2" in caplog.text


def test_the_gap_begins_where_the_last_run_of_any_count_ended(tmp_path: Path) -> None:
    def write(name: str, **found: int) -> None:
        (tmp_path / name).write_text(json.dumps(found))

    assert moments(tmp_path, WHOLE) == {}
    write("since-1-of-2.json", spot=100, linear=80)
    write("since-2-of-2.json", spot=90)
    for shard in (WHOLE, Shard(3, 3)):
        assert moments(tmp_path, shard) == {"spot": 90, "linear": 80}
    assert moments(tmp_path, Shard(1, 2)) == {"spot": 100, "linear": 80}
    write("since.json", spot=95, linear=85)
    assert moments(tmp_path, WHOLE) == {"spot": 90, "linear": 85}, "the run of two ended later"
    write("since.json", spot=120)
    assert moments(tmp_path, WHOLE) == {"spot": 120, "linear": 80}
    assert moments(tmp_path, Shard(1, 2)) == {"spot": 120, "linear": 80}, "an old checkpoint of the same count"


@in_loop
async def test_after_a_change_of_the_number_of_processes_the_stop_is_a_gap(tmp_path: Path) -> None:
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        text = text_of({"spot": market(venue, ["ABCUSDT"], SPOT)})
        for index in (1, 2):
            async with running(text, tmp_path, shard=Shard(index, 2)) as run:
                await run.until(lambda run=run: run.collector.status().markets[0].listed is not None)
        async with running(text, tmp_path) as run:
            await run.until(lambda: run.collector.status().markets[0].counters.gaps["restarted"])

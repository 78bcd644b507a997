"""The whole path with everything that loses data, at random: every trade and every change of a book is in the tables
exactly, or inside a recorded gap.

Collector, NATS, ClickHouse and the drain service are processes that are killed; the stream reaches its limit while
nobody drains it, and the disk of the spool is full while NATS is away.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from clickhouse_connect.driver.client import Client
from own_clickhouse import OwnClickHouse
from whole import At, Chain, gaps, once_or_in_a_gap, rows, whole

from marketdata_assets.collector.drain import Drained
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.gaps import DISCARDED, is_book_gap
from marketdata_assets.read import books
from marketdata_assets.stores import clickhouse
from marketdata_demo.collector_process import sink
from marketdata_demo.venues.binance_venue import BinanceVenue

RATE = 250.0
SMALL = 0.0006  # GB: about a second and a half of this traffic
TINY = 0.00002  # GB: some seconds of it, compressed
PATIENCE = 60.0
SECOND = 1_000_000_000


@dataclass
class Drainer:
    """`marketdata drain --follow` as a process."""

    home: Path
    clickhouse_url: str
    nats_url: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("marketdata")), "drain", "--follow", "--port", "0"]
        servers = {"MARKETDATA_CLICKHOUSE_URL": self.clickhouse_url, "MARKETDATA_NATS_URL": self.nats_url}
        with (self.home / "drain.log").open("ab") as log:
            environment = {**os.environ, **servers, "MARKETDATA_HOME": str(self.home)}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@dataclass
class Plant:
    """What can fail, and how often each did."""

    path: Chain
    server: OwnClickHouse
    drainer: Drainer
    happened: list[str] = field(default_factory=list)

    def kill_drain(self) -> None:
        self.drainer.kill()
        time.sleep(0.3)
        self.drainer.start()

    def kill_clickhouse(self) -> None:
        self.server.kill()
        time.sleep(0.5)
        self.server.start()

    def kill_nats(self) -> None:
        self.path.nats.kill()
        time.sleep(0.5)
        self.path.nats.start()

    def kill_collector(self) -> None:
        self.path.collector.kill()
        time.sleep(0.3)
        self.path.collector.start()
        self.path.collector.subscribed()

    def overflow_stream(self) -> None:
        """Nobody drains for longer than the stream keeps messages."""
        self.drainer.kill()
        time.sleep(4.0)
        self.drainer.start()

    def fill_disk(self) -> None:
        """NATS is away until the spool and the queue have no room left."""
        dropped = self._dropped()
        self.path.nats.kill()
        end = time.monotonic() + PATIENCE
        while self._dropped() == dropped and time.monotonic() < end:
            time.sleep(0.1)
        self.path.nats.start()

    def _dropped(self) -> int:
        return int(sink(self.path.collector.status())["dropped"])


FAULTS = (
    Plant.kill_drain,
    Plant.kill_clickhouse,
    Plant.kill_nats,
    Plant.kill_collector,
    Plant.overflow_stream,
    Plant.fill_disk,
)


@contextmanager
def plant(home: Path, at: At) -> Iterator[Plant]:
    more = {"jetstream": {"enabled": True, "max_gigabytes": SMALL, "spool_gigabytes": TINY, "queue_items": 500}}
    with ExitStack() as stack:
        server = OwnClickHouse(home / "clickhouse")
        stack.callback(server.stop)
        path = stack.enter_context(whole(home, [at], more=more))
        drainer = Drainer(home, server.url, path.nats.url)
        stack.callback(drainer.kill)
        drainer.start()
        yield Plant(path, server, drainer)


def finish(plant: Plant) -> Drained:
    """Everything that was received is safe, and drained."""
    plant.path.settle()
    plant.path.collector.stop()
    plant.drainer.kill()
    return plant.path.drain(plant.server.url)


def changes_or_in_a_gap(client: Client, name: str) -> int:
    """How many changes of a book are missing in the table.

    Fails for one that no recorded gap of the book covers, and where the book right before them is called known.
    """
    found = rows(
        client,
        "SELECT first_id, last_id, ts_recv, ts_event FROM exchange_orderbooks FINAL"
        f" WHERE instrument = '{name}' AND kind = 'delta' ORDER BY last_id",
    )
    holes = [one for one in gaps(client) if one.instrument == name and is_book_gap(one)]
    missing, instants = 0, []
    for (_, last, before, happened), (first, _, after, _) in itertools.pairwise(found):
        if first != last + 1:
            missing += first - last - 1
            assert any(_overlaps(gap, before, after) for gap in holes), (
                f"{name}: {last} to {first} is in no gap: {holes}"
            )
            instants.append(happened + 1)
    told = books("binance", "spot", name, instants, connection=client)
    assert told["known"].to_list() == [False] * len(set(instants)), told
    return missing


def known_is_the_venues(client: Client, at: At, name: str) -> bool:
    """Whether the newest book is known; then it is the one of the venue."""
    [(newest,)] = rows(client, f"SELECT max(ts_event) FROM exchange_orderbooks FINAL WHERE instrument = '{name}'")
    [told] = books("binance", "spot", name, newest, connection=client).to_dicts()
    if told["known"]:
        ours = [{level["price"]: level["size"] for level in told[side]} for side in ("bids", "asks")]
        theirs = [{Decimal(p): Decimal(s) for p, s in side} for side in at.venue.markets[name].levels()]
        assert ours == theirs
    return bool(told["known"])


def _overlaps(gap: Gap, before: int, after: int) -> bool:
    """Whether the gap reaches over what was received between two changes."""
    return gap.ts_from <= after and gap.ts_to >= before


@pytest.mark.slow
@pytest.mark.parametrize("seed", (1, 2))
def test_with_kills_limits_and_a_full_disk_everything_is_exact_or_in_a_gap(tmp_path: Path, seed: int) -> None:
    with BinanceVenue("spot", ["ABCUSDT", "XYZUSDT"], seed=seed) as venue:
        at = At(venue, "binance", "spot", ("trade", "orderbook"))
        with plant(tmp_path, at) as one:
            one.path.begin(RATE)
            rng = Random(seed)
            for fault in rng.sample(FAULTS, len(FAULTS)):
                one.path.go_on(rng.uniform(0.5, 2.0))
                fault(one)
                one.happened.append(f"{fault.__name__} until {time.time_ns()}")
            one.path.go_on(1.0)
            report = finish(one)
            assert report.left == 0
            with clickhouse.connect(one.server.url) as client:
                schema.ensure(client)
                missing = once_or_in_a_gap(client, at, late_ns=SECOND)
                changes = {name: changes_or_in_a_gap(client, name) for name in at.names}
                for name in at.names:
                    known_is_the_venues(client, at, name)
                causes = {gap.cause for gap in gaps(client)}
            assert DISCARDED in causes, one.happened
            assert any(missing.values()), "the stream deleted trades"
            assert any(changes.values()), "and changes of books"

"""Loads that are killed, broken off, raced by another, or lose their store: the same rows in the end."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marketdata_assets.stores import clickhouse, clickhouse_rewrite
from marketdata_assets.stores.clickhouse_ledger import entries
from marketdata_assets.ticks import tables
from marketdata_assets.ticks.table_writer import WriteRetries
from marketdata_demo.servers.tushare import TushareServer
from tests.own_clickhouse import OwnClickHouse
from tests.ticks.load_process import LoadProcess
from tests.ticks.tick_clients import JUNE, Clients
from tests.ticks.tick_loads import NOW, Loader, assert_exact, codes, good_units, landed, told, units

KILLS = 4
WHOLE = 4 * 241


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnClickHouse]:
    server = OwnClickHouse(tmp_path / "own")
    yield server
    server.stop()


def assert_nothing_left(loader: Loader) -> None:
    """The ledger is sure of everything and right, and no stage is left over."""
    counted = dict(landed(loader.client).group_by("symbol").len().iter_rows())
    found = entries(loader.client, "tick_data")
    assert [entry.source for entry in found if entry.pending] == []
    assert {entry.source: entry.rows for entry in found if entry.rows} == counted
    assert clickhouse_rewrite.stages(loader.client, "tick_data__") == []


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_for_requests(server: TushareServer, number: int) -> None:
    wait_until(lambda: server.requests >= number)


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_costs_no_row(
    loader: Loader, clickhouse_url: str, tmp_path: Path
) -> None:
    symbols = loader.server.symbols = codes(40)
    chance = random.Random(4)
    killed = 0
    for _ in range(KILLS):
        process = LoadProcess(clickhouse_url, loader.server, tmp_path, symbols)
        asked = loader.server.requests
        process.begin()
        wait_for_requests(loader.server, asked + 1)
        time.sleep(chance.uniform(0.0, 0.8))
        killed += process.running
        process.end(signal.SIGKILL)
    assert killed >= KILLS // 2
    assert set(landed(loader.client).group_by("symbol").len()["len"]) <= {WHOLE}
    report = loader(units(symbols))
    assert set(told(report).values()) == {"ok"}
    assert_exact(loader.client, symbols)
    assert_nothing_left(loader)


def on_record(loader: Loader) -> set[str]:
    """The symbols whose load the ledger has."""
    loads = entries(loader.client, "tick_data")
    return {load.source for load in loads if load.outcome == "ok" and not load.pending}


def test_a_load_that_is_killed_in_its_first_seconds_keeps_the_answers_that_it_had(
    loader: Loader, clickhouse_url: str, tmp_path: Path
) -> None:
    """Batches are due after an hour, but for the first; the provider never answers for the later symbols.

    How many answers the first batch has is a matter of time; those on record are not requested again.
    """
    symbols = loader.server.symbols = codes(12)
    answered, silent = symbols[:4], symbols[4:]
    for symbol in silent:
        loader.server.stall(3600.0, where=symbol)
    process = LoadProcess(clickhouse_url, loader.server, tmp_path, symbols, limits={"seconds": 3600.0}, workers=12)
    process.begin()
    wait_until(lambda: bool(on_record(loader)))
    kept = on_record(loader)
    assert process.end(signal.SIGKILL) == {}
    assert kept <= set(answered)
    loader.server.no_more_faults()
    loader.server.lines.clear()
    assert set(told(loader(units(symbols))).values()) == {"ok"}
    again = {symbol for symbol in symbols if any(symbol in line for line in loader.server.lines)}
    assert set(silent) <= again <= set(symbols) - kept
    assert_exact(loader.client, symbols)
    assert_nothing_left(loader)


@pytest.mark.slow
def test_a_load_that_is_broken_off_leaves_nothing_half_done(
    loader: Loader, clickhouse_url: str, tmp_path: Path
) -> None:
    symbols = loader.server.symbols = codes(16)
    process = LoadProcess(clickhouse_url, loader.server, tmp_path, symbols)
    process.begin()
    wait_for_requests(loader.server, 5)
    process.end(signal.SIGINT)
    assert process.child.returncode != 0
    assert set(landed(loader.client).group_by("symbol").len()["len"]) <= {WHOLE}
    assert_nothing_left(loader)
    asked = loader.server.requests
    assert loader(units(symbols)).failed == ()
    assert loader.server.requests > asked
    assert_exact(loader.client, symbols)


@pytest.mark.slow
def test_two_processes_on_the_same_units_end_in_the_same_rows(
    loader: Loader, clickhouse_url: str, tmp_path: Path
) -> None:
    symbols = loader.server.symbols = codes(20)
    homes = [tmp_path, tmp_path / "other"]  # the second waits for nobody's turn
    processes = [
        LoadProcess(clickhouse_url, loader.server, home, symbols, limits={"items": 3, "seconds": 0.01})
        for home in homes
    ]
    for process in processes:
        process.begin()
    assert [set(process.end().values()) for process in processes] == [{"ok"}, {"ok"}]
    assert loader.server.requests > 20
    assert_exact(loader.client, symbols)
    assert_nothing_left(loader)


@pytest.mark.slow
def test_a_store_that_stops_and_starts_half_way_costs_no_row(
    own: OwnClickHouse, clients: Clients, tushare_server: TushareServer
) -> None:
    symbols = tushare_server.symbols = codes(30)
    with clickhouse.connect(own.url) as client:
        tables.ensure(client)
        loader = Loader(client, clients, tushare_server)
        over = threading.Event()

        def back() -> None:
            own.start()
            over.wait()  # a server ends with the thread that started it

        starter = threading.Thread(target=back)

        def watch(done: int, total: int, what: str) -> None:
            if not starter.is_alive():
                own.stop()
                starter.start()

        patience = WriteRetries(away=600, first_pause_s=0.05, longest_pause_s=0.1)
        try:
            report = loader(units(symbols), progress=watch, write_retries=patience)
            assert report.failed == ()
            assert_exact(client, symbols)
            assert_nothing_left(loader)
        finally:
            over.set()
            starter.join()


def test_a_store_that_stays_away_ends_the_load_with_what_landed(
    own: OwnClickHouse, clients: Clients, tushare_server: TushareServer
) -> None:
    symbols = tushare_server.symbols = codes(40)
    with clickhouse.connect(own.url) as client:
        tables.ensure(client)
        loader = Loader(client, clients, tushare_server)
        gone: list[int] = []

        def watch(done: int, total: int, what: str) -> None:
            if not gone:
                own.kill()
                gone.append(done)

        retries = WriteRetries(away=2, first_pause_s=0.01)
        report = loader(units(symbols), now=NOW, progress=watch, write_retries=retries)  # answers that take longer
        assert report.failed
        assert len(good_units(report)) + len(report.failed) == len(symbols)
        assert all("ClickHouse is not answering" in (unit.error or "") for unit in report.failed)
        assert tushare_server.requests < len(symbols)
        own.start()
        assert_exact(client, [unit.symbol for unit in good_units(report)], JUNE)
        assert loader(units(symbols), now=NOW).failed == ()
        assert_exact(client, symbols, JUNE)
        assert_nothing_left(loader)
